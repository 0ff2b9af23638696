"""The ledger's intake in batches, on both databases: against the same bytes in one plain table, and on SQLite
against the rows that come of it in the ledger's own tables.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

import msgspec

from benchmarks.databases import Bytes, Database, Sqlite, databases
from benchmarks.decided import decided, resources_of
from benchmarks.generator import NOW
from benchmarks.measure import Row, Work, growth, micro, prepared
from fhir_bridge.ledger.arrivals.content import content_of
from fhir_bridge.ledger.database.engine import PAGE_SIZE
from fhir_bridge.ledger.records import Arrival
from fhir_bridge.ledger.store import SqlLedger, open_ledger
from fhir_bridge.mapping.decision import Skip

PATIENTS = 400
BATCH = 1_000
WRITTEN = ("inbox", "patients", "intents", "triggers", "members")
PROJECT = "123e4567-e89b-12d3-a456-426614174000"
URL = "http://127.0.0.1:1"


def rows() -> Iterator[Row]:
    """The export's mix with every Skip kept, then what somebody is called for or must look at alone."""
    everything = arrivals_of(PATIENTS)
    wanted = [one for one in arrivals_of(PATIENTS * 4) if not isinstance(one.decision, Skip)]
    pieces = {size: arrivals_of(100 * size) for size in (1, 4, 16)}
    with databases() as both:
        for database in both:
            on = f", {database.name}"
            yield from _beside_plain(f"ledger: a decision taken in{on}", everything, database)
            if isinstance(database, Sqlite):
                yield _beside_its_own_rows(f"ledger: a decision taken in{on}", everything, database)
            yield from _beside_plain(f"ledger: a Call or Reject taken in{on}", wanted, database)
            yield from growth(f"ledger, batch in{on}", partial(_piece, pieces, database), rounds=3)


def arrivals_of(patients: int) -> list[Arrival]:
    """What `submit` would hand to the ledger of an export of so many patients."""
    return [
        Arrival("default", decision, trigger.view.resource_type, trigger.raw)
        for trigger, decision in decided(resources_of(patients))
    ]


def _piece(pieces: Mapping[int, Sequence[Arrival]], database: Database, size: int) -> Work:
    return _taking_in(pieces[size], database)


def _beside_plain(path: str, arrivals: Sequence[Arrival], database: Database) -> Iterator[Row]:
    """Against bytes that are there already; and, by the first way, against all that a program needs that has
    the same decisions to write down: they are made into bytes too.
    """
    parts = [arrivals[start : start + BATCH] for start in range(0, len(arrivals), BATCH)]
    batches = [[_bytes_of(arrival) for arrival in part] for part in parts]
    writers = database.plain()
    works = {name: partial(writer, batches) for name, writer in writers.items()}
    name, writer = next(iter(writers.items()))
    works[f"{name}, decisions encoded"] = lambda: writer([map(_bytes_of, part) for part in parts])
    for baseline, work in works.items():
        ours, theirs = prepared(partial(_taking_in, arrivals, database), work, rounds=7)
        yield _row(path, baseline, ours, theirs, len(arrivals))


def _bytes_of(arrival: Arrival) -> Bytes:
    content = msgspec.json.encode(content_of(arrival.decision))
    return arrival.decision.subject.trigger, arrival.body, content


def _row(path: str, baseline: str, ours: float, theirs: float, count: int) -> Row:
    return Row(path, baseline, theirs / ours, ">= 0.5", "0.8", micro(ours, count), micro(theirs, count))


def _beside_its_own_rows(path: str, arrivals: Sequence[Arrival], database: Sqlite) -> Row:
    """What writing the rows that came of it costs plain sqlite3: the database's part of the time."""
    like = database.ledger()
    _taking_in_at(like, arrivals)()
    ours, theirs = prepared(
        lambda: _taking_in(arrivals, database), lambda: _copying(like, database.ledger()), rounds=7
    )
    return _row(path, "sqlite3, the same tables and rows", ours, theirs, len(arrivals))


def _copying(like: Path, to: Path) -> Work:
    """All rows of a ledger into an empty one by executemany, in as many transactions as it had batches."""
    with closing(sqlite3.connect(like)) as known:
        made = [sql for (sql,) in known.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")]
        rows = {table: known.execute(f"SELECT * FROM {table}").fetchall() for table in WRITTEN}
    connection = sqlite3.connect(to, isolation_level=None)
    pages = f"PRAGMA page_size={PAGE_SIZE}"
    for statement in (pages, "PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL", *made):
        if "sqlite_" not in statement:
            connection.execute(statement)
    batches = -(-len(rows["triggers"]) // BATCH)

    def work() -> None:
        for batch in range(batches):
            connection.execute("BEGIN IMMEDIATE")
            for table, all_rows in rows.items():
                part = all_rows[batch::batches]
                if part:
                    values = ", ".join("?" * len(part[0]))
                    connection.executemany(f"INSERT INTO {table} VALUES ({values})", part)
            connection.execute("COMMIT")
        connection.close()

    return work


def _taking_in(arrivals: Sequence[Arrival], database: Database) -> Work:
    return _taking_in_at(database.ledger(), arrivals)


def _taking_in_at(place: str | Path, arrivals: Sequence[Arrival]) -> Work:
    """Accepting them, a batch a transaction, in a ledger that is open and has its connection, as the baseline
    has.
    """
    runner = asyncio.Runner()
    ledger = runner.run(open_ledger(place, api_url=URL, project_id=PROJECT, now=NOW))
    runner.run(ledger.accept([], now=NOW))

    def work() -> None:
        runner.run(_accept(ledger, arrivals))
        runner.run(ledger.aclose())
        runner.close()

    return work


async def _accept(ledger: SqlLedger, arrivals: Sequence[Arrival]) -> None:
    for start in range(0, len(arrivals), BATCH):
        await ledger.accept(arrivals[start : start + BATCH], now=NOW)
