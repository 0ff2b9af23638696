"""The HTTP transport, which knows for each request whether its first byte can have left (delivery).

Whether somebody may be phoned twice hangs on this, so it is never judged from an exception's class. httpcore
calls a request's `trace` hook before each step it takes, in this order (httpcore 1.0: `_async/connection.py`,
`_async/http11.py`): waiting for a place in the pool (no event), `connection.connect_tcp.started`,
`connection.start_tls.started`, `http11.send_request_headers.started`. The last is awaited *before* the
headers are handed to the socket, and nothing of the request is written anywhere else: until it comes, the
first byte has not left. A proxy's CONNECT goes through the same steps under its own method and carries
nothing of ours. A step not known here counts as having written, and a transport that does not report
leaves the request unproved: a new version of httpcore can cost an in-doubt, never a second call.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import httpx

KEEPALIVE_EXPIRY = 3.0
"""Seconds an idle connection may be used again: a server that closes one under a POST costs an in-doubt."""

EXTENSION = "fhir_bridge.progress"


class Stage(StrEnum):
    """How far a request has come."""

    UNPROVED = "unproved"
    POOL = "pool"
    CONNECT = "connect"
    TLS = "tls"
    PROXY = "proxy"
    REQUEST = "request"
    ANSWER = "answer"


# Steps that write nothing of the request, and the stage each begins; closing leaves it where it failed.
_HARMLESS: dict[str, Stage | None] = {
    "connect_tcp": Stage.CONNECT,
    "start_tls": Stage.TLS,
    "response_closed": None,
}

_BEFORE_FIRST_BYTE = frozenset({Stage.POOL, Stage.CONNECT, Stage.TLS, Stage.PROXY})


@dataclass(slots=True)
class Progress:
    """Where one request stands; put into its extensions, kept up to date by the transport."""

    stage: Stage = Stage.UNPROVED

    @property
    def before_first_byte(self) -> bool:
        """Whether it is proved that no byte of the request has left."""
        return self.stage in _BEFORE_FIRST_BYTE

    async def observe(self, event: str, info: dict[str, Any]) -> None:
        """Take one event of httpcore's trace; once a byte may have left there is no way back."""
        name, _, moment = event.rpartition(".")
        if moment != "started":
            return
        step = name.rpartition(".")[2]
        if self.before_first_byte:
            self.stage = self._next(step, info)
        elif step == "receive_response_headers":
            self.stage = Stage.ANSWER

    def _next(self, step: str, info: dict[str, Any]) -> Stage:
        if step in _HARMLESS:
            return _HARMLESS[step] or self.stage
        if getattr(info.get("request"), "method", None) == b"CONNECT":
            return Stage.PROXY
        # Sending the request, or a step this module has never heard of: it may have written something.
        return Stage.REQUEST


class ProvingTransport(httpx.AsyncHTTPTransport):
    """httpx's own transport over HTTP/1.1, without retries, reporting to the request's Progress."""

    def __init__(self, *, tls: ssl.SSLContext, proxy: httpx.Proxy | None, max_connections: int) -> None:
        limits = httpx.Limits(
            max_connections=max_connections,
            max_keepalive_connections=max_connections,
            keepalive_expiry=KEEPALIVE_EXPIRY,
        )
        super().__init__(
            verify=tls, trust_env=False, http1=True, http2=False, limits=limits, proxy=proxy, retries=0
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request once; its Progress holds at every moment, also when this raises."""
        progress = request.extensions.get(EXTENSION)
        if isinstance(progress, Progress):
            progress.stage = Stage.POOL
            request.extensions = {**request.extensions, "trace": progress.observe}
        return await super().handle_async_request(request)
