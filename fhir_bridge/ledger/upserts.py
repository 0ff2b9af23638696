"""INSERT … ON CONFLICT DO UPDATE, which SQLite and PostgreSQL spell alike but SQLAlchemy keeps by dialect."""

from __future__ import annotations

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.dml import Insert


def upsert(connection: AsyncConnection, table: Table) -> Insert:
    """Insert rows; one whose primary key is there already replaces every other column of it."""
    return upsert_on(connection.dialect.name, table)


def upsert_on(dialect: str, table: Table) -> Insert:
    """The same for a database by its name."""
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    statement = insert(table)
    others = {
        column.name: statement.excluded[column.name] for column in table.columns if not column.primary_key
    }
    return statement.on_conflict_do_update(index_elements=list(table.primary_key.columns), set_=others)
