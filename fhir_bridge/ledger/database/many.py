"""One statement for many rows: compiled once for a database, each row no more than its values in order.

SQLAlchemy prepares the parameters of every row anew, which took longer than the database took to write them.
Types still do their part: an Instant becomes a number, a Payload goes through the ledger's cipher. A column
without a value is not named at all: sqlite3 takes seven times as long over a None as over a text.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from itertools import chain
from operator import itemgetter
from typing import Any, cast

from sqlalchemy import (
    Dialect,
    Executable,
    Table,
    insert,
)
from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.dml import Insert, UpdateBase

from fhir_bridge.ledger.database.asking import Asking, Told
from fhir_bridge.ledger.database.encryption import PLAIN, Cipher, cipher_of
from fhir_bridge.ledger.database.tables import Instant, Payload, microseconds
from fhir_bridge.ledger.database.upserts import upsert_on

Row = Mapping[str, Any]
_Process = Callable[[Any], Any]
_POSTGRES: Dialect = cast(Any, PGDialect)()

MOST_AT_ONCE = 16 * 1024 * 1024
"""Bytes of payloads in one statement; a list may take a gigabyte."""

ROWS_AT_ONCE = 10_000
"""Rows in one statement of those whose payloads are small."""

ROWS_A_STEP = 50
"""Rows that SQLite takes in one step of an INSERT: a step for each takes it a fifth longer, and more rows at
once bring nothing more.
"""


async def insert_many(connection: AsyncConnection, table: Table, rows: Sequence[Row]) -> None:
    """Insert rows; ids that they do not name are the database's to give."""
    await _write(connection, _insert(table), rows)


async def insert_rows(
    connection: AsyncConnection, table: Table, names: tuple[str, ...], rows: Sequence[tuple[Any, ...]]
) -> None:
    """The same of rows that are no more than their values of these columns; no cheaper way is there."""
    for start in range(0, len(rows), ROWS_AT_ONCE):
        compiled = _compiled_for(connection, _insert(table), names)
        columns = compiled.in_order(names, rows[start : start + ROWS_AT_ONCE])
        values = compiled.processed(columns, cipher_of(connection.dialect))
        if connection.dialect.name == "postgresql":
            await connection.exec_driver_sql(compiled.text_of_lists, tuple(map(list, values)))
        else:
            await _write_steps(connection, compiled, values)


async def insert_at_once(connection: AsyncConnection, table: Table, rows: Sequence[Row]) -> None:
    """Insert rows that all name the same columns, in one statement and in their order; a few hundred at most.

    SQLite gives the interpreter's lock away for every row of `executemany`; beside a busy event loop each row
    would wait for its turn to get it back.
    """
    if not rows:
        return
    if connection.dialect.name == "postgresql":
        await _write_lists(connection, _insert(table), tuple(rows[0]), rows)
        return
    compiled = _compiled_for(connection, _insert(table), tuple(rows[0]))
    flat = compiled.flat(rows, cipher_of(connection.dialect))
    await connection.exec_driver_sql(compiled.text_of(len(rows)), flat)


async def upsert_many(connection: AsyncConnection, table: Table, rows: Sequence[Row]) -> None:
    """The same; a row whose primary key is there already has every other column replaced."""
    await _write(connection, _upsert(table, connection.dialect.name), rows)


async def _write(connection: AsyncConnection, statement: Insert, rows: Sequence[Row]) -> None:
    alike: dict[tuple[str, ...], list[Row]] = defaultdict(list)
    for row in rows:
        alike[tuple([name for name, value in row.items() if value is not None])].append(row)
    for names, same in alike.items():
        if connection.dialect.name == "postgresql":
            for part in _parts(same):
                await _write_lists(connection, statement, names, part)
        else:
            compiled = _compiled_for(connection, statement, names)
            await _write_steps(connection, compiled, compiled.columns(same, cipher_of(connection.dialect)))


