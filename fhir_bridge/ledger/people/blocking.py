"""The do-not-call list: numbers, hashed, and patients (delivery, table `blocked`)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Select,
    String,
    and_,
    delete,
    exists,
    insert,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from fhir_bridge.errors import UsageError
from fhir_bridge.ledger.arrivals import aliases
from fhir_bridge.ledger.arrivals.aliases import Place
from fhir_bridge.ledger.arrivals.content import lane_of
from fhir_bridge.ledger.arrivals.deciding import REVOKED_AFTER_SEND
from fhir_bridge.ledger.database.given import GIVEN, as_given, given_values
from fhir_bridge.ledger.database.locks import Lock, hold
from fhir_bridge.ledger.database.tables import blocked, in_state, intents, patients, triggers
from fhir_bridge.ledger.database.upserts import upsert
from fhir_bridge.ledger.records import Act, BlockedEntry, Refusal
from fhir_bridge.ledger.states import OUT_OF_HAND, State

_AT_ONCE = 500
"""Entries in one statement: SQLite takes 32,766 parameters."""

Entry = tuple[str, str]
"""`number` (E.164) or `patient` (`source|identity`), and the value."""


@dataclass(frozen=True, slots=True)
class HashedNumbers:
    """The numbers on the list, of which only hashes are kept: what can be asked is whether one is `in` it."""

    lanes: frozenset[str]
    salt: bytes

    def __contains__(self, phone_number: object) -> bool:
        """Whether this number (E.164) must not be called."""
        asked = isinstance(phone_number, str) and bool(self.lanes)
        return asked and lane_of(str(phone_number), self.salt) in self.lanes


@dataclass(frozen=True, slots=True)
class DoNotCall:
    """The list as mapping asks it, for one source: numbers in E.164, patients by identity."""

    numbers: HashedNumbers
    patients: frozenset[str]


def hidden(kind: str, value: str, salt: bytes) -> str:
    """What is kept and audited of a `number` (E.164) or `patient` (`source|identity`). Raises UsageError."""
    if kind == "number":
        return lane_of(value, salt)
    if kind == "patient":
        return value
    raise UsageError(f"{kind} cannot be blocked", hint="Block a number or a patient.")


async def block(connection: AsyncConnection, entries: Collection[Entry], act: Act) -> int:
    """Add to the list, as `hidden` has it; blocking twice keeps the newer reason. A patient is blocked under
    every identity that is known to be the same person.

    What waits for one of them is skipped at once, and what was sent or may have been goes on the work list:
    somebody must tell the vendor. Gives how many intents are skipped.
    """
    await _hold(connection, entries)
    skipped = 0
    for part in _parts(sorted(set(entries))):
        rows = [
            {"kind": kind, "value": value, "since": act.at, "by": act.actor, "why": act.reason, "via": None}
            for kind, value in part
        ]
        await connection.execute(upsert(connection, blocked), rows)
        skipped += await _skip(connection, part, act.at)
        await _alarm(connection, part, act.at)
    people = [_place(value) for kind, value in entries if kind == "patient"]
    return skipped + await follow(connection, people, act.at)


async def _hold(connection: AsyncConnection, entries: Collection[Entry]) -> None:
    """Nobody may say who is one person while the list is changed: neither would know of the other."""
    for source in sorted({_place(value)[0] for kind, value in entries if kind == "patient"}):
        await hold(connection, Lock.INTAKE, source)


async def follow(connection: AsyncConnection, places: Collection[Place], now: datetime) -> int:
    """Have the list name every identity of whom it names under one of these; gives how many waiting intents
    are skipped for it."""
    new, _ = await _follow(connection, places)
    skipped = 0
    for part in _parts([("patient", value) for value in sorted(new)]):
        skipped += await _skip(connection, part, now)
        await _alarm(connection, part, now)
    return skipped


async def stay(connection: AsyncConnection, places: Collection[Place], now: datetime) -> None:
    """Have whom the list names under these stay uncalled though they are decided on anew: an entry that
    followed from one of a record that is somebody else's now is an entry of its own."""
    values = {"|".join(place) for place in places}
    named = and_(
        blocked.c.kind == "patient", blocked.c.value.in_(given_values(connection.dialect.name, String))
    )
    rows = (
        await connection.execute(select(blocked).where(named), {GIVEN: as_given((v,) for v in values)})
    ).all()
    for row in rows:
        place = _place(row.value)
        person = next(iter(await aliases.persons(connection, [place])), {place})
        if row.via is not None and _place(row.via) not in person:
            own = and_(blocked.c.kind == "patient", blocked.c.value == row.value)
            await connection.execute(update(blocked).where(own).values(via=None))
    for part in _parts([("patient", row.value) for row in rows]):
        await _skip(connection, part, now)


