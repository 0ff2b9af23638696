"""What a migration is to read: each PATH as pieces of files that processes take one by one."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from fhir_bridge.errors import InputError
from fhir_bridge.intake.bulk import objects
from fhir_bridge.intake.bulk.lines import GZIP, ZIP, is_ndjson, is_plain
from fhir_bridge.intake.files import BESIDE

PIECE, SMALLEST = 64 * 1024 * 1024, 1024 * 1024
FEW, MANY = 16, 512
"""Bytes that one process reads at once: an export is cut into FEW, into more of PIECE bytes where these would
be longer, and into MANY, however long. Less than SMALLEST is not worth a process."""

PACKED = 10
"""How many times as large what is in a gzip is taken to be."""

HEAD = 1024 * 1024
"""Bytes that show what a file holds."""

ENDINGS = (".json", ".ndjson", ".jsonl", ".gz", ".zip")
"""What is looked for in a folder; a file that is named is read whatever its name is."""


class Piece(msgspec.Struct, frozen=True):
    """A file, or the lines of it that begin from `start` to before `end` (bytes; None: to the end).

    `file` is its place among all files, in the order in which they are read. `member`: the file within the
    zip at `path`. `is_lines`: it is NDJSON for sure; else that shows when it is opened. `is_context`: it only
    informs, as `--context` does.
    """

    number: int
    file: int
    path: str
    size: int
    member: str | None = None
    start: int = 0
    end: int | None = None
    is_lines: bool = False
    is_context: bool = False

    @property
    def name(self) -> str:
        """What errors and lineage call it."""
        return self.path if self.member is None else f"{self.path}/{self.member}"


@dataclass(slots=True)
class Found:
    """The pieces in their order, what there was none of, and the bytes of all files as they lie there and,
    about, as they are unpacked."""

    pieces: list[Piece] = field(default_factory=list)
    problems: list[InputError] = field(default_factory=list)
    files: int = 0
    size: int = 0
    unpacked: int = 0

    def marks(self) -> list[object]:
        """What tells these files from others and from themselves when they are changed."""
        stats = [None if objects.is_url(one.path) else os.stat(one.path) for one in self.pieces]  # noqa: PTH116
        return [
            (piece, None if stat is None else (stat.st_mtime_ns, stat.st_ino))
            for piece, stat in zip(self.pieces, stats, strict=True)
        ]

    @property
    def length(self) -> int:
        """Bytes that are read at once."""
        return max(min(self.size // FEW, PIECE), SMALLEST, self.size // MANY)

    def batches(self) -> list[tuple[Piece, ...]]:
        """The pieces as they are read at once: small files that follow one another together."""
        batches: list[tuple[Piece, ...]] = []
        size = most = self.length
        for piece in self.pieces:
            length = (piece.end or piece.size) - piece.start
            if not batches or size + length > most:
                batches.append(())
                size = 0
            batches[-1] += (piece,)
            size += length
        return batches


def find(paths: Sequence[str], context: Sequence[str] = ()) -> Found:
    """Every file in these PATHs: a folder stands for the files below it, a zip for those within, an address
    such as s3://bucket/folder/ for the objects there. Never raises: what is not there is a problem."""
    found = Found()
    for is_context, group in ((False, paths), (True, context)):
        for path in group:
            try:
                for file in _files(path):
                    _take(file, is_context, found)
            except InputError as error:
                found.problems.append(error)
    return _cut(found)


def _files(path: str) -> Iterator[tuple[str, int]]:
    """Each file with its size. Raises InputError for a folder without any and a path that is not there."""
    if objects.is_url(path):
        yield from objects.listed(path, ENDINGS)
        return
    there = Path(path)
    if not there.is_dir():
        yield path, _size(there)
        return
    everything = (file for file in there.rglob("*") if file.is_file() and file.name not in BESIDE)
    files = sorted(file for file in everything if file.suffix.lower() in ENDINGS)
    if not files:
        raise InputError(f"{path}: no .json, .ndjson, .gz or .zip file in this folder", code="empty-folder")
    for file in files:
        yield str(file), _size(file)


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError as error:
        raise InputError(f"{file}: {error.strerror or 'cannot be read'}", code="no-file") from None


def _take(file: tuple[str, int], is_context: bool, found: Found) -> None:
    path, size = file
    is_object = objects.is_url(path)
    try:
        head = objects.head(path, HEAD) if is_object else _head(path)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or 'cannot be read'}", code="no-file") from None
    if head.startswith(ZIP):
        if is_object:
            raise InputError(f"{path}: a zip cannot be read from there", code="compressed", hint="unpack it")
        for member, length in _members(path):
            _add(found, path, length, is_context, member)
        return
    is_packed = head.startswith(GZIP)
    is_lines = not is_packed and not is_object and is_plain(head) and is_ndjson(head)
    _add(found, path, size, is_context, None, is_lines, is_packed)


def _head(path: str) -> bytes:
    with Path(path).open("rb") as file:
        return file.read(HEAD)


def _members(path: str) -> list[tuple[str, int]]:
    """The files in a zip and their unpacked sizes."""
    try:
        with zipfile.ZipFile(path) as archive:
            return [(one.filename, one.file_size) for one in archive.infolist() if not one.is_dir()]
    except zipfile.BadZipFile:
        raise InputError(f"{path}: not a whole zip file", code="compressed") from None


def _add(
    found: Found,
    path: str,
    size: int,
    is_context: bool,
    member: str | None,
    is_lines: bool = False,
    is_packed: bool = False,
) -> None:
    found.pieces.append(Piece(0, found.files, path, size, member, is_lines=is_lines, is_context=is_context))
    found.files += 1
    found.size += size
    found.unpacked += size * PACKED if is_packed else size


def _cut(found: Found) -> Found:
    """Files of lines cut into pieces, all numbered."""
    length = found.length
    cut: list[Piece] = []
    for piece in found.pieces:
        starts = range(0, max(piece.size, 1), length) if piece.is_lines else (0,)
        for start in starts:
            end = start + length if start + length < piece.size and piece.is_lines else None
            cut.append(msgspec.structs.replace(piece, number=len(cut), start=start, end=end))
    found.pieces = cut
    return found
