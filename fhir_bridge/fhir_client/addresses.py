"""Which addresses are a server's own: where our credentials may go, and what may be fetched at all."""

from __future__ import annotations

import ipaddress
import re

import httpx

from fhir_bridge.errors import FhirServerError, SettingsError

_STEP = re.compile(r"(?:^|/)\.{1,2}(?:/|$)")


def base_address(base_url: str) -> httpx.URL:
    """A server's base without a final slash. Raises SettingsError unless https, or http on loopback."""
    try:
        url = httpx.URL(base_url.rstrip("/"))
    except (httpx.InvalidURL, TypeError):
        url = httpx.URL("")
    if url.scheme not in ("http", "https") or not url.host or url.userinfo or url.query or url.fragment:
        raise SettingsError("base_url must be an address such as https://ehr.example/fhir", code="base-url")
    if not is_safe(url):
        raise SettingsError(
            "base_url must begin with https://: patient data would travel in the clear",
            code="base-url-insecure",
            hint="http:// is accepted only for a server on this machine",
        )
    return url


def is_safe(url: httpx.URL) -> bool:
    """Whether what travels there is encrypted, or does not leave this machine."""
    return url.scheme == "https" or (url.scheme == "http" and is_loopback(url.host))


def is_loopback(host: str) -> bool:
    """Whether `host` is this machine by name or address, without asking a name server."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def same_host(one: httpx.URL, other: httpx.URL) -> bool:
    """Whether scheme, host and port are the same, the port by default where none is said."""
    return (one.scheme, one.host, _port(one)) == (other.scheme, other.host, _port(other))


def is_below(url: httpx.URL, base: httpx.URL) -> bool:
    """Whether an address is the base or below it, on the same host; one that climbs with `..` is not."""
    path, root = url.path, base.path.rstrip("/")
    inside = path.rstrip("/") == root or path.startswith(root + "/")
    return same_host(url, base) and inside and not _STEP.search(path)


def below(base: httpx.URL, text: str, what: str) -> httpx.URL:
    """A link of the server's, taken as it is or from its base. Raises FhirServerError `foreign-link` for one
    that leads anywhere else; `what` is how the link is called in the message."""
    try:
        url = httpx.URL(text)
        url = url if url.is_absolute_url else httpx.URL(f"{base}/").join(url)
    except (httpx.InvalidURL, TypeError):
        url = httpx.URL("")
    if url.userinfo or not is_below(url, base):
        raise FhirServerError(
            f"{what} leads away from {base}: it is not followed",
            code="foreign-link",
            hint="behind a proxy a server must be told its public address; base_url must be that one",
        )
    return url


def _port(url: httpx.URL) -> int:
    return url.port or (443 if url.scheme == "https" else 80)