async def _follow(connection: AsyncConnection, places: Collection[Place]) -> tuple[set[str], set[str]]:
    """What is on the list now and was not, and the other way, of the persons of these places."""
    new: set[str] = set()
    gone: set[str] = set()
    for person in await aliases.persons(connection, places):
        values = {"|".join(place) for place in person}
        theirs = {GIVEN: as_given((value,) for value in values)}
        named = and_(
            blocked.c.kind == "patient", blocked.c.value.in_(given_values(connection.dialect.name, String))
        )
        found = await connection.execute(select(blocked).where(named).order_by(blocked.c.value), theirs)
        rows = found.all()
        told = next((row for row in rows if row.via is None), None)
        listed = {row.value for row in rows}
        if told is None:
            await connection.execute(delete(blocked).where(named), theirs)
            gone |= listed
            continue
        others = [{**told._mapping, "value": value, "via": told.value} for value in sorted(values - listed)]
        if others:
            await connection.execute(insert(blocked), others)
        stale = and_(named, blocked.c.via.is_not(None))
        await connection.execute(update(blocked).where(stale).values(via=told.value), theirs)
        new |= values - listed
    return new, gone


async def unblock(connection: AsyncConnection, kind: str, value: str) -> set[int] | None:
    """Take from the list, and all that follows from it; None where it was not on it, else the intents that
    this list alone had skipped. Raises UsageError for one that follows from another.

    Those that another entry still blocks are not among them.
    """
    await _hold(connection, [(kind, value)])
    this = and_(blocked.c.kind == kind, blocked.c.value == value)
    row = (await connection.execute(select(blocked.c.via).where(this))).one_or_none()
    if row is None:
        return None
    if row.via is not None:
        raise UsageError(
            "this patient is blocked as the same person as another entry",
            hint=f"Take that one from the list: {row.via.replace('|', '/', 1)}.",
        )
    await connection.execute(delete(blocked).where(this))
    freed = {value}
    if kind == "patient":
        new, gone = await _follow(connection, [_place(value)])
        freed = (freed | gone) - new
    ids: set[int] = set()
    for part in _parts([(kind, each) for each in sorted(freed)]):
        ids.update((await connection.execute(_held_back_by(part))).scalars())
    return ids


def _held_back_by(entries: Sequence[Entry]) -> Select[Any]:
    """The intents about these that were skipped for the list's sake, and that nothing on it is against."""
    calls = exists().where(triggers.c.intent_id == intents.c.id, triggers.c.decision == "call")
    return select(intents.c.id).where(
        *_of(entries),
        in_state(intents, State.SKIPPED),
        intents.c.reason == Refusal.BLOCKED,
        intents.c.content.is_not(None),
        calls,
        ~is_blocked(),
    )


async def do_not_call(connection: AsyncConnection, source: str, salt: bytes) -> DoNotCall:
    """The list for mapping to ask (delivery, "Before a byte is sent", 5)."""
    numbers, people = set(), set()
    of_source = f"{source}|"
    for row in await connection.execute(select(blocked.c.kind, blocked.c.value)):
        if row.kind == "number":
            numbers.add(row.value)
        elif row.value.startswith(of_source):
            people.add(row.value.removeprefix(of_source))
    return DoNotCall(HashedNumbers(frozenset(numbers), salt), frozenset(people))


