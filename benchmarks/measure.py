"""Timing two ways of doing the same work side by side, so that only their ratio counts."""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the report.

    `ratio` is ours over the baseline's: of times, where lower is better, or of rates, where higher is.
    `reach` is the figure to reach, for instance `<= 1.0` or `>= 0.5`.
    """

    path: str
    baseline: str
    ratio: float
    reach: str
    aim: str
    ours: str
    theirs: str

    @property
    def reached(self) -> bool:
        """Whether the ratio reaches the figure."""
        sign, _, figure = self.reach.partition(" ")
        return self.ratio <= float(figure) if sign == "<=" else self.ratio >= float(figure)


Clock = Callable[[], float]


def seconds(work: Callable[[], object], clock: Clock = time.perf_counter) -> float:
    """Seconds of one run by the clock, the garbage collector held still."""
    gc.collect()
    gc.disable()
    try:
        start = clock()
        work()
        return clock() - start
    finally:
        gc.enable()


Work = Callable[[], object]


def side_by_side(
    ours: Work, theirs: Work, rounds: int = 5, clock: Clock = time.perf_counter
) -> tuple[float, float]:
    """Seconds of each in the round with the median ratio; run in turns, both meet the same noise.

    Where both only compute, `time.process_time` leaves out what other processes take.
    """
    return prepared(lambda: ours, lambda: theirs, rounds, clock)


def prepared(
    ours: Callable[[], Work],
    theirs: Callable[[], Work],
    rounds: int = 5,
    clock: Clock = time.perf_counter,
) -> tuple[float, float]:
    """The same with work that each round prepares anew, outside the time that counts."""
    pairs = [(seconds(ours(), clock), seconds(theirs(), clock)) for _ in range(rounds)]
    return sorted(pairs, key=lambda pair: pair[0] / pair[1])[rounds // 2]


def growth(name: str, work_of: Callable[[int], Work], rounds: int = 5) -> Iterator[Row]:
    """What a piece costs in 4 and 16 times the work over what it costs in one; 1.0 is linear.

    `work_of` prepares so many times the work, anew for each round, and gives what is to be timed.
    """
    taken = [{size: seconds(work_of(size)) / size for size in (1, 4, 16)} for _ in range(rounds)]
    for size in (4, 16):
        by_ratio = sorted((one[size] / one[1], one[size], one[1]) for one in taken)
        ratio, piece, one_piece = by_ratio[rounds // 2]
        yield Row(f"growth: {name}, {size}x", "1x, a piece of it", ratio, "<= 1.1", "1.0",
                  f"{piece * 1000:.0f} ms", f"{one_piece * 1000:.0f} ms")  # fmt: skip


def micro(total: float, count: int) -> str:
    """Microseconds a piece, for people."""
    return f"{total / count * 1e6:.1f} µs"


def report(rows: Iterable[Row], out: Path) -> None:
    """Prints the table and writes the same as JSON to `out`."""
    rows = list(rows)
    table = Table("path", "baseline", "ratio", "reach", "aim", "ours", "baseline's", title="Speed, as ratios")
    for row in rows:
        colour = "green" if row.reached else "red"
        ratio = f"[{colour}]{row.ratio:.2f}[/]"
        table.add_row(row.path, row.baseline, ratio, row.reach, row.aim, row.ours, row.theirs)
    console = Console()
    Console(width=max(console.width, 130)).print(table)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps([asdict(row) | {"reached": row.reached} for row in rows], indent=2) + "\n")
