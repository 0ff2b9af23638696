"""The way to a server: proxy, authorities to trust, and the certificate that we show (intake)."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

import httpx
from pydantic import SecretStr

from fhir_bridge.errors import SettingsError
from fhir_bridge.fhir_client.politeness import Limits
from fhir_bridge.network import proxy_for, tls_context


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
        verify=_trust(route),
        proxy=proxy_for(url, route.proxy.get_secret_value() if route.proxy else None),
        timeout=httpx.Timeout(limits.timeout, connect=limits.connect_timeout, pool=None),
        limits=httpx.Limits(
            max_connections=limits.max_in_flight + 2, max_keepalive_connections=limits.max_in_flight
        ),
        follow_redirects=False,
        trust_env=False,
        headers={"User-Agent": "fhir-bridge"},
    )


def _trust(route: Route) -> ssl.SSLContext:
    """TLS with the authorities to trust, and our own certificate where there is one."""
    context = tls_context(route.ca_bundle)
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
