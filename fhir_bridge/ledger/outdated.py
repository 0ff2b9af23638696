"""What came after something newer and was left aside: counted by trigger, so that nothing goes without a
trace."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Insert, Row, func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from fhir_bridge.ledger.many import execute_many
from fhir_bridge.ledger.records import Accepted, Arrival, Change
from fhir_bridge.ledger.tables import outdated
from fhir_bridge.ledger.upserts import inserting


async def note(connection: AsyncConnection, taken: Iterable[tuple[Arrival, Accepted]], now: datetime) -> None:
    """Count what was older, and keep which version the last of each trigger was."""
    rows: list[dict[str, Any]] = []
    for arrival, accepted in taken:
        if accepted.change is Change.OLDER:
            subject = arrival.decision.subject
            rows.append(
                {
                    "source": arrival.source,
                    "trigger": subject.trigger,
                    "count": 1,
                    "version_id": subject.version_id,
                    "last_updated": subject.last_updated,
                    "last_at": now,
                }
            )
    if rows:
        await execute_many(connection, _counting(connection.dialect.name), rows)


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
