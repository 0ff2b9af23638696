"""What a message says and could not be read or fetched, as the ledger takes it in: whose calls it may speak
against (mapping, section 16)."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable
from datetime import UTC

from fhir_bridge.errors import InputError, Lost
from fhir_bridge.fhir import dates
from fhir_bridge.fhir.documents import utf8
from fhir_bridge.fhir.lost import lost_in
from fhir_bridge.fhir.references import parse
from fhir_bridge.fhir.resource import Origin
from fhir_bridge.ledger.arrivals.precedence import Version
from fhir_bridge.ledger.sources.messages import Message, Unreadable


def whole(message: Message) -> list[Unreadable]:
    """All of a message, for nothing of it could be used."""
    found = [_of(message, lost) for lost in _lost_in(message)]
    routed = _labels((message.path, message.deleted))
    if routed or not (message.body or b"").strip():
        found.append(_named(message, routed))
    return found


def records(message: Message, problems: Iterable[InputError]) -> list[Unreadable]:
    """The records in it that cannot be read; one that does not show whom it is about may be about anybody
    there."""
    lost = list(dict.fromkeys(each for problem in problems for each in problem.lost))
    found = [_of(message, each) for each in lost]
    if any(each.is_unclear for each in lost):
        everyone = frozenset(name for each in _lost_in(message) for name in each.names)
        found.append(_named(message, everyone))
    return found


def references(message: Message, names: Collection[str]) -> list[Unreadable]:
    """What it names and does not bring, each by itself: a later version of it may be read. `names` are
    references; an empty one stands for what it does not even name."""
    found = [_named(message, frozenset({label}), label) for label in sorted(_labels(names))]
    return [*found, *([_named(message, frozenset())] if "" in names else ())]


def _of(message: Message, lost: Lost) -> Unreadable:
    moment = dates.parse(lost.last_updated)
    version = Version(lost.version_id, moment.instant(UTC) if moment else None)
    return Unreadable(message.source, message.id, lost.names, message.received_at, lost.own, version)


def _named(message: Message, names: frozenset[str], about: str | None = None) -> Unreadable:
    return Unreadable(message.source, message.id, names, message.received_at, about)


def _lost_in(message: Message) -> tuple[Lost, ...]:
    body = message.body or b""
    # What can be made out in it counts, whatever its encoding.
    with contextlib.suppress(InputError):
        body = utf8(body, "message")
    return lost_in(body, Origin("message")) if body.strip() else ()


def _labels(names: Iterable[str | None]) -> frozenset[str]:
    targets = (parse(name) for name in names)
    return frozenset(target.label for target in targets if target is not None and target.label)
