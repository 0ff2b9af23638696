"""A recorded message mapped again: what would be decided now, beside what the ledger decided then."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from fhir_bridge.ledger.arrivals.content import standing_of
from fhir_bridge.ledger.arrivals.precedence import Age, Standing, age
from fhir_bridge.ledger.sources.messages import Decided, Message
from fhir_bridge.mapping.gates import Blocked
from fhir_bridge.processing.source import ProcessedSource
from fhir_bridge.processing.understanding import Understood, understand

DecidedOf = Callable[[str, Collection[str]], Awaitable[Mapping[str, Decided]]]
"""What a ledger decided on triggers of a source."""


class Comparison(StrEnum):
    """How now stands to then."""

    SAME = "same"
    DIFFERS = "differs"
    NEW = "new"
    """The ledger knows no such trigger."""
    SUPERSEDED = "superseded"
    """A later version was decided on since: nothing to compare with."""
    UNREADABLE = "unreadable"
    """Nothing can be decided on this message; `now` says why."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """One trigger of a message. `then` and `now` are decisions with their reasons; `fields` are the names of
    the request's fields that differ, never their values."""

    message: str
    source: str
    trigger: str | None
    comparison: Comparison
    then: str | None
    now: str | None
    fields: tuple[str, ...] = ()

    @property
    def is_different(self) -> bool:
        """Whether somebody should look."""
        return self.comparison in (Comparison.DIFFERS, Comparison.NEW, Comparison.UNREADABLE)


async def replay(
    message: Message, name: str, source: ProcessedSource, blocked: Blocked, decided_of: DecidedOf
) -> list[Replayed]:
    """Each trigger of the message, decided as if it were the moment at which the message came. Keeps and
    sends nothing."""
    understood = await understand(message, source, blocked, message.received_at)
    found = list(_unusable(understood, name, source.name))
    arrivals = {each.decision.subject.trigger: each for each in understood.arrivals}
    then = await decided_of(source.name, list(arrivals))
    for trigger, arrival in arrivals.items():
        # The salt only tells contents apart that nobody compares here.
        now = standing_of(arrival, b"")
        found.append(_compared(name, source.name, now, then.get(trigger)))
    return found


def _unusable(understood: Understood, name: str, source: str) -> Iterator[Replayed]:
    if understood.failure is not None:
        yield Replayed(name, source, None, Comparison.UNREADABLE, None, understood.failure)


def _compared(name: str, source: str, now: Standing, then: Decided | None) -> Replayed:
    told = _told(now.decision, now.reason)
    if then is None:
        return Replayed(name, source, now.trigger, Comparison.NEW, None, told)
    before = _told(then.decision, then.reason)
    if age(now.version, then.version) is not Age.SAME:
        return Replayed(name, source, now.trigger, Comparison.SUPERSEDED, before, told)
    fields = tuple(sorted(_fields(now, then)))
    same = told == before and not fields
    comparison = Comparison.SAME if same else Comparison.DIFFERS
    return Replayed(name, source, now.trigger, comparison, before, told, fields)


def _told(decision: str, reason: str | None) -> str:
    return decision if reason is None else f"{decision} {reason}"


def _fields(now: Standing, then: Decided) -> Iterator[str]:
    """The names of fields that differ, those of `task_data` with it before them; none where retention has
    cleared what was."""
    if then.task is None or now.read is None:
        return
    one = msgspec.json.decode(now.read.task) or {}
    other = msgspec.json.decode(then.task) or {}
    for each in {*one, *other} - {"task_data"}:
        if one.get(each) != other.get(each):
            yield each
    data, was = one.get("task_data") or {}, other.get("task_data") or {}
    yield from (f"task_data.{each}" for each in {*data, *was} if data.get(each) != was.get(each))
