"""What a migration is to read: each PATH as pieces of files that processes take one by one."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import msgspec

from fhir_bridge.errors import InputError, printable
from fhir_bridge.intake.bulk import objects
from fhir_bridge.intake.bulk.lines import GZIP, ZIP, is_ndjson, is_plain, is_tar, opened, unzipped
from fhir_bridge.intake.bulk.workers import alone
from fhir_bridge.intake.files import BESIDE, PACKED, listing
from fhir_bridge.intake.files import ENDINGS as PLAIN

PIECE, SMALLEST = 64 * 1024 * 1024, 1024 * 1024
FEW, MANY = 16, 512
"""Bytes that one process reads at once: an export is cut into FEW, into more of PIECE bytes where these would
be longer, and into MANY, however long. Less than SMALLEST is not worth a process."""

UNPACKED = 10
"""How many times as large what is in a gzip is taken to be."""

HEAD = 1024 * 1024
"""Bytes that show what a file holds."""

SHOWS = 64 * 1024
"""Bytes that show whether what lies in a zip under any name may be FHIR."""

ENDINGS = (*PLAIN, *PACKED)
"""What is looked for in a folder; a file that is named is read whatever its name is, and what is in a zip
unless it shows that it is something else."""


class Piece(msgspec.Struct, frozen=True):
    """A file, or the lines of it that begin from `start` to before `end` (bytes; None: to the end).

    `file` is its place among all files, in the order in which they are read. `member`: the file within the
    zip at `path`, of `zip_size` bytes. `is_lines`: it is NDJSON for sure; else that shows when it is opened.
    `is_context`: it only informs, as `--context` does. `mark` tells this version of the file from others.
    """

    number: int
    file: int
    path: str
    size: int
    member: str | None = None
    zip_size: int | None = None
    start: int = 0
    end: int | None = None
    is_lines: bool = False
    is_context: bool = False
    mark: str | None = None

    @property
    def name(self) -> str:
        """What errors and lineage call it."""
        return printable(self.path if self.member is None else f"{self.path}/{self.member}")

    @property
    def length(self) -> int:
        """Its bytes, as they lie in the file; of a member of a zip those that are unpacked."""
        return (self.size if self.end is None else self.end) - self.start

    @property
    def listed(self) -> objects.Listed:
        """The file it is of, as it was when it was found."""
        return objects.Listed(self.path, self.size if self.zip_size is None else self.zip_size, self.mark)


@dataclass(slots=True)
class Found:
    """The pieces in their order, what could not be looked at, and the bytes of all files as they lie there
    and, about, as they are unpacked. `passed_over` are files in folders and zips that are no data, counted by
    their endings."""

    pieces: list[Piece] = field(default_factory=list)
    problems: list[InputError] = field(default_factory=list)
    passed_over: Counter[str] = field(default_factory=Counter)
    files: int = 0
    size: int = 0
    unpacked: int = 0

    @property
    def length(self) -> int:
        """Bytes that are read at once."""
        return max(min(self.size // FEW, PIECE), SMALLEST, self.size // MANY)

    def batches(self) -> list[tuple[Piece, ...]]:
        """The pieces as they are read at once: small files that follow one another together."""
        batches: list[tuple[Piece, ...]] = []
        size = most = self.length
        for piece in self.pieces:
            if not batches or size + piece.length > most:
                batches.append(())
                size = 0
            batches[-1] += (piece,)
            size += piece.length
        return batches


def find(paths: Sequence[str], context: Sequence[str] = ()) -> Found:
    """Every file in these PATHs: a folder stands for the files below it, a zip for those within, an address
    such as s3://bucket/folder/ for the objects there. What is not there is a problem. Raises UsageError for
    an address that cannot be asked at all."""
    if any(map(objects.is_url, (*paths, *context))):
        return alone(partial(_find, paths, context))  # its client has threads, which a fork would lose
    return _find(paths, context)


def _find(paths: Sequence[str], context: Sequence[str]) -> Found:
    found = Found()
    for is_context, group in ((False, paths), (True, context)):
        for path in group:
            with _told(path, found):
                for file in _files(path, found):
                    with _told(file.url, found):
                        _take(file, is_context, found)
    return _cut(found)


@contextmanager
def _told(name: str, found: Found) -> Iterator[None]:
    """What cannot be read is a problem, and what comes after it is read."""
    try:
        yield
    except InputError as error:
        found.problems.append(error)
    except OSError as error:
        found.problems.append(
            InputError(
                f"{name}: {error.strerror or 'cannot be read'}", code="no-file", hint="is its disk well?"
            )
        )


def _files(path: str, found: Found) -> Iterator[objects.Listed]:
    """The files of a PATH. Raises InputError where an object store cannot list them."""
    if objects.is_url(path):
        yield from _objects(path, found)
    elif Path(path).is_dir():
        below = listing(Path(path), ENDINGS)
        found.problems += below.problems
        found.passed_over += below.others
        yield from map(_on_disk, map(str, below.files))
    else:
        yield _on_disk(path)


def _objects(url: str, found: Found) -> Iterator[objects.Listed]:
    wanted: list[objects.Listed] = []
    for one in objects.listed(url):
        name = PurePosixPath(one.url)
        if name.suffix.lower() in ENDINGS or one.url == url:
            wanted.append(one)
        elif one.size:  # consoles make an empty object for each folder
            found.passed_over[name.suffix.lower() or name.name] += 1
    if not wanted:
        told = ", ".join(ENDINGS)
        hint = "name the folder that the files are in, with / at its end"
        raise InputError(f"{url}: no object there ends in {told}", code="empty-folder", hint=hint)
    yield from wanted


def _on_disk(path: str) -> objects.Listed:
    """A file that cannot be looked at is found out when it is opened."""
    try:
        about = Path(path).stat()
    except OSError:
        return objects.Listed(path, 0, None)
    return objects.Listed(path, about.st_size, f"{about.st_mtime_ns} {about.st_ino}")


def _take(file: objects.Listed, is_context: bool, found: Found) -> None:
    is_object = objects.is_url(file.url)
    piece = Piece(0, found.files, file.url, file.size, mark=file.mark, is_context=is_context)
    if is_object and not file.url.lower().endswith(".zip"):
        _add(found, piece, is_packed=file.url.lower().endswith(".gz"))  # a request for each would take long
        return
    with opened(file) as stream:
        head = stream.read(len(ZIP) if is_object else HEAD)
        if not head.startswith(ZIP):
            is_packed = head.startswith(GZIP)
            is_lines = not is_packed and not is_object and is_plain(head) and is_ndjson(head)
            _add(found, msgspec.structs.replace(piece, is_lines=is_lines), is_packed=is_packed)
            return
        for member, length in _members(stream, file.url, found):
            within = {"size": length, "member": member, "zip_size": file.size}
            _add(found, msgspec.structs.replace(piece, file=found.files, **within))


def _members(stream: BinaryIO, name: str, found: Found) -> list[tuple[str, int]]:
    """The files in a zip and their unpacked sizes, without what exports and systems put beside the data, and
    what is none."""
    members = []
    with unzipped(stream, name) as archive:
        for one in archive.infolist():
            inner = PurePosixPath(one.filename)
            is_beside = inner.name in (*BESIDE, ".DS_Store") or one.filename.startswith("__MACOSX/")
            if one.is_dir() or is_beside:
                continue
            if inner.suffix.lower() in ENDINGS or _may_be_fhir(archive, one):
                members.append((one.filename, one.file_size))
            else:
                found.passed_over[printable(inner.suffix.lower() or inner.name)] += 1
    return members


def _may_be_fhir(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bool:
    """Whether a member of any name begins as JSON or what is packed does, or names a resource's type. One
    that cannot be looked at may be: whoever reads it says what is wrong with it."""
    try:
        with archive.open(member) as file:
            head = file.read(SHOWS)
    except (RuntimeError, NotImplementedError, zipfile.BadZipFile, ValueError, zlib.error, EOFError, OSError):
        return True
    if head.startswith((GZIP, ZIP)) or is_tar(head):
        return True
    text = head.decode(json.detect_encoding(head), errors="replace")
    return text.lstrip("\ufeff \t\r\n").startswith(("{", "[")) or "resourceType" in text


def _add(found: Found, piece: Piece, *, is_packed: bool = False) -> None:
    found.pieces.append(piece)
    found.files += 1
    found.size += piece.size
    found.unpacked += piece.size * UNPACKED if is_packed else piece.size


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
