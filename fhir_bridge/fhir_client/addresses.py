"""Which addresses are a server's own: where our credentials may go, and what may be fetched at all."""

from __future__ import annotations

import re

import httpx

from fhir_bridge.errors import FhirServerError
from fhir_bridge.network import address

_STEP = re.compile(r"(?:^|/)\.{1,2}(?:/|$)")


def base_address(base_url: str) -> httpx.URL:
    """A server's base without a final slash. Raises SettingsError unless https, or http on loopback."""
    return address(base_url, "base_url", "https://ehr.example/fhir")


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
