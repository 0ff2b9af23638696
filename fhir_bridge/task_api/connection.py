"""One connection to the endpoint, which carries one request at a time and knows where that stands."""

from __future__ import annotations

import asyncio
import logging
import select
import socket
import ssl
from base64 import b64encode
from dataclasses import dataclass
from typing import cast

import httpx
from aiohappyeyeballs import start_connection

from fhir_bridge.task_api.answer import Answer
from fhir_bridge.task_api.transport import Progress, Stage

_MOST_HELD = 256 * 1024
"""Bytes of a body kept for who reads it; above, the socket is left alone until they are taken."""

log = logging.getLogger(__name__)


class Connection(asyncio.Protocol):
    """What asyncio tells of one socket. Use `open_connection`."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._answer: Answer | None = None
        self._progress = Progress()
        self._changed: asyncio.Future[None] | None = None
        self._writing = False
        self._paused = False
        self._over = False

    @property
    def is_usable(self) -> bool:
        """Whether a request may go out: open, nothing under way, and nothing said that nobody asked for.

        The socket itself is asked too: what it has received may not have been told to us yet.
        """
        if not self._is_open or self._answer is not None:
            return False
        assert self._transport is not None
        return not _is_readable(self._transport.get_extra_info("socket").fileno())

    @property
    def _is_open(self) -> bool:
        return not self._over and self._transport is not None and not self._transport.is_closing()

    async def send(self, request: httpx.Request, progress: Progress) -> Answer:
        """Send a request whose body is in memory, once; gives the answer when its head has come.

        Raises httpx.LocalProtocolError for one that cannot be sent and ConnectionError where the connection
        is not usable, both before the first byte; UnreadableAnswerError for what is no answer.
        """
        data = _written(request)
        if not self._is_open:
            raise ConnectionError("the connection is closed")
        return await self._exchange(data, request.method, progress, Stage.REQUEST)

    async def tunnel(self, to: httpx.URL, proxy: httpx.Proxy, progress: Progress) -> None:
        """Ask a proxy for a tunnel (RFC 9110, section 9.3.6). Raises ConnectionError where it gives none."""
        place = b"%s:%d" % (_bracketed(to.raw_host), _port(to))
        lines = [(b"Host", place), *proxy.headers.raw]
        if proxy.raw_auth:
            lines.append((b"Proxy-Authorization", b"Basic " + b64encode(b":".join(proxy.raw_auth))))
        answer = await self._exchange(_head(b"CONNECT", place, lines), "CONNECT", progress, Stage.PROXY)
        self._answer = None
        if answer.failure or not 200 <= answer.status < 300:
            raise ConnectionError("the proxy gives no tunnel")

    async def _exchange(self, data: bytes, method: str, progress: Progress, stage: Stage) -> Answer:
        transport = self._transport
        assert transport is not None
        answer = self._answer = Answer(method)
        self._progress = progress
        # From here on a byte of it may have left; nothing else in the bridge writes to this socket.
        progress.reach(stage)
        transport.write(data)
        log.debug("%s written, %d bytes", method, len(data))
        self._written_if_empty()
        while not answer.has_head:
            await self.more(answer)
        log.debug("%s answered with %d", method, answer.status)
        return answer

    async def more(self, answer: Answer) -> None:
        """Wait for the next piece of the answer. Raises UnreadableAnswerError where none can come."""
        if answer.failure is not None:
            raise answer.failure
        assert self._transport is not None
        if self._paused:
            self._paused = False
            self._transport.resume_reading()
        self._changed = asyncio.get_running_loop().create_future()
        await self._changed

    def release(self) -> bool:
        """End the request under way, whatever became of it; True where another may use the connection."""
        answer, self._answer = self._answer, None
        reusable = answer is not None and answer.is_complete and answer.reusable and not self._writing
        if not reusable:
            self.abort()
        return reusable

    def abort(self) -> None:
        """Close at once; for what was under way it is over."""
        self._over = True
        if self._transport is not None:
            self._transport.abort()

    async def encrypt(self, tls: ssl.SSLContext, name: str) -> None:
        """Go on under TLS with whom the certificate says is `name`. Raises OSError."""
        assert self._transport is not None
        loop = asyncio.get_running_loop()
        transport = await loop.start_tls(self._transport, self, tls, server_hostname=name)
        if transport is None:
            raise ConnectionError("closed during the handshake")
        self.connection_made(transport)

    def _written_if_empty(self) -> None:
        if not self._writing and self._progress.stage is Stage.REQUEST:
            self._progress.reach(Stage.ANSWER)

    def _tell(self) -> None:
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Open. With no room in the buffer, `resume_writing` says that the last byte has left."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=0)

    def pause_writing(self) -> None:
        """Not all was taken by the socket at once."""
        self._writing = True

    def resume_writing(self) -> None:
        """Now it was."""
        self._writing = False
        self._written_if_empty()

    def data_received(self, data: bytes) -> None:
        """A piece of the answer; what comes unasked makes the connection useless."""
        answer = self._answer
        if answer is None:
            self.abort()
            return
        if self._progress.stage is Stage.REQUEST:
            self._progress.reach(Stage.ANSWER)
        answer.feed(data)
        if answer.held > _MOST_HELD and self._transport is not None and not self._paused:
            self._paused = True
            self._transport.pause_reading()
        self._tell()

    def eof_received(self) -> bool:
        """The endpoint says no more; asyncio closes."""
        self._end()
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """Closed, by whomever and however."""
        self._end()

    def _end(self) -> None:
        self._over = True
        if self._answer is not None:
            self._answer.end()
        self._tell()


@dataclass(frozen=True, slots=True)
class Route:
    """How an endpoint is reached; `tls` is for it, and for a proxy that itself speaks TLS."""

    tls: ssl.SSLContext
    proxy: httpx.Proxy | None


async def _connected(name: str, port: int) -> Connection:
    """To the first of a name's addresses that answers, the next one tried after a quarter of a second.

    asyncio's own way to do that leaves the socket open where it is cancelled, and uvloop has none.
    """
    loop = asyncio.get_running_loop()
    addresses = await loop.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    opened = await start_connection(addresses, happy_eyeballs_delay=0.25)
    try:
        _, connection = await loop.create_connection(Connection, sock=opened)
    except BaseException:
        opened.close()
        raise
    return connection


async def open_connection(to: httpx.URL, route: Route, progress: Progress) -> Connection:
    """A connection over which nothing was sent yet. Raises OSError or UnreadableAnswerError."""
    progress.reach(Stage.CONNECT)
    first = to if route.proxy is None else route.proxy.url
    connection = await _connected(_name(first), _port(first))
    try:
        if route.proxy is not None:
            progress.reach(Stage.PROXY)
            if first.scheme == "https":
                await connection.encrypt(route.proxy.ssl_context or route.tls, _name(first))
            await connection.tunnel(to, route.proxy, progress)
        if to.scheme == "https":
            progress.reach(Stage.TLS)
            await connection.encrypt(route.tls, _name(to))
    except BaseException:
        connection.abort()
        raise
    return connection


def _written(request: httpx.Request) -> bytes:
    """Head and body as they go over the wire. Raises httpx.LocalProtocolError."""
    head = _head(request.method.encode("ascii"), request.url.raw_path, request.headers.raw)
    return head + request.content


def _head(method: bytes, target: bytes, headers: list[tuple[bytes, bytes]]) -> bytes:
    lines = [b"%s %s HTTP/1.1" % (method, target), *(b"%s: %s" % header for header in headers)]
    head = b"\r\n".join(lines)
    # A line end within a value would begin a header, or a request, of somebody else's making.
    if head.count(b"\n") != len(headers) or head.count(b"\r") != len(headers) or b"\0" in head:
        raise httpx.LocalProtocolError("a header holds a line end")
    return head + b"\r\n\r\n"


def _name(url: httpx.URL) -> str:
    return url.raw_host.decode("ascii")


def _bracketed(host: bytes) -> bytes:
    return b"[%s]" % host if b":" in host else host


def _port(url: httpx.URL) -> int:
    return url.port or (443 if url.scheme == "https" else 80)


def _is_readable(descriptor: int) -> bool:
    """Whether the socket has something to tell, be it bytes or an end."""
    if not hasattr(select, "poll"):
        return bool(select.select([descriptor], [], [], 0)[0])
    asked = select.poll()
    asked.register(descriptor, select.POLLIN)
    return bool(asked.poll(0))
