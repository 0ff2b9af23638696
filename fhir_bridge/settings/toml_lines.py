"""On which line of a TOML text each key stands: tomllib does not tell."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping

KeyPath = tuple[str, ...]

_HEADER = re.compile(r"\s*\[\[?([^\[\]]+)\]\]?\s*(?:#.*)?$")
_KEY = re.compile(r"""\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*=""")
_FENCE = re.compile(r'"""|\'\'\'')


def key_lines(text: str) -> dict[KeyPath, int]:
    """Each key's path and its line, from 1; keys of an inline table are not told apart from the table's own.

    `text` is known to be TOML.
    """
    lines: dict[KeyPath, int] = {}
    table: KeyPath = ()
    for number, line in _outside_long_texts(text):
        if header := _HEADER.match(line):
            table = _path(header[1])
            lines.setdefault(table, number)
        elif key := _KEY.match(line):
            lines.setdefault((*table, *_path(key[1])), number)
    return lines


def line_of(lines: Mapping[KeyPath, int], path: KeyPath) -> int | None:
    """The line of the key, else of the nearest one above it, else of the first one in it."""
    for end in range(len(path), 0, -1):
        if path[:end] in lines:
            return lines[path[:end]]
    return min((line for known, line in lines.items() if known[: len(path)] == path), default=None)


def _outside_long_texts(text: str) -> Iterator[tuple[int, str]]:
    fence: str | None = None
    for number, line in enumerate(text.splitlines(), 1):
        inside = fence is not None
        for mark in _FENCE.findall(line):
            fence = mark if fence is None else (None if fence == mark else fence)
        if not inside:
            yield number, line


def _path(dotted: str) -> KeyPath:
    """The parts of a dotted key, quotes taken off by the TOML parser itself."""
    try:
        node: object = tomllib.loads(f"{dotted} = 0")
    except tomllib.TOMLDecodeError:
        return ()
    path: list[str] = []
    while isinstance(node, dict):
        key, node = next(iter(node.items()))
        path.append(key)
    return tuple(path)
