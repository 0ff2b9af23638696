"""The mapping in Spark's tasks: every partition decided on as `migration.deciding` does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pyarrow as pa

from fhir_bridge.cluster.partitioning import Batches, Spread, in_stage
from fhir_bridge.cluster.rows import MOVED, by_number, rows_of
from fhir_bridge.intake.bulk.joining import Together
from fhir_bridge.intake.bulk.partitions import Partitions
from fhir_bridge.intake.bulk.pieces import Piece
from fhir_bridge.intake.bulk.spill import About, Held, Stream
from fhir_bridge.mapping.printed import kind
from fhir_bridge.mapping_run import MappingRun
from fhir_bridge.migration import codec
from fhir_bridge.migration.deciding import Decider

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

COLUMNS = "kind string, reason string, line string"
"""A record for the ledger (`migration.codec`), and what it may be counted by; `kind` is `problem` for what
could not be read, and the line says where."""

_SCHEMA = pa.schema([("kind", pa.string()), ("reason", pa.string()), ("line", pa.string())])
_AT_ONCE = 1000

Recipe = Callable[[], MappingRun]
"""How a task comes by its rules: they hold compiled expressions and templates, which do not travel."""


@dataclass(frozen=True, slots=True)
class _Known:
    """What every task is told once."""

    pieces: tuple[Piece, ...]
    count: int
    together: Together
    abouts: dict[int, About]
    directory: list[bytes]

    def partitions(self) -> Partitions:
        """All of them, with nothing at hand yet but the directory."""
        directory = Held({Stream.DIRECTORY: self.directory}, 0, self.abouts)
        return Partitions(self.pieces, [directory], self.count, self.together)


def decided(spark: SparkSession, export: Spread, pieces: tuple[Piece, ...], recipe: Recipe) -> DataFrame:
    """A row for every decision and everything that records say of persons, as COLUMNS."""
    known = _Known(pieces, export.count, export.together, export.abouts, export.directory)
    blocks = export.blocks.filter(f"stream in ({Stream.RESOURCES}, {MOVED})")
    task = _Deciding(uuid4().hex, spark.sparkContext.broadcast(known), recipe)
    return in_stage(blocks, export.count).mapInArrow(task, COLUMNS)


class _Deciding:
    def __init__(self, run_id: str, known: Any, recipe: Recipe) -> None:
        self._run_id, self._known, self._recipe = run_id, known, recipe

    def __call__(self, batches: Batches) -> Iterator[pa.RecordBatch]:
        decider = _decider_of(self._run_id, self._known, self._recipe)
        for number, blocks in by_number(rows_of(batches)):
            stayed = Held({Stream.RESOURCES: blocks.get(Stream.RESOURCES, [])}, number)
            moved = Held({Stream.RESOURCES: blocks.get(MOVED, [])}, number)
            yield from _arrow(_records(decider, decider.partitions.over([stayed], [moved]), number))


_made: tuple[str, Decider] | None = None


def _decider_of(run_id: str, known: Any, recipe: Recipe) -> Decider:
    """Made once in each process of Spark's, for the directory may be large."""
    global _made
    if _made is None or _made[0] != run_id:
        _made = run_id, Decider(recipe(), known.value.partitions())
    return _made[1]


def _records(decider: Decider, partitions: Partitions, number: int) -> Iterator[tuple[str, str | None, str]]:
    contents = partitions.read(number)
    at_hand = decider.at_hand(contents)
    for one in sorted(decider.decided(contents, at_hand), key=lambda each: each.place):
        arrival = one.arrival(decider.source)
        reason: str | None = getattr(one.decision, "reason", None)
        yield kind(one.decision), reason, codec.encode(arrival).decode()
    for heard in decider.heard(at_hand):
        yield codec.HEARD, None, codec.encode(heard).decode()
    for problem in contents.problems:
        file, line = partitions.place_of(problem)
        yield "problem", problem.code, f"{file}{f':{line}' if line else ''}{problem.text}"


def _arrow(records: Iterator[tuple[str, str | None, str]]) -> Iterator[pa.RecordBatch]:
    while held := [record for record, _ in zip(records, range(_AT_ONCE), strict=False)]:
        columns = zip(*held, strict=True)
        yield pa.RecordBatch.from_arrays(
            [pa.array(column, pa.string()) for column in columns], schema=_SCHEMA
        )
