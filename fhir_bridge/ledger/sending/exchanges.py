"""Attempts: committed before a byte is sent, settled with the lease that they were begun under (delivery).

Every statement repeats the state and the lease in its own WHERE, so a row that another worker, an operator or
newer data took meanwhile is left alone. All of a batch is written in one transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, reduce
from typing import Any

from sqlalchemy import Select, Table, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from fhir_bridge.ledger.database.asking import Answers, Told
from fhir_bridge.ledger.database.given import as_given, given_values
from fhir_bridge.ledger.database.locks import Lock, hold, locks_rows
from fhir_bridge.ledger.database.many import ask
from fhir_bridge.ledger.database.tables import intents, patients
from fhir_bridge.ledger.records import (
    Defer,
    Park,
    PatientAgain,
    SettlePatient,
    SettleTask,
    StartPatient,
    StartTask,
    TaskAgain,
    Write,
    Written,
)
from fhir_bridge.ledger.sending import destination, settling, starting
from fhir_bridge.ledger.sending.gate import Breaker, Gate, after

_WRITERS: dict[type[Any], Any] = {
    SettleTask: settling.settle_tasks,
    SettlePatient: settling.settle_patients,
    Defer: settling.defer,
    Park: settling.park,
    PatientAgain: starting.patients_again,
    TaskAgain: starting.tasks_again,
    StartPatient: starting.start_patients,
    StartTask: starting.start_tasks,
}
"""In the order they are written: settlements first, for they free lanes."""


_OF_PATIENTS = StartPatient | PatientAgain | SettlePatient


async def write(connection: AsyncConnection, batch: Sequence[Write], breaker: Breaker) -> list[Written]:
    """Write a batch in one transaction; one answer each, in the batch's order.

    All is asked before any answer is looked at, so that PostgreSQL is sent it in one.
    """
    await _take_turn(connection, batch)
    asked: list[tuple[list[int], Answers]] = []
    for kind, writer in _WRITERS.items():
        places = [place for place, item in enumerate(batch) if type(item) is kind]
        if places:
            asked.append((places, await writer(connection, [batch[place] for place in places])))
    settled = [item for item in batch if isinstance(item, SettleTask | SettlePatient)]
    row = await destination.ask_for_gate(connection) if settled else None
    written: dict[int, Written] = {}
    for places, answers in asked:
        written.update(zip(places, await answers(), strict=True))
    if row is not None:
        await _note_outcomes(connection, row, settled, breaker)
    return [written[place] for place in range(len(batch))]


async def _take_turn(connection: AsyncConnection, batch: Sequence[Write]) -> None:
    """Lock all that the batch is about, lowest first, before anything is asked of it.

    A statement that had to wait for a row answers as of when it began: it would not see that the number was
    called, blocked or paused meanwhile. And two batches that wait for each other would both be in vain.
    """
    if not locks_rows(connection.dialect):
        return
    if any(isinstance(item, StartPatient | StartTask) for item in batch):
        await hold(connection, Lock.START)
    people = {i.claimed.patient.id for i in batch if isinstance(i, _OF_PATIENTS)}
    for table, ids in ((intents, {item.claimed.id for item in batch}), (patients, people)):
        if ids:
            await ask(connection, _locking(connection.dialect.name, table), given=as_given((i,) for i in ids))


@lru_cache
def _locking(dialect: str, table: Table) -> Select[Any]:
    """Locks the given rows; they are counted, for to fetch them would take as long again."""
    rows = select(table.c.id).where(table.c.id.in_(given_values(dialect)))
    return select(func.count()).select_from(rows.order_by(table.c.id).with_for_update().subquery())


async def _note_outcomes(
    connection: AsyncConnection, row: Told, settled: Sequence[SettleTask | SettlePatient], breaker: Breaker
) -> None:
    """Breaker, stop and pause follow from what came back; locked and written only where something may
    change."""

    def folded(gate: Gate) -> Gate:
        return reduce(lambda so_far, item: after(so_far, item.outcome, item.at, breaker), settled, gate)

    before = destination.read_gate(row)
    if folded(before) != before:
        await destination.change(connection, folded)


def refused(item: Write) -> Written:
    """The answer for a write that the schema refused: a start was lost to another worker; the rest changed
    nothing.
    """
    return starting.LOST if isinstance(item, StartPatient | StartTask) else Written(done=False)
