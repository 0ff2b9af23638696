"""The ledger's intake in batches, against plain sqlite3: with one table, and with the ledger's own tables."""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import msgspec

from benchmarks.decided import decided, resources_of
from benchmarks.generator import NOW
from benchmarks.measure import Row, Work, growth, micro, prepared
from fhir_bridge.ledger.content import content_of
from fhir_bridge.ledger.records import Arrival
from fhir_bridge.ledger.store import open_ledger
from fhir_bridge.mapping.decision import Skip

PATIENTS = 400
BATCH = 1_000
WRITTEN = ("inbox", "patients", "intents", "triggers", "members")
PROJECT = "123e4567-e89b-12d3-a456-426614174000"


def rows() -> Iterator[Row]:
    """The export's mix with every Skip kept, then what somebody is called for or must look at alone."""
    with tempfile.TemporaryDirectory() as folder:
        everything = arrivals_of(PATIENTS)
        yield _row("ledger: a decision taken in", everything, Path(folder))
        yield _beside_its_own_rows("ledger: a decision taken in", everything, Path(folder))
        wanted = [one for one in arrivals_of(PATIENTS * 4) if not isinstance(one.decision, Skip)]
        yield _row("ledger: a Call or Reject taken in", wanted, Path(folder))
        yield from growth(
            "ledger, batch in", lambda size: _taking_in(arrivals_of(100 * size), Path(folder)), rounds=3
        )


def arrivals_of(patients: int) -> list[Arrival]:
    """What `submit` would hand to the ledger of an export of so many patients."""
    return [
        Arrival("default", decision, trigger.view.resource_type, trigger.raw)
        for trigger, decision in decided(resources_of(patients))
    ]


def _row(path: str, arrivals: Sequence[Arrival], folder: Path) -> Row:
    contents = [msgspec.json.encode(content_of(arrival.decision)) for arrival in arrivals]
    ours, theirs = prepared(
        lambda: _taking_in(arrivals, folder), lambda: _inserting(arrivals, contents, folder), rounds=7
    )
    return Row(path, "sqlite3 executemany", theirs / ours, ">= 0.5", "0.8",
               micro(ours, len(arrivals)), micro(theirs, len(arrivals)))  # fmt: skip


def _beside_its_own_rows(path: str, arrivals: Sequence[Arrival], folder: Path) -> Row:
    """What writing the rows that came of it costs plain sqlite3: the database's part of the time."""
    _taking_in(arrivals, folder)()
    like = folder / f"{len(list(folder.glob('*.db'))) - 1}.db"
    ours, theirs = prepared(
        lambda: _taking_in(arrivals, folder), lambda: _copying(like, _empty(folder)), rounds=7
    )
    return Row(path, "sqlite3, the same tables and rows", theirs / ours, ">= 0.5", "0.8",
               micro(ours, len(arrivals)), micro(theirs, len(arrivals)))  # fmt: skip


def _copying(like: Path, to: Path) -> Work:
    """All rows of a ledger into an empty one by executemany, in as many transactions as it had batches."""
    with closing(sqlite3.connect(like)) as known:
        made = [sql for (sql,) in known.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")]
        rows = {table: known.execute(f"SELECT * FROM {table}").fetchall() for table in WRITTEN}
    connection = sqlite3.connect(to, isolation_level=None)
    for statement in ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL", *made):
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


def _taking_in(arrivals: Sequence[Arrival], folder: Path) -> Work:
    """Accepting them, a batch a transaction, in a ledger that is open."""
    runner = asyncio.Runner()
    ledger = runner.run(
        open_ledger(_empty(folder), api_url="http://127.0.0.1:1", project_id=PROJECT, now=NOW)
    )

    async def accept() -> None:
        for start in range(0, len(arrivals), BATCH):
            await ledger.accept(arrivals[start : start + BATCH], now=NOW)

    def work() -> None:
        runner.run(accept())
        runner.run(ledger.aclose())
        runner.close()

    return work


def _inserting(arrivals: Sequence[Arrival], contents: Sequence[bytes], folder: Path) -> Work:
    """The same trigger, its bytes and its decision, in a table that keeps account of nothing."""
    connection = sqlite3.connect(_empty(folder), isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute(
        "CREATE TABLE arrivals (id INTEGER PRIMARY KEY, trigger TEXT, body BLOB, content BLOB)"
    )

    def work() -> None:
        for start in range(0, len(arrivals), BATCH):
            batch = arrivals[start : start + BATCH]
            rows = [
                (arrival.decision.subject.trigger, arrival.body, content)
                for arrival, content in zip(batch, contents[start : start + BATCH], strict=True)
            ]
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("INSERT INTO arrivals (trigger, body, content) VALUES (?, ?, ?)", rows)
            connection.execute("COMMIT")
        connection.close()

    return work


def _empty(folder: Path) -> Path:
    """A place for one more database."""
    return folder / f"{len(list(folder.glob('*.db')))}.db"
