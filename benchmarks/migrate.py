"""A whole export previewed by all cores, against `orjson.loads` over every line by one."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import orjson

from benchmarks.decided import us_profile
from benchmarks.generator import NOW, Export
from benchmarks.measure import Row, Work, growth, side_by_side
from fhir_bridge.intake.bulk.pieces import find
from fhir_bridge.intake.bulk.progress import Untold
from fhir_bridge.intake.bulk.workers import cores
from fhir_bridge.mapping_run import MappingRun
from fhir_bridge.migration.engine import ThisMachine
from fhir_bridge.migration.run import Migration

PATIENTS = 2_000
PIECE = 250
"""Patients of one piece of work, for growth: less is all beginning and end."""


def preview(export: Path) -> int:
    """Reads, decides and counts, as `migrate` does before it prints; gives the triggers."""
    with tempfile.TemporaryDirectory() as scratch:
        run = MappingRun(us_profile(), NOW)
        engine = ThisMachine(Path(scratch), cores())
        migration = Migration(run, find([str(export)]), engine, Untold())
        return migration.decide().tally.triggers


def rows() -> Iterator[Row]:
    """The preview, and how its cost grows."""
    folder = Path(tempfile.mkdtemp(prefix="migrate-"))
    try:
        size = Export(PATIENTS).write(folder / "export")
        ours, theirs = side_by_side(
            lambda: preview(folder / "export"), lambda: loads(folder / "export"), rounds=3
        )
        yield Row(
            f"migrate: a preview, {cores()} cores",
            "orjson.loads of every line, one process",
            ours / theirs,
            "<= 2.0",
            "1.0",
            f"{size / ours / 1e6:.0f} MB/s",
            f"{size / theirs / 1e6:.0f} MB/s",
        )
        for times in (1, 4, 16):
            Export(PIECE * times, seed=times).write(folder / str(times))
        yield from growth("migrate, a preview", lambda times: _preview_of(folder / str(times)), rounds=3)
    finally:
        shutil.rmtree(folder)


def _preview_of(export: Path) -> Work:
    return lambda: preview(export)


def loads(export: Path) -> None:
    """The baseline."""
    for path in export.iterdir():
        with path.open("rb") as file:
            for line in file:
                orjson.loads(line)
