"""How far the reading of an export is told to be."""

from __future__ import annotations

import gzip
import os
import zipfile
from pathlib import Path

import pytest

from benchmarks.generator import Export
from fhir_bridge.intake.bulk import lines, progress
from fhir_bridge.intake.bulk.partitioning import Partitioning
from fhir_bridge.intake.bulk.pieces import find
from fhir_bridge.intake.bulk.progress import Reading, Untold


class Told(Untold):
    """Remembers each number it is told that is not 0."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.read: list[int] = []
        self.stages: list[str] = []

    def begin(self, title: str, total: int, *, is_bytes: bool = False) -> None:
        """What was told of the stage before is let go."""
        self.stages.append(title)
        self.read, self.steps = self.steps, []

    def advance(self, steps: int) -> None:
        """So many more."""
        self.steps += [steps] if steps else []


@pytest.fixture
def export(tmp_path: Path) -> bytes:
    """Two megabytes of NDJSON."""
    Export(60).write(tmp_path / "export")
    return b"".join(path.read_bytes() for path in sorted((tmp_path / "export").iterdir()))


@pytest.mark.parametrize("packed", ["in.ndjson", "in.ndjson.gz", "in.zip"])
def test_what_is_read_of_one_file_is_told_while_it_is_read(
    tmp_path: Path, export: bytes, monkeypatch: pytest.MonkeyPatch, packed: str
) -> None:
    """In bytes as they lie there, of a member of a zip as they are unpacked; all of them in the end."""
    monkeypatch.setattr(progress, "EVERY", 0)
    monkeypatch.setattr(lines, "CHUNK", 16 * 1024)
    path = tmp_path / packed
    path.write_bytes(gzip.compress(export, 1) if packed.endswith(".gz") else export)
    if packed.endswith(".zip"):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            archive.writestr("in.ndjson", export)
    (tmp_path / "scratch").mkdir()
    found, told = find([str(path)]), Told()
    Partitioning(tmp_path / "scratch", 4, 1, lambda system: system, progress=told).run(found)
    assert told.stages == ["joining"]
    assert sum(told.read) == found.size
    assert max(told.read) < found.size / 4
    assert all(step > 0 for step in told.read)
    assert sum(told.steps) == 4


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_what_another_process_reads_is_told_here() -> None:
    """It counts in memory that both share; no more than a batch has, and all of one that was read before."""
    told = Told()
    reading = Reading([100, 50, 7], told)
    if (child := os.fork()) == 0:
        reading.counter(0)(30)
        reading.counter(1)(70)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    reading.tick()
    reading.done(2)
    reading.tick()
    assert told.steps == [80, 7]
