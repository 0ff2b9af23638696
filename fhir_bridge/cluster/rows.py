"""Blocks of scratch files as rows of a DataFrame, and back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import NamedTuple

import pyarrow as pa

COLUMNS = "batch int, stream int, number int, place int, data binary"
"""Where a block comes from (batch of pieces, place in its scratch file) and where it belongs: its stream, and
the partition or bucket there."""

ABOUT = -1
"""The stream of what is known of a batch's pieces."""

MOVED = 100
"""The stream of resources that belong to another partition than the one they were read into."""

_SCHEMA = pa.schema(
    [
        ("batch", pa.int32()),
        ("stream", pa.int32()),
        ("number", pa.int32()),
        ("place", pa.int32()),
        ("data", pa.binary()),
    ]
)
_AT_ONCE = 16 * 1024 * 1024
"""Bytes in one record batch, about."""


class Row(NamedTuple):
    """One block."""

    batch: int
    stream: int
    number: int
    place: int
    data: bytes


def arrow_of(rows: Iterable[Row]) -> Iterator[pa.RecordBatch]:
    """Rows as Spark takes them from a task."""
    held: list[Row] = []
    size = 0
    for row in rows:
        held.append(row)
        size += len(row.data)
        if size > _AT_ONCE:
            yield _batch(held)
            held, size = [], 0
    if held:
        yield _batch(held)


def _batch(rows: list[Row]) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays(
        [
            pa.array(column, type=field.type)
            for column, field in zip(zip(*rows, strict=True), _SCHEMA, strict=True)
        ],
        schema=_SCHEMA,
    )


def rows_of(batches: Iterable[pa.RecordBatch]) -> Iterator[Row]:
    """Rows as Spark gives them to a task."""
    for batch in batches:
        columns = (column.to_pylist() for column in batch.columns)
        yield from map(Row._make, zip(*columns, strict=True))


def by_number(rows: Iterable[Row]) -> Iterator[tuple[int, dict[int, list[bytes]]]]:
    """Each number with its blocks by stream, in their order; rows must come sorted by number, batch and
    place.

    What is held at a time is one number's.
    """
    for number, group in groupby(rows, key=lambda row: row.number):
        blocks: dict[int, list[bytes]] = {}
        for row in group:
            blocks.setdefault(row.stream, []).append(row.data)
        yield number, blocks
