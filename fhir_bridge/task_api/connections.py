"""httpx's transport over connections of our own: few of them for many requests (performance, delivery).

httpx's own looks at every connection of its pool whenever a request begins or ends, and takes about a
millisecond a request besides. Here the free connections are a stack: the one used last is used next.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from functools import partial

import httpx

from fhir_bridge.task_api.answer import Answer, UnreadableAnswerError
from fhir_bridge.task_api.connection import Connection, Route, open_connection
from fhir_bridge.task_api.transport import EXTENSION, Progress, Stage

KEEPALIVE_EXPIRY = 3.0
"""Seconds an idle connection may be used again: a server that closes one under a POST costs an in-doubt."""


class Connections(httpx.AsyncBaseTransport):
    """At most `max_connections` to one endpoint, HTTP/1.1; nothing is retried, redirected or kept.

    Of a request's timeouts only `connect` is looked at: who calls bounds the whole. Bodies of requests are
    bytes.
    """

    def __init__(self, *, tls: ssl.SSLContext, proxy: httpx.Proxy | None, max_connections: int) -> None:
        tls.set_alpn_protocols(["http/1.1"])
        self._route = Route(tls, proxy)
        self._places = asyncio.Semaphore(max_connections)
        self._free: deque[tuple[float, Connection]] = deque()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send once over a free or a new connection, or wait for one; the request's Progress holds at every
        moment.

        Raises httpx.ConnectTimeout, httpx.TransportError or httpx.LocalProtocolError.
        """
        progress = request.extensions.get(EXTENSION, Progress())
        progress.reach(Stage.POOL)
        async with contextlib.AsyncExitStack() as undo:
            await self._places.acquire()
            undo.callback(self._places.release)
            connection = self._take() or await self._open(request, progress)
            undo.callback(connection.abort)
            try:
                answer = await connection.send(request, progress)
            except (OSError, UnreadableAnswerError) as error:
                raise httpx.RemoteProtocolError(type(error).__name__) from None
            undo.pop_all()
        body = _Body(connection, answer, partial(self._give_back, connection))
        return httpx.Response(answer.status, headers=answer.headers, stream=body)

    def _take(self) -> Connection | None:
        """The free connection that was used last, if it still may be."""
        self._close_expired()
        while self._free:
            _, connection = self._free.pop()
            if connection.is_usable:
                return connection
            connection.abort()
        return None

    async def _open(self, request: httpx.Request, progress: Progress) -> Connection:
        seconds = request.extensions.get("timeout", {}).get("connect")
        try:
            async with asyncio.timeout(seconds):
                return await open_connection(request.url, self._route, progress)
        except TimeoutError:
            raise httpx.ConnectTimeout("no connection in time") from None
        except (OSError, UnreadableAnswerError) as error:
            raise httpx.ConnectError(type(error).__name__) from None

    def _give_back(self, connection: Connection) -> None:
        if connection.release():
            self._free.append((time.monotonic(), connection))
        self._places.release()
        self._close_expired()

    def _close_expired(self) -> None:
        since = time.monotonic() - KEEPALIVE_EXPIRY
        while self._free and self._free[0][0] < since:
            self._free.popleft()[1].abort()

    async def aclose(self) -> None:
        """Close the free connections; the others close when their request ends."""
        while self._free:
            self._free.pop()[1].abort()


class _Body(httpx.AsyncByteStream):
    """An answer's body; closing it, however often, gives its connection back once."""

    def __init__(self, connection: Connection, answer: Answer, give_back: Callable[[], None]) -> None:
        self._connection = connection
        self._answer = answer
        self._give_back: Callable[[], None] | None = give_back

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            if part := self._answer.take():
                yield part
            elif self._answer.is_complete:
                return
            else:
                await self._wait()

    async def _wait(self) -> None:
        try:
            await self._connection.more(self._answer)
        except UnreadableAnswerError:
            raise httpx.RemoteProtocolError("the answer breaks off") from None

    async def aclose(self) -> None:
        if self._give_back is not None:
            give_back, self._give_back = self._give_back, None
            give_back()
