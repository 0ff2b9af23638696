"""What an outcome makes of an intent or a patient, and giving back what was not sent (delivery).

Long because each outcome has a statement of its own, for both databases.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Integer,
    String,
    Table,
    Update,
    and_,
    bindparam,
    case,
    func,
    or_,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from fhir_bridge.ledger.arrivals import intake
from fhir_bridge.ledger.arrivals.deciding import RETRY
from fhir_bridge.ledger.database.asking import Answers, Told
from fhir_bridge.ledger.database.given import as_given, by_row, given
from fhir_bridge.ledger.database.many import ask, execute_many
from fhir_bridge.ledger.database.tables import attempts, intents, microseconds, patients
from fhir_bridge.ledger.people import crosswalk
from fhir_bridge.ledger.records import (
    Defer,
    Park,
    PatientAgain,
    Refusal,
    SettlePatient,
    SettleTask,
    TaskAgain,
    Written,
)
from fhir_bridge.ledger.sending import destination
from fhir_bridge.ledger.states import PatientState, State
from fhir_bridge.task_api.outcome import Outcome, OutcomeClass

DONE = Written(done=True)
KEY_REFUSED = "key-refused"
ALSO_SENT = "also-sent"
"""The alarm for a task that the endpoint has besides what the ledger says; its reason is the task's id."""

STATE_AFTER = {
    OutcomeClass.ACCEPTED: State.SENT,
    OutcomeClass.NOT_PROCESSED: State.READY,
    OutcomeClass.KEY_REFUSED: State.READY,
    OutcomeClass.UNKNOWN: State.IN_DOUBT,
    OutcomeClass.REFUSED: State.REFUSED,
}
PATIENT_STATE_AFTER = {
    OutcomeClass.ACCEPTED: PatientState.CREATED,
    OutcomeClass.NOT_PROCESSED: PatientState.NEW,
    OutcomeClass.KEY_REFUSED: PatientState.NEW,
    OutcomeClass.UNKNOWN: PatientState.IN_DOUBT,
    OutcomeClass.REFUSED: PatientState.REFUSED,
}
_PROCESSED = (OutcomeClass.ACCEPTED, OutcomeClass.UNKNOWN)
_FREE: dict[str, Any] = {"lease_token": None, "lease_until": None}
_MICROSECOND = timedelta(microseconds=1)

_ROW = ("id", "number", "changed_at", "said")
"""What the row of a settlement begins with: whose attempt, when, and whether the endpoint said something."""


@lru_cache
def _settle_task(dialect: str) -> Update:
    of = given(
        dialect,
        **dict.fromkeys(_ROW, BigInteger),
        token=String,
        state=String,
        reason=String,
        due_at=BigInteger,
        poll_at=BigInteger,
        task_id=String,
        processed=Integer,
    )
    taken = ("state", "reason", "due_at", "poll_at", "task_id", "changed_at")
    return (
        update(intents)
        .where(intents.c.id == of["id"], intents.c.tries == of["number"])
        .where(by_row(and_(intents.c.state == State.SENDING, intents.c.lease_token == of["token"])))
        .values(
            **{name: of[name] for name in taken},
            answer=_as_said(intents, of),
            # Certainly nobody was phoned: the number counts as not called.
            called_at=case((of["processed"] == 1, intents.c.called_at), else_=None),
            **_FREE,
        )
    )


_LATE = {
    "id": BigInteger,
    "number": BigInteger,
    "task_id": String,
    "poll_at": BigInteger,
    "started_at": BigInteger,
    "at": BigInteger,
}


@lru_cache
def _settle_late(dialect: str) -> Update:
    """In doubt, or to be sent again and not begun yet: whatever claim there is on it is void."""
    of = given(dialect, **_LATE)
    return (
        update(intents)
        .where(intents.c.id == of["id"], intents.c.tries == of["number"])
        .where(by_row(or_(intents.c.state == State.IN_DOUBT, intents.c.state == State.READY)))
        .values(state=State.SENT, reason=None, due_at=None, called_at=of["started_at"], **_FREE)
        .values(task_id=of["task_id"], poll_at=of["poll_at"], changed_at=of["at"])
    )


@lru_cache
def _alarm_also_sent(dialect: str) -> Update:
    """Where it is sent as another task by now, or sent again, or given up."""
    of = given(dialect, **_LATE)
    return (
        update(intents)
        .where(intents.c.id == of["id"], func.coalesce(intents.c.task_id, "") != of["task_id"])
        .values(alarm=ALSO_SENT, alarm_reason=of["task_id"], alarm_at=of["at"])
    )


@lru_cache
def _settle_patient(dialect: str, state: PatientState) -> Update:
    of = given(
        dialect,
        **dict.fromkeys(_ROW, BigInteger),
        state=String,
        api_id=String,
        error=String,
        due_at=BigInteger,
    )
    taken = ("state", "api_id", "error", "due_at", "changed_at")
    return (
        update(patients)
        .where(patients.c.id == of["id"], patients.c.tries == of["number"], _may_settle(state))
        .values(**{name: of[name] for name in taken}, answer=_as_said(patients, of), **_FREE)
    )


