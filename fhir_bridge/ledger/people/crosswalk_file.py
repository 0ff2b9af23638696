"""The crosswalk from and to other systems: which patient of a source is which at the task API (delivery)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import insert, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from fhir_bridge.ledger.database.tables import in_state, patients
from fhir_bridge.ledger.people import crosswalk
from fhir_bridge.ledger.records import CrosswalkEntry, Imported
from fhir_bridge.ledger.states import PatientState

_AT_ONCE = 2_000
_MENDED = (PatientState.NEW, PatientState.IN_DOUBT, PatientState.REFUSED)


async def export(connection: AsyncConnection) -> list[CrosswalkEntry]:
    """Every patient who is known at the task API, by source and identity."""
    rows = await connection.execute(
        select(patients.c.source, patients.c.identity, patients.c.api_id)
        .where(in_state(patients, PatientState.CREATED))
        .order_by(patients.c.source, patients.c.identity)
    )
    return [CrosswalkEntry(row.source, row.identity, row.api_id) for row in rows]


async def take(
    connection: AsyncConnection, entries: Sequence[CrosswalkEntry], now: datetime, *, write: bool
) -> Imported:
    """Take patients in as created. One that is known under another id, or being created at this moment, is
    left as it is and named; what was parked behind one in doubt or refused is ready again.

    Without `write` it is only said what would be done.
    """
    seen: dict[tuple[str, str], CrosswalkEntry] = {}
    conflicts: dict[int, str] = {}
    for entry in entries:
        first = seen.setdefault((entry.source, entry.identity), entry)
        if first.patient_id != entry.patient_id:
            conflicts[entry.line] = f"the same patient as in line {first.line}, with another patient_id"
    new: list[CrosswalkEntry] = []
    known = brought_back = 0
    rows = await _rows(connection, list(seen))
    for place, entry in seen.items():
        row = rows.get(place)
        if row is None:
            new.append(entry)
        elif row.state in _MENDED:
            brought_back += await _settle(connection, row, entry, now) if write else 0
            known += 1
        elif row.state == PatientState.CREATED and row.api_id == entry.patient_id:
            known += 1
        else:
            conflicts[entry.line] = _why_not(row)
    if new and write:
        await connection.execute(insert(patients), [_row(entry, now) for entry in new])
    return Imported(len(new), known, brought_back, dict(sorted(conflicts.items())))


def _why_not(row: Any) -> str:
    if row.state == PatientState.CREATING:
        return "this patient is being created at the endpoint at this moment"
    return "the ledger knows this patient under another patient_id"


async def _settle(connection: AsyncConnection, row: Any, entry: CrosswalkEntry, now: datetime) -> int:
    statement = update(patients).where(patients.c.id == row.id, in_state(patients, *_MENDED))
    values = {**_created(entry, now), "error": None, "answer": None, "due_at": None}
    await connection.execute(statement.values(**values))
    return await crosswalk.bring_back(connection, row.id, now)


def _row(entry: CrosswalkEntry, now: datetime) -> dict[str, Any]:
    return {"source": entry.source, "identity": entry.identity, **_created(entry, now)}


def _created(entry: CrosswalkEntry, now: datetime) -> dict[str, Any]:
    return {"state": PatientState.CREATED, "api_id": entry.patient_id, "changed_at": now}


async def _rows(connection: AsyncConnection, places: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Any]:
    columns = (patients.c.id, patients.c.source, patients.c.identity, patients.c.state, patients.c.api_id)
    found: dict[tuple[str, str], Any] = {}
    for part in _parts(places):
        statement = select(*columns).where(tuple_(patients.c.source, patients.c.identity).in_(part))
        found |= {(row.source, row.identity): row for row in await connection.execute(statement)}
    return found


def _parts(places: Sequence[tuple[str, str]]) -> Iterator[Sequence[tuple[str, str]]]:
    return (places[start : start + _AT_ONCE] for start in range(0, len(places), _AT_ONCE))
