"""The crosswalk from a source's patients to the task API's (delivery, table `patients`)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, String, and_, literal_column, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from fhir_bridge.ledger.arrivals.batch import KnownIntent
from fhir_bridge.ledger.arrivals.sameness import fingerprint, is_another
from fhir_bridge.ledger.database.encryption import cipher_of
from fhir_bridge.ledger.database.given import as_given, given
from fhir_bridge.ledger.database.ids import new_ids
from fhir_bridge.ledger.database.many import ask, insert_many
from fhir_bridge.ledger.database.tables import in_state, intents, patients
from fhir_bridge.ledger.states import PatientState, State

_BEHIND = {PatientState.IN_DOUBT: "patient-in-doubt", PatientState.REFUSED: "patient-refused"}
STATE_OF = {reason: state for state, reason in _BEHIND.items()}
"""Of a patient, by the reason of what is parked behind them."""
CHANGED = "patient-changed"
_ANY_STUCK = select(patients.c.id).where(in_state(patients, *_BEHIND)).limit(literal_column("1"))
_SETTLED_BY_SITE = {"state": PatientState.CREATED, "error": None, "answer": None, "lease_token": None}

Place = tuple[str, str]


class _Known(NamedTuple):
    """What the crosswalk has of a patient."""

    id: int
    state: str
    api_id: str | None
    request: bytes | None
    person: str | None


def identity_of(intent: KnownIntent) -> str:
    """Who the intent's patient is in the crosswalk; one without an identity is a patient of that trigger
    only.
    """
    return intent.identity or f"of:{intent.trigger}"


async def take_in(
    connection: AsyncConnection, changed: Sequence[KnownIntent], now: datetime, salt: bytes
) -> dict[Place, int]:
    """The row of every patient that a changed intent calls, made or brought up to date; their
    ids by place.
    """
    wanted: dict[Place, KnownIntent] = {
        (intent.source, identity_of(intent)): intent
        for intent in changed
        if intent.decision and intent.decision.decision == "call"
    }
    known = await _rows(connection, wanted)
    new = [_new_row(place, intent, now) for place, intent in wanted.items() if place not in known]
    ids = {place: row.id for place, row in known.items()}
    if new:
        for row, row_id in zip(new, await new_ids(connection, patients, len(new)), strict=True):
            row["id"] = ids[(row["source"], row["identity"])] = row_id
        await insert_many(connection, patients, new)
    for place, patient in known.items():
        await _bring_up_to_date(connection, patient, wanted[place], now, salt)
    return ids


async def _rows(connection: AsyncConnection, places: Collection[Place]) -> dict[Place, _Known]:
    if not places:
        return {}
    told = await ask(connection, _at(connection.dialect.name), given=as_given(places))
    decrypt = cipher_of(connection.dialect).decrypt
    return {
        (source, identity): _Known(id_, state, api_id, None if request is None else decrypt(request), person)
        for source, identity, id_, state, api_id, request, person in told.all()
    }


@lru_cache
def _at(dialect: str) -> Select[Any]:
    of = given(dialect, source=String, identity=String)
    here = and_(patients.c.source == of["source"], patients.c.identity == of["identity"])
    columns = (patients.c[name] for name in ("source", "identity", *_Known._fields))
    return select(*columns).where(here).with_for_update(of=patients)


def _new_row(place: Place, intent: KnownIntent, now: datetime) -> dict[str, Any]:
    assert intent.content is not None
    return {
        "source": place[0],
        "identity": place[1],
        "state": str(PatientState.CREATED if intent.content.api_id else PatientState.NEW),
        "api_id": intent.content.api_id,
        "request": bytes(intent.content.patient),
        "changed_at": now,
    }


async def _bring_up_to_date(
    connection: AsyncConnection, row: _Known, intent: KnownIntent, now: datetime, salt: bytes
) -> None:
    """The site's own id settles everything; a mended request is tried again where the last one
    was refused. Somebody else under the identity is for a person to look at: no call in another's name, also
    where retention has cleared the request. Of a patient who was imported, the first to be called is the one.
    """
    assert intent.content is not None
    request, api_id = bytes(intent.content.patient), intent.content.api_id
    if api_id and api_id != row.api_id:
        values: dict[str, Any] = {**_SETTLED_BY_SITE, "api_id": api_id}
    elif not api_id and is_another(row.request, row.person, request, salt):
        values = {"request": request, "state": PatientState.IN_DOUBT, "error": CHANGED}
    elif row.state == PatientState.NEW and request != row.request:
        values = {"request": request}
    elif row.state == PatientState.REFUSED and request != row.request:
        values = {"request": request, "state": PatientState.NEW, "error": None, "answer": None}
    elif not row.request and not row.person:
        values = {"person": fingerprint(request, salt)}
    else:
        return
    statement = update(patients).where(patients.c.id == row.id, patients.c.state == row.state)
    await connection.execute(statement.values(**values, changed_at=now))


async def park_behind(connection: AsyncConnection, now: datetime) -> None:
    """Park every ready intent whose patient is in doubt or refused: it cannot be sent, and must be seen."""
    if not (await ask(connection, _ANY_STUCK)).all():
        return
    changed = and_(in_state(patients, PatientState.IN_DOUBT), patients.c.error == CHANGED)
    behind = [(changed, CHANGED), *((in_state(patients, state), why) for state, why in _BEHIND.items())]
    for stuck, reason in behind:
        of_them = intents.c.patient_id.in_(select(patients.c.id).where(stuck))
        statement = update(intents).where(in_state(intents, State.READY), of_them)
        await connection.execute(statement.values(**_given_up(reason, now)))


def _given_up(reason: str, now: datetime) -> dict[str, Any]:
    lease = {"lease_token": None, "lease_until": None}
    return {"state": State.PARKED, "reason": reason, "due_at": None, "changed_at": now, **lease}


async def bring_back(connection: AsyncConnection, patient_id: int, now: datetime) -> int:
    """Make ready again what was parked behind this patient; gives how many."""
    behind = and_(intents.c.patient_id == patient_id, is_behind())
    statement = update(intents).where(behind)
    back = {"state": State.READY, "reason": None, "due_at": now, "changed_at": now}
    return (await connection.execute(statement.values(**back))).rowcount


def is_behind() -> ColumnElement[bool]:
    """Whether an intent is parked for its patient's sake alone: what retention has cleared as well cannot be
    sent any more.
    """
    reasons = intents.c.reason.in_([*_BEHIND.values(), CHANGED])
    return and_(intents.c.state == State.PARKED, reasons, intents.c.content.is_not(None))
