"""Runs the sandbox: in this process on a free port for tests and the demo, or as a server of its own."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sqlite3
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from fhir_bridge.errors import SettingsError
from fhir_bridge.http_server.serving import Listening, serving
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
    player = FaultPlayer(settings.faults)
    with contextlib.closing(_store(settings)) as store:
        app, at = sandbox_app(settings, store, player), Listening(settings.host, settings.port)
        # Cut, for a fault that hangs would hold the server for as long as it was told to.
        async with serving(app, at, protocol_playing(player), grace=1, cuts=True) as url:
            yield RunningSandbox(url)


async def serve_sandbox(
    settings: SandboxSettings, *, on_start: Callable[[str], None] = lambda url: None
) -> None:
    """Serve until SIGTERM, or until cancelled as asyncio.run does at SIGINT; `on_start` is told the URL once
    it takes requests.

    Raises SettingsError when the port is taken or the storage cannot be opened.
    """
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with running_sandbox(settings) as sandbox:
        on_start(sandbox.url)
        await stop.wait()


def _store(settings: SandboxSettings) -> Store:
    try:
        return Store(settings.storage)
    except sqlite3.Error as error:
        raise SettingsError(f"{settings.storage}: {error}", code="storage") from error
