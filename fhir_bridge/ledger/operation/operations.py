"""What an operator does to intents and patients (delivery, "Operating it")."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sqlalchemy import ColumnElement, and_, bindparam, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from fhir_bridge.errors import UsageError
from fhir_bridge.ledger.arrivals import intake
from fhir_bridge.ledger.arrivals.batch import Intake
from fhir_bridge.ledger.database.tables import in_state, intents, patients
from fhir_bridge.ledger.operation.named import find
from fhir_bridge.ledger.people import crosswalk
from fhir_bridge.ledger.records import Act, Selection
from fhir_bridge.ledger.states import PatientState, State, starts_of

_FREE: dict[str, Any] = {"lease_token": None, "lease_until": None}
_RETRIED = frozenset({State.READY, State.REFUSED, State.PARKED, State.CANCELLED})
_CANCELLED = starts_of(State.CANCELLED, "operator") | starts_of(State.CANCELLED, "operator lets it be")


async def matching(connection: AsyncConnection, selection: Selection) -> ColumnElement[bool]:
    """The condition for what an operator named. Raises UsageError for a beginning that fits
    none or several.
    """
    conditions: list[ColumnElement[bool]] = []
    if selection.key is not None:
        conditions.append(intents.c.id == (await find(connection, selection.key)).id)
    for column in ("state", "reason", "source"):
        value = getattr(selection, column)
        if value is not None:
            conditions.append(intents.c[column] == value)
    if not conditions:
        raise UsageError(
            "name an intent or a filter", hint="For instance: --state parked --reason retries-used-up."
        )
    return and_(*conditions)


async def retry(connection: AsyncConnection, selection: Selection, act: Act, salt: bytes) -> int:
    """Decide refused, parked, cancelled and waiting intents again from what their triggers last said.

    What calls is due now with a new deadline. Those behind a patient in doubt or refused stay parked until
    that one is resolved; rejected and skipped ones change only when better data comes. One that was cancelled
    in doubt may have been called: it takes `resolve_resend`.
    """
    chosen = select(intents.c.id).where(
        await matching(connection, selection), intents.c.state.in_(_RETRIED), ~_cancelled_in_doubt()
    )
    ids = set((await connection.execute(chosen)).scalars())
    return await intake.decide_anew(connection, ids, Intake(act.at, act.at), salt, trust=True)


async def cancel(connection: AsyncConnection, selection: Selection, act: Act) -> int:
    """Let intents be: never sent unless an operator says otherwise; gives how many."""
    statement = update(intents).where(await matching(connection, selection), intents.c.state.in_(_CANCELLED))
    gone = {"state": State.CANCELLED, "reason": None, "due_at": None, "changed_at": act.at, **_FREE}
    return (await connection.execute(statement.values(**gone))).rowcount


async def resolve_sent(connection: AsyncConnection, key: str, task_id: str, act: Act) -> int:
    """An intent in doubt was sent after all, as this task; 0 where it is not in doubt.

    Raises UsageError where the task is known to be another intent's: this one would be forgotten over a slip.
    """
    intent = (await find(connection, key)).id
    others = select(intents.c.key).where(intents.c.task_id == task_id, intents.c.id != intent)
    if (other := (await connection.execute(others.limit(1))).scalar()) is not None:
        raise UsageError(
            f"the task {task_id} is that of another intent: {other}",
            hint="Ask the vendor for the task of this one; `fhir-bridge show` has the number to be called.",
        )
    statement = update(intents).where(intents.c.id == intent, intents.c.state == State.IN_DOUBT)
    sent = {"state": State.SENT, "reason": None, "task_id": task_id, "poll_at": act.at, "changed_at": act.at}
    return (await connection.execute(statement.values(**sent))).rowcount


async def resolve_resend(connection: AsyncConnection, selection: Selection, act: Act, salt: bytes) -> int:
    """Nobody was called: intents in doubt, or cancelled while they were, become ready now; gives how many.

    They go by what their triggers say by now: who was revoked meanwhile is not called after all.
    """
    statement = (
        update(intents)
        .where(await matching(connection, selection))
        .where(or_(intents.c.state == State.IN_DOUBT, _cancelled_in_doubt()))
        # What retention has cleared cannot be sent any more.
        .where(intents.c.content.is_not(None))
        .values(
            state=State.READY,
            reason=None,
            due_at=act.at,
            called_at=None,
            first_attempt_at=None,
            alarm=None,
            alarm_reason=None,
            alarm_at=None,
            changed_at=act.at,
        )
        .returning(intents.c.id)
    )
    ids = set((await connection.execute(statement)).scalars())
    await intake.catch_up(connection, ids, act.at, salt)
    await crosswalk.park_behind(connection, act.at)
    return len(ids)


def _cancelled_in_doubt() -> ColumnElement[bool]:
    """Whether it was let be while nobody knew if the call was made: its number still counts as called."""
    return and_(intents.c.state == State.CANCELLED, intents.c.called_at.is_not(None))


async def resolve_patient(
    connection: AsyncConnection, source: str, identity: str, created: str | None, act: Act
) -> int:
    """A patient in doubt or refused exists as `created`, or is to be created again (None).

    What was parked behind them is ready again; gives how many intents, -1 where no such patient waits.
    """
    row = (
        await connection.execute(
            select(patients.c.id).where(
                patients.c.source == source,
                patients.c.identity == identity,
                patients.c.state.in_([PatientState.IN_DOUBT, PatientState.REFUSED]),
            )
        )
    ).one_or_none()
    if row is None:
        return -1
    state = PatientState.CREATED if created else PatientState.NEW
    values = {"state": state, "api_id": created, "error": None, "due_at": None, "changed_at": act.at, **_FREE}
    await connection.execute(update(patients).where(patients.c.id == row.id).values(**values))
    return await crosswalk.bring_back(connection, row.id, act.at)


async def stuck_patients(connection: AsyncConnection, selection: Selection) -> tuple[list[int], int]:
    """The patients in doubt or refused of a source, or with the reason that the work list gives for them or
    for what is parked behind them; and how many intents are parked there. Raises UsageError for another
    filter.

    Left out are those whose data retention has cleared, and, unless the reason says so, those whose record
    names somebody else by now.
    """
    if selection.key is not None or selection.state is not None or selection == Selection():
        raise UsageError("patients are chosen by source or reason", hint="For instance: --source ehr.")
    stuck = [in_state(patients, PatientState.IN_DOUBT, PatientState.REFUSED), patients.c.request.is_not(None)]
    if selection.source is not None:
        stuck.append(patients.c.source == selection.source)
    changed = func.coalesce(patients.c.error, "") == crosswalk.CHANGED
    if selection.reason in crosswalk.STATE_OF:
        stuck.append(patients.c.state == crosswalk.STATE_OF[selection.reason])
    elif selection.reason is not None:
        stuck.append(patients.c.error == selection.reason)
    if selection.reason != crosswalk.CHANGED:
        stuck.append(~changed)
    ids = list((await connection.execute(select(patients.c.id).where(*stuck))).scalars())
    behind = (
        select(func.count())
        .select_from(intents)
        .where(intents.c.patient_id.in_(select(patients.c.id).where(*stuck)), crosswalk.is_behind())
    )
    return ids, (await connection.execute(behind)).scalar_one()


async def resend_patients(connection: AsyncConnection, selection: Selection, act: Act) -> tuple[int, int]:
    """Have all `stuck_patients` created again; gives how many, and how many intents are ready by that."""
    ids, _ = await stuck_patients(connection, selection)
    values = {"state": PatientState.NEW, "api_id": None, "error": None, "due_at": None, "answer": None}
    again = (
        update(patients)
        .where(patients.c.id == bindparam("of_id"))
        .where(or_(patients.c.state == PatientState.IN_DOUBT, patients.c.state == PatientState.REFUSED))
        .values(**values, changed_at=act.at, **_FREE)
    )
    if ids:
        await connection.execute(again, [{"of_id": each} for each in ids])
    return len(ids), sum([await crosswalk.bring_back(connection, each, act.at) for each in ids])


async def acknowledge(connection: AsyncConnection, selection: Selection) -> int:
    """Take alarms off the work list: the vendor was told. The selection's reason is the alarm; gives how
    many. Raises UsageError as `matching` does.
    """
    chosen: list[ColumnElement[bool]] = [intents.c.alarm.is_not(None)]
    if selection.reason is not None:
        chosen.append(intents.c.alarm == selection.reason)
        selection = replace(selection, reason=None)
    if len(chosen) == 1 or selection != Selection():
        chosen.append(await matching(connection, selection))
    statement = update(intents).where(*chosen)
    return (await connection.execute(statement.values(alarm=None, alarm_reason=None, alarm_at=None))).rowcount
