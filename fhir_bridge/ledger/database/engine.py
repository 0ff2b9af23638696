"""The connection to the database: what a SQLite file needs to be durable and to lose no update."""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Dialect, Engine, create_engine, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from fhir_bridge.errors import LedgerError, SettingsError
from fhir_bridge.ledger.database import postgres
from fhir_bridge.ledger.database.encryption import cipher_of, use

BUSY_TIMEOUT = 10.0
"""Seconds to wait for another process that is writing."""

PAGE_SIZE = 8192
"""Bytes. Three calls, which take some two kilobytes each when packed, fit in a page."""

CACHE_SIZE = 16_000
"""Kibibytes of pages that a connection keeps. A batch of a thousand calls changes more than SQLite's own two
megabytes, and what has no room is written twice.
"""

WRITES = {"ledger_writes": True}
"""Execution options of a connection whose transaction may write."""

READS = {"postgresql_readonly": True}
"""The same of one that must not: the database refuses it a lock as well."""


def alone(dialect: Dialect) -> dict[str, Any]:
    """The same of one that runs one statement, which the database commits when it is done with it."""
    return {"isolation_level": "AUTOCOMMIT"} if dialect.name == "postgresql" else {"ledger_alone": True}


def ledger_url(location: str | Path) -> URL:
    """The URL of a SQLAlchemy URL or a file path; raises SettingsError for one that cannot be used."""
    text = str(location)
    if "://" not in text:
        return URL.create("sqlite+aiosqlite", database=str(Path(text).expanduser()))
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise SettingsError(
            "the ledger is neither a file nor a database URL",
            hint="Give a path such as fhir-bridge.db, or postgresql://user@host/database.",
        ) from None
    if url.get_backend_name() == "sqlite":
        return url.set(drivername="sqlite+aiosqlite")
    if url.get_backend_name() == "postgresql":
        return url.set(drivername="postgresql+psycopg")
    raise SettingsError(
        f"the ledger cannot be kept in {url.get_backend_name()}", hint="SQLite and PostgreSQL are supported."
    )


def make_file(path: Path) -> None:
    """Create the ledger's file, readable by its owner only, where there is none. Raises LedgerError."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise LedgerError(
            f"the ledger {path} cannot be opened: {error.strerror}",
            code="ledger-unreachable",
            hint="Check that the folder exists and that this user may write in it.",
        ) from None


def demand_whole(path: Path) -> None:
    """Raise LedgerError where one of the ledger's files is gone and another is left: SQLite would begin a new
    ledger in its place, or forget what was committed last, and either would have people called again."""
    journal, index = (path.with_name(path.name + end) for end in ("-wal", "-shm"))
    if _size(journal) and not _size(path):
        gone, left = path, journal
    # As a ledger is closed its index goes first, then its journal.
    elif index.exists() and not journal.exists() and index.exists() and _size(path):
        gone, left = journal, index
    else:
        return
    raise LedgerError(
        f"the ledger {path} is not whole: {left.name} is there and {gone.name} is not",
        code="ledger-torn",
        hint="Put back all of its files, or a backup as docs/operating.md says. Removing what is left would "
        "have people called again.",
    )


def _size(path: Path) -> int:
    """Its bytes; 0 where there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def demand_privacy(path: Path) -> None:
    """Raise LedgerError where others than its owner may open the ledger's file: it names patients."""
    if os.name == "posix" and path.stat().st_mode & 0o077:
        raise LedgerError(
            f"the ledger {path} holds patient data, and others than its owner may open it",
            code="ledger-not-private",
            hint=f"chmod 600 {path}*",
        )


def open_engine(url: URL) -> AsyncEngine:
    """An engine whose writing transactions begin IMMEDIATE on SQLite, so that no read-then-write is lost."""
    if url.get_backend_name() != "sqlite":
        postgres.require_driver()
        found = create_async_engine(url, **postgres.arguments(url))
        postgres.ping_after_rest(found.sync_engine)
        return found
    engine = create_async_engine(url, connect_args={"timeout": BUSY_TIMEOUT}, hide_parameters=True)
    _prepared(engine.sync_engine)
    return engine


