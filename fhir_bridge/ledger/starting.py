"""Committing attempts: the last look at the ledger before a byte is sent (delivery)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, and_, exists, func, literal, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from fhir_bridge.ledger.blocking import is_blocked
from fhir_bridge.ledger.many import insert_many
from fhir_bridge.ledger.pacing import go_ahead, took
from fhir_bridge.ledger.records import Refusal, StartPatient, StartTask, Written
from fhir_bridge.ledger.states import PatientState, State
from fhir_bridge.ledger.stopping import is_stopped
from fhir_bridge.ledger.tables import Instant, attempts, intents, patients, pauses

LOST = Written(done=False, refusal=Refusal.LOST)
Start = TypeVar("Start", StartPatient, StartTask)


async def start_tasks(connection: AsyncConnection, starts: Sequence[StartTask]) -> list[Written]:
    """Make each intent `sending` if it is still ours, nobody blocked it and its lane was not called since
    the gap. As many as the pace lets through now; the others are told when to come again.
    """
    paced = await go_ahead(connection, starts)
    numbers = await _begin_tasks(connection, paced.going)
    await took(connection, paced, len(numbers))
    refusals = await _why_not(connection, [s for s in paced.going if s.claimed.id not in numbers])
    refusals |= paced.refusals()
    return [
        Written(True, number) if (number := numbers.get(start.claimed.id)) else refusals[start.claimed.id]
        for start in starts
    ]


async def _begin_tasks(connection: AsyncConnection, starts: Sequence[StartTask]) -> dict[int, int]:
    """The intents whose attempt is committed, each with its number."""
    numbers: dict[int, int] = {}
    for token, ours in _by_token(starts).items():
        at = max(start.at for start in ours)
        gap_since = min(start.gap_since for start in ours)
        statement = (
            update(intents)
            .where(intents.c.id.in_([start.claimed.id for start in ours]), _still_ours(token, at))
            .where(~is_blocked(), ~is_stopped(), ~_is_paused(), ~_called_since(gap_since))
            .where(
                exists().where(
                    patients.c.id == intents.c.patient_id, patients.c.state == PatientState.CREATED
                )
            )
            .values(
                state=State.SENDING,
                reason=None,
                lease_until=max(start.lease_until for start in ours),
                tries=intents.c.tries + 1,
                first_attempt_at=func.coalesce(intents.c.first_attempt_at, literal(at, Instant)),
                called_at=at,
                changed_at=at,
            )
            .returning(intents.c.id, intents.c.tries)
        )
        begun = {row.id: row.tries for row in await connection.execute(statement)}
        await _note_attempts(connection, "create_task", "intent_id", begun, at)
        numbers |= begun
    return numbers


async def start_patients(connection: AsyncConnection, starts: Sequence[StartPatient]) -> list[Written]:
    """Make each patient `creating` if still new, and their intent still ours and callable."""
    numbers: dict[int, int] = {}
    for token, ours in _by_token(starts).items():
        at = max(start.at for start in ours)
        callable_intent = exists().where(
            intents.c.patient_id == patients.c.id,
            intents.c.id.in_([start.claimed.id for start in ours]),
            _still_ours(token, at),
            ~is_blocked(),
            ~is_stopped(),
            ~_is_paused(),
        )
        statement = (
            update(patients)
            .where(patients.c.id.in_([start.claimed.patient.id for start in ours]))
            .where(patients.c.state == PatientState.NEW, callable_intent)
            .values(
                state=PatientState.CREATING,
                tries=patients.c.tries + 1,
                lease_token=token,
                lease_until=max(start.lease_until for start in ours),
                changed_at=at,
            )
            .returning(patients.c.id, patients.c.tries)
        )
        begun = {row.id: row.tries for row in await connection.execute(statement)}
        await _note_attempts(connection, "create_patient", "patient_id", begun, at)
        numbers |= begun
    refusals = await _why_not(connection, [s for s in starts if s.claimed.patient.id not in numbers])
    answers = []
    for start in starts:
        # Two intents of one new patient in one batch: the first creates, the other waits.
        number = numbers.pop(start.claimed.patient.id, None)
        answers.append(Written(True, number) if number else refusals.get(start.claimed.id, LOST))
    return answers


def _by_token(starts: Iterable[Start]) -> dict[str, list[Start]]:
    grouped: dict[str, list[Start]] = defaultdict(list)
    for start in starts:
        grouped[start.claimed.token].append(start)
    return grouped


def _still_ours(token: str, at: datetime) -> ColumnElement[bool]:
    return and_(intents.c.state == State.READY, intents.c.lease_token == token, intents.c.lease_until > at)


def _is_paused() -> ColumnElement[bool]:
    return exists().where(pauses.c.source.in_(["", intents.c.source]))


def _called_since(since: datetime) -> ColumnElement[bool]:
    other = intents.alias("other")
    return exists().where(
        other.c.lane == intents.c.lane, other.c.called_at > since, other.c.id != intents.c.id
    )


async def _note_attempts(
    connection: AsyncConnection, call: str, of: str, begun: dict[int, int], at: datetime
) -> None:
    if begun:
        rows = [
            {of: row_id, "call": call, "number": number, "started_at": at} for row_id, number in begun.items()
        ]
        await insert_many(connection, attempts, rows)


async def _why_not(connection: AsyncConnection, refused: Sequence[Start]) -> dict[int, Written]:
    """Why each attempt was not committed: blocked, stopped, paused, called too recently, or no longer
    ours."""
    if not refused:
        return {}
    ids = [start.claimed.id for start in refused]
    other = intents.alias("other")
    last_called = (
        select(func.max(other.c.called_at))
        .where(other.c.lane == intents.c.lane, other.c.id != intents.c.id)
        .scalar_subquery()
    )
    statement = select(
        intents.c.id,
        is_blocked().label("is_blocked"),
        is_stopped().label("is_stopped"),
        _is_paused().label("is_paused"),
        last_called.label("called_at"),
    )
    rows = {row.id: row for row in await connection.execute(statement.where(intents.c.id.in_(ids)))}
    return {start.claimed.id: _refusal(start, rows[start.claimed.id]) for start in refused}


def _refusal(start: StartPatient | StartTask, row: Any) -> Written:
    if row.is_blocked:
        return Written(done=False, refusal=Refusal.BLOCKED)
    if row.is_stopped:
        return Written(done=False, refusal=Refusal.STOPPED)
    if row.is_paused:
        return Written(done=False, refusal=Refusal.PAUSED)
    if isinstance(start, StartTask) and row.called_at and row.called_at > start.gap_since:
        return Written(done=False, refusal=Refusal.RECENTLY_CALLED, called_at=row.called_at)
    return LOST
