"""Whether a file is whole NDJSON: how many lines it has, and whether the last one ends."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import msgspec

_BLOCK = 1 << 20
_MAYBE_BLANK = re.compile(rb"\n\s")
"""Before a line that may be blank; in an export there is none."""


@dataclass(frozen=True, slots=True)
class Lines:
    """`count` is of the lines that are not blank; `fault` says what shows that the file is not whole."""

    count: int
    size: int
    fault: str | None = None
    unended: bool = False


def lines_of(path: Path) -> Lines:
    """Looks a file through once, in constant memory. Raises OSError."""
    count = size = 0
    first, pieces = b"", list[bytes]()  # the pieces are of the line under way, which may be long
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            first = first or block.lstrip()[:1]
            size += len(block)
            if not block[:1].isspace() and not _MAYBE_BLANK.search(block):
                # Every line begins with what is no blank, so each end of a line ends one that counts.
                count += block.count(b"\n")
                _, end, rest = block.rpartition(b"\n")
                pieces = [rest] if end else [*pieces, block]
                continue
            start, *lines = block.split(b"\n")
            pieces.append(start)
            if lines:
                count += not all(map(_is_blank, pieces))
                count += sum(not _is_blank(line) for line in lines[:-1])
                pieces = [lines[-1]]
    if first not in (b"", b"{"):
        return Lines(count, size, "it does not begin with a resource in JSON")
    if all(map(_is_blank, pieces)):
        return Lines(count, size)
    fault = None if _is_json(b"".join(pieces)) else "its last line is cut off"
    return Lines(count + 1, size, fault, unended=True)


def _is_blank(piece: bytes) -> bool:
    return not piece or piece.isspace()


def _is_json(line: bytes) -> bool:
    try:
        msgspec.json.decode(line, type=msgspec.Raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True
