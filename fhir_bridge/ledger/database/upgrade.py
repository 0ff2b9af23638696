"""Bringing a ledger to the newest schema: SQLite at its first use, PostgreSQL when told (delivery)."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from fhir_bridge.errors import LedgerError
from fhir_bridge.ledger.database.engine import (
    BUSY_TIMEOUT,
    begin_sqlite,
    demand_whole,
    ledger_url,
    make_file,
    prepare_sqlite,
)
from fhir_bridge.ledger.database.migrate import migrate
from fhir_bridge.ledger.database.postgres import upgrade_postgres
from fhir_bridge.ledger.database.tables import REVISION


def upgrade(location: str | Path) -> tuple[str | None, str]:
    """Make or upgrade the tables; gives the schema there was (None: none) and is now. Raises LedgerError."""
    url = ledger_url(location)
    if url.get_backend_name() == "postgresql":
        return upgrade_postgres(url)
    path = Path(str(url.database))
    demand_whole(path)
    before = _revision(path) if path.is_file() else None
    make_file(path)
    upgrade_sqlite(path)
    return before, REVISION


def upgrade_sqlite(path: Path) -> None:
    """Create or upgrade the tables of a SQLite file. Two processes may try at once; one waits for the other.

    Raises LedgerError where the file is no ledger, or one of a newer release. Alembic is loaded only when
    there is something to do, for every command would pay for it.
    """
    try:
        revision = _revision(path)
    except sqlite3.DatabaseError as error:
        raise _unreadable(path, error) from None
    if revision == REVISION:
        return
    if revision is not None and revision > REVISION:
        raise LedgerError(
            f"{path} was written by a newer release (schema {revision}, this release knows {REVISION})",
            code="ledger-newer",
            hint="Upgrade fhir-bridge on this machine.",
        )
    _run_migrations(path)


def _unreadable(path: Path, error: sqlite3.Error) -> LedgerError:
    return LedgerError(
        f"{path} cannot be read as a ledger: {error.sqlite_errorname}",
        code="ledger-unreadable",
        hint="Is it another program's file, or damaged? Name another one, or restore a copy.",
    )


def _revision(path: Path) -> str | None:
    with closing(sqlite3.connect(path, timeout=BUSY_TIMEOUT)) as connection:
        tables = {
            name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        }
        if "alembic_version" not in tables:
            if tables:
                raise LedgerError(
                    f"{path} holds another program's tables",
                    code="ledger-foreign",
                    hint="Name a file of its own for the ledger.",
                )
            return None
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        return str(row[0]) if row else None


def _run_migrations(path: Path) -> None:
    from sqlalchemy import create_engine, event
    from sqlalchemy.exc import DBAPIError

    engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": BUSY_TIMEOUT})
    event.listen(engine, "connect", prepare_sqlite)
    event.listen(engine, "begin", begin_sqlite)
    try:
        with engine.connect().execution_options(ledger_writes=True) as connection, connection.begin():
            migrate(connection)
    except DBAPIError as error:
        if isinstance(error.orig, sqlite3.Error):
            raise _unreadable(path, error.orig) from None
        raise
    finally:
        engine.dispose()
