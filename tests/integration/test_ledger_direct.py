"""Transactions in the ledger's own thread: whole or not at all, beside those of the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import psycopg
import pytest
from sqlalchemy import Connection, bindparam, func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from fhir_bridge.dispatch.writes import AT_ONCE, WriteQueue
from fhir_bridge.errors import LedgerError
from fhir_bridge.ledger.database.engine import direct_engine, ledger_url, open_engine
from fhir_bridge.ledger.database.many import ask
from fhir_bridge.ledger.database.migrate import migrate
from fhir_bridge.ledger.database.tables import destination, pauses
from fhir_bridge.ledger.database.upgrade import upgrade
from fhir_bridge.ledger.records import Written
from fhir_bridge.ledger.sources.messages import Received
from fhir_bridge.ledger.store import SqlLedger, open_ledger

PAUSING = insert(pauses).values(
    source=bindparam("source"), since=bindparam("since"), by=bindparam("by"), why=bindparam("why")
)
COUNTING = select(func.count()).select_from(pauses)
DESTINATION = {"api_url": "http://127.0.0.1:1", "project_id": "123e4567-e89b-12d3-a456-426614174000"}


async def opened(folder: Path, now: datetime) -> SqlLedger:
    """An empty ledger."""
    return await open_ledger(folder / "ledger.db", now=now, **DESTINATION)


async def paused(ledger: SqlLedger) -> int:
    """How many rows the tests below have written."""

    async def count(connection: AsyncConnection) -> int:
        found: int = (await connection.execute(select(func.count()).select_from(pauses))).scalar_one()
        return found

    return await ledger._at_once(count)


def open_files() -> list[str]:
    """What this process has open, by name."""
    return [str(file.readlink()) for file in Path("/proc/self/fd").iterdir() if file.is_symlink()]


async def test_a_transaction_that_fails_leaves_nothing(tmp_path: Path, monday: datetime) -> None:
    """Be it by an error of ours, by waiting for the loop, or by the database, told without its parameters."""
    row = {"source": "Zzyx", "since": monday, "by": "nobody", "why": "test"}

    async def ours(connection: AsyncConnection) -> None:
        await connection.execute(insert(pauses), [row])
        raise LookupError

    async def waits(connection: AsyncConnection) -> None:
        await connection.execute(insert(pauses), [row])
        await asyncio.sleep(0)

    async def twice(connection: AsyncConnection) -> None:
        await connection.execute(insert(pauses), [row])
        await connection.execute(insert(pauses), [row])

    async with await opened(tmp_path, monday) as ledger:
        for body, error in ((ours, LookupError), (waits, RuntimeError), (twice, LedgerError)):
            with pytest.raises(error) as caught:
                await ledger._at_once(body)
            assert "Zzyx" not in str(caught.value)
            assert await paused(ledger) == 0


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="open files are seen in /proc")
async def test_what_undoes_a_statement_is_kept_in_no_file(tmp_path: Path, monday: datetime) -> None:
    """SQLite would write the pages that a batch changes, and what they say of patients, into /var/tmp."""
    rows = [{"source": str(number), "since": monday, "by": "x" * 2_000, "why": ""} for number in range(200)]

    async def change(connection: AsyncConnection) -> list[str]:
        await connection.execute(insert(pauses), rows)
        found = select(func.json_each("[0]").table_valued("value").c.value)
        await connection.execute(update(pauses).where(found.exists()).values(why="changed"))
        return open_files()

    async with await opened(tmp_path, monday) as ledger:
        files = await ledger._at_once(change)
    assert str(tmp_path / "ledger.db-wal") in files
    assert not [name for name in files if "etilqs" in name]


async def test_both_kinds_of_transaction_at_once_lose_no_update(tmp_path: Path, monday: datetime) -> None:
    """Read, then written back, by two hundred of them through two connections."""

    async def one_more(connection: AsyncConnection) -> None:
        read = (await connection.execute(select(destination.c.failures))).scalar_one()
        await connection.execute(update(destination).values(failures=read + 1))

    async def through_the_loop(ledger: SqlLedger) -> None:
        async with ledger._writing() as connection:
            await one_more(connection)

    async with await opened(tmp_path, monday) as ledger:
        both = [work for _ in range(100) for work in (ledger._at_once(one_more), through_the_loop(ledger))]
        await asyncio.gather(*both)
        assert (await ledger.gate()).failures == 200


async def test_a_server_that_is_gone_without_a_word_is_not_waited_for_long(
    postgres_database: Callable[[], str],
) -> None:
    """Every connection is told when to give up, in the event loop and in threads; what the URL says wins."""
    engine = open_engine(ledger_url(f"{postgres_database()}&keepalives_idle=20"))
    beside = direct_engine(engine)
    assert beside is not None
    async with engine.connect() as connection:
        of_loop = (await connection.get_raw_connection()).driver_connection
        with beside.connect() as other:
            for driver in (of_loop, other.connection.driver_connection):
                asked = cast(psycopg.Connection, driver).info.get_parameters()
                assert (asked["keepalives_idle"], asked["tcp_user_timeout"]) == ("20", "30000")
    await engine.dispose()
    beside.dispose()


async def test_every_connection_to_postgresql_writes_through(
    postgres_database: Callable[..., str], monday: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That of the migrations, of the event loop and of the threads, though this server is set otherwise: else
    a power cut could lose the attempt that was committed before the call."""
    kept = {"synchronous_commit": "on", "transaction_isolation": "read committed"}
    of_migration: list[Any] = []

    def migrating(connection: Connection) -> None:
        of_migration.append({name: connection.execute(text(f"SHOW {name}")).scalar() for name in kept})
        migrate(connection)

    async def found(connection: AsyncConnection) -> dict[str, Any]:
        return {name: (await connection.execute(text(f"SHOW {name}"))).scalar() for name in kept}

    monkeypatch.setattr("fhir_bridge.ledger.database.postgres.migrate", migrating)
    location = postgres_database(empty=True)
    upgrade(location)
    assert of_migration == [kept]
    with psycopg.connect(location) as other:
        assert other.execute("SHOW synchronous_commit").fetchone() == ("off",)
    async with await open_ledger(location, now=monday, **DESTINATION) as ledger:
        async with ledger._writing() as connection:
            assert await found(connection) == kept
        for thread in (ledger._at_once, ledger._in_inbox, ledger._look, ledger._in_line):
            assert await thread(found) == kept