async def _write_steps(
    connection: AsyncConnection, compiled: _Compiled, columns: Sequence[Iterable[Any]]
) -> None:
    rows = list(zip(*columns, strict=True))
    whole = len(rows) - len(rows) % ROWS_A_STEP
    steps = [
        tuple(chain.from_iterable(rows[start : start + ROWS_A_STEP]))
        for start in range(0, whole, ROWS_A_STEP)
    ]
    if steps:
        await _put(connection, compiled.text_of_a_step, steps)
    if whole < len(rows):
        await _put(connection, compiled.text, rows[whole:])


async def _write_lists(
    connection: AsyncConnection, statement: Insert, names: tuple[str, ...], rows: Sequence[Row]
) -> None:
    """PostgreSQL is sent one list for each column, in binary: a statement a row takes it and its driver three
    times as long. The words are the same for any number of rows, so they are prepared once.
    """
    compiled = _compiled_for(connection, statement, names)
    lists = tuple(list(column) for column in compiled.columns(rows, cipher_of(connection.dialect)))
    await connection.exec_driver_sql(compiled.text_of_lists, lists)


def _parts(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """The rows, no more of them together than goes into one statement."""
    part: list[Row] = []
    held = 0
    for row in rows:
        part.append(row)
        held += sum(len(value) for value in row.values() if isinstance(value, bytes))
        if held > MOST_AT_ONCE:
            yield part
            part, held = [], 0
    if part:
        yield part


async def execute_many(connection: AsyncConnection, statement: UpdateBase, rows: Sequence[Row]) -> int:
    """Run an INSERT or UPDATE once a row; gives how many rows it changed in all.

    `statement` is one that lives as long as the program, so that it is compiled once; every row has the same
    names: of columns for an INSERT, of its `bindparam`s for an UPDATE.
    """
    compiled = _compiled_for(connection, statement, tuple(rows[0]))
    parameters = compiled.parameters(rows, cipher_of(connection.dialect))
    return (await connection.exec_driver_sql(compiled.text, parameters)).rowcount


async def ask(connection: AsyncConnection, statement: Executable, **values: Any) -> Told:
    """Run a statement once, with values for its `bindparam`s; it too lives as long as the program. In the
    ledger's own thread nobody waits for the answer until somebody looks at it.

    The rows it gives are the driver's: no type has done its part.
    """
    compiled = _compiled_for(connection, statement, tuple(values))
    parameters = compiled.parameters([values], cipher_of(connection.dialect))[0]
    return await _put(connection, compiled.text, parameters)


async def _put(connection: AsyncConnection, text: str, parameters: Any) -> Told:
    """The driver's words and values; a list of these is as many rows."""
    if isinstance(connection, Asking):
        return connection.ask(text, parameters)
    return cast(Told, await connection.exec_driver_sql(text, parameters))


class _Compiled:
    """The text of a statement, and how a row becomes its parameters."""

    def __init__(self, compiled: SQLCompiler, names: Sequence[str], dialect: Dialect) -> None:
        self.text = str(compiled)
        constants = {name: value for name, value in compiled.params.items() if name not in names}
        order = compiled.positiontup if compiled.positional else list(compiled.params)
        assert order is not None and not compiled.post_compile_params | compiled.literal_execute_params
        self._order, self._constants, self._positional = order, constants, compiled.positional
        self._types = [compiled.binds[name].type for name in order]
        self._payloads = [at for at, name in enumerate(order) if _is(compiled, name, Payload)]
        self._process: list[tuple[int, _Process]] = []
        for at, name in enumerate(order):
            if at not in self._payloads and (process := _processor(compiled, name, dialect)):
                self._process.append((at, process))

    def text_of(self, rows: int) -> str:
        """The text of an INSERT for so many rows at once."""
        head, row, conflict = self._parts_of_insert
        return f"{head} VALUES {', '.join([row] * rows)}{conflict}"

    @cached_property
    def text_of_a_step(self) -> str:
        """SQLite's text for ROWS_A_STEP rows."""
        return self.text_of(ROWS_A_STEP)

    @cached_property
    def text_of_lists(self) -> str:
        """PostgreSQL's text for any number of rows, each column given as one list."""
        head, _, conflict = self._parts_of_insert
        lists = [f"%b::{each.compile(_POSTGRES)}[]" for each in self._types]
        return f"{head} SELECT * FROM unnest({', '.join(lists)}){conflict}"

    @property
    def _parts_of_insert(self) -> tuple[str, str, str]:
        """What is before the values, those of one row, and what is to be done where it is there already."""
        head, _, values = self.text.partition(" VALUES ")
        row, conflict, what_then = values.partition(" ON CONFLICT ")
        return head, row, conflict + what_then

    def flat(self, rows: Sequence[Row], cipher: Cipher) -> tuple[Any, ...]:
        """All values of all rows, in their order, for a driver that knows parameters by their place."""
        return tuple(value for row in self.parameters(rows, cipher) for value in row)

    def parameters(self, rows: Sequence[Row], cipher: Cipher) -> list[Any]:
        """What the driver takes for each row: a tuple, or a mapping where it knows parameters by name."""
        if not self._order:
            return [()] * len(rows)
        values = zip(*self.columns(rows, cipher), strict=True)
        if self._positional:
            return list(values)
        return [dict(zip(self._order, row, strict=True)) for row in values]

    def columns(self, rows: Sequence[Row], cipher: Cipher) -> list[Iterable[Any]]:
        """The values of each parameter in turn, of one row after the other."""
        if self._constants:
            rows = [{**row, **self._constants} for row in rows]
        pick = itemgetter(*self._order) if len(self._order) > 1 else lambda row: (row[self._order[0]],)
        return self.processed(list(zip(*map(pick, rows), strict=True)), cipher)

    def in_order(self, names: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> list[Iterable[Any]]:
        """The columns of rows that hold the values of these names."""
        columns = dict(zip(names, zip(*rows, strict=True), strict=True))
        return [columns[name] for name in self._order]

    def processed(self, columns: list[Iterable[Any]], cipher: Cipher) -> list[Iterable[Any]]:
        """The same values as the driver takes them."""
        for at, process in self._process:
            columns[at] = map(process, columns[at])
        if cipher is not PLAIN:
            for at in self._payloads:
                columns[at] = [None if value is None else cipher.encrypt(value) for value in columns[at]]
        return columns


def _is(compiled: SQLCompiler, name: str, kind: type[Any]) -> bool:
    return isinstance(compiled.binds[name].type, kind)


def _processor(compiled: SQLCompiler, name: str, dialect: Dialect) -> _Process | None:
    if _is(compiled, name, Instant):
        return microseconds
    return compiled.binds[name].type.dialect_impl(dialect).bind_processor(dialect)


_known: dict[tuple[Executable, str, tuple[str, ...]], _Compiled] = {}


def _compiled_for(connection: AsyncConnection, statement: Executable, names: tuple[str, ...]) -> _Compiled:
    """Compiled once in a program's life, for each kind of database: another ledger's is the same."""
    dialect = connection.dialect
    found = _known.get((statement, dialect.name, names))
    if found is None:
        keys = list(names) if isinstance(statement, Insert) and statement.select is None else None
        compiled = cast(Any, statement).compile(dialect=cast(DefaultDialect, dialect), column_keys=keys)
        found = _known[(statement, dialect.name, names)] = _Compiled(compiled, names, dialect)
    return found


@lru_cache
def _insert(table: Table) -> Insert:
    # inline: nobody asks for the ids of a batch, so none are sent back.
    return insert(table).inline()


@lru_cache
def _upsert(table: Table, dialect: str) -> Insert:
    return upsert_on(dialect, table)
