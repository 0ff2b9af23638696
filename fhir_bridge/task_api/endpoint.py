"""Checks what is set about the endpoint (address, key, authorities, proxy) before a byte can leave."""

from __future__ import annotations

import contextlib
import ipaddress
import ssl
from pathlib import Path

import httpx
from pydantic import SecretStr

from fhir_bridge.errors import SettingsError


def endpoint_url(base_url: str) -> httpx.URL:
    """The endpoint's address. Raises SettingsError unless it is https://, or http:// on loopback (intake)."""
    try:
        url = httpx.URL(base_url)
    except (httpx.InvalidURL, TypeError):
        url = httpx.URL("")
    if url.scheme not in ("http", "https") or not url.host or url.userinfo or url.query or url.fragment:
        raise SettingsError("api.url must be an address such as https://api.example", code="api-url")
    if url.scheme == "http" and not is_loopback(url.host):
        raise SettingsError(
            "api.url must begin with https://: patient data would travel in the clear",
            code="api-url-insecure",
            hint="http:// is accepted only for an endpoint on this machine, such as the sandbox",
        )
    return url


def is_loopback(host: str) -> bool:
    """Whether `host` is this machine by name or address, without asking a name server."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def bearer(api_key: SecretStr) -> str:
    """The Authorization header. Raises SettingsError for a key no header can carry, without showing it."""
    key = api_key.get_secret_value()
    # Let through, a line end in the key would come back in the text of the HTTP library's own error.
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise SettingsError("api.key must be one word of printable ASCII characters", code="api-key")
    return f"Bearer {key}"


def tls_context(ca_bundle: Path | None) -> ssl.SSLContext:
    """TLS trusting the bundle's authorities, else certifi's. Raises SettingsError when it cannot be read."""
    if ca_bundle is None:
        return httpx.create_ssl_context(trust_env=False)
    try:
        return ssl.create_default_context(cafile=str(ca_bundle))
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"network.ca_bundle cannot be read: {ca_bundle}", code="ca-bundle") from error


def proxy_for(url: httpx.URL, proxy: str | None) -> httpx.Proxy | None:
    """The proxy towards `url`; none towards loopback. Raises SettingsError without showing its password."""
    if proxy is None or is_loopback(url.host):
        return None
    with contextlib.suppress(ValueError, httpx.InvalidURL):
        found = httpx.Proxy(proxy)
        if found.url.scheme in ("http", "https") and found.url.host:
            return found
    raise SettingsError("network.proxy must be an address such as http://proxy.example:3128", code="proxy")
