"""On Spark the same is decided as on one machine, byte for byte, also where its processes die meanwhile."""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from benchmarks.generator import Export
from fhir_bridge.app import mapping_run
from fhir_bridge.cluster.deciding import decided
from fhir_bridge.cluster.partitioning import spread
from fhir_bridge.intake.bulk import pieces
from fhir_bridge.intake.bulk.pieces import find
from fhir_bridge.mapping_run import resolution_rules
from tests.integration.tangled import Tangle
from tests.integration.test_bulk_partitions import in_partitions, partitioned

NOW = datetime(2026, 11, 23, 15, tzinfo=UTC)
FIXTURES = Path(__file__).parents[2] / "fixtures"
COUNT = 5

RECIPE = partial(mapping_run, None, None, {"incomplete_address": "omit"}, NOW)


def on_spark(spark: Any, paths: list[str]) -> Counter[tuple[str, str]]:
    """Every record of a run, with its kind."""
    found = find(paths)
    system = resolution_rules(RECIPE().profile).system
    export = spread(spark, found.batches(), COUNT, system)
    return Counter(
        (row.kind, row.line) for row in decided(spark, export, tuple(found.pieces), RECIPE).collect()
    )


def on_one_machine(paths: list[str], scratch: Path) -> Counter[tuple[str, str]]:
    """The same of the local engine, without what could not be read."""
    decisions, heard = in_partitions(partitioned(paths, scratch, COUNT), NOW)
    # Each decision is there as printed and as a record.
    lines = [(b"decision", line) for line in decisions[1::2]] + [(b"heard", line) for line in heard]
    return Counter((kind.decode(), line.decode()) for kind, line in lines)


def alike(theirs: Counter[tuple[str, str]]) -> Counter[tuple[str, str]]:
    """Spark's records with one word for every kind of decision."""
    kinds = {"call": "decision", "skip": "decision", "reject": "decision"}
    told: Counter[tuple[str, str]] = Counter()
    for (kind, line), times in theirs.items():
        if kind != "problem":
            told[kinds.get(kind, kind), line] += times
    return told


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces so small that many tasks read one file."""
    monkeypatch.setattr(pieces, "PIECE", 400_000)


@pytest.mark.usefixtures("small_pieces")
def test_stories_and_an_export_are_decided_alike(spark: Any, tmp_path: Path) -> None:
    """Every story of the fixtures among a generated export, read by many tasks."""
    Export(40).write(tmp_path / "export")
    paths = [str(tmp_path / "export"), str(FIXTURES)]
    ours = on_one_machine(paths, tmp_path / "scratch")
    assert alike(on_spark(spark, paths)) == ours
    assert ours.total() > 400


@pytest.mark.parametrize("seed", [1, 2])
def test_what_crosses_patients_meets(spark: Any, tmp_path: Path, seed: int) -> None:
    """Merged records, chains over several patients, bare ids, Slots, URNs: ties are followed over tasks."""
    folder = tmp_path / "tangle"
    Tangle(40, seed).write(folder)
    assert alike(on_spark(spark, [str(folder)])) == on_one_machine([str(folder)], tmp_path / "scratch")


@pytest.mark.usefixtures("small_pieces")
def test_killed_processes_change_nothing(spark: Any, tmp_path: Path) -> None:
    """Spark runs a lost task again; what it gave before it died is not there twice."""
    Export(60).write(tmp_path / "export")
    paths = [str(tmp_path / "export")]
    ours = on_one_machine(paths, tmp_path / "scratch")
    with killing(times=3) as killed:
        theirs = on_spark(spark, paths)
    assert alike(theirs) == ours
    assert len(killed) == 3


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
