"""Scratch files: what was read, in partitions, and the ties between them; written once, read by any process
(`spilled`).

A file is blocks of many streams behind one another, then an index of them, then a footer. It is written under
another name and gets its own only when it is whole. It is not synced to disk: a machine that loses power
begins again, and the footer tells a file that is not whole.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import IntEnum
from pathlib import Path
from zlib import crc32

import msgspec

from fhir_bridge.errors import Lost, UsageError

BUFFERED = 6 * 1024 * 1024
"""Bytes that a writer holds before it writes a block of each stream."""

RECORD = struct.Struct("<QQIIiBHI")
"""In front of a resource: its group, offset, piece, line, entry, flags; how long its URL is, and it."""

FOOTER = struct.Struct("<8sQII")
"""`MAGIC`, where the index begins, how long it is, its checksum."""

MAGIC = b"fhirspl2"
"""With the number of this form: what an older release left is read anew."""

IN_CONTEXT, EVENT = 1, 2
"""The flags of what came with the context, and of what there is most of and nobody is called for: visits and
the like of one patient, each a line of its own with an id, whole JSON in UTF-8."""


class Stream(IntEnum):
    """What a block holds: records of resources, or pairs of 64-bit numbers (a key, a group)."""

    RESOURCES = 0
    DIRECTORY = 1
    SLOTS = 2
    NAMES = 3
    WANTS = 4
    CARRIED = 5
    ASKED = 6
    SLOT_WANTS = 7
    UNIONS = 8
    BARE = 9


PAIRS = (
    Stream.NAMES,
    Stream.WANTS,
    Stream.CARRIED,
    Stream.ASKED,
    Stream.SLOT_WANTS,
    Stream.UNIONS,
    Stream.BARE,
)


class Record(msgspec.Struct, frozen=True, gc=False):
    """A resource in the scratch: its group, and where it stood.

    `line` counts from 1 where its piece begins, 0 for none; `offset` is in bytes from there; `entry` is -1
    for none. Its bytes stay in their block until they are asked for.
    """

    group: int
    offset: int
    piece: int
    line: int
    entry: int
    flags: int
    full_url: str | None
    block: bytes
    at: int
    length: int

    @property
    def raw(self) -> bytes:
        """Its bytes."""
        return self.block[self.at : self.at + self.length]


class Problem(msgspec.Struct, frozen=True, gc=False):
    """Something that could not be read: its piece, line (0: none) and offset there, and why; `lost` is what
    of it may have spoken against a call, by lines of the piece."""

    piece: int
    line: int
    offset: int
    text: str
    code: str
    hint: str | None = None
    lost: tuple[Lost, ...] = ()


class About(msgspec.Struct):
    """What is known of a piece besides its resources: `deleted` are the labels it says are gone and when;
    `others` the types that no view reads; `bases` the servers its fullUrls show."""

    lines: int = 0
    resources: int = 0
    triggers: int = 0
    problems: list[Problem] = []
    deleted: dict[str, str | None] = {}
    others: dict[str, int] = {}
    bases: set[str] = set()
    unreadable: bool = False


class Index(msgspec.Struct):
    """What a file holds: of its pieces, and where each block lies."""

    abouts: dict[int, About]
    blocks: list[tuple[int, int, int, int]]  # stream, partition, offset, length


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raises UsageError for a disk that is full, or another that cannot be written."""
    try:
        yield
    except OSError as error:
        raise UsageError(
            f"{path.parent}: scratch files cannot be written: {error.strerror}",
            code="scratch",
            hint="nothing was kept or sent; name another disk with --work, with as much room as the export",
        ) from None


class Writer:
    """Writes one scratch file of so many partitions. What is added is on disk after `close`.

    Raises UsageError where the disk cannot be written.
    """

    def __init__(self, path: Path, partitions: int) -> None:
        self._path = path
        self._partitions = partitions
        with writing(path):
            self._file = Path(f"{path}.tmp").open("wb")  # noqa: SIM115 - close() and abandon() do
        self._blocks: list[tuple[int, int, int, int]] = []
        self._at = 0
        self._size = 0
        self._records: dict[Stream, list[list[bytes]]] = {
            stream: [[] for _ in range(partitions)]
            for stream in (Stream.RESOURCES, Stream.DIRECTORY, Stream.SLOTS)
        }
        self._people = self._records[Stream.RESOURCES]
        self.pairs: dict[Stream, list[array[int]]] = {
            stream: [array("Q") for _ in range(partitions)] for stream in PAIRS
        }

    def add(
        self,
        stream: Stream,
        group: int,
        raw: bytes,
        piece: int,
        line: int,
        offset: int,
        entry: int = -1,
        flags: int = 0,
        full_url: str | None = None,
    ) -> None:
        """A resource for the partition of its group; the directory has only one."""
        place = self._records[stream][group % self._partitions if stream != Stream.DIRECTORY else 0]
        url = full_url.encode() if full_url else b""
        place.append(RECORD.pack(group, offset, piece, line, entry, flags, len(url), len(raw)))
        if url:
            place.append(url)
        place += (raw, b"\n")
        self._size += len(raw) + 256
        if self._size > BUFFERED:
            self.flush()

    def add_line(self, group: int, raw: bytes, piece: int, line: int, offset: int, flags: int) -> None:
        """The same for a line of NDJSON about somebody, as most are; `raw` ends with its newline."""
        place = self._people[group % self._partitions]
        place += (RECORD.pack(group, offset, piece, line, -1, flags, 0, len(raw) - 1), raw)
        self._size += len(raw) + 256
        if self._size > BUFFERED:
            self.flush()

    def copy(self, stream: Stream, partition: int, record: Record) -> None:
        """A record as it was, for another partition."""
        url = record.full_url.encode() if record.full_url else b""
        head = RECORD.pack(
            record.group,
            record.offset,
            record.piece,
            record.line,
            record.entry,
            record.flags,
            len(url),
            record.length,
        )
        self._records[stream][partition] += (head, url, record.raw, b"\n")
        self._size += record.length + 256
        if self._size > BUFFERED:
            self.flush()

    def pair(self, stream: Stream, key: int, group: int) -> None:
        """A pair for the bucket of its key."""
        self.pairs[stream][key % self._partitions].extend((key, group))

    def flush(self) -> None:
        """Writes what is held."""
        with writing(self._path):
            self._flush()

    def _flush(self) -> None:
        for stream, places in self._records.items():
            for number, held in enumerate(places):
                if held:
                    self._write(stream, number, b"".join(held))
                    held.clear()
        for stream, buckets in self.pairs.items():
            for number, bucket in enumerate(buckets):
                if bucket:
                    self._write(stream, number, bucket.tobytes())
                    del bucket[:]
        self._size = 0

    def _write(self, stream: Stream, number: int, data: bytes) -> None:
        self._file.write(data)
        self._blocks.append((stream, number, self._at, len(data)))
        self._at += len(data)

    def close(self, abouts: dict[int, About]) -> None:
        """Writes the rest, what is known of each piece by its number, and gives the file its name."""
        self.flush()
        index = msgspec.msgpack.encode(Index(abouts, self._blocks))
        with writing(self._path):
            self._file.write(index)
            self._file.write(FOOTER.pack(MAGIC, self._at, len(index), crc32(index)))
            self._file.close()
            Path(f"{self._path}.tmp").replace(self._path)

    def abandon(self) -> None:
        """Removes what was begun."""
        with suppress(OSError):  # what is in its buffer does not fit on a full disk
            self._file.close()
        Path(f"{self._path}.tmp").unlink(missing_ok=True)