def direct_engine(engine: AsyncEngine) -> Engine | None:
    """Another engine on the same database, for use in a thread; None where the ledger is no file, but in
    memory.
    """
    if engine.dialect.name == "postgresql":
        beside = create_engine(engine.url, **postgres.arguments(engine.url, by_index=True))
        postgres.ping_after_rest(beside)
    elif engine.url.database in (None, "", ":memory:"):
        return None
    else:
        url = engine.url.set(drivername="sqlite+pysqlite")
        beside = _prepared(create_engine(url, connect_args={"timeout": BUSY_TIMEOUT}, hide_parameters=True))
        event.listen(beside, "connect", undo_in_memory)
    use(beside.dialect, cipher_of(engine.dialect))
    return beside


def _prepared(engine: Engine) -> Engine:
    event.listen(engine, "connect", prepare_sqlite)
    event.listen(engine, "begin", begin_sqlite)
    return engine


async def forget_cleared(engine: AsyncEngine) -> None:
    """Take what was cleared out of SQLite's journal too; PostgreSQL's VACUUM does its part by itself."""
    if engine.dialect.name != "sqlite":
        return
    async with engine.connect() as connection:
        driver: Any = (await connection.get_raw_connection()).driver_connection
        # Outside of any transaction; where a reader holds it up it is done the next time.
        await (await driver.execute("PRAGMA wal_checkpoint(TRUNCATE)")).close()


def open_to_look(url: URL) -> AsyncEngine:
    """An engine on a SQLite file that lets nobody change it. Raises LedgerError where there is none of it, or
    only a part."""
    demand_whole(Path(str(url.database)))
    if not Path(str(url.database)).is_file():
        raise LedgerError(
            f"there is no ledger {url.database}", code="ledger-missing", hint="Check ledger.url."
        )
    place = URL.create(url.drivername, database=f"file:{url.database}", query={"mode": "ro", "uri": "true"})
    return create_async_engine(place, connect_args={"timeout": BUSY_TIMEOUT}, hide_parameters=True)


def _into_wal(cursor: Any) -> None:
    """A new file's change into WAL is refused at once, whatever the busy timeout, where another process is
    at it: asked again until then."""
    last = time.monotonic() + BUSY_TIMEOUT
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > last:
                raise
        time.sleep(0.01)


def prepare_sqlite(connection: DBAPIConnection, _record: Any) -> None:
    """Durable over a power cut, readers beside a writer, foreign keys kept; the driver begins nothing
    itself.
    """
    connection.isolation_level = None
    cursor = connection.cursor()
    # Of a new file only: of SQLite's own size one would hold a single call, and half of it lie idle.
    cursor.execute(f"PRAGMA page_size={PAGE_SIZE}")
    _into_wal(cursor)
    for pragma in (
        "synchronous=FULL",
        "foreign_keys=ON",
        f"cache_size=-{CACHE_SIZE}",
        # What retention clears is overwritten, not only marked as free.
        "secure_delete=ON",
        f"busy_timeout={BUSY_TIMEOUT * 1000:.0f}",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def undo_in_memory(connection: DBAPIConnection, _record: Any) -> None:
    """For a connection whose statements each change no more than a batch: to undo one of them alone SQLite
    keeps what each page held before, and by itself writes as many bytes of it into a file as into its
    journal.
    """
    connection.cursor().execute("PRAGMA temp_store=MEMORY")


def begin_sqlite(connection: Connection) -> None:
    """BEGIN IMMEDIATE where the transaction may write: a deferred one reads first and then cannot upgrade.
    One statement alone is begun and committed by the database itself.
    """
    options = connection.get_execution_options()
    if not options.get("ledger_alone", False):
        connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get("ledger_writes", False) else "BEGIN")
