"""An export that is killed, whenever, and begun again gives the same bytes as one that nobody disturbed."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Bridge, Hospital
from tests.doubles.bulk_data import in_progress
from tests.doubles.ehr import Ehr

EXPORT = ("export", "ehr", "--type", "Patient,Appointment", "--to")


@pytest.fixture
def ehr(hospital: Hospital) -> Ehr:
    """An EHR whose patients are one file of half a megabyte, which takes three seconds, and a small one."""
    ehr = Ehr()
    for number in range(1200):
        ehr.bulk.server.records.put(hospital.patient(number % 99, id=f"p{number}"))
    for number in range(20):
        ehr.bulk.server.records.put(hospital.appointment(number))
    ehr.bulk.lines_per_file = 1000
    ehr.bulk.chunk = 1 << 14
    return ehr


def until(condition: Callable[[], bool]) -> None:
    """Look every few milliseconds whether it is so by now."""
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def content(folder: Path) -> dict[str, bytes]:
    """All files of an export, its manifest without what tells one job from another."""
    found = {file.name: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    manifest: dict[str, Any] = json.loads(found["manifest.json"])
    assert manifest.pop("transactionTime")
    return {**found, "manifest.json": json.dumps(manifest).encode()}


def test_killed_at_every_stage_it_goes_on_to_the_same_bytes(bridge: Bridge, ehr: Ehr) -> None:
    """kill -9 while the server is at work and in the middle of a file; Ctrl-C in the middle of the next.

    One job at the server, the file gone on with by Range, no token in what is left on the disk.
    """
    bulk = ehr.bulk
    partial = bridge.folder / "out" / "Patient.001.ndjson.tmp.json"
    with ehr.running(bridge.folder):
        assert bridge(*EXPORT, "undisturbed").code == 0
        bulk.waiting = [in_progress()] * 100_000
        at_work = bridge.process(*EXPORT, "out")
        until(lambda: 2 in bulk.jobs and bulk.jobs[2].polled > 1)
        at_work.kill()
        at_work.communicate()
        bulk.waiting, bulk.seconds_a_chunk, bulk.file_requests = [], 0.1, []
        in_a_file = bridge.process(*EXPORT, "out")
        until(partial.exists)
        in_a_file.kill()
        in_a_file.communicate()
        kept = b"".join(file.read_bytes() for file in (bridge.folder / "out").glob("*.json"))
        assert b"Bearer" not in kept
        assert b"eyJ" not in kept
        until_then = len(bulk.file_requests)
        interrupted = bridge.process(*EXPORT, "out")
        until(lambda: len(bulk.file_requests) > until_then)
        interrupted.send_signal(signal.SIGINT)
        told = interrupted.communicate()[1]
        assert interrupted.returncode == 130, told
        assert "the same command goes on" in told
        bulk.seconds_a_chunk = 0
        ran = bridge(*EXPORT, "out")
    assert ran.code == 0, ran.err
    assert content(bridge.folder / "out") == content(bridge.folder / "undisturbed")
    assert len(bulk.jobs) == 2
    assert bulk.jobs[2].deleted
    ranges = [asked for name, asked in bulk.file_requests if name == "Patient-0" and asked]
    assert ranges, bulk.file_requests
