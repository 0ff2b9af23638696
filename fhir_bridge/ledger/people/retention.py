"""How long payloads are kept: cleared when what they were for is over; keys and states stay (delivery,
"Operating it").
"""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    String,
    Update,
    and_,
    bindparam,
    case,
    exists,
    func,
    literal,
    null,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from fhir_bridge.ledger.arrivals.sameness import fingerprint
from fhir_bridge.ledger.database.many import execute_many
from fhir_bridge.ledger.database.tables import Instant, in_state, inbox, intents, patients, triggers
from fhir_bridge.ledger.records import Cleared
from fhir_bridge.ledger.states import PatientState, State

CLEARED = "payloads-cleared"
"""The alarm, and the reason of what can no longer be sent."""

FINISHED = (State.DONE, State.SKIPPED, State.REJECTED, State.REFUSED, State.CANCELLED)

WHATEVER_THE_STATE = 4
"""After so many times the period nothing is kept, finished or not."""

ROWS_AT_ONCE = 5_000
"""Rows looked at in one transaction: workers go on between two."""

Place = tuple[str, str]
"""A source, and a trigger of it."""

FIRST: Place = ("", "")
"""Before every trigger."""


async def clear_intents(
    connection: AsyncConnection, now: datetime, keep: timedelta, after: int
) -> tuple[Cleared, int | None]:
    """Clear the next rows after that id; also gives where to go on, None at the end."""
    rows = (
        await connection.execute(
            select(intents.c.id, intents.c.state, _holds_payload().label("holds"), intents.c.changed_at)
            .where(intents.c.id > after)
            .order_by(intents.c.id)
            .limit(ROWS_AT_ONCE)
        )
    ).all()
    finished = [row.id for row in rows if row.holds and _is_over(row, now, keep) and row.state in FINISHED]
    unfinished = [
        row.id for row in rows if row.holds and _is_old(row, now, keep) and row.state not in FINISHED
    ]
    await _clear(connection, finished, now, keep)
    await _give_up(connection, unfinished, now, keep)
    cleared = Cleared(intents=len(finished) + len(unfinished), unfinished=len(unfinished))
    return cleared, rows[-1].id if len(rows) == ROWS_AT_ONCE else None


def _holds_payload() -> ColumnElement[bool]:
    held = (intents.c.content, intents.c.answer, intents.c.remote_outcome)
    of_trigger = exists().where(triggers.c.intent_id == intents.c.id, triggers.c.content.is_not(None))
    return or_(*(column.is_not(None) for column in held), of_trigger)


def _is_over(row: Any, now: datetime, keep: timedelta) -> bool:
    return bool(row.changed_at <= now - keep)


def _is_old(row: Any, now: datetime, keep: timedelta) -> bool:
    return bool(row.changed_at <= now - WHATEVER_THE_STATE * keep)


async def _clear(connection: AsyncConnection, ids: list[int], now: datetime, keep: timedelta) -> None:
    """Of what did not change since it was looked at."""
    if not ids:
        return
    statement = (
        update(intents)
        .where(intents.c.id.in_(ids), in_state(intents, *FINISHED), intents.c.changed_at <= now - keep)
        .values(content=None, answer=None, remote_outcome=None)
        .returning(intents.c.id)
    )
    await _clear_triggers(connection, set((await connection.execute(statement)).scalars()))


async def _give_up(connection: AsyncConnection, ids: list[int], now: datetime, keep: timedelta) -> None:
    """Nobody settled these: the state stays, but what was ready cannot be sent any more."""
    if not ids:
        return
    ready = in_state(intents, State.READY)
    old = intents.c.changed_at <= now - WHATEVER_THE_STATE * keep
    statement = (
        update(intents)
        .where(intents.c.id.in_(ids), ~in_state(intents, *FINISHED), old)
        .values(
            content=None,
            answer=None,
            remote_outcome=None,
            state=case((ready, State.PARKED.value), else_=intents.c.state),
            reason=case((ready, CLEARED), else_=intents.c.reason),
            due_at=case((ready, null()), else_=intents.c.due_at),
            lease_token=case((ready, null()), else_=intents.c.lease_token),
            alarm=func.coalesce(intents.c.alarm, CLEARED),
            alarm_at=func.coalesce(intents.c.alarm_at, literal(now, Instant)),
        )
        .returning(intents.c.id)
    )
    await _clear_triggers(connection, set((await connection.execute(statement)).scalars()))


async def _clear_triggers(connection: AsyncConnection, ids: set[int]) -> None:
    if ids:
        await connection.execute(update(triggers).where(triggers.c.intent_id.in_(ids)).values(content=None))


async def clear_alone(
    connection: AsyncConnection, now: datetime, keep: timedelta, after: Place
) -> tuple[int, Place | None]:
    """Clear the next Skips that stand alone, after that one; gives how many, and where to go on, None at the
    end.
    """
    place = (triggers.c.source, triggers.c.trigger)
    over = and_(
        triggers.c.intent_id.is_(None), triggers.c.content.is_not(None), triggers.c.changed_at <= now - keep
    )
    rows = (
        await connection.execute(
            select(*place)
            .where(over, tuple_(*place) > tuple_(*map(literal, after)))
            .order_by(*place)
            .limit(ROWS_AT_ONCE)
        )
    ).all()
    if rows:
        through = tuple_(*place) <= tuple_(*map(literal, rows[-1]))
        here = and_(over, tuple_(*place) > tuple_(*map(literal, after)), through)
        await connection.execute(update(triggers).where(here).values(content=None))
    return len(rows), (rows[-1].source, rows[-1].trigger) if len(rows) == ROWS_AT_ONCE else None


async def clear_patients(connection: AsyncConnection, now: datetime, keep: timedelta, salt: bytes) -> int:
    """Clear what the next patients were created with, when they are created or nobody's intent needs them;
    gives how many. Whom a request named can be told from somebody else afterwards, and not read.
    """
    needed = exists().where(intents.c.patient_id == patients.c.id, intents.c.content.is_not(None))
    over = or_(in_state(patients, PatientState.CREATED), ~needed)
    found = (
        select(patients.c.id, patients.c.request, patients.c.person)
        .where(or_(patients.c.request.is_not(None), patients.c.answer.is_not(None)))
        .where(patients.c.changed_at <= now - keep, over)
        .order_by(patients.c.id)
        .limit(ROWS_AT_ONCE)
        .with_for_update()
    )
    rows = [
        {"of_id": row.id, "person": fingerprint(row.request, salt) if row.request else row.person}
        for row in await connection.execute(found)
    ]
    return await execute_many(connection, _clearing(), rows) if rows else 0


@cache
def _clearing() -> Update:
    return (
        update(patients)
        .where(patients.c.id == bindparam("of_id"))
        .values(request=None, answer=None, person=bindparam("person", type_=String))
    )


async def clear_messages(connection: AsyncConnection, now: datetime, keep: timedelta) -> int:
    """Clear messages whose intents hold nothing any more, and all that are very old; gives how many."""
    held = exists().where(
        triggers.c.source == inbox.c.source,
        triggers.c.trigger == inbox.c.trigger,
        intents.c.id == triggers.c.intent_id,
        intents.c.content.is_not(None),
    )
    over = and_(inbox.c.state == "processed", inbox.c.received_at <= now - keep, ~held)
    old = inbox.c.received_at <= now - WHATEVER_THE_STATE * keep
    statement = update(inbox).where(inbox.c.body.is_not(None), or_(over, old)).values(body=None)
    return (await connection.execute(statement)).rowcount
