"""Scratch files read back: their blocks by stream and partition, and what is in them."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from array import array
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from zlib import crc32

import msgspec

from fhir_bridge.intake.bulk.spill import FOOTER, MAGIC, RECORD, About, Index, Record, Stream


class Scratch(ABC):
    """Blocks of streams by partition, wherever they lie. `abouts` are of the pieces they came from."""

    abouts: dict[int, About]

    @abstractmethod
    def blocks(self, stream: Stream, number: int) -> Iterator[bytes]:
        """The blocks of one partition of a stream, in the order in which they were written."""

    @abstractmethod
    def size(self, stream: Stream, number: int) -> int:
        """Bytes of one partition of a stream."""

    def records(self, stream: Stream, number: int) -> Iterator[Record]:
        """The resources of one partition, in the order in which they were read."""
        unpack, size = RECORD.unpack_from, RECORD.size
        for block in self.blocks(stream, number):
            at, end = 0, len(block)
            while at < end:
                group, offset, piece, line, entry, flags, url_length, length = unpack(block, at)
                at += size
                url = block[at : at + url_length].decode() if url_length else None
                at += url_length
                yield Record(group, offset, piece, line, entry, flags, url, block, at, length)
                at += length + 1  # the newline behind each

    def pairs(self, stream: Stream, number: int) -> Iterator[tuple[int, int]]:
        """The pairs of one bucket."""
        for block in self.blocks(stream, number):
            numbers = array("Q")
            numbers.frombytes(block)
            each = iter(numbers)
            yield from zip(each, each, strict=True)


class Held(Scratch):
    """The blocks of one partition or bucket that are at hand already, by stream."""

    def __init__(
        self, blocks: Mapping[int, Sequence[bytes]], number: int, abouts: dict[int, About] | None = None
    ) -> None:
        self.abouts = abouts or {}
        self._held = blocks
        self._number = number

    def blocks(self, stream: Stream, number: int) -> Iterator[bytes]:
        """See Scratch; none of another number."""
        return iter(self._held.get(stream, ()) if number == self._number else ())

    def size(self, stream: Stream, number: int) -> int:
        """See Scratch."""
        return sum(map(len, self.blocks(stream, number)))


class Reader(Scratch):
    """One whole scratch file. Raises ValueError for one that is not."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - FOOTER.size, 0))
            footer = file.read()
            if len(footer) != FOOTER.size:
                raise ValueError(f"{path}: not whole")
            magic, start, length, check = FOOTER.unpack(footer)
            if magic != MAGIC or start + length + FOOTER.size != size:
                raise ValueError(f"{path}: not whole")
            file.seek(start)
            index = file.read(length)
        if crc32(index) != check:
            raise ValueError(f"{path}: not whole")
        decoded = msgspec.msgpack.decode(index, type=Index)
        self.abouts = decoded.abouts
        self._blocks: dict[tuple[int, int], list[tuple[int, int]]] = {}
        for stream, number, at, size in decoded.blocks:
            self._blocks.setdefault((stream, number), []).append((at, size))

    def total(self, streams: Collection[Stream]) -> int:
        """Bytes of all partitions of these streams."""
        return sum(
            length
            for (stream, _), places in self._blocks.items()
            if stream in streams
            for _, length in places
        )

    def size(self, stream: Stream, number: int) -> int:
        """See Scratch."""
        return sum(length for _, length in self._blocks.get((stream, number), ()))

    def blocks(self, stream: Stream, number: int) -> Iterator[bytes]:
        """See Scratch."""
        places = self._blocks.get((stream, number))
        if not places:
            return
        handle = os.open(self.path, os.O_RDONLY)
        try:
            for at, length in places:
                yield os.pread(handle, length, at)
        finally:
            os.close(handle)

    def all_blocks(self) -> Iterator[tuple[int, int, bytes]]:
        """Every block with its stream and its partition there, in the order in which they were written."""
        placed = [(at, length, *of) for of, places in self._blocks.items() for at, length in places]
        with self.path.open("rb") as file:
            for at, length, stream, number in sorted(placed):
                file.seek(at)
                yield stream, number, file.read(length)
