"""A ledger's file: made private, upgraded at first use, refused where it is not ours."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import stat
import threading
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, event, text
from sqlalchemy.ext.asyncio import AsyncConnection

from fhir_bridge.errors import Category, LedgerError, SettingsError
from fhir_bridge.ledger.database import migrations
from fhir_bridge.ledger.database.engine import ledger_url, open_to_look, prepare_sqlite
from fhir_bridge.ledger.database.migrate import migrate
from fhir_bridge.ledger.database.tables import REVISION, metadata
from fhir_bridge.ledger.database.upgrade import upgrade
from fhir_bridge.ledger.records import Act
from fhir_bridge.ledger.store import _told_errors, open_ledger

HERE = {"api_url": "https://api.example", "project_id": "123e4567-e89b-12d3-a456-426614174000"}
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


async def make(path: Path, **given: Any) -> None:
    """Open and close a ledger."""
    await (await open_ledger(path, **{**HERE, **given})).aclose()


async def test_a_new_ledger_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    """The file and what SQLite puts beside it."""
    async with await open_ledger(tmp_path / "ledger.db", **HERE):
        modes = {stat.S_IMODE(entry.stat().st_mode) for entry in os.scandir(tmp_path)}
    assert modes == {0o600}


async def test_a_new_ledger_has_pages_that_hold_several_calls(tmp_path: Path) -> None:
    """A file that was made with other pages keeps them."""
    await make(tmp_path / "ledger.db")
    (tmp_path / "older.db").touch(0o600)
    with closing(sqlite3.connect(tmp_path / "older.db")) as older:
        older.executescript("PRAGMA page_size=4096; CREATE TABLE t (c); DROP TABLE t")
    await make(tmp_path / "older.db")
    assert [_page_size(tmp_path / name) for name in ("ledger.db", "older.db")] == [8192, 4096]


def _page_size(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("PRAGMA page_size").fetchone()[0])


KEPT = {
    "synchronous": 2,
    "foreign_keys": 1,
    "journal_mode": "wal",
    "secure_delete": 1,
    "busy_timeout": 10_000,
}
"""What SQLite says of a connection that loses nothing in a power cut: 2 is FULL."""


async def test_every_connection_that_writes_is_as_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That of the migrations, of the event loop and of the threads, whatever SQLite was built with."""
    of_migration: list[Any] = []

    def migrating(connection: Connection) -> None:
        of_migration.append({name: connection.execute(text(f"PRAGMA {name}")).scalar() for name in KEPT})
        migrate(connection)

    async def found(connection: AsyncConnection) -> dict[str, Any]:
        return {name: (await connection.execute(text(f"PRAGMA {name}"))).scalar() for name in KEPT}

    monkeypatch.setattr("fhir_bridge.ledger.database.upgrade.migrate", migrating)
    async with await open_ledger(tmp_path / "ledger.db", **HERE) as ledger:
        assert of_migration == [KEPT]
        async with ledger._writing() as connection:
            assert await found(connection) == KEPT
        for thread in (ledger._at_once, ledger._in_inbox, ledger._look, ledger._in_line):
            assert await thread(found) == KEPT


def test_a_new_file_that_another_process_is_at_is_waited_for(tmp_path: Path) -> None:
    """SQLite refuses at once where both change it into WAL, as it does here where it may not wait."""
    path = tmp_path / "ledger.db"
    with (
        closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other,
        closing(sqlite3.connect(path, timeout=0)) as ours,
    ):
        other.execute("CREATE TABLE t (x)")
        other.execute("BEGIN EXCLUSIVE")
        ends = threading.Timer(0.1, other.execute, ["ROLLBACK"])
        ends.start()
        prepare_sqlite(ours, None)  # type: ignore[arg-type]
        ends.join()
        assert ours.execute("PRAGMA journal_mode").fetchone() == ("wal",)


async def test_a_ledger_belongs_to_one_destination(tmp_path: Path) -> None:
    """Another endpoint or project is refused as a setting (exit 3); a final slash is no other endpoint."""
    await make(tmp_path / "ledger.db")
    await make(tmp_path / "ledger.db", api_url="https://api.example/")
    for other in (
        {"api_url": "https://other.example"},
        {"project_id": "00000000-0000-4000-8000-000000000000"},
    ):
        with pytest.raises(SettingsError, match="belongs to") as refused:
            await make(tmp_path / "ledger.db", **other)
        assert refused.value.category is Category.CONFIGURATION


