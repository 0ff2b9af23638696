"""A starlette application on a real socket of this machine, for as long as a test needs it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn

from fhir_bridge.http_server.serving import EmbeddedServer


@dataclass(frozen=True)
class Tls:
    """The server's certificate and key, PEM; with `client_ca` it wants a client's certificate of that one."""

    certificate: Path
    key: Path
    client_ca: Path | None = None


@contextlib.contextmanager
def listening() -> Iterator[socket.socket]:
    """A socket on a free port of loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", 0))
        yield listener


@contextlib.asynccontextmanager
async def serving(app: Any, listener: socket.socket, tls: Tls | None = None) -> AsyncIterator[None]:
    """The application in this event loop; leaving cuts what is still connected."""
    config = uvicorn.Config(
        app,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        date_header=False,  # the application tells the time, which may be a wrong one
        timeout_graceful_shutdown=1,
        ssl_certfile=tls.certificate if tls else None,
        ssl_keyfile=tls.key if tls else None,
        ssl_ca_certs=str(tls.client_ca) if tls and tls.client_ca else None,
        ssl_cert_reqs=ssl.CERT_REQUIRED if tls and tls.client_ca else ssl.CERT_NONE,
    )
    server = EmbeddedServer(config)
    running = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        await server.ready.wait()
        yield
    finally:
        server.should_exit = True
        for connection in list(server.server_state.connections):
            if connection.transport is not None:
                connection.transport.abort()
        await running


@contextlib.contextmanager
def serving_in_thread(app: Any, listener: socket.socket, tls: Tls | None = None) -> Iterator[None]:
    """The same in a thread of its own, so that a command line of this process can talk to it."""
    started, loops, stop = threading.Event(), [], asyncio.Event()

    async def serve() -> None:
        loops.append(asyncio.get_running_loop())
        async with serving(app, listener, tls):
            started.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert started.wait(10)
        yield
    finally:
        loops[0].call_soon_threadsafe(stop.set)
        thread.join(10)
