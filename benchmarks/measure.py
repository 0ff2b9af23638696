"""Timing two ways of doing the same work side by side, so that only their ratio counts."""

from __future__ import annotations

import gc
import json
import statistics
import time
from collections.abc import Callable, Iterable
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


def seconds(work: Callable[[], object]) -> float:
    """Wall seconds of one run, the garbage collector held still."""
    gc.collect()
    gc.disable()
    try:
        start = time.perf_counter()
        work()
        return time.perf_counter() - start
    finally:
        gc.enable()


Work = Callable[[], object]


def side_by_side(ours: Work, theirs: Work, rounds: int = 5) -> tuple[float, float]:
    """Median wall seconds of each, run turn by turn so that both meet the same noise."""
    pairs = [(seconds(ours), seconds(theirs)) for _ in range(rounds)]
    return statistics.median(pair[0] for pair in pairs), statistics.median(pair[1] for pair in pairs)


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
    Console().print(table)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps([asdict(row) | {"reached": row.reached} for row in rows], indent=2) + "\n")
