"""Who may work on what: claims with a lease, and what becomes of a dead worker's rows (delivery)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
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

from fhir_bridge.ledger import crosswalk
from fhir_bridge.ledger.content import read_content
from fhir_bridge.ledger.given import as_given, gathered, given_values, read_gathered
from fhir_bridge.ledger.many import run
from fhir_bridge.ledger.records import Claimed, Patient
from fhir_bridge.ledger.states import PatientState, State
from fhir_bridge.ledger.tables import Instant, in_state, intents, patients, pauses

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
    found = await _candidates(connection, asked)
    if not found:
        return []
    dialect = connection.dialect.name
    ids = as_given((row.id,) for row in found)
    taken = {"given": ids, "token": asked.token, "until": asked.lease_until}
    leased = await run(connection, _lease(dialect), now=asked.now, **taken)
    if leased.rowcount < len(found):
        rows = read_gathered((await run(connection, _leased(dialect), **taken)).scalar())
        ours = {row[0] for row in rows}
        found = [row for row in found if row.id in ours]
    return [_claimed(row, asked) for row in found]


@lru_cache
def _lease(dialect: str) -> Update:
    return (
        update(intents)
        .where(intents.c.id.in_(given_values(dialect)), _claimable(intents, _NOW))
        .values(lease_token=_TOKEN, lease_until=_UNTIL)
    )


@lru_cache
def _leased(dialect: str) -> Select[Any]:
    return select(gathered(dialect, intents.c.id)).where(
        intents.c.id.in_(given_values(dialect)),
        intents.c.lease_token == _TOKEN,
        intents.c.lease_until == _UNTIL,
    )


async def _candidates(connection: AsyncConnection, asked: Claim) -> Sequence[Any]:
    of_patient = ("id", "identity", "state", "api_id", "request", "tries")
    first = intents.alias("first")
    in_flight = exists().where(first.c.lane == intents.c.lane, in_state(first, State.SENDING))
    earlier = or_(
        first.c.due_at < intents.c.due_at,
        and_(first.c.due_at == intents.c.due_at, first.c.id < intents.c.id),
    )
    ahead = exists().where(first.c.lane == intents.c.lane, _wanted(first, asked), earlier)
    statement = (
        select(
            *(intents.c[name] for name in _CLAIMED),
            *(patients.c[name].label(f"patient_{name}_") for name in of_patient),
        )
        .join(patients, patients.c.id == intents.c.patient_id)
        .where(_wanted(intents, asked), _claimable(intents, asked.now), ~in_flight, ~ahead)
        .where(
            or_(
                patients.c.state == PatientState.CREATED,
                and_(
                    patients.c.state == PatientState.NEW,
                    or_(patients.c.due_at.is_(None), patients.c.due_at <= asked.now),
                ),
            )
        )
        .order_by(intents.c.due_at, intents.c.id)
        .limit(asked.limit)
        # What another worker is claiming at this moment is passed over; SQLite has one writer and needs no
        # lock.
        .with_for_update(of=intents, skip_locked=True)
    )
    rows = (await connection.execute(statement)).all()
    return _one_a_new_patient(rows)


def _one_a_new_patient(rows: Sequence[Any]) -> Sequence[Any]:
    """Two children of one call must not create their patient twice at the same time."""
    seen: set[int] = set()
    kept = []
    for row in rows:
        if row.patient_state_ == PatientState.NEW:
            if row.patient_id in seen:
                continue
            seen.add(row.patient_id)
        kept.append(row)
    return kept


def _wanted(table: Any, asked: Claim) -> ColumnElement[bool]:
    paused = select(pauses.c.source)
    wanted = and_(in_state(table, State.READY), table.c.due_at <= asked.now, table.c.source.not_in(paused))
    return wanted if asked.only is None else and_(wanted, table.c.key.in_(asked.only))


def _claimable(table: Any, now: datetime | BindParameter[datetime]) -> ColumnElement[bool]:
    free = or_(table.c.lease_until.is_(None), table.c.lease_until <= now)
    return and_(in_state(table, State.READY), table.c.due_at <= now, free)


def _claimed(row: Any, asked: Claim) -> Claimed:
    content = read_content(row.content)
    return Claimed(
        id=row.id,
        key=row.key,
        source=row.source,
        trigger=row.trigger,
        lane=row.lane,
        token=asked.token,
        lease_until=asked.lease_until,
        request=bytes(content.task),
        zones=content.zones,
        valid_until=content.valid_until,
        first_attempt_at=row.first_attempt_at,
        tries=row.tries,
        patient=Patient(
            id=row.patient_id_,
            identity=row.patient_identity_,
            state=PatientState(row.patient_state_),
            api_id=row.patient_api_id_,
            request=row.patient_request_,
            tries=row.patient_tries_,
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


async def next_due(connection: AsyncConnection, only: Collection[str] | None) -> datetime | None:
    """When the next ready intent of a source that is not paused is due, leased or not; None when none is."""
    statement = select(func.min(intents.c.due_at)).where(
        in_state(intents, State.READY), intents.c.source.not_in(select(pauses.c.source))
    )
    if only is not None:
        statement = statement.where(intents.c.key.in_(only))
    found: datetime | None = (await connection.execute(statement)).scalar()
    return found
