"""The body of a request, read as it comes and never beyond what is allowed."""

from __future__ import annotations

import asyncio
import zlib

from starlette.types import Receive

from fhir_bridge.webhook.answers import RefusedError, too_large, unavailable

MOST_HELD = 256 * 2**20
"""Bytes of bodies that are read or wait to be committed at one time, of all requests together."""

_GZIP = 31
"""zlib's window bits for gzip, header and checksum included."""


class GoneError(Exception):
    """Whoever sent the request is no longer there to be answered."""


class Bodies:
    """Reads bodies of at most `most` bytes, each within `seconds`."""

    def __init__(self, most: int, seconds: float) -> None:
        self._most = most
        self._seconds = seconds
        self._held = 0

    def take(self, size: int) -> None:
        """Count bytes that are kept in memory; raises RefusedError (503) where there are too many."""
        if self._held + size > MOST_HELD:
            raise unavailable("too-much-at-once", "too much is being received at this moment")
        self._held += size

    def give_back(self, size: int) -> None:
        """They are gone."""
        self._held -= size

    async def read(self, receive: Receive, declared: int | None) -> bytes:
        """All of it. Raises RefusedError (408, 413, 503), and GoneError where the sender hung up.

        The caller gives its size back when it is done with it.
        """
        if declared is not None and declared > self._most:
            raise too_large(self._most)
        try:
            async with asyncio.timeout(self._seconds):
                return await self._parts(receive)
        except TimeoutError:
            raise RefusedError(408, "timeout", "slow", "the body took too long to come") from None

    def _kept(self, part: bytes, so_far: int) -> bytes:
        if so_far + len(part) > self._most:
            raise too_large(self._most)
        self.take(len(part))
        return part

    async def _parts(self, receive: Receive) -> bytes:
        parts: list[bytes] = []
        size = 0
        try:
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise GoneError
                parts.append(self._kept(message.get("body", b""), size))
                size += len(parts[-1])
                if not message.get("more_body"):
                    return b"".join(parts)
        except BaseException:
            self.give_back(size)
            raise

    def unpacked(self, body: bytes, encoding: bytes) -> bytes:
        """The body without its Content-Encoding, never more than is allowed. Raises RefusedError (400, 413,
        415)."""
        name = encoding.strip().lower()
        if name in (b"", b"identity"):
            return body
        if name not in (b"gzip", b"x-gzip"):
            raise RefusedError(
                415, "not-supported", "content-encoding", "of content encodings only gzip is read"
            )
        inflating = zlib.decompressobj(_GZIP)
        try:
            found = inflating.decompress(body, self._most + 1)
        except zlib.error:
            raise _not_gzip() from None
        if len(found) > self._most:
            raise too_large(self._most)
        if not inflating.eof or inflating.unused_data:
            raise _not_gzip()
        return found


def _not_gzip() -> RefusedError:
    return RefusedError(400, "structure", "not-gzip", "Content-Encoding says gzip, and it is none")
