"""Rows given to one statement as one JSON value: whatever their number, the statement is the same and runs in
one step.

A statement run once a row is as many steps. At each sqlite3 lets go of the interpreter's lock, and takes it
again when the event loop, busy with other senders, lets go of it: that took most of a worker's time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Select,
    String,
    bindparam,
    case,
    cast,
    false,
    func,
    literal_column,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeEngine

GIVEN = "given"
"""The statement's parameter that holds the rows."""

_encoder = msgspec.json.Encoder()


def as_given(rows: Iterable[Sequence[Any]]) -> str:
    """The rows as the parameter takes them: texts, whole numbers (an instant as microseconds) and None."""
    return _encoder.encode(list(rows)).decode()


def as_listed(values: Iterable[str]) -> str:
    """Texts as the parameter of `found_in` takes them."""
    return _encoder.encode(list(values)).decode()


def found_in(dialect: str, column: ColumnElement[str], *also: ColumnElement[bool]) -> Select[tuple[str]]:
    """Those of the texts listed that a column holds in a row where all else holds.

    SQLite looks each up as it reads the list; for an IN it would make a table of them first.
    """
    listed = bindparam(GIVEN, type_=String())
    is_sqlite = dialect == "sqlite"
    each = func.json_each(listed) if is_sqlite else func.jsonb_array_elements_text(cast(listed, JSONB))
    value = each.table_valued("value", name=GIVEN).c.value
    return select(value).where(select(column).where(column == value, *also).exists())


def given(dialect: str, **columns: type[TypeEngine[Any]]) -> dict[str, ColumnElement[Any]]:
    """The columns of the rows, by name and type, in the order of each row's values."""
    rows = bindparam(GIVEN, type_=String())
    if dialect == "sqlite":
        each = func.json_each(rows).table_valued("value", name=GIVEN)
        return {
            name: func.json_extract(each.c.value, literal_column(f"'$[{place}]'"), type_=kind())
            for place, (name, kind) in enumerate(columns.items())
        }
    each = func.jsonb_array_elements(cast(rows, JSONB)).table_valued("value", name=GIVEN).render_derived()
    return {
        name: cast(each.c.value.op("->>")(literal_column(str(place))), kind())
        for place, (name, kind) in enumerate(columns.items())
    }


def given_values(dialect: str, kind: type[TypeEngine[Any]] = BigInteger) -> Select[tuple[Any]]:
    """The first value of each row, for an IN."""
    return select(given(dialect, value=kind)["value"])


def by_row(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    """The same, asked of each row that is found otherwise: by its id, or by what is due first.

    PostgreSQL would look for rows by it, and while it does not know yet how a table has grown it walks all
    that is ready to begin a few; of an EXISTS it makes a join of all with all.
    """
    return case((condition, true()), else_=false())


def gathered(dialect: str, *columns: ColumnElement[Any]) -> ColumnElement[str]:
    """All rows of these columns as one JSON text: to fetch many rows is as many steps, too."""
    if dialect == "sqlite":
        return func.json_group_array(func.json_array(*columns), type_=String())
    return cast(func.json_agg(func.json_build_array(*columns)), String())


def read_gathered(text: str | None) -> list[list[Any]]:
    """The rows that were gathered."""
    found: list[list[Any]] = msgspec.json.decode(text) if text else []
    return found
