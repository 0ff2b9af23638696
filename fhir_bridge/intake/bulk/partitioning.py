"""From files to partitions: every piece read, ties followed, what belongs elsewhere moved there."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from fhir_bridge.intake.bulk import joining, objects
from fhir_bridge.intake.bulk.joining import Together
from fhir_bridge.intake.bulk.names import System
from fhir_bridge.intake.bulk.partitions import Partitions
from fhir_bridge.intake.bulk.pieces import Found
from fhir_bridge.intake.bulk.progress import Progress, Reading, Untold
from fhir_bridge.intake.bulk.scanning import scan
from fhir_bridge.intake.bulk.spill import PAIRS, About, Stream
from fhir_bridge.intake.bulk.spilled import Reader
from fhir_bridge.intake.bulk.workers import each

PARTITION = 12 * 1024 * 1024
"""Bytes of the export to a partition, noise included: what one process holds at a time."""

MOST_PARTITIONS = 4096
FEW_PARTITIONS = 16
"""So many where each is worth a task: the last ones keep other processes waiting for less time then."""

_SMALL = 256 * 1024
_FEW_PAIRS = 8 * 1024 * 1024
"""Bytes of pairs that are followed in less time than processes take to begin."""


def partitions_for(size: int) -> int:
    """Into how many partitions so many bytes go: each is held at once by one process."""
    return min(max(size // PARTITION + 1, min(FEW_PARTITIONS, size // _SMALL + 1)), MOST_PARTITIONS)


@dataclass(slots=True)
class Partitioning:
    """How files are partitioned: into how many, where, by how many processes.

    `system` gives an identifier's system under the one name that counts. `seen` is told what is known of
    each piece that was read.
    """

    scratch: Path
    count: int
    processes: int
    system: System
    seen: Callable[[About], None] = lambda about: None
    progress: Progress = field(default_factory=Untold)
    _files: list[Reader] = field(default_factory=list)

    def run(self, found: Found) -> Partitions:
        """The partitions of what was found. What a killed run of the same has read already is not read
        again."""
        self._scan(found)
        together = self._join()
        moved = self._move(together)
        return Partitions(found.pieces, self._files, self.count, together, moved)

    def _scan(self, found: Found) -> None:
        batches = found.batches()
        paths = [self.scratch / f"read-{number}" for number in range(len(batches))]
        readers: dict[int, Reader] = {}
        reading = Reading([sum(piece.length for piece in batch) for batch in batches], self.progress)

        def read(number: int) -> None:
            readers[number] = Reader(paths[number])
            for piece in batches[number]:
                self.seen(readers[number].abouts[piece.number])
            reading.done(number)

        for number, path in enumerate(paths):
            with suppress(OSError, ValueError):
                if path.exists():
                    read(number)
        rest = [number for number in range(len(batches)) if number not in readers]

        def work(number: int) -> None:
            scan(batches[number], paths[number], self.count, self.system, reading.counter(number))

        # The client of object stores has threads, and hears no signal while it waits for an answer.
        apart = any(objects.is_url(piece.path) for piece in found.pieces)
        for number, _ in each(work, rest, self.processes, reading.tick, apart=apart):
            read(number)
        reading.tick()
        self._files = [readers[number] for number in range(len(batches))]

    def _join(self) -> Together:
        together, files, buckets = Together(), self._files, range(self.count)
        size = sum(file.total(PAIRS) for file in files)
        processes = self.processes if size > _FEW_PAIRS else 1
        self.progress.begin("joining", self.count)
        for _, pairs in each(lambda n: joining.ties_in(files, n), buckets, processes, self.progress.tick):
            self.progress.advance(1)
            for one, other in joining.pairs_of(pairs):
                together.tie(one, other)
        bare: dict[int, int] = {}
        for bucket in buckets:
            for key, group in joining.pairs_of(joining.bare_ids(files, bucket)):
                together.tie(bare.setdefault(key, group), group)
        if bare:
            wanted = frozenset(bare)
            for _, pairs in each(
                lambda n: joining.having(files, n, wanted), buckets, self.processes, self.progress.tick
            ):
                for key, group in joining.pairs_of(pairs):
                    together.tie(bare[key], group)
        return together

    def _move(self, together: Together) -> list[Reader]:
        """Only where anything is tied to anything, or somebody names a Slot."""
        files, paths = self._files, [self.scratch / f"moved-{number}" for number in range(self.count)]
        for path in paths:
            path.unlink(missing_ok=True)

        def work(number: int) -> bool:
            return bool(joining.move(files, number, self.count, together, paths[number]))

        if together or any(file.total({Stream.SLOTS}) for file in files):
            self.progress.begin("moving", self.count)
            for _ in each(work, range(self.count), self.processes, self.progress.tick):
                self.progress.advance(1)
        return [Reader(path) for path in paths if path.exists()]