async def test_the_migrations_make_the_tables_of_the_code(tmp_path: Path) -> None:
    """Nothing is missing and nothing is left over; the newest revision is the one the code expects."""
    await make(tmp_path / "ledger.db")
    with create_engine(f"sqlite:///{tmp_path / 'ledger.db'}").connect() as connection:
        context = MigrationContext.configure(connection)
        assert context.get_current_revision() == REVISION
        assert compare_metadata(context, metadata) == []
    assert migrations.__file__ is not None
    assert ScriptDirectory(Path(migrations.__file__).parent).get_current_head() == REVISION


async def test_the_database_checks_what_the_code_says(tmp_path: Path) -> None:
    """Alembic's comparison does not look at CHECKs: compare the statements that made the tables."""
    await make(tmp_path / "ledger.db")
    made, expected = _checks(tmp_path / "ledger.db"), _checks_of_code()
    assert made == expected


def _checks(path: Path) -> dict[str, set[str]]:
    with sqlite3.connect(path) as connection:
        tables = dict(
            connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'").fetchall()
        )
    connection.close()
    lines = {name: {line.strip().rstrip(",") for line in sql.splitlines()} for name, sql in tables.items()}
    return {
        name: {line for line in found if "CHECK" in line}
        for name, found in lines.items()
        if name in metadata.tables
    }


