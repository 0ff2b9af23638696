"""Elements that stand twice in one JSON object (RFC 8259, section 4, leaves open which of them counts).

Readers take the last one, and so the first may hide: a death, a denial, a whole list of entries. Here both
are kept: lists are joined, objects too, and plain values that differ become a list, which no such element
takes, so that its reader finds it unreadable and not the one or the other.
"""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec
from stringzilla import find

_WHOLE = frozenset({"resource"})
"""Objects that are never joined: two resources in one entry are two."""


_ESCAPED_NAME = re.compile(rb'\\u00[2-7][0-9A-Fa-f](?:[^"\\]|\\.)*"\s*:')


def has_escaped_name(raw: bytes) -> bool:
    """Whether a name may hold a plain letter by its number (RFC 8259, section 7): whoever looks for a name in
    the bytes does not see it then."""
    return find(raw, rb"\u00") >= 0 and _ESCAPED_NAME.search(raw) is not None


def decoded(raw: bytes) -> tuple[Any, bool]:
    """The JSON value with all that stands twice kept, and whether anything did. Raises ValueError for what is
    not JSON, RecursionError where it is nested too deeply."""
    repeats: list[str] = []

    def joined(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        built = dict(pairs)
        if len(built) == len(pairs):
            return built
        built = {}
        for name, value in pairs:
            if name in built and built[name] != value:
                repeats.append(name)
                built[name] = both(built[name], value, name)
            else:
                built[name] = value
        return built

    return json.loads(raw, object_pairs_hook=joined), bool(repeats)


def repeats(raw: bytes) -> bool:
    """Whether anything stands twice in a JSON value with another content; True where nobody can tell: it is
    nested too deeply, or a text that no view reads is not UTF-8."""
    try:
        if msgspec.json.encode(msgspec.json.decode(raw)) == raw:
            return False  # what stood twice would stand there once: most are told in a tenth of the time
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        pass
    try:
        return decoded(raw)[1]
    except (ValueError, RecursionError):
        return True


def both(one: Any, other: Any, name: str) -> Any:
    """Two values of one element kept together: lists and objects joined, a null left out, else a list that no
    reader takes."""
    if one is None or other is None:
        return other if one is None else one
    if isinstance(one, list) or isinstance(other, list):
        return [*_listed(one), *_listed(other)]
    if isinstance(one, dict) and isinstance(other, dict) and name not in _WHOLE:
        shared = [key for key in one if key in other and one[key] != other[key]]
        return {**one, **other, **{key: both(one[key], other[key], key) for key in shared}}
    return [one, other]


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
