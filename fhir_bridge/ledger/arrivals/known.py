"""What the ledger knows of the chains that decisions touch, read and locked to be folded into."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import BigInteger, Row, Select, String, bindparam, select
from sqlalchemy.ext.asyncio import AsyncConnection

from fhir_bridge.ledger.arrivals.batch import Known, KnownIntent, key_alone, key_of, labels
from fhir_bridge.ledger.arrivals.content import Content
from fhir_bridge.ledger.arrivals.precedence import Standing, Version
from fhir_bridge.ledger.database.given import GIVEN, as_given, given_values
from fhir_bridge.ledger.database.tables import intents, members, triggers
from fhir_bridge.ledger.records import Arrival
from fhir_bridge.ledger.states import State


async def known_of(
    connection: AsyncConnection, arrivals: Sequence[Arrival], also: Collection[int] = ()
) -> Known:
    """The intents that the arrivals name or touch, and `also` these, with all that stands in them, locked
    until the commit.
    """
    if not (arrivals or also):
        return Known()
    dialect = connection.dialect.name
    touched = set(also)
    member_rows: list[Row[Any]] = []
    alone: list[Row[Any]] = []
    for source, named in _labels_by_source(arrivals).items():
        of_source = {"source": source, GIVEN: as_given((label,) for label in named)}
        member_rows += await connection.execute(_members(dialect), of_source)
        touched.update((await connection.execute(_standing_in(dialect), of_source)).scalars())
        alone += await connection.execute(_standing_alone(dialect), of_source)
    touched.update(row.intent_id for row in member_rows)
    keys = {GIVEN: as_given((key,) for key in {key_of(arrival) for arrival in arrivals})}
    touched.update((await connection.execute(_ids_by_key(dialect), keys)).scalars())
    alone += await connection.execute(_alone_by_key(dialect), keys)
    by_id = await _intents_by_id(connection, touched)
    known = Known(by_key={intent.key: intent for intent in by_id.values()})
    for row in member_rows:
        known.by_member.setdefault((row.source, row.member), {})[row.loss] = by_id[row.intent_id]
    for row in {(row.source, row.trigger): row for row in alone}.values():
        intent = _intent_of(row)
        known.by_key.setdefault(intent.key, intent)
        _stand(known, row, intent)
    for row in await _standings_of(connection, touched):
        intent = by_id[row.intent_id]
        intent.standings[row.trigger] = _standing(row, intent)
        _stand(known, row, intent)
    return known


def _stand(known: Known, row: Row[Any], intent: KnownIntent) -> None:
    place = (row.source, row.trigger)
    known.by_member.setdefault(place, {})[intent.loss] = intent
    known.by_trigger[place] = intent


def _intent_of(row: Row[Any]) -> KnownIntent:
    """The intent that a Skip is which stands alone."""
    intent = KnownIntent(
        key=row.key or key_alone(row.source, row.identity, row.trigger),
        source=row.source,
        loss="",
        state=State.SKIPPED,
        reason=row.reason,
        trigger=row.trigger,
        fingerprint=row.fingerprint,
        identity=row.identity,
        held=row.content,
        content=Content(identity=row.identity),
    )
    intent.decision = intent.standings[row.trigger] = _standing(row, intent)
    return intent


async def with_standings(connection: AsyncConnection, ids: Collection[int]) -> list[KnownIntent]:
    """The intents with all that is still known of what their triggers last said."""
    by_id = await _intents_by_id(connection, ids)
    for row in await _standings_of(connection, ids):
        standing = _standing(row, by_id[row.intent_id])
        if standing.content is not None:
            by_id[row.intent_id].standings[row.trigger] = standing
    return list(by_id.values())


@lru_cache
def _members(dialect: str) -> Select[Any]:
    of_source = members.c.source == bindparam("source")
    return select(members).where(of_source, members.c.member.in_(given_values(dialect, String)))


@lru_cache
def _standing_in(dialect: str) -> Select[Any]:
    of_source = triggers.c.source == bindparam("source")
    return select(triggers.c.intent_id).where(
        of_source, triggers.c.trigger.in_(given_values(dialect, String)), triggers.c.intent_id.is_not(None)
    )


@lru_cache
def _standing_alone(dialect: str) -> Select[Any]:
    of_source = triggers.c.source == bindparam("source")
    return select(triggers).where(
        of_source, triggers.c.trigger.in_(given_values(dialect, String)), triggers.c.intent_id.is_(None)
    )


@lru_cache
def _alone_by_key(dialect: str) -> Select[Any]:
    return select(triggers).where(triggers.c.key.in_(given_values(dialect, String)))


@lru_cache
def _ids_by_key(dialect: str) -> Select[Any]:
    return select(intents.c.id).where(intents.c.key.in_(given_values(dialect, String)))


@lru_cache
def _standings(dialect: str) -> Select[Any]:
    return select(triggers).where(triggers.c.intent_id.in_(given_values(dialect, BigInteger)))


@lru_cache
def _intents(dialect: str) -> Select[Any]:
    names = ("id", "key", "source", "loss", "state", "reason", "trigger", "fingerprint")
    more = ("identity", "due_at", "alarm", "alarm_reason")
    columns = [intents.c[name] for name in (*names, *more)]
    found = intents.c.id.in_(given_values(dialect, BigInteger))
    return select(*columns, intents.c.content.label("held")).where(found).with_for_update()


async def _standings_of(connection: AsyncConnection, ids: Collection[int]) -> Sequence[Row[Any]]:
    if not ids:
        return []
    given = {GIVEN: as_given((each,) for each in ids)}
    rows = await connection.execute(_standings(connection.dialect.name), given)
    found: Sequence[Row[Any]] = rows.all()
    return found


def _labels_by_source(arrivals: Sequence[Arrival]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for arrival in arrivals:
        found[arrival.source].update(labels(arrival))
    return found


async def _intents_by_id(connection: AsyncConnection, ids: Collection[int]) -> dict[int, KnownIntent]:
    if not ids:
        return {}
    given = {GIVEN: as_given((each,) for each in ids)}
    rows = await connection.execute(_intents(connection.dialect.name), given)
    return {row.id: KnownIntent(**{**row._mapping, "state": State(row.state)}, has_row=True) for row in rows}


def _standing(row: Row[Any], intent: KnownIntent) -> Standing:
    """What a trigger says; the content of the one that the intent goes by is kept there only."""
    goes_by = (intent.trigger, intent.fingerprint) == (row.trigger, row.fingerprint)
    return Standing(
        trigger=row.trigger,
        resource_type=row.resource_type,
        version=Version(row.version_id, row.last_updated),
        decision=row.decision,
        reason=row.reason,
        fingerprint=row.fingerprint,
        content=intent.held if row.content is None and goes_by else row.content,
        said_at=row.changed_at,
        deleted=bool(row.deleted),
    )