def _may_settle(state: PatientState) -> ColumnElement[bool]:
    """Somebody else is under that identity by now: an answer about the former tells nothing of them."""
    return by_row(and_(patients.c.state == state, func.coalesce(patients.c.error, "") != crosswalk.CHANGED))


def _as_said(table: Table, of: dict[str, ColumnElement[Any]]) -> ColumnElement[bytes]:
    """What `_keep_answers` wrote, where the endpoint said something."""
    return case((of["said"] == 1, table.c.answer), else_=None)


@lru_cache
def _finish_attempt(dialect: str, call: str) -> Update:
    of = given(
        dialect,
        id=BigInteger,
        number=BigInteger,
        finished_at=BigInteger,
        status=Integer,
        outcome=String,
        error=String,
        latency_us=BigInteger,
    )
    row = attempts.c.intent_id if call == "create_task" else attempts.c.patient_id
    taken = ("finished_at", "status", "outcome", "error", "latency_us")
    return (
        update(attempts)
        .where(row == of["id"], attempts.c.number == of["number"])
        .values({name: of[name] for name in taken})
    )


@lru_cache
def _give_back(dialect: str) -> Update:
    of = given(
        dialect, id=BigInteger, token=String, state=String, due_at=BigInteger, reason=String, at=BigInteger
    )
    return (
        update(intents)
        .where(intents.c.id == of["id"])
        .where(by_row(and_(intents.c.state == State.READY, intents.c.lease_token == of["token"])))
        .values(state=of["state"], due_at=of["due_at"], reason=of["reason"], changed_at=of["at"], **_FREE)
    )


_KEEP_TASK_ANSWER = (
    update(intents)
    .where(intents.c.id == bindparam("of_id"), intents.c.tries == bindparam("of_number"))
    .where(intents.c.state == State.SENDING, intents.c.lease_token == bindparam("of_token"))
    .values(answer=bindparam("said"))
)
_KEEP_PATIENT_ANSWER = {
    state: update(patients)
    .where(patients.c.id == bindparam("of_id"), patients.c.tries == bindparam("of_number"))
    .where(_may_settle(state))
    .values(answer=bindparam("said"))
    for state in (PatientState.CREATING, PatientState.IN_DOUBT, PatientState.NEW)
}
"""What the endpoint said in its own words may be encrypted, so it is no JSON; where all goes well it says
nothing."""


async def settle_tasks(connection: AsyncConnection, settled: Sequence[SettleTask]) -> Answers:
    """Settle each intent if it is still sending under this attempt.

    One whose lease ran out is in doubt by now: the answer that came late shows the task, so an accepted one
    is sent after all, also where somebody had it sent again and nobody has yet. Where it was settled
    otherwise that is an alarm. Any other answer is kept with the attempt and left to the operator.
    """
    said = [
        {
            "of_id": i.claimed.id,
            "of_number": i.number,
            "of_token": i.claimed.token,
            "said": i.outcome.detail.encode(),
        }
        for i in settled
        if i.outcome.detail is not None
    ]
    if said:
        await execute_many(connection, _KEEP_TASK_ANSWER, said)
    rows = as_given(map(_task_row, settled))
    dialect = connection.dialect.name
    written = await ask(connection, _settle_task(dialect), given=rows)
    await finish_attempts(connection, "create_task", [(item.claimed.id, item) for item in settled])

    async def answers() -> list[Written]:
        late = [item for item in settled if STATE_AFTER[item.outcome.kind] is State.SENT]
        if written.rowcount < len(settled) and late:
            rows_late = as_given(map(_late_row, late))
            for statement in (_settle_late(dialect), _alarm_also_sent(dialect)):
                await ask(connection, statement, given=rows_late)
        await _catch_up(connection, [i for i in settled if STATE_AFTER[i.outcome.kind] is State.READY])
        return [DONE] * len(settled)

    return answers


async def _catch_up(connection: AsyncConnection, returned: Sequence[SettleTask]) -> None:
    """What is ready again was perhaps revoked or changed while it was being sent: nobody was called yet, so
    it goes by that now, and there is nobody to tell.
    """
    if not returned:
        return
    ids = [item.claimed.id for item in returned]
    again = and_(intents.c.id.in_(ids), intents.c.state == State.READY)
    await connection.execute(
        update(intents).where(again).values(alarm=None, alarm_reason=None, alarm_at=None)
    )
    salt = await destination.salt(connection)
    assert salt is not None
    await intake.catch_up(connection, ids, max(item.at for item in returned), salt)


