"""The sandbox's end of a TCP connection: uvicorn's HTTP/1.1 protocol, its socket within the app's reach."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct

from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from fhir_bridge.sandbox.faults import FaultPlayer

_SCOPE_KEY = "fhir_bridge.transport"
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


def protocol_playing(player: FaultPlayer) -> type[H11Protocol]:
    """uvicorn's protocol, refusing connections as the script says and showing the app its transport."""

    class SandboxProtocol(H11Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            app = self.app

            async def app_with_transport(scope: Scope, receive: Receive, send: Send) -> None:
                scope[_SCOPE_KEY] = transport
                await app(scope, receive, send)

            self.app = app_with_transport
            if player.on_connection():
                _reset(transport)

    return SandboxProtocol


async def cut(scope: Scope, receive: Receive, *, reset: bool = False, flush: bool = False) -> None:
    """End the connection under a request and wait until it is gone.

    With `reset` the caller gets a RST, else a FIN; with `flush` what was already sent goes out first.
    """
    transport: asyncio.Transport = scope[_SCOPE_KEY]
    if reset:
        _reset(transport)
    elif flush:
        transport.close()
    else:
        transport.abort()
    await gone(receive)


async def gone(receive: Receive) -> None:
    """Wait until the caller is no longer there."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _reset(transport: asyncio.Transport) -> None:
    # A second handle, for an event loop may lend its socket without setsockopt; a caller already gone is cut.
    with contextlib.suppress(OSError):
        descriptor = os.dup(transport.get_extra_info("socket").fileno())
        with socket.socket(fileno=descriptor) as same:
            same.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    transport.abort()
