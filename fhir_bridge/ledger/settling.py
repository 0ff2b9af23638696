"""What an outcome makes of an intent or a patient, and giving back what was not sent (delivery)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import and_, bindparam, case, func, update
from sqlalchemy.ext.asyncio import AsyncConnection

from fhir_bridge.ledger import crosswalk, destination, intake
from fhir_bridge.ledger.folding import RETRY
from fhir_bridge.ledger.many import execute_many
from fhir_bridge.ledger.records import Defer, Park, Refusal, SettlePatient, SettleTask, Written
from fhir_bridge.ledger.states import PatientState, State
from fhir_bridge.ledger.tables import attempts, intents, patients
from fhir_bridge.task_api.outcome import Outcome, OutcomeClass

DONE = Written(done=True)
KEY_REFUSED = "key-refused"

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


def _given(*names: str) -> dict[str, Any]:
    return {name: bindparam(name) for name in names}


_SETTLE_TASK = (
    update(intents)
    .where(intents.c.id == bindparam("of_id"), intents.c.tries == bindparam("of_number"))
    .where(intents.c.state == State.SENDING, intents.c.lease_token == bindparam("of_token"))
    .values(
        **_given("state", "reason", "due_at", "poll_at", "task_id", "answer", "changed_at"),
        # Certainly nobody was phoned: the number counts as not called.
        called_at=case((bindparam("of_processed") == 1, intents.c.called_at), else_=None),
        **_FREE,
    )
)
_SETTLE_PATIENT = {
    state: update(patients)
    .where(patients.c.id == bindparam("of_id"), patients.c.tries == bindparam("of_number"))
    # Somebody else is under that identity by now: an answer about the former tells nothing of them.
    .where(patients.c.state == state, func.coalesce(patients.c.error, "") != crosswalk.CHANGED)
    .values(**_given("state", "api_id", "error", "answer", "due_at", "changed_at"), **_FREE)
    for state in (PatientState.CREATING, PatientState.IN_DOUBT)
}
_FINISH_ATTEMPT = {
    of: update(attempts)
    .where(of == bindparam("of_row"), attempts.c.number == bindparam("of_number"))
    .values(_given("finished_at", "status", "outcome", "error", "latency_us"))
    for of in (attempts.c.intent_id, attempts.c.patient_id)
}
_GIVE_BACK = (
    update(intents)
    .where(intents.c.id == bindparam("of_id"), intents.c.lease_token == bindparam("of_token"))
    .where(intents.c.state == State.READY)
    .values(**_given("state", "due_at", "reason", "changed_at"), **_FREE)
)
"""Built once, so that they are compiled once (`many`)."""


async def settle_tasks(connection: AsyncConnection, settled: Sequence[SettleTask]) -> list[Written]:
    """Settle each intent if it is still sending under this attempt.

    One whose lease ran out is in doubt by now: the answer that came late shows the task, so an accepted one
    is sent after all; any other answer is kept with the attempt and left to the operator.
    """
    rows = [_task_row(item) for item in settled]
    written = await execute_many(connection, _SETTLE_TASK, rows)
    late = [row for row in rows if row["state"] is State.SENT]
    if written < len(rows) and late:
        await _settle_late(connection, late)
    await _finish_attempts(connection, attempts.c.intent_id, [(item.claimed.id, item) for item in settled])
    await _catch_up(connection, [row for row in rows if row["state"] is State.READY])
    return [DONE] * len(settled)


async def _catch_up(connection: AsyncConnection, rows: Sequence[dict[str, Any]]) -> None:
    """What is ready again was perhaps revoked or changed while it was being sent: nobody was called yet, so
    it goes by that now, and there is nobody to tell.
    """
    if not rows:
        return
    ids = [row["of_id"] for row in rows]
    again = and_(intents.c.id.in_(ids), intents.c.state == State.READY)
    await connection.execute(
        update(intents).where(again).values(alarm=None, alarm_reason=None, alarm_at=None)
    )
    salt = await destination.salt(connection)
    assert salt is not None
    await intake.catch_up(connection, ids, max(row["changed_at"] for row in rows), salt)


def _task_row(item: SettleTask) -> dict[str, Any]:
    outcome = item.outcome
    ready = STATE_AFTER[outcome.kind] is State.READY
    return {
        "state": STATE_AFTER[outcome.kind],
        "reason": _reason(outcome),
        "due_at": (item.due_at or item.at) if ready else None,
        "poll_at": item.poll_at if outcome.kind is OutcomeClass.ACCEPTED else None,
        "task_id": outcome.id,
        "answer": _answer(outcome),
        "changed_at": item.at,
        "of_id": item.claimed.id,
        "of_number": item.number,
        "of_token": item.claimed.token,
        "of_processed": int(outcome.kind in _PROCESSED),
    }


def _reason(outcome: Outcome) -> str | None:
    if outcome.kind is OutcomeClass.NOT_PROCESSED:
        return RETRY
    return KEY_REFUSED if outcome.kind is OutcomeClass.KEY_REFUSED else outcome.error


def _answer(outcome: Outcome) -> bytes | None:
    return None if outcome.detail is None else outcome.detail.encode()


async def _settle_late(connection: AsyncConnection, rows: Sequence[dict[str, Any]]) -> None:
    taken = ("state", "reason", "poll_at", "task_id", "changed_at")
    statement = (
        update(intents)
        .where(intents.c.id == bindparam("of_id"), intents.c.tries == bindparam("of_number"))
        .where(intents.c.state == State.IN_DOUBT)
        .values({name: bindparam(name) for name in taken})
    )
    keys = (*taken, "of_id", "of_number")
    await connection.execute(statement, [{key: row[key] for key in keys} for row in rows])


async def settle_patients(connection: AsyncConnection, settled: Sequence[SettlePatient]) -> list[Written]:
    """Settle each patient if still being created under this attempt; intents behind one in doubt are parked.

    A creation whose lease ran out is in doubt by now: an accepted one that answers late settles it after all,
    and brings back what was parked behind it.
    """
    rows = [_patient_row(item) for item in settled]
    late = [row for row in rows if row["state"] is PatientState.CREATED]
    written = await _settle_patients_in(connection, rows, PatientState.CREATING)
    if written < len(rows) and late:
        await _settle_patients_in(connection, late, PatientState.IN_DOUBT)
        for row in late:
            await crosswalk.bring_back(connection, row["of_id"], row["changed_at"])
    people = [(item.claimed.patient.id, item) for item in settled]
    await _finish_attempts(connection, attempts.c.patient_id, people)
    if len(late) < len(rows):
        await crosswalk.park_behind(connection, max(item.at for item in settled))
    return [DONE] * len(settled)


async def _settle_patients_in(
    connection: AsyncConnection, rows: Sequence[dict[str, Any]], state: PatientState
) -> int:
    return await execute_many(connection, _SETTLE_PATIENT[state], rows)


def _patient_row(item: SettlePatient) -> dict[str, Any]:
    state = PATIENT_STATE_AFTER[item.outcome.kind]
    return {
        "state": state,
        "api_id": item.outcome.id,
        "error": item.outcome.error,
        "answer": _answer(item.outcome),
        "due_at": item.due_at if state is PatientState.NEW else None,
        "changed_at": item.at,
        "of_id": item.claimed.patient.id,
        "of_number": item.number,
    }


async def _finish_attempts(
    connection: AsyncConnection, of: Any, settled: Sequence[tuple[int, SettleTask | SettlePatient]]
) -> None:
    rows = [
        {
            "of_row": row_id,
            "of_number": item.number,
            "finished_at": item.at,
            "status": item.outcome.status,
            "outcome": item.outcome.kind,
            "error": item.outcome.error,
            "latency_us": max(int((item.at - item.started_at).total_seconds() * 1_000_000), 0),
        }
        for row_id, item in settled
    ]
    await execute_many(connection, _FINISH_ATTEMPT[of], rows)


async def defer(connection: AsyncConnection, deferred: Sequence[Defer]) -> list[Written]:
    """Give intents back with a later `due_at` and the reason for it."""
    return await _give_back(
        connection,
        [
            (
                item.claimed,
                {"state": State.READY, "due_at": item.due_at, "reason": item.reason, "changed_at": item.at},
            )
            for item in deferred
        ],
    )


async def park(connection: AsyncConnection, parked: Sequence[Park]) -> list[Written]:
    """Give intents up: parked, or skipped where the number or patient was blocked meanwhile."""
    rows = []
    for item in parked:
        state = State.SKIPPED if item.reason == Refusal.BLOCKED else State.PARKED
        rows.append(
            (item.claimed, {"state": state, "due_at": None, "reason": item.reason, "changed_at": item.at})
        )
    return await _give_back(connection, rows)


async def _give_back(
    connection: AsyncConnection, given: Sequence[tuple[Any, dict[str, Any]]]
) -> list[Written]:
    rows = [{**values, "of_id": claimed.id, "of_token": claimed.token} for claimed, values in given]
    await execute_many(connection, _GIVE_BACK, rows)
    return [DONE] * len(given)
