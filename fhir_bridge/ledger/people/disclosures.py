"""What was told to the endpoint about whom, and what people looked at and did: rows for the accounting of
disclosures (delivery, table `audit`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, exists, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from fhir_bridge.ledger.database.tables import attempts, audit, intents, patients, triggers

ROWS_AT_ONCE = 2_000


@dataclass(frozen=True, slots=True)
class Period:
    """From `since` (inclusive) until `until` (exclusive), aware UTC; None: open."""

    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Disclosure:
    """One request that left for the endpoint, or was about to. `outcome` is None where nobody knows."""

    id: int
    call: str
    started_at: datetime
    finished_at: datetime | None
    status: int | None
    outcome: str | None
    error: str | None
    source: str
    patient: str
    patient_id: str | None
    intent: str | None
    trigger: str | None
    task_id: str | None


@dataclass(frozen=True, slots=True)
class Acted:
    """What somebody did or looked at, as the audit has it."""

    number: int
    at: datetime
    actor: str
    action: str
    subject: str
    reason: str


async def destination_told(connection: AsyncConnection) -> str:
    """To whom: the endpoint's address."""
    from fhir_bridge.ledger.database.tables import destination

    return str((await connection.execute(select(destination.c.api_url))).scalar_one())


async def knows(connection: AsyncConnection, source: str, identity: str) -> bool:
    """Whether a patient, an intent or a Skip that stands alone has this identity."""
    there = or_(
        *(
            exists().where(table.c.source == source, table.c.identity == identity)
            for table in (patients, intents, triggers)
        )
    )
    return bool((await connection.execute(select(there))).scalar_one())


async def disclosures(
    connection: AsyncConnection, period: Period, patient: tuple[str, str] | None, after: int
) -> Sequence[Disclosure]:
    """The next attempts after that id, in their order; only of one patient (source, identity) if named."""
    of_intent, own = patients.alias("of_intent"), patients.alias("own")
    statement: Select[Any] = (
        select(
            *(
                attempts.c[name]
                for name in ("id", "call", "started_at", "finished_at", "status", "outcome", "error")
            ),
            *(own.c[name].label(f"own_{name}") for name in ("source", "identity", "api_id")),
            *(of_intent.c[name].label(f"of_{name}") for name in ("identity", "api_id")),
            *(intents.c[name] for name in ("source", "key", "trigger", "task_id")),
        )
        .outerjoin(own, own.c.id == attempts.c.patient_id)
        .outerjoin(intents, intents.c.id == attempts.c.intent_id)
        .outerjoin(of_intent, of_intent.c.id == intents.c.patient_id)
        .where(attempts.c.id > after, *_within(attempts.c.started_at, period))
        .order_by(attempts.c.id)
        .limit(ROWS_AT_ONCE)
    )
    if patient is not None:
        ids = select(patients.c.id).where(patients.c.source == patient[0], patients.c.identity == patient[1])
        statement = statement.where(attempts.c.patient_id.in_(ids) | intents.c.patient_id.in_(ids))
    return [_disclosure(row) for row in await connection.execute(statement)]


async def acts(connection: AsyncConnection, period: Period, after: int) -> Sequence[Acted]:
    """The next rows of the audit after that number."""
    statement = (
        select(*(audit.c[name] for name in ("number", "at", "actor", "action", "subject", "reason")))
        .where(audit.c.number > after, *_within(audit.c.at, period))
        .order_by(audit.c.number)
        .limit(ROWS_AT_ONCE)
    )
    return [Acted(*row) for row in await connection.execute(statement)]


def _within(column: Any, period: Period) -> list[Any]:
    wanted = []
    if period.since is not None:
        wanted.append(column >= period.since)
    if period.until is not None:
        wanted.append(column < period.until)
    return wanted


def _disclosure(row: Any) -> Disclosure:
    return Disclosure(
        id=row.id,
        call=row.call,
        started_at=row.started_at,
        finished_at=row.finished_at,
        status=row.status,
        outcome=row.outcome,
        error=row.error,
        source=row.own_source or row.source,
        patient=row.own_identity or row.of_identity,
        patient_id=row.own_api_id or row.of_api_id,
        intent=row.key,
        trigger=row.trigger,
        task_id=row.task_id,
    )
