"""Serves the door: a socket, uvicorn, and an end that answers what was begun."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from fhir_bridge.errors import SettingsError
from fhir_bridge.webhook.connection import patient_protocol

GRACE = 10
"""Seconds in which what was begun when the server is stopped may end."""

KEEP_ALIVE = 30
"""Seconds an idle connection is kept; a sender that sends again uses it again."""


@dataclass(frozen=True, slots=True)
class Listening:
    """Where the server listens, and with which certificate, if any."""

    host: str
    port: int
    certificate: Path | None = None
    key: Path | None = None


@contextlib.asynccontextmanager
async def serving(app: ASGIApp, at: Listening, *, patience: float) -> AsyncIterator[str]:
    """The application at an address, its URL given; leaving takes no more connections and finishes what was
    begun. `patience`: seconds for a request's headers.

    Raises SettingsError where the port is taken, or the certificate cannot be used.
    """
    with contextlib.closing(_listen(at)) as listener:
        server = _Server(_config(app, at, patience))
        task = asyncio.create_task(server.serve(sockets=[listener]), name="webhook-server")
        try:
            await server.ready.wait()
            if not server.started:
                await task
            yield _url(at, listener)
        finally:
            server.should_exit = True
            await task


class _Server(uvicorn.Server):
    """uvicorn's server, which leaves signals to whoever runs it."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets)
        finally:
            self.ready.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _config(app: ASGIApp, at: Listening, patience: float) -> uvicorn.Config:
    config = uvicorn.Config(
        app,
        http=patient_protocol(patience),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # a header says where a request comes from only if we know who wrote it
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=GRACE,
        ssl_certfile=str(at.certificate) if at.certificate else None,
        ssl_keyfile=str(at.key) if at.key else None,
    )
    try:
        config.load()
    except (OSError, ssl.SSLError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or type(error).__name__
        raise SettingsError(
            f"the certificate {at.certificate} cannot be used: {reason}",
            code="certificate",
            hint="--tls-cert is the chain in PEM, --tls-key its private key without a passphrase",
        ) from None
    if config.ssl is not None:
        config.ssl.minimum_version = ssl.TLSVersion.TLSv1_2
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