def _checks_of_code() -> dict[str, set[str]]:
    engine, statements = create_engine("sqlite://"), []
    event.listen(engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    metadata.create_all(engine)
    engine.dispose()
    found: dict[str, set[str]] = {}
    for statement in statements:
        if statement.strip().startswith("CREATE TABLE"):
            name = statement.split()[2].strip('"')
            lines = {line.strip().rstrip(",") for line in statement.splitlines()}
            found[name] = {line for line in lines if "CHECK" in line}
    return found


def test_two_processes_may_open_a_new_ledger_at_once(bridge: Any) -> None:
    """One makes the tables, the other waits for it; both agree on the salt."""
    code = (
        "import asyncio, sys; from fhir_bridge.ledger.store import open_ledger\n"
        "async def main():\n"
        "    ledger = await open_ledger(sys.argv[1], api_url='https://api.example', project_id='p')\n"
        "    print(ledger._salt.hex()); await ledger.aclose()\n"
        "asyncio.run(main())"
    )
    processes = [bridge.process("ledger.db", program=code) for _ in range(4)]
    outputs = [process.communicate(60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4
    assert len(set(outputs)) == 1


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ("CREATE TABLE other (x)", "ledger-foreign"),
        (
            "CREATE TABLE alembic_version (version_num); INSERT INTO alembic_version VALUES ('9999')",
            "ledger-newer",
        ),
    ],
)
async def test_a_file_that_is_not_ours_is_left_alone(tmp_path: Path, content: str, code: str) -> None:
    """Another program's database, and a ledger of a newer release."""
    path = tmp_path / "ledger.db"
    connection = sqlite3.connect(path)
    connection.executescript(content)
    connection.close()
    with pytest.raises(LedgerError) as refused:
        await make(path)
    assert refused.value.code == code
    assert refused.value.hint


async def test_a_file_that_is_no_database_is_said_so(tmp_path: Path) -> None:
    """Its bytes stay as they were."""
    path = tmp_path / "ledger.db"
    path.write_bytes(b"a letter to a friend, and not a database at all" * 40)
    before = path.read_bytes()
    with pytest.raises(LedgerError, match="cannot be read as a ledger"):
        await make(path)
    assert path.read_bytes() == before


async def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    """With what to check."""
    with pytest.raises(LedgerError, match="nowhere") as refused:
        await make(tmp_path / "nowhere" / "ledger.db")
    assert refused.value.exit_code == 6


@pytest.mark.parametrize("location", ["mysql://host/db", "postgresql://[::1", "oracle+oracledb://x/y"])
def test_another_kind_of_database_is_refused(location: str) -> None:
    """Without printing the URL, which may hold a password."""
    with pytest.raises(SettingsError) as refused:
        ledger_url(location)
    assert location not in str(refused.value)


@pytest.mark.parametrize("command", [["status"], ["worklist"], ["sources"], ["show", "x"], ["replay"]])
def test_who_looks_where_there_is_no_ledger_makes_none(bridge: Any, command: list[str]) -> None:
    """Exit code 3 and where it was looked for: an empty one would stand in the way of `migrate`."""
    ran = bridge(*command)
    assert ran.code == 3
    assert "fhir-bridge.db" in ran.err
    assert not list(bridge.folder.iterdir())


LOST = {
    "the ledger": ((".db",), "ledger.db"),
    "all but its journal": ((".db", ".db-shm"), "ledger.db"),
    "its journal": ((".db-wal",), "ledger.db-wal"),
}


@pytest.mark.parametrize("lost", LOST)
async def test_a_ledger_of_which_a_file_is_gone_is_refused(tmp_path: Path, lost: str) -> None:
    """SQLite would begin an empty one, or forget what was committed last: people would be called again. What
    is left is not touched."""
    async with await open_ledger(tmp_path / "ledger.db", **HERE) as ledger:
        await ledger.block("number", "+12125550101", Act("op", "asked us", NOON))
        copy = tmp_path / "copy"
        copy.mkdir()
        for ending in ("", "-wal", "-shm"):
            shutil.copy(tmp_path / f"ledger.db{ending}", copy)
    endings, named = LOST[lost]
    for ending in endings:
        (copy / f"ledger{ending}").unlink()
    before = {file.name: file.read_bytes() for file in copy.iterdir()}
    for opens in (make, checked, upgraded):
        with pytest.raises(LedgerError, match=f"and {re.escape(named)} is not") as refused:
            await opens(copy / "ledger.db")
        assert refused.value.hint and "called again" in refused.value.hint
    assert {file.name: file.read_bytes() for file in copy.iterdir()} == before


@pytest.mark.parametrize("index", [True, False])
async def test_an_empty_file_in_the_place_of_a_ledger_is_none(tmp_path: Path, index: bool) -> None:
    """Whoever opens a file that is gone makes an empty one: what its journal holds would be thrown away."""
    async with await open_ledger(tmp_path / "ledger.db", **HERE) as ledger:
        await ledger.block("number", "+12125550101", Act("op", "asked us", NOON))
        copy = tmp_path / "copy"
        copy.mkdir()
        for ending in ("-wal", "-shm") if index else ("-wal",):
            shutil.copy(tmp_path / f"ledger.db{ending}", copy)
    (copy / "ledger.db").touch(0o600)
    journal = (copy / "ledger.db-wal").read_bytes()
    for opens in (make, checked, upgraded):
        with pytest.raises(LedgerError) as refused:
            await opens(copy / "ledger.db")
        assert refused.value.code == "ledger-torn"
    assert (copy / "ledger.db-wal").read_bytes() == journal


async def checked(path: Path) -> None:
    """`ledger check`."""
    open_to_look(ledger_url(path))


async def upgraded(path: Path) -> None:
    """`ledger upgrade`."""
    upgrade(path)


async def test_a_ledger_that_is_open_or_was_left_behind_by_a_kill_is_whole(tmp_path: Path) -> None:
    """Its journal beside it, with the index of it or without."""
    async with await open_ledger(tmp_path / "ledger.db", **HERE):
        await make(tmp_path / "ledger.db")
        copy = tmp_path / "copy"
        copy.mkdir()
        for ending in ("", "-wal"):
            shutil.copy(tmp_path / f"ledger.db{ending}", copy)
    await make(copy / "ledger.db")


def test_a_full_disk_is_told_as_one(tmp_path: Path) -> None:
    """By what helps, not by the database's code alone."""
    engine = create_engine(f"sqlite:///{tmp_path / 'small.db'}")
    with engine.connect() as connection:
        connection.execute(text("PRAGMA max_page_count = 2"))
        connection.execute(text("CREATE TABLE t (x)"))
        with pytest.raises(LedgerError, match="its disk is full: SQLITE_FULL") as caught, _told_errors():
            connection.execute(text("INSERT INTO t VALUES (zeroblob(100000))"))
    engine.dispose()
    assert "Make room" in (caught.value.hint or "")
