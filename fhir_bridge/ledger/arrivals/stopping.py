"""What records say of whole persons, and which calls that stops (delivery, "One ledger for every way in")."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Select,
    String,
    and_,
    bindparam,
    delete,
    exists,
    insert,
    select,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from fhir_bridge.ledger.arrivals import aliases
from fhir_bridge.ledger.arrivals.precedence import UNREADABLE, Age, Version, age
from fhir_bridge.ledger.database.given import GIVEN, as_given, given
from fhir_bridge.ledger.database.many import ask
from fhir_bridge.ledger.database.tables import intents, patients, statements
from fhir_bridge.ledger.database.upserts import upsert
from fhir_bridge.ledger.records import Heard
from fhir_bridge.ledger.states import OUT_OF_HAND, UNDECIDED
from fhir_bridge.mapping.statements import OF_THE_PERSON

Place = tuple[str, str]
"""A source, and an identity or a record of it."""


class _Said(NamedTuple):
    """What a record last said of a person; the columns of its row."""

    stop: str | None
    version_id: str | None
    last_updated: datetime | None
    changed_at: datetime


_OF_THE_PERSON = OF_THE_PERSON | {UNREADABLE}
"""What cannot be read may be any of these."""

_AT_ONCE = 5_000
"""Values in one IN list: SQLite takes 32,766 parameters."""


class TakenIn(NamedTuple):
    """What became of statements: for whom it `turned` whether anybody may call them, what was `older` than
    what was known of its record, and the records that are `alone` now, linked with no other any more."""

    turned: set[Place]
    older: list[Heard]
    alone: set[Place]


async def take_in(connection: AsyncConnection, heard: Sequence[Heard], now: datetime) -> TakenIn:
    """Keep what speaks against calling somebody, and what takes that back; and of what links records the
    version, for a later one may take the link back.

    A record that never spoke against anybody leaves no row. An older version says nothing new, and one that
    does not tell its version takes back nothing that a told version said.
    """
    known = await _rows_of(connection, {(each.source, each.statement.record) for each in heard})
    rows: dict[tuple[str, str, str], dict[str, Any]] = {}
    turned, alone = set[Place](), set[Place]()
    older: list[Heard] = []
    for each in heard:
        record = (each.source, each.statement.record)
        before = known[record]
        if len(each.statement.same) > 1 and not before:
            # It speaks against nobody, but its version will be asked for.
            before[record[1]] = said = _said_after(each, before, now)._replace(stop=None)
            rows[(*record, record[1])] = _row(record, record[1], said)
        if not each.statement.names:
            continue
        if before and _age(each, before) is Age.OLDER:
            older.append(each)
        if before and _is_alone(each) and _age(each, before) is Age.NEWER:
            alone.add(record)
        if _says_something_new(each, before):
            said = _said_after(each, before, now)
            for identity in {*before, *(each.statement.names if each.statement.stop else ())}:
                rows[(*record, identity)] = _row(record, identity, said)
                if said.stop != (before[identity].stop if identity in before else None):
                    turned.add((each.source, identity))
                # The next of the batch is judged by this one.
                before[identity] = said
    if rows:
        await connection.execute(upsert(connection, statements), list(rows.values()))
    return TakenIn(turned, older, alone)


def _is_alone(heard: Heard) -> bool:
    """Whether a record is in use and linked with no other: that takes back what it said of a merge."""
    return not heard.statement.same and heard.statement.stop is None and not heard.is_late


async def part(connection: AsyncConnection, records: Collection[Place]) -> tuple[set[Place], set[Place]]:
    """Have these records speak for themselves again: what the Patient of one says does not hold any more for
    an identity that is not the same person's. Gives who were one person, and for whom that frees.
    """
    everyone, freed = set[Place](), set[Place]()
    for group in await aliases.part(connection, records) if records else ():
        persons = await aliases.persons(connection, group)
        person_of = {place: number for number, person in enumerate(persons) for place in person}
        everyone |= group | set(person_of)
        given_ = {GIVEN: as_given(group | set(person_of))}
        for row in (await connection.execute(_about(connection.dialect.name), given_)).all():
            told, held = (row.source, row.record), (row.source, row.identity)
            if told in everyone and person_of.get(told, told) != person_of.get(held, held):
                await connection.execute(_FREEING, {"of_source": row.source, "of_record": row.record,
                                                    "of_identity": row.identity})  # fmt: skip
                freed.add(held)
    return everyone, freed


_FREEING = delete(statements).where(
    statements.c.source == bindparam("of_source"),
    statements.c.record == bindparam("of_record"),
    statements.c.identity == bindparam("of_identity"),
)


async def follow(connection: AsyncConnection, places: Collection[Place]) -> set[Place]:
    """Have what was said of these persons hold under every identity that is known to be theirs; gives under
    which it did not hold before.
    """
    rows: list[dict[str, Any]] = []
    for person in await aliases.persons(connection, places) if places else ():
        said: dict[Place, dict[Place, dict[str, Any]]] = defaultdict(dict)
        for row in await connection.execute(_about(connection.dialect.name), {GIVEN: as_given(person)}):
            said[(row.source, row.record)][(row.source, row.identity)] = dict(row._mapping)
        for known in said.values():
            told = next((row for row in known.values() if row["stop"] in _OF_THE_PERSON), None)
            rows += ({**told, "identity": place[1]} for place in person - set(known) if told)
    if rows:
        await connection.execute(insert(statements), rows)
    return {(row["source"], row["identity"]) for row in rows}


@lru_cache
def _about(dialect: str) -> Select[Any]:
    of = given(dialect, source=String, identity=String)
    return select(statements).where(
        statements.c.source == of["source"], statements.c.identity == of["identity"]
    )


def _age(heard: Heard, before: Mapping[str, _Said]) -> Age:
    """How a statement stands to what its record said last."""
    last = next(iter(before.values()))
    told, known = (Version(each.version_id, each.last_updated) for each in (heard.statement, last))
    return age(told, known)


def _says_something_new(heard: Heard, before: Mapping[str, _Said]) -> bool:
    statement = heard.statement
    if not before:
        return statement.stop is not None
    last = next(iter(before.values()))
    if last.version_id is None and last.last_updated and not statement.last_updated:
        # What is deleted has a time and no version: what tells no time may have been there before it.
        return statement.stop is not None
    told, known = (Version(each.version_id, each.last_updated) for each in (statement, last))
    if heard.is_late and age(told, known) is Age.SAME and heard.said_at and heard.said_at < last.changed_at:
        return False
    if statement.stop is None and last.stop is not None and known != Version(None, None):
        return told != Version(None, None) and age(told, known) is not Age.OLDER
    return age(told, known) is not Age.OLDER


def _said_after(heard: Heard, before: Mapping[str, _Said], now: datetime) -> _Said:
    """What the record says from now on. A version that contradicts itself takes nothing back, but the next
    one may: it is kept as the one that is known.
    """
    statement = heard.statement
    stop, last = statement.stop, next(iter(before.values()), None)
    if stop is None and last is not None and last.stop is not None:
        told, known = (Version(each.version_id, each.last_updated) for each in (statement, last))
        stop = last.stop if age(told, known) is Age.UNCLEAR else None
    return _Said(stop, statement.version_id, statement.last_updated, heard.said_at or now)


def _row(record: Place, identity: str, said: _Said) -> dict[str, Any]:
    return {"source": record[0], "record": record[1], "identity": identity, **said._asdict()}


async def _rows_of(connection: AsyncConnection, records: Collection[Place]) -> dict[Place, dict[str, _Said]]:
    """What was heard of these records, by record and by identity."""
    found: dict[Place, dict[str, _Said]] = defaultdict(dict)
    for source, names in _by_source(records):
        statement = select(statements).where(statements.c.source == source, statements.c.record.in_(names))
        for row in await connection.execute(statement):
            said = _Said(row.stop, row.version_id, row.last_updated, row.changed_at)
            found[(source, row.record)][row.identity] = said
    return found


async def standing(connection: AsyncConnection, places: Collection[Place]) -> dict[Place, str]:
    """Why nobody may call these persons, what is known for sure first; those are left out whom anybody
    may."""
    found: dict[Place, str] = {}
    if places:
        told = await ask(connection, _stops(connection.dialect.name), given=as_given(places))
        for source, identity, stop in told.all():
            found.setdefault((source, identity), stop)
    return found


@lru_cache
def _stops(dialect: str) -> Select[Any]:
    of = given(dialect, source=String, identity=String)
    return (
        select(statements.c.source, statements.c.identity, statements.c.stop)
        .where(statements.c.source == of["source"], statements.c.identity == of["identity"])
        .where(statements.c.stop.is_not(None))
        .order_by(statements.c.stop == UNREADABLE, statements.c.record)
    )


async def intents_of(connection: AsyncConnection, places: Collection[Place]) -> set[int]:
    """The intents about these persons that are not decided for good, or went out."""
    found: set[int] = set()
    for source, identities in _by_source(places):
        of_patients = (
            select(intents.c.id)
            .join(patients, patients.c.id == intents.c.patient_id)
            .where(patients.c.source == source, patients.c.identity.in_(identities))
            .where(intents.c.state.in_(UNDECIDED | OUT_OF_HAND))
        )
        # Nobody is made a patient of the endpoint's for a Reject.
        of_rejects = (
            select(intents.c.id)
            .where(intents.c.patient_id.is_(None), intents.c.identity.in_(identities))
            .where(intents.c.source == source, intents.c.state.in_(UNDECIDED))
        )
        for statement in (of_patients, of_rejects):
            found.update((await connection.execute(statement)).scalars())
    return found


def is_stopped() -> ColumnElement[bool]:
    """Whether a record speaks against calling the person of an intent."""
    person = patients.alias("stopped_person")
    return exists().where(person.c.id == intents.c.patient_id, speaks_against(person))


def speaks_against(person: FromClause) -> ColumnElement[bool]:
    """The same in a statement that has the intent's patient at hand."""
    against = and_(
        statements.c.source == person.c.source,
        statements.c.identity == person.c.identity,
        statements.c.stop.is_not(None),
    )
    return exists().where(against).correlate(person)


def _by_source(places: Collection[Place]) -> Iterator[tuple[str, list[str]]]:
    by_source: dict[str, list[str]] = defaultdict(list)
    for source, name in sorted(places):
        by_source[source].append(name)
    for source, names in by_source.items():
        for start in range(0, len(names), _AT_ONCE):
            yield source, names[start : start + _AT_ONCE]
