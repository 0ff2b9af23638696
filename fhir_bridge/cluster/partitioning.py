"""From pieces to partitions on a cluster: the steps of `intake.bulk.partitioning`, each a stage of Spark.

Small things pass through the driver: what is known of each piece, the pairs that are tied, the directory that
every partition has at hand.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from fhir_bridge.cluster.rows import ABOUT, COLUMNS, MOVED, Row, arrow_of, by_number, rows_of
from fhir_bridge.intake.bulk import joining
from fhir_bridge.intake.bulk.joining import Together
from fhir_bridge.intake.bulk.names import System
from fhir_bridge.intake.bulk.pieces import Piece
from fhir_bridge.intake.bulk.scanning import scan
from fhir_bridge.intake.bulk.spill import About, Stream
from fhir_bridge.intake.bulk.spilled import Held, Reader

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession

Batches = Iterable["pa.RecordBatch"]
Stage = Callable[[int, dict[int, list[bytes]]], Iterable[Row]]
"""What becomes of one number's blocks."""

_TIES = (Stream.NAMES, Stream.WANTS, Stream.CARRIED, Stream.ASKED, Stream.UNIONS)
_abouts = msgspec.msgpack.Decoder(dict[int, About])


@dataclass(frozen=True, slots=True)
class Spread:
    """An export spread over a cluster: its blocks, and what every task must know to decide on a partition.

    `abouts` are of each piece by its number, `directory` the blocks that every partition has at hand.
    """

    blocks: DataFrame
    count: int
    together: Together
    abouts: dict[int, About]
    directory: list[bytes]


def spread(spark: SparkSession, batches: Sequence[tuple[Piece, ...]], count: int, system: System) -> Spread:
    """Read the pieces into `count` partitions and follow the ties."""
    blocks = _scanned(spark, batches, count, system)
    abouts = _about_all(blocks)
    together = _joined(blocks, count)
    has_slots = bool(blocks.filter(f"stream = {Stream.SLOTS}").take(1))
    if together or has_slots:
        belongs = blocks.filter(f"stream in ({Stream.RESOURCES}, {Stream.SLOTS}, {Stream.SLOT_WANTS})")
        blocks = blocks.unionAll(_staged(belongs, count, _Moving(count, together)).persist())
    return Spread(blocks, count, together, abouts, _directory(blocks))


def _scanned(
    spark: SparkSession, batches: Sequence[tuple[Piece, ...]], count: int, system: System
) -> DataFrame:
    from pyspark.storagelevel import StorageLevel

    packed = [(number, msgspec.msgpack.encode(batch)) for number, batch in enumerate(batches)]
    # One task for each: a batch is what one process reads at once.
    tasks = spark.sparkContext.parallelize(packed, len(packed))
    pieces = spark.createDataFrame(tasks, "number int, pieces binary")
    # On disk: it is read four times, and a lost part is read from the export again.
    return pieces.mapInArrow(_Scanning(count, system), COLUMNS).persist(StorageLevel.DISK_ONLY)


def in_stage(blocks: DataFrame, count: int) -> DataFrame:
    """Every number's blocks brought together, in their order."""
    return blocks.repartition(count, "number").sortWithinPartitions("number", "batch", "place")


def _staged(blocks: DataFrame, count: int, stage: Stage) -> DataFrame:
    return in_stage(blocks, count).mapInArrow(_Staged(stage), COLUMNS)


def _about_all(blocks: DataFrame) -> dict[int, About]:
    found: dict[int, About] = {}
    for row in blocks.filter(f"stream = {ABOUT}").select("data").toLocalIterator():
        found |= _abouts.decode(bytes(row.data))
    return dict(sorted(found.items()))


def _directory(blocks: DataFrame) -> list[bytes]:
    found = blocks.filter(f"stream = {Stream.DIRECTORY}").select("batch", "place", "data").collect()
    return [bytes(row.data) for row in sorted(found, key=lambda row: (row.batch, row.place))]


def _joined(blocks: DataFrame, count: int) -> Together:
    together = Together()
    pairs = blocks.filter(f"stream in ({', '.join(str(int(stream)) for stream in _TIES)})")
    for data in _given(_staged(pairs, count, _tied)):
        for one, other in joining.pairs_of(data):
            together.tie(one, other)
    bare: dict[int, int] = {}
    for data in _given(blocks.filter(f"stream = {Stream.BARE}")):
        for key, group in joining.pairs_of(data):
            together.tie(bare.setdefault(key, group), group)
    if bare:
        resources = blocks.filter(f"stream = {Stream.RESOURCES}")
        for data in _given(_staged(resources, count, _Having(frozenset(bare)))):
            for key, group in joining.pairs_of(data):
                together.tie(bare[key], group)
    return together


def _given(blocks: DataFrame) -> Iterator[bytes]:
    return (bytes(row.data) for row in blocks.select("data").toLocalIterator())


class _Staged:
    """A stage as Spark calls it."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def __call__(self, batches: Batches) -> Iterator[pa.RecordBatch]:
        return arrow_of(
            row for number, blocks in by_number(rows_of(batches)) for row in self._stage(number, blocks)
        )


class _Scanning:
    """Pieces read into a scratch file of the task's own, whose blocks are given on."""

    def __init__(self, count: int, system: System) -> None:
        self._count, self._system = count, system

    def __call__(self, batches: Batches) -> Iterator[pa.RecordBatch]:
        return arrow_of(self._rows(batches))

    def _rows(self, batches: Batches) -> Iterator[Row]:
        for batch in batches:
            for number, packed in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                yield from self._of(number, msgspec.msgpack.decode(packed, type=tuple[Piece, ...]))

    def _of(self, number: int, pieces: tuple[Piece, ...]) -> Iterator[Row]:
        with tempfile.TemporaryDirectory(prefix="fhir-bridge-") as folder:
            path = Path(folder) / "read"
            scan(pieces, path, self._count, self._system)
            scratch = Reader(path)
            for place, (stream, partition, data) in enumerate(scratch.all_blocks()):
                yield Row(number, stream, partition, place, data)
            yield Row(number, ABOUT, 0, 0, msgspec.msgpack.encode(scratch.abouts))


def _tied(number: int, blocks: dict[int, list[bytes]]) -> Iterator[Row]:
    yield Row(0, ABOUT, number, 0, joining.ties_in([Held(blocks, number)], number))


class _Having:
    def __init__(self, wanted: frozenset[int]) -> None:
        self._wanted = wanted

    def __call__(self, number: int, blocks: dict[int, list[bytes]]) -> Iterator[Row]:
        yield Row(0, ABOUT, number, 0, joining.having([Held(blocks, number)], number, self._wanted))


class _Moving:
    """What is in a partition and belongs to others, as blocks of theirs."""

    def __init__(self, count: int, together: Together) -> None:
        self._count, self._together = count, together

    def __call__(self, number: int, blocks: dict[int, list[bytes]]) -> Iterator[Row]:
        with tempfile.TemporaryDirectory(prefix="fhir-bridge-") as folder:
            path = Path(folder) / "moved"
            if joining.move([Held(blocks, number)], number, self._count, self._together, path):
                for place, (_, partition, data) in enumerate(Reader(path).all_blocks()):
                    yield Row(number, MOVED, partition, place, data)