async def listed(connection: AsyncConnection) -> list[BlockedEntry]:
    """All that is on the list, the newest first; a number by the beginning of its hash."""
    rows = await connection.execute(select(blocked).order_by(blocked.c.since.desc(), blocked.c.value))
    return [BlockedEntry(**row._mapping) for row in rows]


async def listed_for(connection: AsyncConnection, intent_id: int) -> list[BlockedEntry]:
    """What of the list keeps an intent from being called."""
    person = select(patients.c.source + "|" + patients.c.identity).join(
        intents, intents.c.patient_id == patients.c.id
    )
    lane = select(intents.c.lane).where(intents.c.id == intent_id)
    number = and_(blocked.c.kind == "number", blocked.c.value == lane.scalar_subquery())
    identity = person.where(intents.c.id == intent_id).scalar_subquery()
    patient = and_(blocked.c.kind == "patient", blocked.c.value == identity)
    rows = await connection.execute(select(blocked).where(or_(number, patient)).order_by(blocked.c.since))
    return [BlockedEntry(**row._mapping) for row in rows]


def is_blocked() -> ColumnElement[bool]:
    """Whether the number or the patient of an intent is on the list."""
    person = patients.alias("person")
    return exists().where(person.c.id == intents.c.patient_id, is_listed(person))


def is_listed(person: FromClause) -> ColumnElement[bool]:
    """The same in a statement that has the intent's patient at hand."""
    number = and_(blocked.c.kind == "number", blocked.c.value == intents.c.lane)
    identity = and_(blocked.c.kind == "patient", blocked.c.value == person.c.source + "|" + person.c.identity)
    return exists().where(or_(number, identity)).correlate(intents, person)


async def _skip(connection: AsyncConnection, entries: Sequence[Entry], now: datetime) -> int:
    """A claim that a worker holds on one of them is void: it finds nothing to start."""
    gone = {"state": State.SKIPPED, "reason": Refusal.BLOCKED, "due_at": None, "changed_at": now}
    free = {"lease_token": None, "lease_until": None}
    statement = update(intents).where(in_state(intents, State.READY)).values(**gone, **free)
    return sum([(await connection.execute(statement.where(of))).rowcount for of in _of(entries)])


async def _alarm(connection: AsyncConnection, entries: Sequence[Entry], now: datetime) -> None:
    told = {"alarm": REVOKED_AFTER_SEND, "alarm_reason": Refusal.BLOCKED, "alarm_at": now}
    # What went out was called at some moment: said here too, an index of the called ones can be used.
    called = and_(in_state(intents, *OUT_OF_HAND), intents.c.called_at.is_not(None))
    for of in _of(entries):
        await connection.execute(update(intents).where(called, of).values(**told))


def _of(entries: Sequence[Entry]) -> list[ColumnElement[bool]]:
    """Whether an intent is to one of these numbers; whether it is about one of these patients. Asked one
    after the other, each finds its index."""
    lanes = [value for kind, value in entries if kind == "number"]
    places = [tuple(value.split("|", 1)) for kind, value in entries if kind == "patient"]
    people = select(patients.c.id).where(tuple_(patients.c.source, patients.c.identity).in_(places))
    conditions = ((lanes, intents.c.lane.in_(lanes)), (places, intents.c.patient_id.in_(people)))
    return [condition for wanted, condition in conditions if wanted]


def _place(value: str) -> Place:
    source, _, identity = value.partition("|")
    return source, identity


def _parts(entries: Sequence[Any]) -> Iterator[Sequence[Any]]:
    return (entries[start : start + _AT_ONCE] for start in range(0, len(entries), _AT_ONCE))
