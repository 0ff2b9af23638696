"""Committing attempts: the last look at the ledger before a byte is sent (delivery)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, TypeVar

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from fhir_bridge.errors import LedgerError
from fhir_bridge.ledger.arrivals.stopping import is_stopped
from fhir_bridge.ledger.database.asking import Answers
from fhir_bridge.ledger.database.given import as_given, read_gathered
from fhir_bridge.ledger.database.many import ask
from fhir_bridge.ledger.database.tables import intents
from fhir_bridge.ledger.people.blocking import is_blocked
from fhir_bridge.ledger.records import PatientAgain, Refusal, StartPatient, StartTask, TaskAgain, Written
from fhir_bridge.ledger.sending import calls
from fhir_bridge.ledger.sending.pacing import go_ahead, took
from fhir_bridge.ledger.sending.settling import finish_attempts

LOST = Written(done=False, refusal=Refusal.LOST)
Start = TypeVar("Start", StartPatient, StartTask)
Again = TypeVar("Again", PatientAgain, TaskAgain)
Begins = TypeVar("Begins", StartPatient, StartTask, PatientAgain, TaskAgain)


async def start_tasks(connection: AsyncConnection, starts: Sequence[StartTask]) -> Answers:
    """Make each intent `sending` if it is still ours, nobody blocked it and its lane was not called since
    the gap. As many as the pace lets through now; the others are told when to come again.
    """
    paced = await go_ahead(connection, starts)
    begun = [
        await _begin(
            connection, calls.TASK, ours, token=token, gap_since=min(start.gap_since for start in ours)
        )
        for token, ours in _by_token(paced.going).items()
    ]

    async def answers() -> list[Written]:
        numbers = await _numbers(begun)
        await took(connection, paced, len(numbers))
        refusals = await _why_not(connection, [s for s in paced.going if s.claimed.id not in numbers])
        refusals |= paced.refusals()
        return [
            Written(True, number) if (number := numbers.get(start.claimed.id)) else refusals[start.claimed.id]
            for start in starts
        ]

    return answers


async def start_patients(connection: AsyncConnection, starts: Sequence[StartPatient]) -> Answers:
    """Make each patient `creating` if still new, and their intent still ours and callable."""
    begun = [
        await _begin(connection, calls.PATIENT, ours, token=token)
        for token, ours in _by_token(starts).items()
    ]

    async def answers() -> list[Written]:
        numbers = await _numbers(begun)
        refusals = await _why_not(connection, [s for s in starts if s.claimed.patient.id not in numbers])
        told = []
        for start in starts:
            # Two intents of one new patient in one batch: the first creates, the other waits.
            number = numbers.pop(start.claimed.patient.id, None)
            told.append(Written(True, number) if number else refusals.get(start.claimed.id, LOST))
        return told

    return answers


async def tasks_again(connection: AsyncConnection, again: Sequence[TaskAgain]) -> Answers:
    """Commit one more attempt at each that is still being sent under this one, and that nothing was said
    against meanwhile."""
    return await _again(connection, calls.TASK_AGAIN, again)


async def patients_again(connection: AsyncConnection, again: Sequence[PatientAgain]) -> Answers:
    """The same of patients that are being created, for an intent that is still ours."""
    return await _again(connection, calls.PATIENT_AGAIN, again)


async def _again(connection: AsyncConnection, call: calls.Call, again: Sequence[Again]) -> Answers:
    """Each with what became of the attempt before."""
    before = [(call.given(each)[0], each) for each in again]
    await finish_attempts(connection, call.name, before)
    begun = [await _begin(connection, call, ours, token=token) for token, ours in _by_token(again).items()]

    async def answers() -> list[Written]:
        numbers = await _numbers(begun)
        told = (numbers.get(row_id) for row_id, _ in before)
        return [Written(True, number) if number else LOST for number in told]

    return answers


def _by_token(starts: Iterable[Begins]) -> dict[str, list[Begins]]:
    grouped: dict[str, list[Begins]] = defaultdict(list)
    for start in starts:
        grouped[start.claimed.token].append(start)
    return grouped


_Begun = Callable[[], Awaitable[dict[int, int]]]


async def _numbers(begun: Iterable[_Begun]) -> dict[int, int]:
    """Of all that was begun, the number of each attempt by the row's id."""
    numbers: dict[int, int] = {}
    for each in begun:
        numbers |= await each()
    return numbers


async def _begin(
    connection: AsyncConnection, call: calls.Call, starts: Sequence[Begins], *, token: str, **values: Any
) -> _Begun:
    """Begin what may be begun, each with its attempt written down, and give what tells their numbers."""
    rows = [call.given(start) for start in starts]
    at = max(start.at for start in starts)
    until = max(start.lease_until for start in starts)
    asked = {"given": as_given(rows), "token": token, "at": at, "until": until, **values}
    if connection.dialect.name == "postgresql":
        noted = await ask(connection, calls.begin_and_note(call), **asked)

        async def numbers() -> dict[int, int]:
            return dict(read_gathered(noted.scalar()))

        return numbers
    told = await ask(connection, call.begin("sqlite"), **asked)
    numbers_begun = await _which(connection, call, rows, told.rowcount, asked)
    if numbers_begun:
        await ask(connection, calls.note(call), given=as_given(numbers_begun.items()), at=at)

    async def known() -> dict[int, int]:
        return numbers_begun

    return known


async def _which(
    connection: AsyncConnection, call: calls.Call, rows: Sequence[tuple[int, ...]], begun: int, asked: Any
) -> dict[int, int]:
    """The numbers of the attempts of so many rows that were begun on SQLite, which tells no more at once.

    Where as many rows were begun as were given, all were; only otherwise the ledger is asked which. Raises
    LedgerError where it names others than were begun, for then nobody knows.
    """
    numbers = {row_id: tries + 1 for row_id, tries, *_ in rows}
    if begun < len(rows):
        told = await ask(connection, calls.begun(call), given=asked["given"], token=asked["token"])
        numbers = dict(read_gathered(told.scalar()))
    if begun != len(numbers):
        raise LedgerError("attempts were begun that nobody asked for", code="ledger-refused")
    return numbers


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
        calls.is_paused().label("is_paused"),
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
