"""The bytes of a piece: unpacked, as UTF-8, and line by line in memory that does not grow."""

from __future__ import annotations

import codecs
import errno
import json
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import IO, TYPE_CHECKING, BinaryIO, NamedTuple

from stringzilla import find

from fhir_bridge.errors import InputError
from fhir_bridge.intake.bulk import objects
from fhir_bridge.intake.bulk.objects import Listed
from fhir_bridge.intake.files import pipe

if TYPE_CHECKING:
    from fhir_bridge.intake.bulk.pieces import Piece

_SOLID = re.compile(rb"\S").search
GZIP = b"\x1f\x8b"
TAR, TAR_AT = b"ustar", 257
ZIP = b"PK\x03\x04"
BOM = codecs.BOM_UTF8
CHUNK = 256 * 1024
"""Bytes that are read at a time: they stay in the processor's cache, and the next ones take their memory."""

NUL, INSTEAD = rb"\u0000", rb"\ufffd"
"""FHIR has no U+0000, and PostgreSQL keeps none (see `fhir.documents`)."""

MOST_LINE = 64 * 1024 * 1024
"""A longer line is no resource that the bridge reads: it is told of and passed over, never held."""

MOST_WHOLE = 1024 * 1024 * 1024
"""A longer file of one JSON value is told of and not held: a few bytes of gzip unpack to as many."""


class Block(NamedTuple):
    """Lines that follow one another, each with its newline. `first` is the number of the first, from 1,
    `offset` its first byte, both counted from where the piece begins. `is_too_long`: one line that was passed
    over."""

    first: int
    offset: int
    lines: list[bytes]
    is_too_long: bool = False


def is_plain(head: bytes) -> bool:
    """Whether it is UTF-8, with or without a mark in front, as far as the first bytes show."""
    return json.detect_encoding(head) in ("utf-8", "utf-8-sig")


def is_ndjson(head: bytes) -> bool:
    """Whether the first line that is not blank is an object of its own and more follows."""
    head = head.removeprefix(BOM).lstrip()
    end = head.find(b"\n")
    first = head[: max(end, 0)].rstrip()
    return first.startswith(b"{") and first.endswith(b"}") and _SOLID(head, end) is not None


def is_tar(head: bytes) -> bool:
    """Whether it is files laid one behind the other by tar."""
    return head.startswith(TAR, TAR_AT)


def has_resource_lines(head: bytes) -> bool:
    """Whether some line is a resource of its own: then it is NDJSON whose first lines are broken."""
    return any(
        line.startswith(b'{"resourceType"') and line.rstrip().endswith(b"}") for line in head.split(b"\n")
    )


Told = Callable[[int], None]
"""Who is told of so many bytes that were read."""


def chunks(piece: Piece, read: Told = lambda size: None) -> Iterator[bytes]:
    """The bytes of a piece, unpacked and as UTF-8. Raises InputError where they end too early."""
    with opened(piece.listed) as file, _member(file, piece) as stream:
        yield from _as_utf8(_unpacked(_raw(stream, piece.name, read), piece.name), piece.name)


def opened(file: Listed) -> BinaryIO:
    """A file or an object to read from. Raises InputError where it cannot be read."""
    if objects.is_url(file.url):
        return objects.opened(file)
    path = Path(file.url)
    if path.exists() and not path.is_file():
        raise pipe(file.url)
    try:
        return path.open("rb")
    except OSError as error:
        raise _unreadable(file.url, error) from None


def _unreadable(name: str, error: OSError) -> InputError:
    return InputError(f"{name}: {error.strerror or 'cannot be read'}", code="no-file")


def blocks(pieces: Iterator[bytes], end: int | None = None, most: int = MOST_LINE) -> Iterator[Block]:
    """The lines of a stream; of those that begin from byte `end` on none. The last has a newline too, whether
    or not it stands there."""
    number, offset, held, length = 1, 0, list[bytes](), 0
    skipping = False
    for chunk in pieces:
        if skipping or length + len(chunk) > most:
            newline = chunk.find(b"\n")
            skipping = skipping or length + (newline if newline >= 0 else len(chunk)) > most
            if skipping:
                held = []
                if newline < 0:
                    length += len(chunk)
                    continue
                length += newline + 1
                yield Block(number, offset, [], is_too_long=True)
                number, offset = number + 1, offset + length
                chunk, length, skipping = chunk[newline + 1 :], 0, False
        # A stream finds line ends by vector instructions; `split` looks at each byte by itself.
        whole = BytesIO(_without_nul(chunk)).readlines()
        tail = whole.pop() if whole and not whole[-1].endswith(b"\n") else b""
        if whole:
            # What was held is put before its own line alone: before the chunk, all of it would be copied.
            if held:
                whole[0] = _without_nul(b"".join((*held, whole[0])))
            yield Block(number, offset, whole)
            number += len(whole)
            offset += length + len(chunk) - len(tail)
            held, length = [], 0
        if tail:
            held.append(tail)
            length += len(tail)
        if end is not None and offset >= end:
            return
    if skipping:
        yield Block(number, offset, [], is_too_long=True)
    elif length:
        yield Block(number, offset, [_without_nul(b"".join((*held, b"\n")))])


