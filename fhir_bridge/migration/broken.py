"""What cannot be read in files, as the ledger takes it in: whose calls it may speak against (mapping,
section 16)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC
from hashlib import blake2b
from typing import NamedTuple

from fhir_bridge.errors import InputError, Lost
from fhir_bridge.fhir import dates
from fhir_bridge.ledger.records import Broken


class Unread(NamedTuple):
    """Something that may speak against a call: its file and line (None: the file as a whole), why it cannot
    be read, and what shows of it."""

    file: str
    line: int | None
    error: str
    lost: Lost


def unread_in(problems: Iterable[InputError]) -> Iterator[Unread]:
    """What of these problems may speak against a call."""
    for problem in problems:
        for lost in problem.lost:
            yield Unread(lost.file, lost.line, problem.code, lost)


def broken_of(source: str, unread: Iterable[Unread]) -> list[Broken]:
    """Each text that names anybody, once; and of each file what does not, together: that holds all whom the
    Bundles name in which it stands, or is for a person to know where nobody is."""
    named: dict[bytes, Broken] = {}
    unclear: dict[str, list[Unread]] = defaultdict(list)
    # Partitions are done in any order, and what is told must not go by that.
    for each in sorted(unread, key=lambda each: (each.file, each.line or 0, each.lost.digest)):
        if each.lost.names:
            named.setdefault(each.lost.digest, _one(source, each))
        if not each.lost.names or each.lost.beside:
            unclear[each.file].append(each)
    return [*named.values(), *(_together(source, together) for together in unclear.values())]


def _one(source: str, each: Unread) -> Broken:
    lost = each.lost
    place = f"{each.file}:{each.line}" if each.line else each.file
    moment = dates.parse(lost.last_updated)
    updated = moment.instant(UTC) if moment else None
    return Broken(source, place, each.error, lost.digest, lost.names, lost.own, lost.version_id, updated)


def _together(source: str, unread: Sequence[Unread]) -> Broken:
    first = unread[0]
    text = b"".join(sorted({each.lost.digest for each in unread}))
    around = frozenset(name for each in unread for name in each.lost.beside)
    place = f"{first.file}:{first.line}" if first.line and len(unread) == 1 else first.file
    # Not the digest of one text, which may name somebody and be known by itself.
    return Broken(source, place, first.error, blake2b(b"together" + text, digest_size=16).digest(), around)
