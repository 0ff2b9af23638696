"""INSERT … ON CONFLICT DO UPDATE, which SQLite and PostgreSQL spell alike but SQLAlchemy keeps by dialect."""

from __future__ import annotations

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection


def upsert(connection: AsyncConnection, table: Table) -> postgresql.Insert | sqlite.Insert:
    """Insert rows; one whose primary key is there already replaces every other column of it."""
    return upsert_on(connection.dialect.name, table)


def upsert_on(dialect: str, table: Table) -> postgresql.Insert | sqlite.Insert:
    """The same for a database by its name."""
    statement = inserting(dialect, table)
    others = {
        column.name: statement.excluded[column.name] for column in table.columns if not column.primary_key
    }
    return statement.on_conflict_do_update(index_elements=list(table.primary_key.columns), set_=others)


def inserting(dialect: str, table: Table) -> postgresql.Insert | sqlite.Insert:
    """An INSERT that can be told what to do where a row is there already."""
    return postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)
