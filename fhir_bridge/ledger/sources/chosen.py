"""Messages that somebody chooses: processed again, settled, or read once more."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from fhir_bridge.ledger.database.tables import in_state, inbox
from fhir_bridge.ledger.sources.inbox import FREE, message_of
from fhir_bridge.ledger.sources.messages import FILE, Message, MessageSelection, MessageState

_IS_MESSAGE = inbox.c.method.is_not(None)
_WAS_SENT = inbox.c.method != FILE
"""Of what stands for a record of a file there is nothing to process."""


async def retry(connection: AsyncConnection, selection: MessageSelection, now: datetime) -> int:
    """Have failed messages processed again, from the first try on; gives how many. One whose body retention
    has cleared stays as it is."""
    statement = (
        update(inbox)
        .where(*_matching(selection), in_state(inbox, MessageState.FAILED), inbox.c.body.is_not(None))
        .values(state=MessageState.RECEIVED, error=None, due_at=now, tries=0, changed_at=now, **FREE)
    )
    return (await connection.execute(statement)).rowcount


async def settle_failed(
    connection: AsyncConnection, selection: MessageSelection, now: datetime
) -> list[tuple[str, int]]:
    """Take failed messages off the work list, each with its reason still; gives sources and ids."""
    statement = (
        update(inbox)
        .where(*_matching(selection), in_state(inbox, MessageState.FAILED))
        .values(state=MessageState.PROCESSED, changed_at=now, **FREE)
        .returning(inbox.c.source, inbox.c.id)
    )
    return [(row.source, row.id) for row in await connection.execute(statement)]


async def read(
    connection: AsyncConnection, selection: MessageSelection, after: int, limit: int
) -> list[Message]:
    """The next messages after that id, in their order; nothing is leased."""
    statement = select(inbox).where(*_matching(selection), _WAS_SENT, inbox.c.id > after)
    rows = await connection.execute(statement.order_by(inbox.c.id).limit(limit))
    return [message_of(row) for row in rows]


def _matching(selection: MessageSelection) -> Iterable[ColumnElement[bool]]:
    yield _IS_MESSAGE
    for column in ("id", "source", "state", "error"):
        if (value := getattr(selection, column)) is not None:
            yield inbox.c[column] == value
    if selection.since is not None:
        yield inbox.c.received_at >= selection.since
    if selection.until is not None:
        yield inbox.c.received_at < selection.until
