"""What the ledger knows of the chains that decisions touch, read and locked to be folded into."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, select
from sqlalchemy.ext.asyncio import AsyncConnection

from fhir_bridge.ledger import folding
from fhir_bridge.ledger.folding import Known, KnownIntent
from fhir_bridge.ledger.precedence import Standing, Version
from fhir_bridge.ledger.records import Arrival
from fhir_bridge.ledger.states import State
from fhir_bridge.ledger.tables import intents, members, triggers

_AT_ONCE = 5_000
"""Values in one IN list: SQLite takes 32,766 parameters, PostgreSQL 65,535."""


async def known_of(
    connection: AsyncConnection, arrivals: Sequence[Arrival], also: Collection[int] = ()
) -> Known:
    """The intents that the arrivals name or touch, and `also` these, with all that stands in them, locked
    until the commit.
    """
    touched = set(also)
    member_rows: list[Row[Any]] = []
    for source, labels in _labels_by_source(arrivals).items():
        statement = select(members).where(members.c.source == source)
        member_rows += await _fetch(connection, statement, members.c.member, labels)
        standing = select(triggers.c.intent_id).where(triggers.c.source == source)
        touched.update(await _scalars(connection, standing, triggers.c.trigger, labels))
    touched.update(row.intent_id for row in member_rows)
    keys = {folding.key_of(arrival) for arrival in arrivals}
    touched.update(row.id for row in await _fetch(connection, select(intents.c.id), intents.c.key, keys))
    by_id = await _intents_by_id(connection, touched)
    known = Known(by_key={intent.key: intent for intent in by_id.values()})
    for row in member_rows:
        known.by_member.setdefault((row.source, row.member), {})[row.loss] = by_id[row.intent_id]
    for row in await _fetch(connection, select(triggers), triggers.c.intent_id, touched):
        intent = by_id[row.intent_id]
        intent.standings[row.trigger] = _standing(row, intent)
        known.by_member.setdefault((row.source, row.trigger), {})[intent.loss] = intent
        known.by_trigger[(row.source, row.trigger)] = intent
    return known


async def with_standings(connection: AsyncConnection, ids: Collection[int]) -> list[KnownIntent]:
    """The intents with all that is still known of what their triggers last said."""
    by_id = await _intents_by_id(connection, ids)
    for row in await _fetch(connection, select(triggers), triggers.c.intent_id, ids):
        standing = _standing(row, by_id[row.intent_id])
        if standing.content is not None:
            by_id[row.intent_id].standings[row.trigger] = standing
    return list(by_id.values())


async def ids_of(connection: AsyncConnection, keys: Collection[str]) -> dict[str, int]:
    """The ids of these intents by their keys."""
    statement = select(intents.c.key, intents.c.id)
    return {row.key: row.id for row in await _fetch(connection, statement, intents.c.key, keys)}


def _labels_by_source(arrivals: Sequence[Arrival]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for arrival in arrivals:
        found[arrival.source].update(folding.labels(arrival))
    return found


async def _fetch(
    connection: AsyncConnection, statement: Select[Any], column: ColumnElement[Any], values: Collection[Any]
) -> list[Row[Any]]:
    rows: list[Row[Any]] = []
    for part in _parts(sorted(values)):
        rows += (await connection.execute(statement.where(column.in_(part)))).all()
    return rows


async def _scalars(
    connection: AsyncConnection, statement: Select[Any], column: ColumnElement[Any], values: Collection[Any]
) -> list[Any]:
    return [row[0] for row in await _fetch(connection, statement, column, values)]


def _parts(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    return (values[start : start + _AT_ONCE] for start in range(0, len(values), _AT_ONCE))


async def _intents_by_id(connection: AsyncConnection, ids: Collection[int]) -> dict[int, KnownIntent]:
    columns = select(
        *(
            intents.c[name]
            for name in ("id", "key", "source", "loss", "state", "reason", "trigger", "fingerprint")
        ),
        *(intents.c[name] for name in ("identity", "due_at", "alarm", "alarm_reason")),
        intents.c.content.label("held"),
    ).with_for_update()
    rows = await _fetch(connection, columns, intents.c.id, ids)
    return {row.id: KnownIntent(**{**row._mapping, "state": State(row.state)}) for row in rows}


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
    )
