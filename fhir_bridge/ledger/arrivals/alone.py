"""Skips that stand alone: nothing else is known of their chain, and nobody is to be called for it.

Most of what comes in is such: an appointment that is booked, an order that is completed. Each is one row of
`triggers` that opens no intent. When another version of it, or another member of its chain, comes in, it is
read back as the skipped intent that it would be (`known.py`), and gets a row there where it has to do with
more than itself from then on.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from itertools import chain
from typing import Any

from sqlalchemy import Column, Select, bindparam
from sqlalchemy.ext.asyncio import AsyncConnection

from fhir_bridge.ledger.arrivals.batch import Intake, KnownIntent, key_alone, key_of, labels
from fhir_bridge.ledger.arrivals.content import skip_told
from fhir_bridge.ledger.database.given import as_listed, found_in
from fhir_bridge.ledger.database.many import ask, insert_rows
from fhir_bridge.ledger.database.tables import intents, members, triggers
from fhir_bridge.ledger.records import Accepted, Arrival, Change
from fhir_bridge.ledger.states import State
from fhir_bridge.mapping.decision import DELETED, Skip

Place = tuple[str, str]
"""A source, and a trigger of it."""

Name = Place | str
"""What leads to a chain: the place of a trigger or member, or the intent's key."""

_OF_SKIP = ("resource_type", "version_id", "last_updated", "decision", "reason", "fingerprint", "content")
_COLUMNS = ("source", "trigger", *_OF_SKIP, "changed_at", "identity")


def place_of(key: str) -> Place:
    """The trigger that has this key, where it has no `own_key`."""
    return key.partition("|")[0], key.rpartition("|")[2]


def own_key(key: str, source: str, identity: str | None, trigger: str) -> str | None:
    """What has to be kept of a key: None where the rest tells it, and it tells its place."""
    is_told = key == key_alone(source, identity, trigger) and "|" not in source and "|" not in trigger
    return None if is_told else key


def could_stand_alone(intent: KnownIntent) -> bool:
    """Whether an intent is no more than the one Skip that stands in it."""
    if intent.loss or intent.alarm or len(intent.standings) != 1:
        return False
    (standing,) = intent.standings.values()
    is_skipped = (intent.state, intent.reason) == (State.SKIPPED, standing.reason)
    return is_skipped and standing.decision == "skip"


@dataclass(frozen=True, slots=True)
class Arriving:
    """What arrives, told apart. `alone`: by position, the Skips that stand alone once all is taken in, each
    with its `own_key`; `touching`: those of whose chain the ledger knows something.
    """

    alone: dict[int, str | None]
    touching: list[Arrival]


async def told_apart(connection: AsyncConnection, arrivals: Sequence[Arrival]) -> Arriving:
    """A Skip stands alone of whose chain the ledger knows nothing, and which no other arrival names."""
    alone: dict[int, str | None] = {}
    named: list[Collection[Name]] = []
    for position, arrival in enumerate(arrivals):
        if not _arrives_alone(arrival):
            named.append({(arrival.source, label) for label in labels(arrival)} | {key_of(arrival)})
            continue
        source, subject = arrival.source, arrival.decision.subject
        own = own_key(key_of(arrival), source, subject.patient, subject.trigger)
        alone[position] = own
        place = (source, subject.trigger)
        named.append((place, own) if own else (place,))
    counts = Counter(chain.from_iterable(named))
    known = await _known(connection, counts)
    shared = known.union(name for name, count in counts.items() if count > 1)
    return Arriving(
        {position: own for position, own in alone.items() if shared.isdisjoint(named[position])},
        [arrivals[at] for at, names in enumerate(named) if not known.isdisjoint(names)] if known else [],
    )


def _arrives_alone(arrival: Arrival) -> bool:
    """Whether it is a Skip whose chain has no other member. A deletion has to find what it ends."""
    decision, subject = arrival.decision, arrival.decision.subject
    is_alone = not subject.loss and (not subject.members or subject.members == (subject.trigger,))
    return is_alone and isinstance(decision, Skip) and decision.detail != DELETED


async def _known(connection: AsyncConnection, names: Collection[Name]) -> set[Name]:
    """Those of the names that the ledger knows."""
    dialect = connection.dialect.name
    by_source: dict[str, list[str]] = defaultdict(list)
    keys: list[str] = []
    for name in names:
        if isinstance(name, str):
            keys.append(name)
        else:
            by_source[name[0]].append(name[1])
    found: set[Name] = set()
    for source, names_there in by_source.items():
        listed = as_listed(names_there)
        for column in (triggers.c.trigger, members.c.member):
            told = await ask(connection, _of_source(column, dialect), source=source, given=listed)
            found.update((source, label) for (label,) in told.all())
    if keys:
        listed = as_listed(keys)
        for column in (intents.c.key, triggers.c.key):
            told = await ask(connection, _anywhere(column, dialect), given=listed)
            found.update(key for (key,) in told.all())
    return found


@lru_cache
def _of_source(column: Column[str], dialect: str) -> Select[tuple[str]]:
    return found_in(dialect, column, column.table.c.source == bindparam("source"))


@lru_cache
def _anywhere(column: Column[str], dialect: str) -> Select[tuple[str]]:
    return found_in(dialect, column)


async def take_in(
    connection: AsyncConnection,
    arrivals: Sequence[Arrival],
    alone: Mapping[int, str | None],
    intake: Intake,
    salt: bytes,
) -> dict[int, Accepted]:
    """Write those of the arrivals that stand `alone` and are to be kept; by position, what became of each."""
    told: dict[int, Accepted] = {}
    rows: list[tuple[Any, ...]] = []
    with_key: list[tuple[Any, ...]] = []
    for position, own in alone.items():
        arrival = arrivals[position]
        key, decision = key_of(arrival), arrival.decision
        assert isinstance(decision, Skip)
        if not (intake.keep_skips or arrival.is_lasting):
            told[position] = Accepted(key, None, decision.reason, Change.NOT_KEPT)
            continue
        told[position] = Accepted(key, State.SKIPPED, decision.reason, Change.NEW)
        row = _row(arrival, decision, intake.now, salt)
        if own:
            with_key.append((*row, own))
        else:
            rows.append(row)
    await insert_rows(connection, triggers, _COLUMNS, rows)
    await insert_rows(connection, triggers, (*_COLUMNS, "key"), with_key)
    return told


def _row(arrival: Arrival, decision: Skip, now: datetime, salt: bytes) -> tuple[Any, ...]:
    """The values of `_COLUMNS`."""
    subject = decision.subject
    content, fingerprint = skip_told(decision, salt)
    return (
        arrival.source,
        subject.trigger,
        arrival.resource_type,
        subject.version_id,
        subject.last_updated,
        "skip",
        decision.reason,
        fingerprint,
        content,
        arrival.said_at or now,
        subject.patient,
    )
