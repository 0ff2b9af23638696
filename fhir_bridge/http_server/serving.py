"""A starlette application on a socket, by uvicorn: what `serve` and the sandbox have in common."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from asyncio import Protocol
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from fhir_bridge.errors import SettingsError
from fhir_bridge.http_server.certificate import tls_context

GRACE = 10
"""Seconds in which what was begun when a server is stopped may end."""

KEEP_ALIVE = 30
"""Seconds an idle connection is kept; a sender that sends again uses it again."""


@dataclass(frozen=True, slots=True)
class Listening:
    """Where a server listens, and with which certificate, if any."""

    host: str
    port: int
    certificate: Path | None = None
    key: Path | None = None


@contextlib.asynccontextmanager
async def serving(
    app: ASGIApp, at: Listening, protocol: type[Protocol], *, grace: int = GRACE, cuts: bool = False
) -> AsyncIterator[str]:
    """The application in this event loop, its URL given; signals are left to whoever runs it.

    Leaving takes no more connections and gives what was begun `grace` seconds to end, or with `cuts` ends it
    at once. Raises SettingsError where the port is taken, or the certificate cannot be used.
    """
    context = tls_context(at.certificate, at.key) if at.certificate and at.key else None
    with contextlib.closing(_listen(at)) as listener:
        config = _config(app, protocol, grace)
        config.ssl = context
        server = EmbeddedServer(config)
        task = asyncio.create_task(server.serve(sockets=[listener]), name="http-server")
        try:
            await server.ready.wait()
            if not server.started:
                await task
            yield _url(at, listener)
        finally:
            server.should_exit = True
            if cuts:
                _cut(server)
            await task


def _cut(server: uvicorn.Server) -> None:
    for connection in list(server.server_state.connections):
        if connection.transport is not None:
            connection.transport.abort()


class EmbeddedServer(uvicorn.Server):
    """uvicorn's server, which leaves signals to whoever runs it."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's, and `ready` is set when it is over, however it ended."""
        try:
            await super().startup(sockets)
        finally:
            self.ready.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """None."""
        yield


def _config(app: ASGIApp, protocol: type[Protocol], grace: int) -> uvicorn.Config:
    config = uvicorn.Config(
        app,
        http=protocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # a header says where a request comes from only if we know who wrote it
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=grace,
    )
    config.load()
    return config


def _listen(at: Listening) -> socket.socket:
    family = socket.AF_INET6 if ":" in at.host else socket.AF_INET
    # asyncio switches Nagle's delay, 40 ms an answer, off only for sockets that name their protocol.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((at.host, at.port))
        return listener
    except OSError as error:
        listener.close()
        raise SettingsError(
            f"cannot listen on {at.host}:{at.port}: {error.strerror}",
            code="port",
            hint="choose another with --port; 0 takes any free one",
        ) from error


def _url(at: Listening, listener: socket.socket) -> str:
    host = f"[{at.host}]" if ":" in at.host else at.host
    return f"{'https' if at.certificate else 'http'}://{host}:{listener.getsockname()[1]}"
