"""The way out, the same to a FHIR server and to the endpoint: which addresses, whom we trust, by which proxy.

Checked before a byte can leave (intake, "Reading from a FHIR server"). Nothing is read from the environment,
and no error shows a secret.
"""

from __future__ import annotations

import contextlib
import ipaddress
import ssl
from pathlib import Path

import httpx
from pydantic import SecretStr

from fhir_bridge.errors import SettingsError


def address(text: str, setting: str, example: str) -> httpx.URL:
    """The address in a setting, without a final slash. Raises SettingsError unless https, or http on
    loopback."""
    code = setting.replace(".", "-").replace("_", "-")
    try:
        url = httpx.URL(text.rstrip("/"))
    except (httpx.InvalidURL, TypeError):
        url = httpx.URL("")
    if url.scheme not in ("http", "https") or not url.host or url.userinfo or url.query or url.fragment:
        raise SettingsError(f"{setting} must be an address such as {example}", code=code)
    if not is_safe(url):
        raise SettingsError(
            f"{setting} must begin with https://: patient data would travel in the clear",
            code=f"{code}-insecure",
            hint="http:// is accepted only for what runs on this machine, such as the sandbox",
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


def bearer(token: SecretStr, setting: str) -> str:
    """The Authorization header. Raises SettingsError for a token no header can carry."""
    text = token.get_secret_value()
    # Let through, a line end in it would come back in the text of the HTTP library's own error.
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise SettingsError(
            f"{setting} must be one word of printable ASCII characters", code=setting.replace(".", "-")
        )
    return f"Bearer {text}"


def tls_context(ca_bundle: Path | None) -> ssl.SSLContext:
    """TLS trusting the bundle's authorities, else certifi's. Raises SettingsError when it cannot be read."""
    if ca_bundle is None:
        return httpx.create_ssl_context(trust_env=False)
    try:
        return ssl.create_default_context(cafile=str(ca_bundle))
    except (OSError, ssl.SSLError):
        raise SettingsError(f"network.ca_bundle cannot be read: {ca_bundle}", code="ca-bundle") from None


def proxy_for(url: httpx.URL, proxy: str | None) -> httpx.Proxy | None:
    """The proxy towards `url`; none towards loopback. Raises SettingsError for what is none."""
    if proxy is None or is_loopback(url.host):
        return None
    with contextlib.suppress(ValueError, httpx.InvalidURL):
        found = httpx.Proxy(proxy)
        if found.url.scheme in ("http", "https") and found.url.host:
            return found
    raise SettingsError("network.proxy must be an address such as http://proxy.example:3128", code="proxy")
