"""The way to a FHIR server: proxy, name, certificate, clock."""

from __future__ import annotations

import asyncio
import socket
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from fhir_bridge.checkup.step import Mark, Step
from fhir_bridge.fhir_client.route import Route
from fhir_bridge.fhir_client.server import FhirServer
from fhir_bridge.network import is_loopback

PATIENCE = 15.0
"""Seconds for one question of a name server."""

ENDS_SOON = 30
"""Days of a certificate's life left: somebody has to see to a new one."""

SKEW_TOLD, SKEW_REFUSED = 30, 240
"""Seconds that our clock and the server's may differ: beyond the second an assertion has ended, or not begun,
when it arrives."""


@dataclass(frozen=True, slots=True)
class Met:
    """What was seen of the server when it was first met."""

    certificate: Step
    clock: Step


def the_way_out(base_url: str, route: Route) -> Step:
    """By which proxy, trusting whom. Nothing is tried yet."""
    host = urlsplit(base_url).hostname or ""
    if is_loopback(host):
        return Step("network", Mark.OK, "this machine itself: no proxy")
    proxy = urlsplit(route.proxy.get_secret_value()) if route.proxy else None
    out = f"by the proxy {proxy.hostname}:{proxy.port or 80}" if proxy else "without a proxy"
    trusted = f"the authorities in {route.ca_bundle}" if route.ca_bundle else "the built-in authorities"
    shown = f", showing the certificate {route.certificate}" if route.certificate else ""
    return Step("network", Mark.OK, f"{out}, trusting {trusted}{shown}")


async def the_name(base_url: str, route: Route) -> Step:
    """The host's addresses; behind a proxy it is the proxy's to find them."""
    parts = urlsplit(base_url)
    host = parts.hostname or ""
    if route.proxy is not None and not is_loopback(host):
        return Step("dns", Mark.OK, f"{host} is looked up by the proxy")
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(PATIENCE):
            found = await loop.getaddrinfo(host, parts.port or 443, type=socket.SOCK_STREAM)
    except TimeoutError:
        return Step("dns", Mark.FAIL, f"no name server answers for {host}", "look at this machine's resolver")
    except OSError:
        to_do = "is base_url spelt right? Inside a hospital: does this machine use its name servers?"
        return Step("dns", Mark.FAIL, f"no name server knows {host}", to_do, "unknown-host")
    return Step("dns", Mark.OK, f"{host} is {', '.join(sorted({str(each[4][0]) for each in found})[:4])}")


async def met(server: FhirServer, now: datetime) -> Met:
    """The certificate and the clock of whoever answers at the base. Raises FhirServerError."""
    async with server.stream("GET", "metadata", authorised=False, again=False) as response:
        stream = response.extensions.get("network_stream")
        tls = stream.get_extra_info("ssl_object") if stream is not None else None
        return Met(_certificate(tls, now), _clock(response.headers.get("date"), now))


def _certificate(tls: ssl.SSLObject | None, now: datetime) -> Step:
    if tls is None:
        return Step("tls", Mark.OK, "none: http to this machine")
    certificate: dict[str, Any] = dict(tls.getpeercert() or {})
    subject = {key: value for part in certificate.get("subject", ()) for key, value in part}
    names = [str(value) for _, value in certificate.get("subjectAltName", ())]
    whose = subject.get("commonName") or (names[0] if names else "an unnamed host")
    ends = str(certificate.get("notAfter", ""))
    until = datetime.fromtimestamp(ssl.cert_time_to_seconds(ends), UTC) if ends else None
    found = f"{tls.version()}, certificate of {whose}"
    if until is None:
        return Step("tls", Mark.OK, found)
    found += f" until {until:%Y-%m-%d}"
    if (until - now).days < ENDS_SOON:
        return Step("tls", Mark.WARN, found, "it ends soon: tell whoever runs the server", "certificate-ends")
    return Step("tls", Mark.OK, found)


def _clock(date: str | None, now: datetime) -> Step:
    """Our clock against the server's, to the second that its answer tells."""
    try:
        theirs = parsedate_to_datetime(date or "")
    except ValueError:
        return Step("clock", Mark.OK, "the server does not tell the time")
    theirs = theirs if theirs.tzinfo else theirs.replace(tzinfo=UTC)
    seconds = round((now - theirs).total_seconds())
    if abs(seconds) < SKEW_TOLD:
        return Step("clock", Mark.OK, f"{abs(seconds)} s apart")
    mark = Mark.FAIL if abs(seconds) >= SKEW_REFUSED else Mark.WARN
    found = f"this machine is {abs(seconds)} s {'ahead of' if seconds > 0 else 'behind'} the server"
    return Step("clock", mark, found, "let this machine keep its time by NTP", "clock-skew")
