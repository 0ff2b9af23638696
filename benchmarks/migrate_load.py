"""`migrate --send` as far as the first call: an export decided on in full and loaded into a ledger, against a
preview of the same export. What follows is dispatch at the pace that a site gives.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from benchmarks.databases import databases
from benchmarks.decided import us_profile
from benchmarks.generator import NOW, Export
from benchmarks.ledger import PROJECT, URL
from benchmarks.measure import Row, prepared
from benchmarks.migrate import preview
from fhir_bridge.intake.bulk.pieces import find
from fhir_bridge.intake.bulk.progress import Untold
from fhir_bridge.intake.bulk.workers import cores
from fhir_bridge.ledger.store import open_ledger
from fhir_bridge.mapping_run import MappingRun
from fhir_bridge.migration.engine import ThisMachine
from fhir_bridge.migration.loading import Loading
from fhir_bridge.migration.run import Migration

PATIENTS = 1_000


def rows() -> Iterator[Row]:
    """Into each database, by all cores."""
    with tempfile.TemporaryDirectory() as folder, databases() as both:
        export = Path(folder) / "export"
        size = Export(PATIENTS).write(export)
        for database in both:
            ours, theirs = prepared(
                lambda: partial(load, export, database.ledger()),  # noqa: B023
                lambda: partial(preview, export),
                rounds=3,
            )
            yield Row(
                f"migrate: decided in full and loaded, {database.name}",
                "the preview of the same export",
                ours / theirs,
                "<= 3.0",
                "2.0",
                f"{size / ours / 1e6:.0f} MB/s",
                f"{size / theirs / 1e6:.0f} MB/s",
            )


def load(export: Path, ledger: str | Path) -> int:
    """Reads, decides and keeps, as `migrate --send` does before it sends; gives the decisions."""
    with tempfile.TemporaryDirectory() as scratch:
        engine = ThisMachine(Path(scratch), cores())
        migration = Migration(
            MappingRun(us_profile(), NOW), find([str(export)]), engine, Untold(), form="arrivals"
        )
        migration.decide()
        return asyncio.run(_into(ledger, migration, engine))


async def _into(place: str | Path, migration: Migration, engine: ThisMachine) -> int:
    async with await open_ledger(place, api_url=URL, project_id=PROJECT, now=NOW) as ledger:
        loading = Loading(ledger, Untold())
        await loading.files(engine.lines(), migration.gone())
        return loading.accepted
