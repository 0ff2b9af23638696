"""Runs the sandbox: in this process on a free port for tests and the demo, or as a server of its own."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass

import uvicorn

from fhir_bridge.errors import SettingsError
from fhir_bridge.sandbox.app import sandbox_app
from fhir_bridge.sandbox.connection import protocol_playing
from fhir_bridge.sandbox.faults import FaultPlayer
from fhir_bridge.sandbox.settings import SandboxSettings
from fhir_bridge.sandbox.store import Store


@dataclass(frozen=True, slots=True)
class RunningSandbox:
    """A sandbox that takes requests at `url`, such as `http://127.0.0.1:40123`."""

    url: str


@contextlib.asynccontextmanager
async def running_sandbox(settings: SandboxSettings) -> AsyncIterator[RunningSandbox]:
    """The sandbox in this event loop; leaving cuts what is still connected.

    Raises SettingsError when the port is taken or the storage cannot be opened.
    """
    with contextlib.closing(_store(settings)) as store, contextlib.closing(_listen(settings)) as listener:
        server = _server(settings, store)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            await _started(server, serving)
            yield RunningSandbox(_url(settings.host, listener))
        finally:
            server.should_exit = True
            # Else a fault that hangs would hold the server for as long as it was told to.
            for connection in list(server.server_state.connections):
                connection.transport.abort()
            await serving


async def serve_sandbox(
    settings: SandboxSettings, *, on_start: Callable[[str], None] = lambda url: None
) -> None:
    """Serve until SIGINT or SIGTERM; `on_start` is told the URL once it takes requests.

    Raises SettingsError when the port is taken or the storage cannot be opened.
    """
    with contextlib.closing(_store(settings)) as store, contextlib.closing(_listen(settings)) as listener:
        server = _server(settings, store, takes_signals=True)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        await _started(server, serving)
        on_start(_url(settings.host, listener))
        await serving


class _Server(uvicorn.Server):
    """uvicorn's server, which leaves SIGINT and SIGTERM to whoever runs it unless told to take them."""

    def __init__(self, config: uvicorn.Config, *, takes_signals: bool) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()
        self._takes_signals = takes_signals

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets)
        finally:
            self.ready.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        with super().capture_signals() if self._takes_signals else contextlib.nullcontext():
            yield


def _server(settings: SandboxSettings, store: Store, *, takes_signals: bool = False) -> _Server:
    player = FaultPlayer(settings.faults)
    config = uvicorn.Config(
        sandbox_app(settings, store, player),
        http=protocol_playing(player),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=1,
    )
    return _Server(config, takes_signals=takes_signals)


async def _started(server: _Server, serving: asyncio.Task[None]) -> None:
    await server.ready.wait()
    if not server.started:
        await serving


def _store(settings: SandboxSettings) -> Store:
    try:
        return Store(settings.storage)
    except sqlite3.Error as error:
        raise SettingsError(f"{settings.storage}: {error}", code="storage") from error


def _listen(settings: SandboxSettings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # asyncio switches Nagle's delay, 40 ms an answer, off only for sockets that name their protocol.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((settings.host, settings.port))
        return listener
    except OSError as error:
        listener.close()
        place = f"{settings.host}:{settings.port}"
        raise SettingsError(
            f"the sandbox cannot listen on {place}: {error.strerror}",
            code="port",
            hint="choose another with --port; 0 takes any free one",
        ) from error


def _url(host: str, listener: socket.socket) -> str:
    port = listener.getsockname()[1]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
