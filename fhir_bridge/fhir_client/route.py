"""The way to a server: proxy, authorities to trust, and the certificate that we show (intake)."""

from __future__ import annotations

import contextlib
import ssl
from dataclasses import dataclass
from pathlib import Path

import httpx
from pydantic import SecretStr

from fhir_bridge.errors import SettingsError
from fhir_bridge.fhir_client.addresses import is_loopback
from fhir_bridge.fhir_client.politeness import Limits


@dataclass(frozen=True, slots=True)
class Route:
    """`proxy` is never used towards this machine. `certificate` and `key` are PEM files for mutual TLS, the
    key in the certificate's own file where none is named. Nothing is read from the environment.
    """

    proxy: SecretStr | None = None
    ca_bundle: Path | None = None
    certificate: Path | None = None
    key: Path | None = None


def client_for(url: httpx.URL, route: Route, limits: Limits) -> httpx.AsyncClient:
    """The HTTP client to one server. Raises SettingsError where proxy, authorities or certificate cannot be
    used, without showing a password."""
    return httpx.AsyncClient(
        verify=tls_context(route),
        proxy=proxy_for(url, route.proxy),
        timeout=httpx.Timeout(limits.timeout, connect=limits.connect_timeout, pool=None),
        limits=httpx.Limits(
            max_connections=limits.max_in_flight + 2, max_keepalive_connections=limits.max_in_flight
        ),
        follow_redirects=False,
        trust_env=False,
        headers={"User-Agent": "fhir-bridge"},
    )


def tls_context(route: Route) -> ssl.SSLContext:
    """TLS with the bundle's authorities, else certifi's, and our own certificate where there is one."""
    try:
        context = (
            httpx.create_ssl_context(trust_env=False)
            if route.ca_bundle is None
            else ssl.create_default_context(cafile=str(route.ca_bundle))
        )
    except (OSError, ssl.SSLError):
        raise SettingsError(
            f"network.ca_bundle cannot be read: {route.ca_bundle}", code="ca-bundle"
        ) from None
    if route.certificate is not None:
        try:
            context.load_cert_chain(route.certificate, route.key)
        except (OSError, ssl.SSLError):
            files = " and ".join(str(file) for file in (route.certificate, route.key) if file)
            raise SettingsError(
                f"the client certificate cannot be used: {files}",
                code="client-certificate",
                hint="both are PEM files, the key without a pass phrase and belonging to the certificate",
            ) from None
    return context


def proxy_for(url: httpx.URL, proxy: SecretStr | None) -> httpx.Proxy | None:
    """The proxy towards `url`; none towards loopback."""
    if proxy is None or is_loopback(url.host):
        return None
    with contextlib.suppress(ValueError, httpx.InvalidURL):
        found = httpx.Proxy(proxy.get_secret_value())
        if found.url.scheme in ("http", "https") and found.url.host:
            return found
    raise SettingsError("network.proxy must be an address such as http://proxy.example:3128", code="proxy")
