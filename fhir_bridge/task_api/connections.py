"""Many connections at once, each a transport of its own (performance).

httpcore looks at every connection of a pool whenever a request begins or ends. With 256 of them in one pool
that is nearly all the time there is; one by one, each looks at itself alone.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from functools import partial

import httpx

from fhir_bridge.task_api.transport import EXTENSION, Progress, ProvingTransport, Stage


class Connections(httpx.AsyncBaseTransport):
    """As many ProvingTransports as there may be connections; the one used last is used next."""

    def __init__(self, *, tls: ssl.SSLContext, proxy: httpx.Proxy | None, max_connections: int) -> None:
        self._all = [
            ProvingTransport(tls=tls, proxy=proxy, max_connections=1) for _ in range(max_connections)
        ]
        self._free = list(self._all)
        self._places = asyncio.Semaphore(max_connections)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send once over a free connection, or wait for one; the request's Progress holds at every moment."""
        progress = request.extensions.get(EXTENSION)
        if isinstance(progress, Progress):
            progress.stage = Stage.POOL
        await self._places.acquire()
        transport = self._free.pop()
        try:
            response = await transport.handle_async_request(request)
        except BaseException:
            self._give_back(transport)
            raise
        assert isinstance(response.stream, httpx.AsyncByteStream)
        response.stream = _Lent(response.stream, partial(self._give_back, transport))
        return response

    def _give_back(self, transport: ProvingTransport) -> None:
        self._free.append(transport)
        self._places.release()

    async def aclose(self) -> None:
        """Close all connections."""
        for transport in self._all:
            await transport.aclose()


class _Lent(httpx.AsyncByteStream):
    """An answer's body; closing it, however often, gives its connection back once."""

    def __init__(self, body: httpx.AsyncByteStream, give_back: Callable[[], None]) -> None:
        self._body = body
        self._give_back: Callable[[], None] | None = give_back

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._body:
            yield part

    async def aclose(self) -> None:
        try:
            await self._body.aclose()
        finally:
            if self._give_back is not None:
                self._give_back()
                self._give_back = None
