"""What came after something newer and was left aside: counted by trigger, or record of a person, so that
nothing goes without a trace."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Insert, Row, func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from fhir_bridge.ledger.database.many import execute_many
from fhir_bridge.ledger.database.tables import outdated
from fhir_bridge.ledger.database.upserts import inserting
from fhir_bridge.ledger.records import Accepted, Arrival, Change, Heard
from fhir_bridge.mapping.decision import Subject
from fhir_bridge.mapping.statements import Statement


async def note(connection: AsyncConnection, taken: Iterable[tuple[Arrival, Accepted]], now: datetime) -> None:
    """Count what was older, and keep which version the last of each trigger was."""
    older = ((a.source, a.decision.subject) for a, accepted in taken if accepted.change is Change.OLDER)
    rows = [_row(source, subject.trigger, subject, now) for source, subject in older]
    if rows:
        await execute_many(connection, _counting(connection.dialect.name), rows)


async def note_records(connection: AsyncConnection, older: Iterable[Heard], now: datetime) -> None:
    """Count what was older of records that speak of a person, each by its own name."""
    rows = [_row(each.source, each.statement.record, each.statement, now) for each in older]
    if rows:
        await execute_many(connection, _counting(connection.dialect.name), rows)


def _row(source: str, name: str, said: Subject | Statement, now: datetime) -> dict[str, Any]:
    version = {"version_id": said.version_id, "last_updated": said.last_updated}
    return {"source": source, "trigger": name, "count": 1, **version, "last_at": now}


@cache
def _counting(dialect: str) -> Insert:
    new = inserting(dialect, outdated)
    said = {name: new.excluded[name] for name in ("version_id", "last_updated", "last_at")}
    more = outdated.c.count + new.excluded.count
    return new.on_conflict_do_update(index_elements=["source", "trigger"], set_={"count": more, **said})


async def by_source(connection: AsyncConnection) -> dict[str, int]:
    """How many versions of each source were left aside."""
    counts = select(outdated.c.source, func.sum(outdated.c.count)).group_by(outdated.c.source)
    return {source: int(count) for source, count in await connection.execute(counts)}


async def of(connection: AsyncConnection, places: Collection[tuple[str, str]]) -> Sequence[Row[Any]]:
    """What was left aside of these triggers, each with its source."""
    here = tuple_(outdated.c.source, outdated.c.trigger).in_(places)
    found: Sequence[Row[Any]] = (await connection.execute(select(outdated).where(here))).all()
    return found
