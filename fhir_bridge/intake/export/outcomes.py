"""What a server says went wrong in its export: OperationOutcomes by severity and code, never by words."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import msgspec

_WORD = re.compile(r"[a-z\-]{1,40}")
SERIOUS = frozenset({"fatal", "error"})


class _Issue(msgspec.Struct):
    severity: str | None = None
    code: str | None = None


class _Outcome(msgspec.Struct, rename="camel"):
    resource_type: str | None = None
    issue: list[_Issue] = []


_decode = msgspec.json.Decoder(_Outcome).decode


def issues_in(files: Iterable[Path]) -> Counter[tuple[str, str]]:
    """(severity, code) → how often. Diagnostics may name patients and stay in the files."""
    counts: Counter[tuple[str, str]] = Counter()
    for file in files:
        with file.open("rb") as lines:
            for line in lines:
                if not line.isspace():
                    counts.update(_issues(line))
    return counts


def _issues(line: bytes) -> list[tuple[str, str]]:
    try:
        outcome = _decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return [("error", "unreadable")]
    return [(_word(issue.severity), _word(issue.code)) for issue in outcome.issue]


def _word(text: str | None) -> str:
    return text if text and _WORD.fullmatch(text) else "unknown"
