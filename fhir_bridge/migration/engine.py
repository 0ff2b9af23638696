"""Where the partitions of a migration are made and worked on: the processes of this machine; `cluster` has
another."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fhir_bridge.intake.bulk import scratch
from fhir_bridge.intake.bulk.names import System
from fhir_bridge.intake.bulk.partitioning import Partitioning, partitions_for
from fhir_bridge.intake.bulk.partitions import Partitions
from fhir_bridge.intake.bulk.pieces import Found
from fhir_bridge.intake.bulk.progress import Progress
from fhir_bridge.intake.bulk.spill import About
from fhir_bridge.intake.bulk.workers import each
from fhir_bridge.migration import codec, results
from fhir_bridge.migration.deciding import Decider
from fhir_bridge.migration.work import Asked, Form, Work


class Engine(Protocol):
    """What a migration asks of the machines it runs on."""

    def partitions(
        self, found: Found, system: System, seen: Callable[[About], None], progress: Progress
    ) -> Partitions:
        """Reads what was found. `seen` is told what is known of each piece; `system` gives an identifier's
        system under the one name that counts."""
        ...

    def outcomes(
        self, decider: Decider, asked: Asked, numbers: Sequence[int], tick: Callable[[], None]
    ) -> Iterator[tuple[int, bytes]]:
        """Each of these partitions with what became of it (`work.Outcome`), as they are done."""
        ...

    def write(self, out: str, form: Form, last: Iterable[bytes]) -> int:
        """Puts the lines that were asked for together at `out`, then the last, and after `arrivals` one that
        tells how many there are; gives how many."""
        ...


@dataclass(slots=True)
class ThisMachine:
    """So many processes of this machine, their scratch files in a folder that they have to themselves."""

    scratch: Path
    processes: int = 1

    def partitions(
        self, found: Found, system: System, seen: Callable[[About], None], progress: Progress
    ) -> Partitions:
        """See Engine. What is found in the folder of an earlier run of the same files is gone on with."""
        for stale in self.scratch.glob("lines-*"):
            stale.unlink()
        count = partitions_for(found.unpacked)
        return Partitioning(self.scratch, count, self.processes, system, seen, progress).run(found)

    def outcomes(
        self, decider: Decider, asked: Asked, numbers: Sequence[int], tick: Callable[[], None]
    ) -> Iterator[tuple[int, bytes]]:
        """See Engine."""
        return each(Work(decider, self.scratch, asked), numbers, self.processes, tick)

    def lines(self) -> list[Path]:
        """The files with what was written down of each partition."""
        return sorted(self.scratch.glob("lines-*[0-9]"), key=lambda path: int(path.name.partition("-")[2]))

    def write(self, out: str, form: Form, last: Iterable[bytes]) -> int:
        """See Engine; `out` is a file that appears when it is whole, its lines in the order of the files."""
        is_placed, end = form != "arrivals", codec.encode_end if form == "arrivals" else None
        return results.gather(self.lines(), Path(out), is_placed=is_placed, last=last, end=end)

    def forget(self) -> None:
        """Removes the scratch files, for what follows may take days and needs them no more."""
        for file in self.scratch.iterdir():
            if file.name != scratch.LOCK:
                file.unlink()
