"""A migration's engine on Apache Spark (`migration.engine`): the same partitions, worked on by many machines.

What is wrong with a task's machine is Spark's to mend: a task that is run again gives the same bytes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pyarrow as pa

from fhir_bridge.cluster.partitioning import Batches, Spread, in_stage, spread
from fhir_bridge.cluster.rows import MOVED, by_number, rows_of
from fhir_bridge.errors import UsageError
from fhir_bridge.intake.bulk.joining import Together
from fhir_bridge.intake.bulk.names import System
from fhir_bridge.intake.bulk.partitioning import PARTITION, partitions_for
from fhir_bridge.intake.bulk.partitions import Partitions
from fhir_bridge.intake.bulk.pieces import Found, Piece
from fhir_bridge.intake.bulk.progress import Progress
from fhir_bridge.intake.bulk.spill import About, Stream
from fhir_bridge.intake.bulk.spilled import Held
from fhir_bridge.mapping_run import MappingRun
from fhir_bridge.migration import codec, results
from fhir_bridge.migration.deciding import Decider
from fhir_bridge.migration.work import Asked, Form, Work

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

MOST_PARTITIONS = 65_536
"""A task that reads holds a buffer for each."""

Recipe = Callable[[], MappingRun]
"""How a task comes by its rules: they hold compiled expressions and templates, which do not travel."""

_COLUMNS = "number int, outcome binary, line string"
_SCHEMA = pa.schema([("number", pa.int32()), ("outcome", pa.binary()), ("line", pa.string())])
_AT_ONCE = 1000


@dataclass(slots=True)
class OnSpark:
    """Spark as a migration asks of it. What is read lies at the same path for every machine."""

    spark: SparkSession
    recipe: Recipe
    _export: Spread | None = field(default=None, init=False)
    _rows: DataFrame | None = field(default=None, init=False)

    def partitions(
        self, found: Found, system: System, seen: Callable[[About], None], progress: Progress
    ) -> Partitions:
        """See Engine."""
        count = max(partitions_for(found.unpacked), min(found.unpacked // PARTITION + 1, MOST_PARTITIONS))
        self._export = export = spread(self.spark, found.batches(), count, system)
        for piece in found.pieces:
            seen(export.abouts[piece.number])
            progress.advance(piece.length)
        return _known(export, found.pieces).partitions()

    def outcomes(
        self, decider: Decider, asked: Asked, numbers: Sequence[int], tick: Callable[[], None]
    ) -> Iterator[tuple[int, bytes]]:
        """See Engine."""
        from pyspark.storagelevel import StorageLevel

        export = self._export
        assert export is not None
        known = _known(export, decider.partitions.pieces)
        blocks = export.blocks.filter(f"stream in ({Stream.RESOURCES}, {MOVED})")
        if len(numbers) < export.count:
            blocks = blocks.filter(blocks.number.isin(list(numbers)))
        told = self.spark.sparkContext.broadcast((known, decider.blocked))
        task = _Deciding(uuid4().hex, told, self.recipe, asked)
        self._rows = in_stage(blocks, export.count).mapInArrow(task, _COLUMNS).persist(StorageLevel.DISK_ONLY)
        for row in self._rows.filter("outcome is not null").toLocalIterator():
            tick()
            yield row.number, bytes(row.outcome)

    def write(self, out: str, form: Form, last: Iterable[bytes]) -> int:
        """See Engine; `out` is a folder of part files, each written by the task that made it, as Parquet
        where its name ends in `.parquet`. Lines are in order within a partition. Raises UsageError where it
        is there already."""
        assert self._rows is not None
        lines = self._rows.filter("line is not null").select("line")
        rest = [(line.decode(),) for line in last]
        if rest:
            lines = lines.unionAll(self.spark.createDataFrame(rest, "line string"))
        count: int = lines.count()
        if form == "arrivals":
            end = [(codec.encode_end(count).decode(),)]
            lines = lines.unionAll(self.spark.createDataFrame(end, "line string"))
        try:
            writer = lines.write.mode("error")
            if out.rstrip("/").endswith(".parquet"):
                writer.parquet(out)
            else:
                writer.text(out)
        except Exception as error:
            if "PATH_ALREADY_EXISTS" not in str(getattr(error, "getCondition", lambda: "")()):
                raise
            raise UsageError(f"{out} is there already", hint="remove it, or name another folder") from None
        return count


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


def _known(export: Spread, pieces: Sequence[Piece]) -> _Known:
    return _Known(tuple(pieces), export.count, export.together, export.abouts, export.directory)


class _Deciding:
    """Every partition worked on; what came of it, then its lines."""

    def __init__(self, run_id: str, told: Any, recipe: Recipe, asked: Asked) -> None:
        self._run_id, self._told, self._recipe, self._asked = run_id, told, recipe, asked

    def __call__(self, batches: Batches) -> Iterator[pa.RecordBatch]:
        decider = _decider_of(self._run_id, self._told, self._recipe)
        with tempfile.TemporaryDirectory(prefix="fhir-bridge-") as folder:
            work = Work(decider, Path(folder), self._asked)
            partitions = decider.partitions
            for number, blocks in by_number(rows_of(batches)):
                stayed = Held({Stream.RESOURCES: blocks.get(Stream.RESOURCES, [])}, number)
                moved = Held({Stream.RESOURCES: blocks.get(MOVED, [])}, number)
                decider.partitions = partitions.over([stayed], [moved])
                yield from _arrow(self._rows(work, number))
            decider.partitions = partitions

    def _rows(self, work: Work, number: int) -> Iterator[tuple[int, bytes | None, str | None]]:
        yield number, work(number), None
        path = results.path_of(work.folder, number)
        if self._asked.form is not None:
            for line in results.lines_in(path, is_placed=self._asked.form != "arrivals"):
                yield number, None, line.decode()
            path.unlink()


_made: tuple[str, Decider] | None = None


def _decider_of(run_id: str, told: Any, recipe: Recipe) -> Decider:
    """Made once in each process of Spark's, for the directory may be large."""
    global _made
    if _made is None or _made[0] != run_id:
        known, blocked = told.value
        _made = run_id, Decider(recipe(), known.partitions(), blocked)
    return _made[1]


def _arrow(rows: Iterator[tuple[int, bytes | None, str | None]]) -> Iterator[pa.RecordBatch]:
    while held := list(islice(rows, _AT_ONCE)):
        columns = zip(zip(*held, strict=True), _SCHEMA, strict=True)
        arrays = [pa.array(values, column.type) for values, column in columns]
        yield pa.RecordBatch.from_arrays(arrays, schema=_SCHEMA)
