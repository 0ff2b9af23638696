"""On Spark the same is decided as on one machine, byte for byte, also where its processes die meanwhile."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from benchmarks.generator import NOW, Export
from fhir_bridge.cluster.engine import _arrow
from fhir_bridge.intake.bulk import pieces
from tests.integration.tangled import Tangle

FIXTURES = Path(__file__).parents[2] / "fixtures"
ALWAYS = ("--now", NOW.isoformat(), "--set", "incomplete_address=omit", "--json")
SPARK = ("--engine", "spark", "--master", "local[2,4]")

BROKEN = b"""{"resourceType":"Patient","id":"nobody-else"}
{"resourceType":"Consent","id":"c1","sta
{"resourceType":"Pateint","id":"p-broken","generalPractitioner":[{"reference":"Patient/p-other"}]}
{"resourceType":"Appointment","id":"a","participant":[{"actor":{"reference":"Patient/p-cut"}}],"status
{"resourceType":"Patient","id":"p-latin","name":[{"family":"\xe9"}]}
"""
HELD = [["?"], ["Patient/p-broken", "Patient/p-other"], ["Patient/p-cut"], ["Patient/p-latin"]]
"""Lines that nobody can read, and whom each of them holds."""


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces so small that many tasks read one file."""
    monkeypatch.setattr(pieces, "PIECE", 400_000)


def written(out: Path) -> list[str]:
    """All lines of a file, or of a folder's part files, sorted."""
    files = sorted(out.glob("part-*")) if out.is_dir() else [out]
    return sorted(line for file in files for line in file.read_text().splitlines())


def both(bridge: Any, paths: list[str], *options: str) -> tuple[Any, Any]:
    """What the two engines tell of the same paths, and what they wrote must be alike."""
    paths = [str(bridge.folder / path) for path in paths]
    here = bridge("migrate", *paths, *ALWAYS, *options, "--out", "here", "--work", "scratch")
    there = bridge("migrate", *paths, *ALWAYS, *options, "--out", "there", *SPARK)
    assert (there.code, there.json) == (here.code, here.json), there.err
    assert written(bridge.folder / "there") == written(bridge.folder / "here")
    return here, there


@pytest.mark.usefixtures("java")
def test_stories_and_an_export_are_decided_alike(bridge: Any) -> None:
    """Every story of the fixtures among a generated export: report, decisions and errors are the same."""
    Export(40).write(bridge.folder / "export")
    here, _ = both(bridge, ["export", str(FIXTURES)])
    assert here.json["triggers"] > 300


@pytest.mark.usefixtures("java")
def test_third_party_files_are_decided_alike(bridge: Any, corpora: Path) -> None:
    """Many sources in one: Bundles and NDJSON, some broken; ids and URNs that mean something else in each."""
    here, _ = both(bridge, [str(corpora)])
    assert here.json["triggers"] > 100
    assert here.json["errors"] > 0


@pytest.mark.usefixtures("java")
@pytest.mark.parametrize("seed", [1, 2])
def test_what_crosses_patients_meets(bridge: Any, seed: int) -> None:
    """Merged records, chains over several patients, bare ids, Slots, URNs: ties are followed over tasks."""
    Tangle(40, seed).write(bridge.folder / "tangle")
    (bridge.folder / "tangle" / "broken.ndjson").write_bytes(BROKEN)
    both(bridge, ["tangle"], "--format", "arrivals")


@pytest.mark.usefixtures("java")
def test_killed_processes_change_nothing(bridge: Any) -> None:
    """Spark runs a lost task again; what it gave before it died is not there twice."""
    Export(60).write(bridge.folder / "export")
    with killing(times=3) as killed:
        both(bridge, ["export"], "--format", "arrivals")
    assert len(killed) == 3


@pytest.mark.usefixtures("java")
def test_what_spark_wrote_is_loaded_into_the_ledger(bridge: Any) -> None:
    """From NDJSON and from Parquet, once, and again without harm; a job that did not end is refused."""
    Export(30).write(bridge.folder / "export")
    (bridge.folder / "export" / "broken.ndjson").write_bytes(BROKEN)
    bridge.settings("http://127.0.0.1:9")
    written_ = ("--format", "arrivals", *ALWAYS, *SPARK)
    calls = bridge("migrate", "export", "--out", "records", *written_).json["calls"]
    assert bridge("migrate", "export", "--out", "records.parquet", *written_).json["calls"] == calls
    assert bridge("migrate", "export", "--out", "records", *written_).code == 2
    first = bridge("ledger", "load", "records", "--json")
    assert first.code == 0, first.err
    status = bridge("status", "--json").json
    assert status["states"]["ready"] == calls
    assert bridge("ledger", "load", "records.parquet", "--json").json == first.json
    assert sorted(item["holds"] for item in bridge("worklist", "--json").json if item["place"]) == HELD
    assert bridge("status", "--json").json["states"] == status["states"]
    (bridge.folder / "records" / "_SUCCESS").unlink()
    assert bridge("ledger", "load", "records").code == 4


def test_rows_are_handed_over_whole() -> None:
    """However many there are, none is lost where one batch ends and the next begins."""
    rows = [(number, None, str(number)) for number in range(2_500)]
    assert [row for batch in _arrow(iter(rows)) for row in batch.column(2).to_pylist()] == [
        line for *_, line in rows
    ]


@contextmanager
def killing(times: int) -> Iterator[list[int]]:
    """Kills a Python process of Spark's now and then, so many in all."""
    killed: list[int] = []
    done = threading.Event()

    def kill() -> None:
        while len(killed) < times and not done.wait(0.7):
            for process in _workers():
                if process not in killed:
                    os.kill(process, signal.SIGKILL)
                    killed.append(process)
                    break

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield killed
    finally:
        done.set()
        thread.join()


def _workers() -> list[int]:
    """The processes that Spark's daemon has begun for tasks."""
    parents = {int(path.name): _parent(path) for path in Path("/proc").glob("[0-9]*")}
    daemons = {process for process in parents if b"pyspark.daemon" in _command(process)}
    return sorted(process for process, parent in parents.items() if process in daemons and parent in daemons)


def _parent(path: Path) -> int:
    try:
        return int((path / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def _command(process: int) -> bytes:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return b""
