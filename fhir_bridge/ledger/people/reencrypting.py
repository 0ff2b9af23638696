"""Bringing every payload under the key that writes: of a ledger that was begun in the clear, or under another
key (delivery, "Operating it").
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    LargeBinary,
    Select,
    Table,
    Update,
    and_,
    bindparam,
    func,
    literal,
    or_,
    select,
    tuple_,
    type_coerce,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from fhir_bridge.ledger.database.encryption import Cipher, cipher_of
from fhir_bridge.ledger.database.tables import Payload, metadata

ROWS_AT_ONCE = 500
"""Rows in one transaction: workers go on between two, and a kill costs no more than this."""

Place = tuple[Any, ...]
"""The primary key of a row; empty: before the first."""


def tables_with_payloads() -> Iterator[Table]:
    """Every table that holds what may name a patient."""
    for table in metadata.sorted_tables:
        if _payloads(table):
            yield table


async def count(connection: AsyncConnection, table: Table) -> int:
    """How many rows hold something that is not under the key that writes."""
    head = cipher_of(connection.dialect).head
    found = select(func.count()).select_from(table).where(_is_left(table, head))
    return int((await connection.execute(found)).scalar_one())


async def reencrypt(connection: AsyncConnection, table: Table, after: Place) -> tuple[int, Place | None]:
    """Bring the next rows after that one under the key that writes; gives how many, and where to go on (None
    at the end).

    A value that somebody wrote meanwhile is left as they wrote it. Raises LedgerError for one whose key is
    not there.
    """
    cipher = cipher_of(connection.dialect)
    rows = (await connection.execute(_next(table, cipher.head, after))).all()
    keys = len(table.primary_key.columns)
    for number, column in enumerate(_payloads(table)):
        changed = [
            {**_place(table, row), **_anew(bytes(row[keys + number]), cipher)}
            for row in rows
            if row[keys + number] is not None and not bytes(row[keys + number]).startswith(cipher.head)
        ]
        if changed:
            await connection.execute(_exchange(table, column.name), changed)
    return len(rows), tuple(rows[-1][:keys]) if len(rows) == ROWS_AT_ONCE else None


def _payloads(table: Table) -> Sequence[ColumnElement[Any]]:
    return [column for column in table.columns if isinstance(column.type, Payload)]


def _as_kept(column: ColumnElement[Any]) -> ColumnElement[bytes]:
    """The column's bytes as the database has them: nothing is decrypted on the way."""
    return type_coerce(column, LargeBinary())


def _is_left(table: Table, head: bytes) -> ColumnElement[bool]:
    under_it = literal(head, LargeBinary())
    return or_(
        *(
            and_(column.is_not(None), func.substr(_as_kept(column), 1, len(head)) != under_it)
            for column in _payloads(table)
        )
    )


def _next(table: Table, head: bytes, after: Place) -> Select[Any]:
    keys = list(table.primary_key.columns)
    statement = select(*keys, *map(_as_kept, _payloads(table))).where(_is_left(table, head))
    if after:
        statement = statement.where(tuple_(*keys) > tuple_(*map(literal, after)))
    return statement.order_by(*keys).limit(ROWS_AT_ONCE)


@lru_cache
def _exchange(table: Table, name: str) -> Update:
    of = [column == bindparam(f"of_{column.name}") for column in table.primary_key.columns]
    column = table.c[name]
    as_it_was = _as_kept(column) == bindparam("before", type_=LargeBinary())
    return update(table).where(*of, as_it_was).values({name: bindparam("now", type_=LargeBinary())})


def _place(table: Table, row: Any) -> dict[str, Any]:
    return {f"of_{key.name}": row[number] for number, key in enumerate(table.primary_key.columns)}


def _anew(kept: bytes, cipher: Cipher) -> dict[str, bytes]:
    return {"before": kept, "now": cipher.encrypt(cipher.decrypt(kept))}