async def test_a_connection_that_was_cut_while_it_rested_is_replaced(
    postgres_database: Callable[[], str], monday: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that was started anew costs no message, in the ledger's threads nor in the event loop."""
    location = postgres_database()
    monkeypatch.setattr("fhir_bridge.ledger.database.postgres._PINGED_AFTER", 0.0)
    async with await open_ledger(location, now=monday, **DESTINATION) as ledger:
        for number in range(2):
            assert await ledger.receive([Received("ehr", b"{}", monday)]) == [True]
            assert (await ledger.inbox_lag()).received == number + 1
            with psycopg.connect(location, autocommit=True) as other:
                others = "datname = current_database() AND pid <> pg_backend_pid()"
                other.execute(f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE {others}")


async def test_what_postgresql_refuses_among_statements_sent_together_is_told(
    postgres_database: Callable[[], str], monday: datetime
) -> None:
    """By its own kind, without its parameters, and nothing of the transaction is kept; the next one works."""
    row = {"source": "Zzyx", "since": monday, "by": "nobody", "why": "test"}

    async def twice(connection: AsyncConnection) -> None:
        for _ in range(3):
            await ask(connection, PAUSING, **row)

    async with await open_ledger(postgres_database(), now=monday, **DESTINATION) as ledger:
        with pytest.raises(LedgerError) as caught:
            await ledger._at_once(twice)
        assert caught.value.code == "ledger-refused"
        assert "Zzyx" not in str(caught.value)
        assert await paused(ledger) == 0


async def test_statements_sent_together_see_one_another_and_those_of_sqlalchemy(
    postgres_database: Callable[[], str], monday: datetime
) -> None:
    """In their order, though nobody waits for an answer before it is looked at."""
    row = {"since": monday, "by": "nobody", "why": "test"}

    async def pause(connection: AsyncConnection) -> tuple[list[int], int]:
        told = [await ask(connection, PAUSING, source="a", **row)]
        await connection.execute(insert(pauses), [{"source": "b", **row}])
        told.append(await ask(connection, PAUSING, source="c", **row))
        found = await ask(connection, COUNTING)
        return [each.rowcount for each in told], found.scalar()

    async with await open_ledger(postgres_database(), now=monday, **DESTINATION) as ledger:
        assert await ledger._at_once(pause) == ([1, 1], 3)
        assert await paused(ledger) == 3


async def test_a_connection_that_is_cut_under_a_transaction_fails_that_one_alone(
    postgres_database: Callable[[], str], monday: datetime
) -> None:
    """What was asked and not committed is told as not written, and the next transaction has another
    connection."""
    location = postgres_database()
    row = {"source": "a", "since": monday, "by": "nobody", "why": "test"}

    async def cut(connection: AsyncConnection) -> None:
        assert (await ask(connection, PAUSING, **row)).rowcount == 1
        with psycopg.connect(location, autocommit=True) as other:
            others = "datname = current_database() AND pid <> pg_backend_pid()"
            other.execute(f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE {others}")
        await ask(connection, COUNTING)

    async with await open_ledger(location, now=monday, **DESTINATION) as ledger:
        with pytest.raises(LedgerError) as caught:
            await ledger._at_once(cut)
        assert caught.value.code == "ledger-unavailable"
        assert await paused(ledger) == 0


async def test_a_commit_holds_only_so_many_writes_and_keeps_their_order() -> None:
    """Else every sender of a worker would wait for one commit."""
    batches: list[list[int]] = []

    class Ledger:
        async def write(self, batch: Any) -> list[Written]:
            batches.append(list(batch))
            await asyncio.sleep(0)
            return [Written(done=True, number=item) for item in batch]

    queue: Any = WriteQueue(Ledger())  # type: ignore[arg-type]
    async with queue:
        futures = [queue.put(number) for number in range(200)]
        await queue.flush()
    assert [(await future).number for future in futures] == list(range(200))
    assert [number for batch in batches for number in batch] == list(range(200))
    assert max(map(len, batches)) == AT_ONCE
