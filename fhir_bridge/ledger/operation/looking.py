"""What an operator sees: the ledger at a glance, the work list, one intent in full (delivery)."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Select, String, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from fhir_bridge.ledger.arrivals import outdated, unread
from fhir_bridge.ledger.arrivals.content import Content, read_content
from fhir_bridge.ledger.database.given import GIVEN, as_given, given_values
from fhir_bridge.ledger.database.tables import (
    NEEDS_A_PERSON,
    attempts,
    in_state,
    inbox,
    intents,
    members,
    patients,
)
from fhir_bridge.ledger.operation.named import find, reasons_alone, row_of, standing_in
from fhir_bridge.ledger.people import blocking
from fhir_bridge.ledger.records import Selection, Status, WorkItem
from fhir_bridge.ledger.sending import destination
from fhir_bridge.ledger.sources.messages import FILE, MessageState
from fhir_bridge.ledger.states import PatientState, State

_SECRET = ("lease_token", "fingerprint", "content", "lane")


async def status(connection: AsyncConnection, now: datetime, only: list[str] | None = None) -> Status:
    """Counts by state and reason, what is due, and what is unsettled elsewhere; `only`: of these intents'
    keys.
    """
    counts = select(intents.c.state, intents.c.reason, func.count()).group_by(
        intents.c.state, intents.c.reason
    )
    due = select(func.min(intents.c.due_at)).where(in_state(intents, State.READY))
    alarms = (
        select(intents.c.alarm, func.count()).where(intents.c.alarm.is_not(None)).group_by(intents.c.alarm)
    )
    if only is not None:
        of_these = intents.c.key.in_(given_values(connection.dialect.name, String))
        keys = {GIVEN: as_given((key,) for key in only)}
        counts, due, alarms = (query.where(of_these).params(keys) for query in (counts, due, alarms))
    states: dict[str, int] = defaultdict(int)
    reasons: dict[str, int] = defaultdict(int)
    for state, reason, count in await connection.execute(counts):
        states[state] += count
        if reason:
            reasons[reason] += count
    for reason, count in (await reasons_alone(connection, only)).items():
        states[State.SKIPPED.value] += count
        reasons[reason] += count
    earliest: datetime | None = (await connection.execute(due)).scalar()
    gate = await destination.gate(connection)
    unsettled = [s for s in PatientState if s is not PatientState.CREATED]
    return Status(
        states=dict(states),
        reasons=dict(reasons),
        oldest_due=earliest if earliest and earliest <= now else None,
        next_due=earliest,
        inbox=await _counts(connection, _by(inbox.c.state).where(inbox.c.state != "processed")),
        patients=await _counts(connection, _by(patients.c.state).where(patients.c.state.in_(unsettled))),
        alarms=await _counts(connection, alarms),
        outdated={} if only is not None else await outdated.by_source(connection),
        destination={
            "held_back_because": gate.closed_because(now),
            "paused_sources": sorted(gate.paused_sources),
            "paused_until": gate.paused_until if gate.paused_until and gate.paused_until > now else None,
            "stopped_at": gate.stopped_at,
            "stopped_by": gate.stopped_by,
            "open_until": gate.open_until,
        },
    )


def _by(column: Any) -> Select[Any]:
    return select(column, func.count()).group_by(column)


async def _counts(connection: AsyncConnection, statement: Select[Any]) -> dict[str, int]:
    return {row[0]: row[1] for row in await connection.execute(statement)}


async def worklist(
    connection: AsyncConnection, selection: Selection, limit: int | None = None
) -> list[WorkItem]:
    """What needs a person, longest waiting first: intents, alarms, patients in doubt or refused, messages
    that failed."""
    wanted = or_(in_state(intents, *NEEDS_A_PERSON), intents.c.alarm.is_not(None))
    statement = select(intents).where(wanted).order_by(intents.c.changed_at, intents.c.id).limit(limit)
    for column in ("state", "source"):
        if (value := getattr(selection, column)) is not None:
            statement = statement.where(intents.c[column] == value)
    if selection.reason is not None:  # an alarm is listed as its reason
        of_this = or_(intents.c.reason == selection.reason, intents.c.alarm == selection.reason)
        statement = statement.where(of_this)
    items = [_intent_item(row) for row in await connection.execute(statement)]
    unsettled = select(patients).where(patients.c.state.in_([PatientState.IN_DOUBT, PatientState.REFUSED]))
    if selection.source is not None:
        unsettled = unsettled.where(patients.c.source == selection.source)
    if selection.state is None and selection.reason is None:
        items += [_patient_item(row) for row in await connection.execute(unsettled.limit(limit))]
    if selection.state is None:
        items += await _failed_messages(connection, selection, limit)
    return items


async def _failed_messages(
    connection: AsyncConnection, selection: Selection, limit: int | None
) -> list[WorkItem]:
    failed = select(*(inbox.c[name] for name in _OF_MESSAGE)).where(in_state(inbox, MessageState.FAILED))
    if selection.source is not None:
        failed = failed.where(inbox.c.source == selection.source)
    if selection.reason is not None:
        failed = failed.where(inbox.c.error == selection.reason)
    rows = (await connection.execute(failed.order_by(inbox.c.id).limit(limit))).all()
    holds = await unread.held_by(connection, [row.id for row in rows]) if rows else {}
    return [_message_item(row, holds.get(row.id, ())) for row in rows]


def _intent_item(row: Any) -> WorkItem:
    return WorkItem(
        kind="intent",
        key=row.key,
        source=row.source,
        state=row.state,
        reason=row.alarm or row.reason,
        since=row.alarm_at or row.changed_at,
        trigger=row.trigger,
        expression=row.expression,
        task_id=row.task_id,
        answer=_text(row.answer),
    )


def _patient_item(row: Any) -> WorkItem:
    return WorkItem(
        kind="patient",
        key=row.identity,
        source=row.source,
        state=row.state,
        reason=row.error,
        since=row.changed_at,
        answer=_text(row.answer),
    )


_OF_MESSAGE = ("id", "source", "state", "error", "method", "path", "received_at", "changed_at")
"""Columns of a message without its body."""


def _message_item(row: Any, holds: tuple[str, ...]) -> WorkItem:
    is_of_file = row.method == FILE
    return WorkItem(
        kind="message",
        key=str(row.id),
        source=row.source,
        state=row.state,
        reason=row.error,
        since=row.changed_at or row.received_at,
        trigger=None if is_of_file else row.path,
        holds=holds,
        place=row.path if is_of_file else None,
    )


def _text(stored: bytes | None) -> str | None:
    return None if stored is None else stored.decode(errors="replace")


async def show(connection: AsyncConnection, named: str) -> dict[str, Any]:
    """One intent in full: its row, triggers, chain members, patient, attempts, both sides' words. Holds PHI.

    `named` is a key, a unique beginning of one, or a trigger. Raises UsageError where it names none or
    several.
    """
    found = await find(connection, named)
    intent = (await connection.execute(row_of(found))).one()
    chain = select(members.c.member).where(members.c.intent_id == found.id).order_by(members.c.member)
    tried = (
        select(attempts)
        .where(or_(attempts.c.intent_id == found.id, attempts.c.patient_id == (intent.patient_id or -1)))
        .order_by(attempts.c.id)
    )
    standing = (await connection.execute(standing_in(found))).all()
    aside = await outdated.of(connection, [(row.source, row.trigger) for row in standing])
    person = (
        await connection.execute(select(patients).where(patients.c.id == intent.patient_id))
    ).one_or_none()
    return {
        **_plain(intent),
        **_content(intent.content),
        "triggers": [_plain(row, "identity", "key") for row in standing],
        "members": sorted({*(await connection.execute(chain)).scalars(), *(row.trigger for row in standing)}),
        "patient": None if person is None else _plain(person),
        "blocked": [asdict(entry) for entry in await blocking.listed_for(connection, found.id)],
        "outdated": [_plain(row) for row in aside],
        "attempts": [_plain(row) for row in await connection.execute(tried)],
    }


def _content(stored: bytes | None) -> dict[str, Any]:
    """What the intent goes by; all of it absent once retention has cleared it."""
    content = Content() if stored is None else read_content(stored)
    return {
        "request": msgspec.json.decode(content.task),
        "detail": content.detail,
        "zones": list(content.zones),
        "valid_until": content.valid_until,
        "lineage": msgspec.json.decode(content.lineage),
    }


def _plain(row: Any, *without: str) -> dict[str, Any]:
    """A row for people: payloads as the JSON or text they hold, without what only the machine needs."""
    left_out = {*_SECRET, *without}
    return {name: _value(name, value) for name, value in row._mapping.items() if name not in left_out}


def _value(name: str, value: Any) -> Any:
    if not isinstance(value, bytes):
        return value
    if name == "request":
        return msgspec.json.decode(value)
    return _text(value)