def _row(item: SettleTask | SettlePatient, of: int) -> tuple[Any, ...]:
    """What both begin with: `_ROW`."""
    return of, item.number, microseconds(item.at), int(item.outcome.detail is not None)


def _task_row(item: SettleTask) -> tuple[Any, ...]:
    outcome = item.outcome
    state = STATE_AFTER[outcome.kind]
    return (
        *_row(item, item.claimed.id),
        item.claimed.token,
        state,
        _reason(outcome),
        microseconds(item.due_at or item.at) if state is State.READY else None,
        microseconds(item.poll_at) if outcome.kind is OutcomeClass.ACCEPTED else None,
        outcome.id,
        int(outcome.kind in _PROCESSED),
    )


def _late_row(item: SettleTask) -> tuple[Any, ...]:
    moments = map(microseconds, (item.poll_at, item.started_at, item.at))
    return item.claimed.id, item.number, item.outcome.id, *moments


def _reason(outcome: Outcome) -> str | None:
    if outcome.kind is OutcomeClass.NOT_PROCESSED:
        return RETRY
    return KEY_REFUSED if outcome.kind is OutcomeClass.KEY_REFUSED else outcome.error


async def settle_patients(connection: AsyncConnection, settled: Sequence[SettlePatient]) -> Answers:
    """Settle each patient if still being created under this attempt; intents behind one in doubt are parked.

    A creation whose lease ran out is in doubt by now: an accepted one that answers late settles it after all,
    and brings back what was parked behind it; also where they are to be created again and nobody has begun.
    """
    written = await _settle_patients_in(connection, settled, PatientState.CREATING)
    people = [(item.claimed.patient.id, item) for item in settled]
    await finish_attempts(connection, "create_patient", people)

    async def answers() -> list[Written]:
        late = [item for item in settled if PATIENT_STATE_AFTER[item.outcome.kind] is PatientState.CREATED]
        if written.rowcount < len(settled) and late:
            for state in (PatientState.IN_DOUBT, PatientState.NEW):
                await _settle_patients_in(connection, late, state)
            for item in late:
                await crosswalk.bring_back(connection, item.claimed.patient.id, item.at)
        if written.rowcount < len(settled) or len(late) < len(settled):
            await crosswalk.park_behind(connection, max(item.at for item in settled))
        return [DONE] * len(settled)

    return answers


async def _settle_patients_in(
    connection: AsyncConnection, settled: Sequence[SettlePatient], state: PatientState
) -> Told:
    said = [
        {"of_id": i.claimed.patient.id, "of_number": i.number, "said": i.outcome.detail.encode()}
        for i in settled
        if i.outcome.detail is not None
    ]
    if said:
        await execute_many(connection, _KEEP_PATIENT_ANSWER[state], said)
    statement = _settle_patient(connection.dialect.name, state)
    return await ask(connection, statement, given=as_given(map(_patient_row, settled)))


def _patient_row(item: SettlePatient) -> tuple[Any, ...]:
    state = PATIENT_STATE_AFTER[item.outcome.kind]
    return (
        *_row(item, item.claimed.patient.id),
        state,
        item.outcome.id,
        item.outcome.error,
        microseconds(item.due_at) if state is PatientState.NEW else None,
    )


async def finish_attempts(
    connection: AsyncConnection,
    call: str,
    settled: Sequence[tuple[int, SettleTask | SettlePatient | TaskAgain | PatientAgain]],
) -> None:
    """Write down of each attempt, by its row and number, what became of it."""
    rows = (
        (
            row_id,
            item.number,
            microseconds(item.at),
            item.outcome.status,
            item.outcome.kind,
            item.outcome.error,
            max((item.at - item.started_at) // _MICROSECOND, 0),
        )
        for row_id, item in settled
    )
    await ask(connection, _finish_attempt(connection.dialect.name, call), given=as_given(rows))


async def defer(connection: AsyncConnection, deferred: Sequence[Defer]) -> Answers:
    """Give intents back with a later `due_at` and the reason for it."""
    rows = [(State.READY, microseconds(item.due_at)) for item in deferred]
    return await _hand_back(connection, deferred, rows)


async def park(connection: AsyncConnection, parked: Sequence[Park]) -> Answers:
    """Give intents up: parked, or skipped where the number or patient was blocked meanwhile."""
    rows = [(State.SKIPPED if item.reason == Refusal.BLOCKED else State.PARKED, None) for item in parked]
    return await _hand_back(connection, parked, rows)


async def _hand_back(
    connection: AsyncConnection, items: Sequence[Defer | Park], becomes: Sequence[tuple[State, int | None]]
) -> Answers:
    rows = (
        (item.claimed.id, item.claimed.token, state, due_at, item.reason, microseconds(item.at))
        for item, (state, due_at) in zip(items, becomes, strict=True)
    )
    await ask(connection, _give_back(connection.dialect.name), given=as_given(rows))

    async def answers() -> list[Written]:
        return [DONE] * len(items)

    return answers
