"""Messages in the ledger: kept before their sender is answered, processed afterwards (delivery, "One ledger
for every way in").

A source's messages are taken up in the order in which they came and by one processor at a time, for where no
version orders two contents of a resource the later message counts; sources go side by side. One that had to
wait, or is tried again, `is_late`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cache
from hashlib import blake2b
from typing import Any

from sqlalchemy import ColumnElement, Update, bindparam, func, literal, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from fhir_bridge.ledger.arrivals import outdated
from fhir_bridge.ledger.database.locks import Lock, hold
from fhir_bridge.ledger.database.many import execute_many, insert_at_once
from fhir_bridge.ledger.database.tables import destination, in_state, inbox
from fhir_bridge.ledger.sources.messages import (
    Held,
    InboxLag,
    Message,
    MessageState,
    Received,
    Settled,
    Take,
    TakenOverError,
)

SAME_DELIVERY = timedelta(hours=24)
"""How long a delivery is remembered: the same one with the same body is kept once (intake, section 1)."""

FREE: dict[str, Any] = {"lease_token": None, "lease_until": None}
_RECEIVED = in_state(inbox, MessageState.RECEIVED)


def asks_nothing(batch: Sequence[Received]) -> bool:
    """Whether no delivery of a batch may be known already: then `store` is one statement."""
    return all(message.delivery_id is None for message in batch)


async def store(connection: AsyncConnection, batch: Sequence[Received], salt: bytes) -> list[bool]:
    """Keep every message; one answer each, False where it is a delivery that is kept already."""
    digests = [digest_of(message.body, salt) for message in batch]
    seen = await _deliveries(connection, batch)
    rows: list[dict[str, Any]] = []
    answers = []
    for message, digest in zip(batch, digests, strict=True):
        place = (message.source, message.delivery_id, digest)
        is_new = message.delivery_id is None or place not in seen
        answers.append(is_new)
        if is_new:
            seen.add(place)
            rows.append(_row(message, digest))
    await insert_at_once(connection, inbox, rows)
    return answers


def digest_of(body: bytes, salt: bytes) -> bytes:
    """Of the plain text and keyed, as all that the ledger compares."""
    return blake2b(body, key=salt[:64], digest_size=16).digest()


def _row(message: Received, digest: bytes) -> dict[str, Any]:
    return {
        "source": message.source,
        "delivery_id": message.delivery_id,
        "body": message.body,
        "received_at": message.received_at,
        "due_at": message.received_at,
        "state": MessageState.RECEIVED.value,
        "method": message.method,
        "path": message.path,
        "deleted": message.deleted,
        "digest": digest,
    }


async def _deliveries(
    connection: AsyncConnection, batch: Sequence[Received]
) -> set[tuple[str, str | None, bytes]]:
    """Which of these deliveries are known, by source, delivery id and digest."""
    if asks_nothing(batch):
        return set()
    named = [message for message in batch if message.delivery_id is not None]
    since = min(message.received_at for message in named) - SAME_DELIVERY
    statement = select(inbox.c.source, inbox.c.delivery_id, inbox.c.digest).where(
        inbox.c.source.in_({message.source for message in named}),
        inbox.c.delivery_id.in_({message.delivery_id for message in named}),
        inbox.c.received_at >= since,
        inbox.c.digest.is_not(None),
    )
    return {(row.source, row.delivery_id, bytes(row.digest)) for row in await connection.execute(statement)}


async def take(connection: AsyncConnection, asked: Take) -> list[Message]:
    """Lease the oldest due messages, in their order; none of a source that another processor is at."""
    await hold(connection, Lock.INBOX)
    ids = await _first_due(connection, asked)
    if not ids:
        return []
    statement = (
        update(inbox)
        .where(inbox.c.id.in_(ids), *_takeable(asked.now))
        .values(lease_token=asked.token, lease_until=asked.lease_until, tries=inbox.c.tries + 1)
        .returning(inbox)
    )
    rows = (await connection.execute(statement)).all()
    return sorted(map(message_of, rows), key=lambda message: message.id)


async def _first_due(connection: AsyncConnection, asked: Take) -> list[int]:
    """Their ids, until `limit` or `size` is reached; at least one, however large it is."""
    other = inbox.alias("other")
    busy = (
        select(literal(1))
        .where(
            other.c.source == inbox.c.source,
            other.c.lease_until > asked.now,
            in_state(other, MessageState.RECEIVED),
        )
        .exists()
    )
    statement = (
        select(inbox.c.id, func.coalesce(func.length(inbox.c.body), 0).label("size"))
        .where(*_takeable(asked.now), ~busy)
        .order_by(inbox.c.id)
        .limit(asked.limit)
        .with_for_update(skip_locked=True)
    )
    ids: list[int] = []
    left = asked.size
    for row in await connection.execute(statement):
        left -= row.size
        if ids and left < 0:
            break
        ids.append(row.id)
    return ids


def _takeable(now: datetime) -> tuple[ColumnElement[bool], ...]:
    free = or_(inbox.c.lease_until.is_(None), inbox.c.lease_until <= now)
    # One that nobody tried yet is due at once, though the clock was put back since it came.
    return _RECEIVED, or_(inbox.c.due_at <= now, inbox.c.tries == 0), free


def message_of(row: Any) -> Message:
    """A row as who processes it has it."""
    return Message(
        id=row.id,
        source=row.source,
        body=row.body,
        received_at=row.received_at,
        method=row.method,
        path=row.path,
        deleted=row.deleted,
        state=MessageState(row.state),
        error=row.error,
        tries=row.tries,
        is_late=row.changed_at is not None,
    )


async def settle(connection: AsyncConnection, token: str, settled: Sequence[Settled], now: datetime) -> int:
    """Write down what became of messages that are still leased under this token; gives how many were."""
    rows = [
        {
            "of_id": each.id,
            "of_token": token,
            "now_state": each.state,
            "now_error": each.error,
            "now_due": each.due_at,
            "now_changed": now,
        }
        for each in settled
    ]
    return await execute_many(connection, _settling(), rows) if rows else 0


@cache
def _settling() -> Update:
    # execute_many keeps what it compiled by the statement, so there is one.
    return (
        update(inbox)
        .where(inbox.c.id == bindparam("of_id"), inbox.c.state == bindparam("was", "received"))
        .where(inbox.c.lease_token == bindparam("of_token"))
        .values(
            state=bindparam("now_state"),
            error=bindparam("now_error"),
            due_at=bindparam("now_due"),
            changed_at=bindparam("now_changed"),
            **FREE,
        )
    )


async def demand_held(connection: AsyncConnection, held: Held) -> None:
    """Keep messages from being taken by another until the commit. Raises TakenOverError where one was."""
    ours = select(inbox.c.id).where(_RECEIVED, inbox.c.lease_token == held.token, inbox.c.id.in_(held.ids))
    found = (await connection.execute(ours.with_for_update())).all()
    if len(found) < len(set(held.ids)):
        raise TakenOverError


async def renew(connection: AsyncConnection, token: str, until: datetime) -> int:
    """Hold what was taken under this token, and not settled, until then; gives how many."""
    statement = update(inbox).where(_RECEIVED, inbox.c.lease_token == token)
    return (await connection.execute(statement.values(lease_until=until))).rowcount


async def release(connection: AsyncConnection, token: str) -> int:
    """Give back what was taken under this token and not settled; gives how many."""
    statement = update(inbox).where(_RECEIVED, inbox.c.lease_token == token)
    # Whoever gives it back did not end over it.
    return (await connection.execute(statement.values(tries=inbox.c.tries - 1, **FREE))).rowcount


async def touch(connection: AsyncConnection) -> None:
    """Write something that changes nothing: a full disk or a read-only database shows by it."""
    await connection.execute(update(destination).values(id=destination.c.id))


async def lag(connection: AsyncConnection, source: str | None = None) -> InboxLag:
    """What waits, what failed and what was left aside, of a source or of all."""
    waiting = select(func.count(), func.min(inbox.c.received_at)).where(_RECEIVED)
    failed = select(func.count()).where(in_state(inbox, MessageState.FAILED))
    if source is not None:
        waiting, failed = waiting.where(inbox.c.source == source), failed.where(inbox.c.source == source)
    count, oldest = (await connection.execute(waiting)).one()
    aside = await outdated.by_source(connection)
    left = sum(aside.values()) if source is None else aside.get(source, 0)
    return InboxLag(count, (await connection.execute(failed)).scalar_one(), oldest, left)


async def is_unread(connection: AsyncConnection, source: str, before: datetime) -> bool:
    """Whether a message of the source that came before waits to be processed for the first time. One that is
    tried again, since its source's server does not answer, holds nothing up."""
    waits = select(literal(1)).where(
        _RECEIVED, inbox.c.source == source, inbox.c.error.is_(None), inbox.c.received_at <= before
    )
    return (await connection.execute(waits.limit(1))).first() is not None


async def next_due(connection: AsyncConnection) -> datetime | None:
    """When the next message may be processed, taken up or not; None when none waits."""
    found: datetime | None = (
        await connection.execute(select(func.min(inbox.c.due_at)).where(_RECEIVED))
    ).scalar()
    return found
