"""What partitions left, put together: lines in the order of the files they came from, whoever wrote them."""

from __future__ import annotations

import heapq
import os
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from fhir_bridge.errors import UsageError
from fhir_bridge.intake.bulk.partitions import Place

_HEAD = struct.Struct("<IIiI")
AT_ONCE = 256


def path_of(folder: Path, partition: int) -> Path:
    """Where a partition leaves its lines."""
    return folder / f"lines-{partition}"


def write_plain(path: Path, lines: Iterable[bytes]) -> None:
    """Lines as they are."""
    with whole(path) as file:
        file.writelines(line + b"\n" for line in lines)


def write_placed(path: Path, lines: Iterable[tuple[Place, bytes]]) -> None:
    """Lines with their places, which must rise."""
    with whole(path) as file:
        for place, line in lines:
            file.write(_HEAD.pack(*place, len(line)))
            file.write(line)


@contextmanager
def whole(path: Path) -> Iterator[BinaryIO]:
    """A file for its owner only, as it names patients; it has its name only when it is whole and on disk.
    A link stays one. A device or a pipe is written to and never replaced: /dev/null must stay what it is.
    Raises UsageError where it cannot be written."""
    is_stream = path.exists() and not path.is_file()
    real = path if is_stream else path.resolve()
    partial = path if is_stream else real.with_name(real.name + ".tmp")
    flags = os.O_WRONLY if is_stream else os.O_CREAT | os.O_TRUNC | os.O_WRONLY
    try:
        with os.fdopen(os.open(partial, flags, 0o600), "wb") as file:
            yield file
            file.flush()
            if not is_stream:
                os.fsync(file.fileno())
        if not is_stream:
            partial.replace(real)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written: {error.strerror}",
            code="not-written",
            hint="nothing was kept or sent; make room, or name another place",
        ) from None
    finally:
        if not is_stream:
            with suppress(OSError):
                partial.unlink(missing_ok=True)


def gather(
    paths: Sequence[Path],
    into: Path,
    *,
    is_placed: bool,
    last: Iterable[bytes] = (),
    end: Callable[[int], bytes] | None = None,
) -> int:
    """All lines of the partitions in one file, by place or one partition after the other, then the last;
    gives how many. `end` gives a line more for so many."""
    lines: Iterable[bytes]
    if is_placed:
        lines = (line for _, line in _merged(list(paths)))
    else:
        lines = chain.from_iterable(lines_in(path, is_placed=False) for path in paths)
    count = 0
    with whole(into) as file:
        for line in chain(lines, last):
            file.write(line + b"\n")
            count += 1
        if end is not None:
            file.write(end(count) + b"\n")
    return count


def lines_in(path: Path, *, is_placed: bool) -> Iterator[bytes]:
    """The lines of one partition, without their ends."""
    if is_placed:
        return (line for _, line in _placed(path))
    return (line.rstrip(b"\n") for line in _lines(path))


def _merged(paths: list[Path]) -> Iterator[tuple[Place, bytes]]:
    """Lines by place; of very many files some first, for a process may not have all of them open."""
    while len(paths) > AT_ONCE:
        first, paths = paths[:AT_ONCE], paths[AT_ONCE:]
        merged = first[0].with_name(first[0].name + "-merged")
        write_placed(merged, _merged(first))
        paths.append(merged)
    return heapq.merge(*map(_placed, paths), key=lambda each: each[0])


def _lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from file


def _placed(path: Path) -> Iterator[tuple[Place, bytes]]:
    with path.open("rb") as file:
        while head := file.read(_HEAD.size):
            *place, length = _HEAD.unpack(head)
            yield (place[0], place[1], place[2]), file.read(length)
