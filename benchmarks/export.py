"""Export: files fetched, synced and looked through, against plain httpx that only writes them."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import process_time

import httpx
import orjson

from benchmarks.file_server import file_server
from benchmarks.generator import Export
from benchmarks.measure import Row, side_by_side
from fhir_bridge.fhir_client.politeness import Limits
from fhir_bridge.fhir_client.server import FhirServer
from fhir_bridge.intake.export.folder import ExportFolder
from fhir_bridge.intake.export.state import Part
from fhir_bridge.intake.export.transfer import Transfer
from fhir_bridge.intake.export.waiting import Pace
from fhir_bridge.intake.export.watching import Watching

PATIENTS = 1000
FILES = 4
AT_ONCE = 4
ROUNDS = 7


def rows() -> Iterator[Row]:
    """Four files of one made-up export each, four at a time; in processor time of the client."""
    lines = [orjson.dumps(resource) for resource in Export(PATIENTS).resources()]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file = folder / "export.ndjson"
        file.write_bytes(b"\n".join(lines) + b"\n")
        size = file.stat().st_size * FILES
        with file_server(file) as url:
            ours, theirs = side_by_side(
                lambda: asyncio.run(_ours(url, folder, len(lines))),
                lambda: asyncio.run(_plain(url, folder)),
                ROUNDS,
                process_time,
            )
    yield Row("export: a file fetched, synced, looked through", "plain httpx to a file", ours / theirs,
              "<= 2.0", "1.2", _rate(size, ours), _rate(size, theirs))  # fmt: skip


async def _ours(url: str, place: Path, count: int) -> None:
    folder = ExportFolder(place)
    async with FhirServer(url, limits=Limits(rate=None)) as server:
        transfer = Transfer(server, folder, Pace(), Watching())
        parts = [Part("output", "Patient", str(n), f"Patient.{n:03}.ndjson", count) for n in range(FILES)]
        fetches = (transfer.fetch(part, f"{url}/file/{part.key}", with_token=False) for part in parts)
        await asyncio.gather(*fetches)


async def _plain(url: str, place: Path) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:

        async def one(number: int) -> None:
            async with client.stream("GET", f"{url}/file/{number}") as response:
                with (place / str(number)).open("wb") as file:
                    async for chunk in response.aiter_bytes():
                        file.write(chunk)

        await asyncio.gather(*(one(number) for number in range(FILES)))


def _rate(size: int, seconds: float) -> str:
    return f"{size / seconds / 1e6:.0f} MB/s"
