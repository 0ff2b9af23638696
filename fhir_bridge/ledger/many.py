"""One statement for many rows: compiled once for a database, each row no more than its values in order.

SQLAlchemy prepares the parameters of every row anew, which took longer than the database took to write them.
Types still do their part: an Instant becomes a number, a Payload goes through the ledger's cipher.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any, cast

from sqlalchemy import Dialect, Table, insert
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.dml import Insert, UpdateBase

from fhir_bridge.ledger.upserts import upsert_on

Row = Mapping[str, Any]
_Process = Callable[[Any], Any]


async def insert_many(connection: AsyncConnection, table: Table, rows: Sequence[Row]) -> None:
    """Insert rows that all name the same columns; ids are the database's to give."""
    if rows:
        await execute_many(connection, _insert(table), rows)


async def upsert_many(connection: AsyncConnection, table: Table, rows: Sequence[Row]) -> None:
    """The same; a row whose primary key is there already has every other column replaced."""
    if rows:
        await execute_many(connection, _upsert(table, connection.dialect.name), rows)


async def execute_many(connection: AsyncConnection, statement: UpdateBase, rows: Sequence[Row]) -> int:
    """Run an INSERT or UPDATE once a row; gives how many rows it changed in all.

    `statement` is one that lives as long as the program, so that it is compiled once; every row has the same
    names: of columns for an INSERT, of its `bindparam`s for an UPDATE.
    """
    compiled = _compiled(statement, connection.dialect, tuple(rows[0]))
    return (await connection.exec_driver_sql(compiled.text, compiled.parameters(rows))).rowcount


class _Compiled:
    """The text of a statement, and how a row becomes its parameters."""

    def __init__(self, compiled: SQLCompiler, names: Sequence[str], dialect: Dialect) -> None:
        self.text = str(compiled)
        constants = {name: value for name, value in compiled.params.items() if name not in names}
        order = compiled.positiontup if compiled.positional else list(compiled.params)
        assert order is not None and not compiled.post_compile_params | compiled.literal_execute_params
        self._order, self._constants, self._positional = order, constants, compiled.positional
        self._process: list[tuple[int, _Process]] = []
        for at, name in enumerate(order):
            process = compiled.binds[name].type.dialect_impl(dialect).bind_processor(dialect)
            if process is not None:
                self._process.append((at, process))

    def parameters(self, rows: Sequence[Row]) -> Any:
        """What the driver takes: a tuple a row, or a mapping where it knows parameters by name."""
        if self._constants:
            rows = [{**row, **self._constants} for row in rows]
        pick = itemgetter(*self._order) if len(self._order) > 1 else lambda row: (row[self._order[0]],)
        values = [list(pick(row)) for row in rows]
        for at, process in self._process:
            for row in values:
                row[at] = process(row[at])
        if self._positional:
            return [tuple(row) for row in values]
        return [dict(zip(self._order, row, strict=True)) for row in values]


@lru_cache(maxsize=256)
def _compiled(statement: UpdateBase, dialect: Dialect, names: tuple[str, ...]) -> _Compiled:
    keys = list(names) if isinstance(statement, Insert) else None
    compiled = statement.compile(dialect=cast(DefaultDialect, dialect), column_keys=keys)
    return _Compiled(compiled, names, dialect)


@lru_cache
def _insert(table: Table) -> Insert:
    # inline: nobody asks for the ids of a batch, so none are sent back.
    return insert(table).inline()


@lru_cache
def _upsert(table: Table, dialect: str) -> Insert:
    return upsert_on(dialect, table)
