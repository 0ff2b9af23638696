"""A connection's patience: uvicorn waits for ever for a request's headers, and keeps as many as are sent."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MOST_HEADERS = 64 * 2**10
"""Bytes of a request before its body."""


def patient_protocol(seconds: float) -> type[HttpToolsProtocol]:
    """uvicorn's protocol, that hangs up on who does not finish a request's headers, or goes on sending after
    the answer, within so many seconds."""

    class PatientProtocol(HttpToolsProtocol):
        _timer: asyncio.TimerHandle | None = None
        _is_in_headers = True
        _is_in_message = False
        _size = 0

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._wait()

        def connection_lost(self, exc: Exception | None) -> None:
            self._done()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            if self._is_in_headers:
                self._size += len(data)
            super().data_received(data)
            if self._is_in_headers and self._size > MOST_HEADERS:
                self.transport.abort()

        def on_message_begin(self) -> None:
            super().on_message_begin()
            self._is_in_message = True
            self._wait()

        def on_headers_complete(self) -> None:
            self._is_in_headers = False
            self._done()
            super().on_headers_complete()

        def on_message_complete(self) -> None:
            self._is_in_headers, self._is_in_message, self._size = True, False, 0
            self._done()
            super().on_message_complete()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            if self._is_in_message and not self.transport.is_closing():
                self._wait()  # an answer came before the body's end, and most likely refused it

        def _wait(self) -> None:
            self._done()
            self._timer = self.loop.call_later(seconds, self._hang_up)

        def _done(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

        def _hang_up(self) -> Any:
            if not self.transport.is_closing():
                self.transport.abort()

    return PatientProtocol