def _without_nul(data: bytes) -> bytes:
    """Looked for by vector instructions: there is hardly ever any, and `replace` takes forty times as
    long."""
    return data.replace(NUL, INSTEAD) if find(data, NUL) >= 0 else data


def lines_between(piece: Piece, read: Told = lambda size: None) -> Iterator[Block]:
    """The lines of a plain file that begin within the piece."""
    with opened(piece.listed) as file:
        start = piece.start
        if start:
            file.seek(start - 1)
            start += _rest_of_line(file) - 1  # the line before ends here, or runs into this piece
        elif file.read(len(BOM)) == BOM:
            start = len(BOM)
        file.seek(start)
        end = None if piece.end is None else piece.end - start
        if end is not None and end <= 0:
            return
        for block in blocks(_raw(file, piece.name, read), end):
            whole = block if end is None else _before(block, end)
            yield whole._replace(offset=whole.offset + start)


def _before(block: Block, end: int) -> Block:
    """The lines of a block that begin before byte `end`."""
    at = block.offset
    for number, line in enumerate(block.lines):
        if at >= end:
            return block._replace(lines=block.lines[:number])
        at += len(line)
    return block


def _rest_of_line(file: BinaryIO) -> int:
    """Its bytes, its end included; it is not held, however long it is."""
    length = 0
    while part := file.readline(CHUNK):
        length += len(part)
        if part.endswith(b"\n"):
            break
    return length


@contextmanager
def _member(file: BinaryIO, piece: Piece) -> Iterator[IO[bytes]]:
    """What a piece is read from: the file, or its member where it is a zip. Raises InputError where that
    cannot be unpacked."""
    if piece.member is None:
        yield file
        return
    with unzipped(file, piece.name) as archive, archive.open(piece.member) as member:
        yield member


@contextmanager
def unzipped(file: BinaryIO, name: str) -> Iterator[zipfile.ZipFile]:
    """A zip, opened. Raises InputError, within too, where it cannot be unpacked."""
    try:
        with zipfile.ZipFile(file) as archive:
            yield archive
    except (RuntimeError, NotImplementedError):
        # So zipfile says that there is a password, or a way of packing that it does not know.
        raise InputError(
            f"{name}: it has a password or is packed in an unusual way",
            code="compressed",
            hint="unpack it, or pack it as an ordinary zip",
        ) from None
    except (zipfile.BadZipFile, KeyError, ValueError, zlib.error, EOFError):
        raise _broken_zip(name) from None
    except OSError as error:
        # So the system says that a place in the file, as the zip has it, cannot be one.
        raise (_broken_zip(name) if error.errno == errno.EINVAL else _unreadable(name, error)) from None


def _broken_zip(name: str) -> InputError:
    return InputError(f"{name}: broken within the zip", code="compressed", hint="fetch it again")


def _raw(stream: IO[bytes], name: str, read: Told) -> Iterator[bytes]:
    """The bytes as they lie there. Raises InputError where the disk or the network fails."""
    try:
        while chunk := stream.read(CHUNK):
            read(len(chunk))
            yield chunk
    except OSError as error:
        raise _unreadable(name, error) from None


def _unpacked(raw: Iterator[bytes], name: str) -> Iterator[bytes]:
    """The bytes; of a gzip, of several in one file too, what is in it."""
    first = next(raw, b"")
    if not first.startswith(GZIP):
        yield first
        yield from raw
        return
    unpack, data = zlib.decompressobj(wbits=31), first
    try:
        while data:
            yield unpack.decompress(data, CHUNK)
            data = unpack.unconsumed_tail
            if unpack.eof:
                data = unpack.unused_data.lstrip(b"\0") or next(raw, b"")
                unpack = zlib.decompressobj(wbits=31) if data else unpack
            data = data or next(raw, b"")
    except zlib.error:
        raise InputError(f"{name}: broken gzip; what came before it was read", code="compressed") from None
    if not unpack.eof:
        raise InputError(
            f"{name}: the gzip ends too early; what came before it was read",
            code="compressed",
            hint="fetch it again",
        )


def _as_utf8(raw: Iterator[bytes], name: str) -> Iterator[bytes]:
    first = next(raw, b"")
    encoding = json.detect_encoding(first)
    if encoding == "utf-8":
        yield first
        yield from raw
        return
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        yield decoder.decode(first).encode()
        for chunk in raw:
            yield decoder.decode(chunk).encode()
        yield decoder.decode(b"", final=True).encode()
    except UnicodeError:
        raise InputError(
            f"{name}: neither UTF-8 nor UTF-16", code="encoding", hint="save it as UTF-8"
        ) from None
