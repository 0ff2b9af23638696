"""`make bench`: every benchmark, or those named, as one table and as benchmarks/out/results.json."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from benchmarks.measure import report

BENCHMARKS = (
    "reading",
    "mapping",
    "ledger",
    "dispatch",
    "webhook",
    "export",
    "migrate",
    "migrate-load",
    "startup",
)
LONG = ("migrate-memory",)
"""Only where they are named: they take minutes and gigabytes of disk."""


def main(names: list[str]) -> None:
    """Runs the benchmarks named, or all."""
    unknown = set(names) - {*BENCHMARKS, *LONG}
    if unknown:
        sys.exit(f"no benchmark {', '.join(sorted(unknown))}; there are: {', '.join((*BENCHMARKS, *LONG))}")
    rows = []
    for name in names or BENCHMARKS:
        print(f"measuring: {name}", file=sys.stderr)
        rows += importlib.import_module(f"benchmarks.{name.replace('-', '_')}").rows()
    report(rows, Path(__file__).parent / "out" / "results.json")


if __name__ == "__main__":
    main(sys.argv[1:])
