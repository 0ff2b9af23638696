"""Committing attempts: the last look at the ledger before a byte is sent (delivery)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, TypeVar

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Insert,
    Select,
    String,
    Table,
    Update,
    and_,
    bindparam,
    exists,
    func,
    insert,
    literal,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from fhir_bridge.errors import LedgerError
from fhir_bridge.ledger.blocking import is_blocked
from fhir_bridge.ledger.given import as_given, gathered, given, given_values, read_gathered
from fhir_bridge.ledger.many import run
from fhir_bridge.ledger.pacing import go_ahead, took
from fhir_bridge.ledger.records import Refusal, StartPatient, StartTask, Written
from fhir_bridge.ledger.states import PatientState, State
from fhir_bridge.ledger.stopping import is_stopped
from fhir_bridge.ledger.tables import Instant, attempts, intents, patients, pauses

LOST = Written(done=False, refusal=Refusal.LOST)
Start = TypeVar("Start", StartPatient, StartTask)

_TOKEN = bindparam("token", type_=String)
_AT = bindparam("at", type_=Instant)
_UNTIL = bindparam("until", type_=Instant)


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
    dialect = connection.dialect.name
    numbers: dict[int, int] = {}
    for token, ours in _by_token(starts).items():
        at = max(start.at for start in ours)
        ids = as_given((start.claimed.id,) for start in ours)
        begun = await run(
            connection,
            _begin_task(dialect),
            given=ids,
            token=token,
            at=at,
            until=max(start.lease_until for start in ours),
            gap_since=min(start.gap_since for start in ours),
        )
        numbers |= await _note_attempts(connection, _TASK, begun.rowcount, given=ids, token=token, at=at)
    return numbers


@lru_cache
def _begin_task(dialect: str) -> Update:
    is_created = exists().where(
        patients.c.id == intents.c.patient_id, patients.c.state == PatientState.CREATED
    )
    return (
        update(intents)
        .where(intents.c.id.in_(given_values(dialect)), _still_ours())
        .where(~is_blocked(), ~is_stopped(), ~_is_paused(), ~_called_since(), is_created)
        .values(
            state=State.SENDING,
            reason=None,
            lease_until=_UNTIL,
            tries=intents.c.tries + 1,
            first_attempt_at=func.coalesce(intents.c.first_attempt_at, _AT),
            called_at=_AT,
            changed_at=_AT,
        )
    )


async def start_patients(connection: AsyncConnection, starts: Sequence[StartPatient]) -> list[Written]:
    """Make each patient `creating` if still new, and their intent still ours and callable."""
    dialect = connection.dialect.name
    numbers: dict[int, int] = {}
    for token, ours in _by_token(starts).items():
        at = max(start.at for start in ours)
        ids = as_given((start.claimed.patient.id, start.claimed.id) for start in ours)
        until = max(start.lease_until for start in ours)
        begun = await run(connection, _begin_patient(dialect), given=ids, token=token, at=at, until=until)
        numbers |= await _note_attempts(connection, _PATIENT, begun.rowcount, given=ids, token=token, at=at)
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


@lru_cache
def _begin_patient(dialect: str) -> Update:
    of = given(dialect, patient=BigInteger, intent=BigInteger)
    callable_intent = exists().where(
        intents.c.patient_id == patients.c.id,
        intents.c.id.in_(select(of["intent"])),
        _still_ours(),
        ~is_blocked(),
        ~is_stopped(),
        ~_is_paused(),
    )
    return (
        update(patients)
        .where(patients.c.id.in_(select(of["patient"])))
        .where(patients.c.state == PatientState.NEW, callable_intent)
        .values(
            state=PatientState.CREATING,
            tries=patients.c.tries + 1,
            lease_token=_TOKEN,
            lease_until=_UNTIL,
            changed_at=_AT,
        )
    )


def _still_ours() -> ColumnElement[bool]:
    return and_(intents.c.state == State.READY, intents.c.lease_token == _TOKEN, intents.c.lease_until > _AT)


def _is_paused() -> ColumnElement[bool]:
    return exists().where(pauses.c.source.in_(["", intents.c.source]))


def _called_since() -> ColumnElement[bool]:
    other = intents.alias("other")
    return exists().where(
        other.c.lane == intents.c.lane,
        other.c.called_at > bindparam("gap_since", type_=Instant),
        other.c.id != intents.c.id,
    )


@dataclass(frozen=True, slots=True)
class _Call:
    """A kind of call: whose row is `begun` by it, and in which column an attempt names that row."""

    name: str
    table: Table
    begun: State | PatientState
    of: str


_TASK = _Call("create_task", intents, State.SENDING, "intent_id")
_PATIENT = _Call("create_patient", patients, PatientState.CREATING, "patient_id")


async def _note_attempts(
    connection: AsyncConnection, call: _Call, begun: int, *, given: str, token: str, at: datetime
) -> dict[int, int]:
    """Write down so many attempts as were begun; gives the number of each by the row's id.

    Those rows are begun, and ours, that were given and were not before: none is given that was begun already.
    Raises LedgerError where there are more of them, for then nobody knows which.
    """
    if not begun:
        return {}
    dialect = connection.dialect.name
    noted = await run(connection, _note(dialect, call), given=given, token=token, at=at)
    numbers = await run(connection, _numbers(dialect, call), given=given, token=token)
    found = dict(read_gathered(numbers.scalar()))
    if not begun == noted.rowcount == len(found):
        raise LedgerError("attempts were begun that nobody asked for", code="ledger-refused")
    return found


@lru_cache
def _note(dialect: str, call: _Call) -> Insert:
    begun = _begun(dialect, call, call.table.c.id, literal(call.name), call.table.c.tries, _AT)
    return insert(attempts).from_select([call.of, "call", "number", "started_at"], begun)


@lru_cache
def _numbers(dialect: str, call: _Call) -> Select[Any]:
    return _begun(dialect, call, gathered(dialect, call.table.c.id, call.table.c.tries))


def _begun(dialect: str, call: _Call, *columns: Any) -> Select[Any]:
    of = call.table.c
    return select(*columns).where(
        of.id.in_(given_values(dialect)), of.state == call.begun, of.lease_token == _TOKEN
    )


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
