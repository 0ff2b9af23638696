"""What is known of the chains that a batch touches, while it is folded in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain

from fhir_bridge.ledger import states
from fhir_bridge.ledger.arrivals.content import Content
from fhir_bridge.ledger.arrivals.precedence import Standing
from fhir_bridge.ledger.records import Arrival
from fhir_bridge.ledger.states import State


@dataclass(eq=False, slots=True)
class KnownIntent:
    """An intent while a batch is folded in.

    `id` is None until it is written. One that `has_row` has a row of its own or is to get one; without, it is
    a Skip that stands alone. `number` says which was the first to get one in this batch. `due_at` is aware
    UTC, `held` the content it goes by as the ledger keeps it.
    """

    key: str
    source: str
    loss: str
    id: int | None = None
    number: int = 0
    state: State | None = None
    reason: str | None = None
    trigger: str = ""
    fingerprint: str = ""
    identity: str | None = None
    due_at: datetime | None = None
    alarm: str | None = None
    alarm_reason: str | None = None
    held: bytes | None = None
    content: Content | None = None
    decision: Standing | None = None
    standings: dict[str, Standing] = field(default_factory=dict)
    changed: bool = False
    has_row: bool = False

    @property
    def undecided(self) -> bool:
        """Whether a decision may still change it: nothing of it can have reached the endpoint."""
        return self.state is None or self.state in states.UNDECIDED


@dataclass(eq=False)
class Known:
    """What the ledger knows of the chains that a batch touches. `moved`, `joined` and `merged` (which intent
    into which) are what is to be written.
    """

    by_key: dict[str, KnownIntent] = field(default_factory=dict)
    by_trigger: dict[tuple[str, str], KnownIntent] = field(default_factory=dict)
    by_member: dict[tuple[str, str], dict[str, KnownIntent]] = field(default_factory=dict)
    moved: dict[tuple[str, str], KnownIntent] = field(default_factory=dict)
    joined: dict[tuple[str, str, str], KnownIntent] = field(default_factory=dict)
    merged: list[tuple[KnownIntent, KnownIntent]] = field(default_factory=list)
    rows_given: int = 0

    def lead(self, source: str, label: str, intent: KnownIntent) -> None:
        """Have a member of a chain lead to this intent from now on."""
        self.joined[(source, label, intent.loss)] = intent
        self.give_row(intent)

    def give_row(self, intent: KnownIntent) -> None:
        """Have an intent that has no row of its own get one."""
        if not intent.has_row:
            self.rows_given += 1
            intent.has_row, intent.number = True, self.rows_given

    def everyone(self) -> Iterator[KnownIntent]:
        """All intents, each once."""
        of_members = (intent for at in self.by_member.values() for intent in at.values())
        found = chain(self.by_key.values(), self.by_trigger.values(), self.moved.values(), of_members)
        yield from dict.fromkeys(found)

    def touched(self, arrival: Arrival) -> Iterator[KnownIntent]:
        """The intents that the arrival's trigger or any member of its chain belongs to, some
        more than once.
        """
        for label in labels(arrival):
            yield from self.by_member.get((arrival.source, label), {}).values()
        current = self.by_trigger.get((arrival.source, arrival.decision.subject.trigger))
        if current:
            yield current


@dataclass(frozen=True, slots=True)
class Intake:
    """When a batch came in (aware UTC), until when new calls are held back, and whether unknown Skips are
    kept. `stops`: by source and identity, why nobody may call these persons.
    """

    now: datetime
    held_until: datetime
    keep_skips: bool = True
    stops: Mapping[tuple[str, str], str] = field(default_factory=dict)


def labels(arrival: Arrival) -> tuple[str, ...]:
    """The trigger and every member of its chain."""
    subject = arrival.decision.subject
    trigger, members = subject.trigger, subject.members
    return members if members == (trigger,) else (trigger, *members)


def key_of(arrival: Arrival) -> str:
    """The intent's key; a trigger without a known patient stands for itself until mended data brings one."""
    subject = arrival.decision.subject
    return subject.intent or provisional_key(arrival)


def provisional_key(arrival: Arrival) -> str:
    """The key of a trigger that stands for itself."""
    subject = arrival.decision.subject
    return "|".join((arrival.source, "?", subject.trigger, *([subject.loss] if subject.loss else ())))


def key_alone(source: str, identity: str | None, trigger: str) -> str:
    """The key of a trigger that is the root of its own chain, as most are."""
    return f"{source}|{identity or '?'}|{trigger}"
