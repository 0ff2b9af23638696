"""Whether a file is whole NDJSON: how many lines it has, and whether the last one ends."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

_BLOCK = 1 << 20


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
    rest = first = b""
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            first = first or block.lstrip()[:1]
            size += len(block)
            lines = (rest + block).split(b"\n")
            rest = lines.pop()
            count += sum(not line.isspace() for line in lines if line)
    if first not in (b"", b"{"):
        return Lines(count, size, "it does not begin with a resource in JSON")
    if not rest.strip():
        return Lines(count, size)
    return Lines(count + 1, size, None if _is_json(rest) else "its last line is cut off", unended=True)


def _is_json(line: bytes) -> bool:
    try:
        msgspec.json.decode(line, type=msgspec.Raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True
