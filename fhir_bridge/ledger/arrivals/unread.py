"""What messages and files say and nobody can read: it stops the calls that it may speak against (mapping,
section 16).

Each is kept as a statement of the message's, until the record that it was is read, or the message is
processed again, or somebody says that it is settled.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, CompoundSelect, Select, String, delete, literal_column, select, union
from sqlalchemy.ext.asyncio import AsyncConnection

from fhir_bridge.ledger.arrivals import broken
from fhir_bridge.ledger.arrivals.precedence import UNREADABLE, Age, Version, age
from fhir_bridge.ledger.database.given import GIVEN, as_given, given, given_values
from fhir_bridge.ledger.database.many import ask
from fhir_bridge.ledger.database.tables import intents, members, statements, triggers
from fhir_bridge.ledger.database.upserts import upsert
from fhir_bridge.ledger.records import Arrival, Heard
from fhir_bridge.ledger.sources.messages import NO_VERSION, Unread, Unreadable

Place = tuple[str, str]
"""A source, and an identity or a record of it."""

SOMEBODY = "?"
"""Stands for whom a record is about that does not show it."""


class _Said(NamedTuple):
    """A version of a record that was read, when it was said (aware UTC; None: now), and whether that was
    late."""

    version: Version
    said_at: datetime | None
    is_late: bool


async def take_in(
    connection: AsyncConnection,
    unread: Unread,
    arrivals: Sequence[Arrival],
    heard: Sequence[Heard],
    now: datetime,
    salt: bytes,
) -> set[Place]:
    """Keep what could not be read, and let go of what was read since; gives for whom either may turn whether
    anybody may call them."""
    turned, read_at = set[Place](), unread.read_at or now
    if unread.anew:
        these = statements.c.message.in_(given_values(connection.dialect.name))
        turned |= await _let_go(connection, these, {GIVEN: as_given((id_,) for _, id_ in unread.anew)})
    of_files = await broken.take_in(connection, unread.broken, read_at, salt)
    if unread.found or of_files:
        turned |= await _keep(connection, [*unread.found, *of_files])
    if (arrivals or heard) and (await ask(connection, _ANY)).all():
        turned |= await _answered(connection, _said(arrivals, heard), read_at)
    return turned


_ANY = select(statements.c.message).where(statements.c.message.is_not(None)).limit(literal_column("1"))


async def _keep(connection: AsyncConnection, found: Sequence[Unreadable]) -> set[Place]:
    names = {(each.source, name) for each in found for name in each.names}
    people = {place: {place[1]} for place in names if _is_patient(place[1])}
    people |= await _people_of(connection, [place for place in names if place not in people])
    rows, turned = [], set[Place]()
    for each in found:
        identities = {person for name in each.names for person in people.get((each.source, name), ())}
        rows += [{**_row(each), "identity": identity} for identity in sorted(identities or {SOMEBODY})]
        turned |= {(each.source, identity) for identity in identities}
    await connection.execute(upsert(connection, statements), rows)
    return turned


def _is_patient(name: str) -> bool:
    return name.startswith("Patient/")


def _row(each: Unreadable) -> dict[str, Any]:
    return {
        "source": each.source,
        "record": f"message {each.message} {each.about or ''}".strip(),
        "stop": UNREADABLE,
        "version_id": each.version.version_id,
        "last_updated": each.version.last_updated,
        "changed_at": each.said_at,
        "message": each.message,
        "about": each.about,
    }


async def _people_of(connection: AsyncConnection, places: Collection[Place]) -> dict[Place, set[str]]:
    """The identities of whom these triggers are about, as far as the ledger knows them."""
    found: dict[Place, set[str]] = defaultdict(set)
    if places:
        rows = await connection.execute(_identities(connection.dialect.name), {GIVEN: as_given(places)})
        for row in rows:
            found[row.source, row.name].add(row.identity)
    return found


@lru_cache
def _identities(dialect: str) -> CompoundSelect[Any]:
    of = given(dialect, source=String, name=String)
    return union(
        *(
            select(table.c.source, name.label("name"), intents.c.identity)
            .where(table.c.source == of["source"], name == of["name"], table.c.intent_id == intents.c.id)
            .where(intents.c.identity.is_not(None))
            for table, name in ((triggers, triggers.c.trigger), (members, members.c.member))
        )
    )


def _said(arrivals: Iterable[Arrival], heard: Iterable[Heard]) -> Mapping[Place, list[_Said]]:
    """Every version of a record that these bring."""
    found: dict[Place, list[_Said]] = defaultdict(list)
    for arrival in arrivals:
        subject = arrival.decision.subject
        version = Version(subject.version_id, subject.last_updated)
        found[arrival.source, subject.trigger].append(_Said(version, arrival.said_at, arrival.is_late))
    for each in heard:
        version = Version(each.statement.version_id, each.statement.last_updated)
        found[each.source, each.statement.record].append(_Said(version, each.said_at, each.is_late))
    return found


async def _answered(
    connection: AsyncConnection, said: Mapping[Place, list[_Said]], now: datetime
) -> set[Place]:
    """Let go of records of which these are a later version, or the same one."""
    rows = await connection.execute(_about(connection.dialect.name), {GIVEN: as_given(said)})
    answered = [
        row for row in rows if any(_is_answer(row, each, now) for each in said[row.source, row.about])
    ]
    if not answered:
        return set()
    these = statements.c.record.in_(given_values(connection.dialect.name, String))
    let_go = await _let_go(connection, these, {GIVEN: as_given((row.record,) for row in answered)})
    unversioned = {row.message for row in answered if Version(row.version_id, row.last_updated) == NO_VERSION}
    await broken.settle(connection, {row.message for row in answered}, unversioned, now)
    return let_go


@lru_cache
def _about(dialect: str) -> Select[Any]:
    of = given(dialect, source=String, about=String)
    return select(statements).where(
        statements.c.message.is_not(None),
        statements.c.source == of["source"],
        statements.c.about == of["about"],
    )


def _is_answer(row: Any, said: _Said, now: datetime) -> bool:
    """Whether what was read is no older than what could not be. Where no version tells, it must have been
    said later, and not have been there already when the message came."""
    known, told = Version(row.version_id, row.last_updated), said.version
    how = age(told, known)
    if how is not Age.SAME:
        return how is Age.NEWER
    if said.is_late or (said.said_at or now) <= row.changed_at:
        return False
    if known != NO_VERSION:
        return told != NO_VERSION
    return told.last_updated is None or told.last_updated >= row.changed_at


async def _let_go(
    connection: AsyncConnection, which: ColumnElement[bool], named: Mapping[str, str] | None = None
) -> set[Place]:
    """Of whom these rows spoke; the rows are gone."""
    gone = delete(statements).where(statements.c.message.is_not(None), which)
    rows = await connection.execute(gone.returning(statements.c.source, statements.c.identity), named)
    return {(row.source, row.identity) for row in rows}


async def held_by(connection: AsyncConnection, ids: Collection[int]) -> dict[int, tuple[str, ...]]:
    """By message, whose calls wait since it could not be read; SOMEBODY where that does not show."""
    statement = select(statements.c.message, statements.c.identity).where(statements.c.message.in_(ids))
    found: dict[int, set[str]] = defaultdict(set)
    for row in await connection.execute(statement):
        found[row.message].add(row.identity)
    return {id_: tuple(sorted(identities)) for id_, identities in found.items()}
