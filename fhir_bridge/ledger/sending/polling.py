"""Tasks under way: which to read back now, and what they became (delivery, `sent --> done`)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import and_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from fhir_bridge.ledger.database.given import by_row
from fhir_bridge.ledger.database.tables import in_state, intents
from fhir_bridge.ledger.records import ReadBack, Sent
from fhir_bridge.ledger.states import State


async def take(connection: AsyncConnection, now: datetime, again_at: datetime, limit: int) -> list[Sent]:
    """The tasks to read back now; each is put off until `again_at`, so that no other worker asks as well."""
    due = (
        select(intents.c.id)
        .where(in_state(intents, State.SENT), intents.c.poll_at <= now)
        .order_by(intents.c.poll_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    statement = (
        update(intents)
        .where(intents.c.id.in_(due), by_row(and_(in_state(intents, State.SENT), intents.c.poll_at <= now)))
        .values(poll_at=again_at)
        .returning(intents.c.id, intents.c.key, intents.c.task_id)
    )
    return [Sent(row.id, row.key, row.task_id) for row in await connection.execute(statement)]


async def record(connection: AsyncConnection, read: Sequence[ReadBack], now: datetime) -> None:
    """Keep what the endpoint shows of each task; one that is final is done."""
    for item in read:
        values: dict[str, Any] = {
            # PostgreSQL keeps no U+0000, and one task's must not hold up the others'.
            "remote_status": item.status.replace("\0", "\ufffd"),
            "remote_outcome": None if item.outcome is None else item.outcome.encode(),
        }
        if item.final:
            values |= {"state": State.DONE, "reason": None, "poll_at": None, "changed_at": now}
        statement = update(intents).where(
            intents.c.id == item.sent.id,
            intents.c.state == State.SENT,
            intents.c.task_id == item.sent.task_id,
        )
        await connection.execute(statement.values(**values))
