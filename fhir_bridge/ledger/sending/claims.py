"""Who may work on what: claims with a lease, and what becomes of a dead worker's rows (delivery)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Integer,
    Select,
    String,
    Update,
    and_,
    bindparam,
    exists,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from fhir_bridge.ledger.arrivals.content import read_content
from fhir_bridge.ledger.database.encryption import Cipher, cipher_of
from fhir_bridge.ledger.database.given import GIVEN, as_given, by_row, gathered, given_values, read_gathered
from fhir_bridge.ledger.database.many import ask
from fhir_bridge.ledger.database.tables import Instant, in_state, instant, intents, patients, pauses
from fhir_bridge.ledger.people import crosswalk
from fhir_bridge.ledger.records import Claimed, Patient
from fhir_bridge.ledger.states import PatientState, State

LEASE_RAN_OUT = "lease-ran-out"
_NOW = bindparam("now", type_=Instant)
_TOKEN = bindparam("token", type_=String)
_UNTIL = bindparam("until", type_=Instant)
_CLAIMED = ("id", "key", "source", "trigger", "lane", "content", "first_attempt_at", "tries", "patient_id")


@dataclass(frozen=True, slots=True)
class Claim:
    """What a worker asks for: at most `limit` intents due at `now`, its own until `lease_until` (aware UTC).

    `only`: the keys it is to look at, None for all.
    """

    token: str
    now: datetime
    lease_until: datetime
    limit: int
    only: Collection[str] | None = field(default=None, repr=False)


async def claim(connection: AsyncConnection, asked: Claim) -> list[Claimed]:
    """Lease the longest due intents, the first of each lane and one of each patient not yet created."""
    dialect = connection.dialect.name
    which = {} if asked.only is None else {GIVEN: as_given((key,) for key in asked.only)}
    if which and dialect == "postgresql":
        # Thousands may be named: without a hash of them each would be looked for among all that is ready.
        await connection.exec_driver_sql("SET LOCAL enable_hashjoin = on")
    due = await ask(connection, _candidates(dialect, bool(which)), now=asked.now, most=asked.limit, **which)
    found = _one_a_new_patient([_Candidate._make(row) for row in due.all()])
    if not found:
        return []
    ids = as_given((row.id,) for row in found)
    taken = {"given": ids, "token": asked.token, "until": asked.lease_until}
    leased = await ask(connection, _lease(dialect), now=asked.now, **taken)
    if leased.rowcount < len(found):
        rows = read_gathered((await ask(connection, _leased(dialect), **taken)).scalar())
        ours = {row[0] for row in rows}
        found = [row for row in found if row.id in ours]
    cipher = cipher_of(connection.dialect)
    return [_claimed(row, asked, cipher) for row in found]


@lru_cache
def _lease(dialect: str) -> Update:
    return (
        update(intents)
        .where(intents.c.id.in_(given_values(dialect)), by_row(_claimable(intents, _NOW)))
        .values(lease_token=_TOKEN, lease_until=_UNTIL)
    )


@lru_cache
def _leased(dialect: str) -> Select[Any]:
    return select(gathered(dialect, intents.c.id)).where(
        intents.c.id.in_(given_values(dialect)),
        by_row(and_(intents.c.lease_token == _TOKEN, intents.c.lease_until == _UNTIL)),
    )


@lru_cache
def _candidates(dialect: str, only: bool) -> Select[Any]:
    of_patient = ("identity", "state", "api_id", "request", "tries")
    first = intents.alias("first")
    in_flight = exists().where(first.c.lane == intents.c.lane, in_state(first, State.SENDING))
    earlier = or_(
        first.c.due_at < intents.c.due_at,
        and_(first.c.due_at == intents.c.due_at, first.c.id < intents.c.id),
    )
    ahead = exists().where(first.c.lane == intents.c.lane, _wanted(first, dialect, only), earlier)
    return (
        select(*(intents.c[name] for name in _CLAIMED), *(patients.c[name] for name in of_patient))
        .join(patients, patients.c.id == intents.c.patient_id)
        .where(_wanted(intents, dialect, only), _claimable(intents, _NOW))
        .where(~by_row(in_flight), ~by_row(ahead))
        .where(
            or_(
                patients.c.state == PatientState.CREATED,
                and_(
                    patients.c.state == PatientState.NEW,
                    or_(patients.c.due_at.is_(None), patients.c.due_at <= _NOW),
                ),
            )
        )
        .order_by(intents.c.due_at, intents.c.id)
        .limit(bindparam("most", type_=Integer))
        # What another worker is claiming at this moment is passed over; SQLite has one writer and needs no
        # lock.
        .with_for_update(of=intents, skip_locked=True)
    )


class _Candidate(NamedTuple):
    """A row as the driver gives it: `_CLAIMED`, then what is of the patient."""

    id: int
    key: str
    source: str
    trigger: str
    lane: str
    content: bytes
    first_attempt_at: int | None
    tries: int
    patient_id: int
    identity: str
    patient_state: str
    api_id: str | None
    request: bytes | None
    patient_tries: int


def _one_a_new_patient(rows: Sequence[_Candidate]) -> list[_Candidate]:
    """Two children of one call must not create their patient twice at the same time."""
    seen: set[int] = set()
    kept = []
    for row in rows:
        if row.patient_state == PatientState.NEW:
            if row.patient_id in seen:
                continue
            seen.add(row.patient_id)
        kept.append(row)
    return kept


def _wanted(table: Any, dialect: str, only: bool) -> ColumnElement[bool]:
    paused = select(pauses.c.source)
    wanted = and_(in_state(table, State.READY), table.c.due_at <= _NOW, table.c.source.not_in(paused))
    return and_(wanted, table.c.key.in_(given_values(dialect, String))) if only else wanted


def _claimable(table: Any, now: datetime | BindParameter[datetime]) -> ColumnElement[bool]:
    free = or_(table.c.lease_until.is_(None), table.c.lease_until <= now)
    return and_(in_state(table, State.READY), table.c.due_at <= now, free)


def _claimed(row: _Candidate, asked: Claim, cipher: Cipher) -> Claimed:
    content = read_content(cipher.decrypt(bytes(row.content)))
    return Claimed(
        id=row.id,
        key=row.key,
        source=row.source,
        trigger=row.trigger,
        lane=row.lane,
        token=asked.token,
        lease_until=asked.lease_until,
        request=bytes(content.task),
        phone_number=content.phone_number,
        zones=content.zones,
        valid_until=content.valid_until,
        first_attempt_at=instant(row.first_attempt_at),
        tries=row.tries,
        patient=Patient(
            id=row.patient_id,
            identity=row.identity,
            state=PatientState(row.patient_state),
            api_id=row.api_id,
            request=None if row.request is None else cipher.decrypt(bytes(row.request)),
            tries=row.patient_tries,
        ),
        lineage=bytes(content.lineage),
    )


async def release(connection: AsyncConnection, token: str) -> int:
    """Give back what this worker claimed and did not start; gives how many."""
    statement = update(intents).where(in_state(intents, State.READY), intents.c.lease_token == token)
    return (await connection.execute(statement.values(lease_token=None, lease_until=None))).rowcount


async def rescue(connection: AsyncConnection, now: datetime) -> int:
    """What a dead worker was sending may have been processed: in doubt, never sent again by itself; gives
    how many.
    """
    lost = {"lease_token": None, "lease_until": None, "changed_at": now}
    statement = update(intents).where(in_state(intents, State.SENDING), intents.c.lease_until <= now)
    tasks = await connection.execute(
        statement.values(state=State.IN_DOUBT, reason=LEASE_RAN_OUT, due_at=None, **lost)
    )
    people = update(patients).where(in_state(patients, PatientState.CREATING), patients.c.lease_until <= now)
    created = await connection.execute(
        people.values(state=PatientState.IN_DOUBT, error=LEASE_RAN_OUT, **lost)
    )
    if created.rowcount:
        await crosswalk.park_behind(connection, now)
    return tasks.rowcount + created.rowcount


async def waiting(connection: AsyncConnection) -> int:
    """How many are ready, leased or not, or on their way. Read off an index that holds no payload, for it is
    asked every few seconds of a ledger of millions."""
    statement = select(func.count()).where(in_state(intents, State.READY, State.SENDING))
    return int((await connection.execute(statement)).scalar_one())


async def next_due(connection: AsyncConnection, only: Collection[str] | None) -> datetime | None:
    """When the next ready intent of a source that is not paused is due, leased or not; None when none is."""
    statement = select(func.min(intents.c.due_at)).where(
        in_state(intents, State.READY), intents.c.source.not_in(select(pauses.c.source))
    )
    if only is not None:
        statement = statement.where(intents.c.key.in_(only))
    found: datetime | None = (await connection.execute(statement)).scalar()
    return found
