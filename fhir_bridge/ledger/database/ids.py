"""Ids of rows that are about to be inserted."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import Integer, Select, Table, bindparam, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from fhir_bridge.ledger.database.many import ask


async def new_ids(connection: AsyncConnection, table: Table, count: int) -> Sequence[int]:
    """Ids for so many rows that this transaction is about to insert, ascending: so nobody asks for them
    afterwards. SQLite has one writer, and only that one counts on.
    """
    if connection.dialect.name == "sqlite":
        last = (await ask(connection, _last_id(table))).scalar() or 0
        return range(last + 1, last + 1 + count)
    return [one for (one,) in (await ask(connection, _next_ids(table), count=count)).all()]


@lru_cache
def _last_id(table: Table) -> Select[Any]:
    return select(func.max(table.c.id))


@lru_cache
def _next_ids(table: Table) -> Select[Any]:
    each = func.generate_series(1, bindparam("count", type_=Integer)).table_valued("n")
    return select(func.nextval(func.pg_get_serial_sequence(table.name, "id"))).select_from(each)
