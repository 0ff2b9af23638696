"""Committing attempts: the last look at the ledger before a byte is sent (delivery)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
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
    or_,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from fhir_bridge.errors import LedgerError
from fhir_bridge.ledger.arrivals.stopping import is_stopped, speaks_against
from fhir_bridge.ledger.database.asking import Answers
from fhir_bridge.ledger.database.given import as_given, by_row, gathered, given, read_gathered
from fhir_bridge.ledger.database.many import ask
from fhir_bridge.ledger.database.tables import Instant, attempts, intents, patients, pauses
from fhir_bridge.ledger.people.blocking import is_blocked, is_listed
from fhir_bridge.ledger.records import PatientAgain, Refusal, StartPatient, StartTask, TaskAgain, Written
from fhir_bridge.ledger.sending.pacing import go_ahead, took
from fhir_bridge.ledger.sending.settling import finish_attempts
from fhir_bridge.ledger.states import PatientState, State

LOST = Written(done=False, refusal=Refusal.LOST)
Start = TypeVar("Start", StartPatient, StartTask)
Again = TypeVar("Again", PatientAgain, TaskAgain)
Begins = TypeVar("Begins", StartPatient, StartTask, PatientAgain, TaskAgain)

_TOKEN = bindparam("token", type_=String)
_AT = bindparam("at", type_=Instant)
_UNTIL = bindparam("until", type_=Instant)


async def start_tasks(connection: AsyncConnection, starts: Sequence[StartTask]) -> Answers:
    """Make each intent `sending` if it is still ours, nobody blocked it and its lane was not called since
    the gap. As many as the pace lets through now; the others are told when to come again.
    """
    paced = await go_ahead(connection, starts)
    begun = [
        await _begin(connection, _TASK, ours, token=token, gap_since=min(start.gap_since for start in ours))
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
        await _begin(connection, _PATIENT, ours, token=token) for token, ours in _by_token(starts).items()
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
    return await _again(connection, _TASK_AGAIN, again)


async def patients_again(connection: AsyncConnection, again: Sequence[PatientAgain]) -> Answers:
    """The same of patients that are being created, for an intent that is still ours."""
    return await _again(connection, _PATIENT_AGAIN, again)


async def _again(connection: AsyncConnection, call: _Call, again: Sequence[Again]) -> Answers:
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
    connection: AsyncConnection, call: _Call, starts: Sequence[Begins], *, token: str, **values: Any
) -> _Begun:
    """Begin what may be begun, each with its attempt written down, and give what tells their numbers."""
    rows = [call.given(start) for start in starts]
    at = max(start.at for start in starts)
    until = max(start.lease_until for start in starts)
    asked = {"given": as_given(rows), "token": token, "at": at, "until": until, **values}
    if connection.dialect.name == "postgresql":
        noted = await ask(connection, _begin_and_note(call), **asked)

        async def numbers() -> dict[int, int]:
            return dict(read_gathered(noted.scalar()))

        return numbers
    told = await ask(connection, call.begin("sqlite"), **asked)
    numbers_begun = await _which(connection, call, rows, told.rowcount, asked)
    if numbers_begun:
        await ask(connection, _note(call), given=as_given(numbers_begun.items()), at=at)

    async def known() -> dict[int, int]:
        return numbers_begun

    return known


async def _which(
    connection: AsyncConnection, call: _Call, rows: Sequence[tuple[int, ...]], begun: int, asked: Any
) -> dict[int, int]:
    """The numbers of the attempts of so many rows that were begun on SQLite, which tells no more at once.

    Where as many rows were begun as were given, all were; only otherwise the ledger is asked which. Raises
    LedgerError where it names others than were begun, for then nobody knows.
    """
    numbers = {row_id: tries + 1 for row_id, tries, *_ in rows}
    if begun < len(rows):
        found = (await ask(connection, _begun(call), given=asked["given"], token=asked["token"])).scalar()
        numbers = dict(read_gathered(found))
    if begun != len(numbers):
        raise LedgerError("attempts were begun that nobody asked for", code="ledger-refused")
    return numbers


@lru_cache
def _begin_and_note(call: _Call) -> Select[Any]:
    """PostgreSQL does both in one, and says of which rows."""
    row = call.table.c
    begun = call.begin("postgresql").returning(row.id, row.tries).cte("begun")
    attempt = select(begun.c.id, literal(call.name), begun.c.tries, _AT)
    noted = insert(attempts).from_select([call.of, "call", "number", "started_at"], attempt).cte("noted")
    return select(gathered("postgresql", begun.c.id, begun.c.tries)).add_cte(noted)


@lru_cache
def _begin_task(dialect: str) -> Update:
    of = given(dialect, id=BigInteger, tries=BigInteger)
    return (
        update(intents)
        .where(intents.c.id == of["id"], intents.c.tries == of["tries"])
        .where(patients.c.id == intents.c.patient_id)
        .where(by_row(and_(_may_go(patients.c.state == PatientState.CREATED), ~_called_since())))
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


@lru_cache
def _begin_task_again(dialect: str) -> Update:
    """A revocation, a block or another patient that came while it is being sent is an alarm."""
    of = given(dialect, id=BigInteger, tries=BigInteger)
    return (
        update(intents)
        .where(intents.c.id == of["id"], intents.c.tries == of["tries"])
        .where(by_row(and_(_ours_in(State.SENDING), intents.c.alarm.is_(None), ~_is_paused())))
        .values(lease_until=_UNTIL, tries=intents.c.tries + 1, changed_at=_AT)
    )


@lru_cache
def _begin_patient(dialect: str) -> Update:
    return _creating(dialect, patients.c.state == PatientState.NEW)


@lru_cache
def _begin_patient_again(dialect: str) -> Update:
    ours = and_(patients.c.lease_token == _TOKEN, patients.c.lease_until > _AT)
    return _creating(dialect, and_(patients.c.state == PatientState.CREATING, ours))


def _creating(dialect: str, may_be: ColumnElement[bool]) -> Update:
    of = given(dialect, patient=BigInteger, tries=BigInteger, intent=BigInteger)
    return (
        update(patients)
        .where(patients.c.id == of["patient"], patients.c.tries == of["tries"])
        .where(intents.c.id == of["intent"], intents.c.patient_id == patients.c.id)
        .where(by_row(_may_go(may_be)))
        .values(
            state=PatientState.CREATING,
            tries=patients.c.tries + 1,
            lease_token=_TOKEN,
            lease_until=_UNTIL,
            changed_at=_AT,
        )
    )


def _may_go(may_be: ColumnElement[bool]) -> ColumnElement[bool]:
    """Whether the intent is still ours, its patient as they must be, and nothing speaks against a call."""
    spoken_against = or_(is_listed(patients), speaks_against(patients), _is_paused())
    return and_(_ours_in(State.READY), may_be, ~spoken_against)


def _ours_in(state: State) -> ColumnElement[bool]:
    return and_(intents.c.state == state, intents.c.lease_token == _TOKEN, intents.c.lease_until > _AT)


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
    """A kind of call: what is given of each to `begin` it (its row, and how many attempts that had when it
    was claimed), what the row is then, and in which column an attempt names it.
    """

    name: str
    table: Table
    given: Callable[[Any], tuple[int, ...]]
    begin: Callable[[str], Update]
    begun: State | PatientState
    of: str


def _of_task(start: StartTask) -> tuple[int, ...]:
    return start.claimed.id, start.claimed.tries


def _of_patient(start: StartPatient) -> tuple[int, ...]:
    return start.claimed.patient.id, start.claimed.patient.tries, start.claimed.id


def _of_task_again(again: TaskAgain) -> tuple[int, ...]:
    return again.claimed.id, again.number


def _of_patient_again(again: PatientAgain) -> tuple[int, ...]:
    return again.claimed.patient.id, again.number, again.claimed.id


_TASK = _Call("create_task", intents, _of_task, _begin_task, State.SENDING, "intent_id")
_PATIENT = _Call("create_patient", patients, _of_patient, _begin_patient, PatientState.CREATING, "patient_id")
_TASK_AGAIN = replace(_TASK, given=_of_task_again, begin=_begin_task_again)
_PATIENT_AGAIN = replace(_PATIENT, given=_of_patient_again, begin=_begin_patient_again)


@lru_cache
def _note(call: _Call) -> Insert:
    of = given("sqlite", id=BigInteger, number=BigInteger)
    attempt = select(of["id"], literal(call.name), of["number"], _AT)
    return insert(attempts).from_select([call.of, "call", "number", "started_at"], attempt)


@lru_cache
def _begun(call: _Call) -> Select[Any]:
    """Those of the given rows that are begun by now, and ours, and whose attempt is not written down yet;
    each with its attempt's number. A patient whom another of our intents has created has it written down.
    """
    of, row = given("sqlite", id=BigInteger, tries=BigInteger), call.table.c
    noted = exists().where(attempts.c[call.of] == row.id, attempts.c.number == row.tries)
    return select(gathered("sqlite", row.id, row.tries)).where(
        row.id == of["id"],
        row.tries == of["tries"] + 1,
        row.state == call.begun,
        row.lease_token == _TOKEN,
        ~noted,
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
