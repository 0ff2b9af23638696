"""What starting the command line costs over starting Python."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import orjson

from benchmarks.generator import Export
from benchmarks.measure import Row, side_by_side

COMMAND = str(Path(sys.executable).with_name("fhir-bridge"))


def rows() -> Iterator[Row]:
    """`--help` and `map` of one Bundle against `python -c pass`."""
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder) / "bundle.json"
        entries = [{"resource": resource} for resource in Export(1).resources()]
        bundle.write_bytes(orjson.dumps({"resourceType": "Bundle", "type": "collection", "entry": entries}))
        yield _row("--help", ["--help"], reach=150, aim="-")
        yield _row(
            "map of one file", ["map", str(bundle), "--now", "2026-11-23T15:00:00Z"], reach=600, aim="<= 400"
        )


def _row(name: str, arguments: list[str], *, reach: int, aim: str) -> Row:
    ours, theirs = side_by_side(
        lambda: subprocess.run([COMMAND, *arguments], capture_output=True, check=False),
        lambda: subprocess.run([sys.executable, "-c", "pass"], check=True),
        rounds=9,
    )
    more = (ours - theirs) * 1000
    return Row(f"start: {name} (ms more)", "python -c pass", more, f"<= {reach}", aim,
               f"{ours * 1000:.0f} ms", f"{theirs * 1000:.0f} ms")  # fmt: skip
