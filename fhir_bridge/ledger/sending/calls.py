"""The two kinds of call, which create a patient and a task, and the statements that begin an attempt at one.

Each says in its own WHERE, once more, all that must hold before a byte is sent (delivery).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

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

from fhir_bridge.ledger.arrivals.stopping import speaks_against
from fhir_bridge.ledger.database.given import by_row, gathered, given
from fhir_bridge.ledger.database.tables import Instant, attempts, intents, patients, pauses
from fhir_bridge.ledger.people.blocking import is_listed
from fhir_bridge.ledger.records import PatientAgain, StartPatient, StartTask, TaskAgain
from fhir_bridge.ledger.states import PatientState, State

_TOKEN = bindparam("token", type_=String)
_AT = bindparam("at", type_=Instant)
_UNTIL = bindparam("until", type_=Instant)


@lru_cache
def begin_and_note(call: Call) -> Select[Any]:
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
        .where(by_row(and_(_ours_in(State.SENDING), intents.c.alarm.is_(None), ~is_paused())))
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
    spoken_against = or_(is_listed(patients), speaks_against(patients), is_paused())
    return and_(_ours_in(State.READY), may_be, ~spoken_against)


def _ours_in(state: State) -> ColumnElement[bool]:
    return and_(intents.c.state == state, intents.c.lease_token == _TOKEN, intents.c.lease_until > _AT)


def is_paused() -> ColumnElement[bool]:
    """Whether everything is paused, or the intent's source."""
    return exists().where(pauses.c.source.in_(["", intents.c.source]))


def _called_since() -> ColumnElement[bool]:
    other = intents.alias("other")
    return exists().where(
        other.c.lane == intents.c.lane,
        other.c.called_at > bindparam("gap_since", type_=Instant),
        other.c.id != intents.c.id,
    )


@dataclass(frozen=True, slots=True)
class Call:
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


TASK = Call("create_task", intents, _of_task, _begin_task, State.SENDING, "intent_id")
PATIENT = Call("create_patient", patients, _of_patient, _begin_patient, PatientState.CREATING, "patient_id")
TASK_AGAIN = replace(TASK, given=_of_task_again, begin=_begin_task_again)
PATIENT_AGAIN = replace(PATIENT, given=_of_patient_again, begin=_begin_patient_again)


@lru_cache
def note(call: Call) -> Insert:
    """On SQLite: the attempts that were begun, written down."""
    of = given("sqlite", id=BigInteger, number=BigInteger)
    attempt = select(of["id"], literal(call.name), of["number"], _AT)
    return insert(attempts).from_select([call.of, "call", "number", "started_at"], attempt)


@lru_cache
def begun(call: Call) -> Select[Any]:
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
