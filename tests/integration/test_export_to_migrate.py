"""From a server to decisions: what `export` fetches is what `migrate` decides on, increments too."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Bridge, EndpointThread, Hospital
from tests.doubles.ehr import Ehr

TYPES = ("--type", "Patient,Appointment,ServiceRequest")


@pytest.fixture
def ehr(hospital: Hospital) -> Ehr:
    """An EHR with twelve people and the appointments they want."""
    ehr = Ehr()
    for number in range(12):
        ehr.bulk.server.records.put(hospital.patient(number), hospital.appointment(number))
    return ehr


def decided(bridge: Bridge, *paths: str) -> dict[str, str]:
    """What `migrate` decides on each trigger: call, skip or reject."""
    ran = bridge(
        "migrate", *paths, "--out", "decisions.ndjson", "--work", "scratch", "--processes", "1", "--json"
    )
    assert ran.code == 0, ran.err
    assert not (bridge.folder / "migrate-errors.ndjson").exists()
    lines = (bridge.folder / "decisions.ndjson").read_text().splitlines()
    found: list[dict[str, Any]] = [json.loads(line) for line in lines]
    return {each["trigger"]: each["decision"] for each in found}


def test_an_export_and_its_increments_are_decided_on_as_one(bridge: Bridge, ehr: Ehr) -> None:
    """The newest version counts, what was deleted is gone, and nothing beside the data is taken for FHIR."""
    records = ehr.bulk.server.records
    ehr.bulk.outcomes = [
        {"resourceType": "OperationOutcome", "issue": [{"severity": "information", "code": "informational"}]}
    ]
    with ehr.running(bridge.folder):
        assert bridge("export", "ehr", "--to", "exports/1", *TYPES).code == 0
        first = decided(bridge, "exports/1")
        records.change("Appointment/a3", status="booked", start="2030-01-01T10:00:00Z")
        records.remove("Appointment/a4")
        assert bridge("export", "ehr", "--to", "exports/2", "--since-last", *TYPES).code == 0
    assert first == {f"Appointment/a{number}": "call" for number in range(12)}
    both = decided(bridge, "exports")
    assert both.pop("Appointment/a3") == "skip"
    assert both == {f"Appointment/a{number}": "call" for number in range(12) if number not in (3, 4)}


def test_what_was_searched_for_is_decided_on(bridge: Bridge, ehr: Ehr) -> None:
    """A crawl's files are an export's."""
    ehr.bulk.methods = ()
    with ehr.running(bridge.folder):
        assert bridge("export", "ehr", "--to", "out", "--crawl", *TYPES).code == 0
    assert decided(bridge, "out") == {f"Appointment/a{number}": "call" for number in range(12)}


def test_an_export_is_sent(bridge: Bridge, ehr: Ehr, endpoint: Callable[..., EndpointThread]) -> None:
    """To the emulated endpoint, each trigger read once more at the EHR: a task for each who wants an
    appointment, and no second one."""
    emulated = endpoint()
    with ehr.running(bridge.folder):
        assert bridge("export", "ehr", "--to", "out", *TYPES).code == 0
        bridge.settings(emulated.url, (bridge.folder / "bridge.toml").read_text())
        for _ in range(2):
            ran = bridge("migrate", "out", "--send", "--yes", "--work", "scratch", "--processes", "1")
            assert ran.code == 0, ran.err
    assert emulated.stats["tasks"] == 12


def test_an_unfinished_export_is_looked_at_and_never_sent(
    bridge: Bridge, ehr: Ehr, endpoint: Callable[..., EndpointThread]
) -> None:
    """The appointment that makes a call needless may be in the file that is missing."""
    emulated = endpoint()
    ehr.bulk.short = {"Appointment-1": 3}
    with ehr.running(bridge.folder):
        assert bridge("export", "ehr", "--to", "out", *TYPES).code == 1
        source = (bridge.folder / "bridge.toml").read_text()
    assert not Path(bridge.folder / "out" / "manifest.json").exists()
    (bridge.folder / "out" / "Appointment.002.ndjson.tmp.json").write_text('{"synced":9}')
    assert len(decided(bridge, "out")) == 10
    assert "unreadable" not in bridge("map", "out").err
    bridge.settings(emulated.url, source)
    for words in (
        ("migrate", "out", "--send", "--yes"),
        ("submit", "out"),
        ("submit", "out/Appointment.001.ndjson"),
    ):
        sent = bridge(*words)
        assert (sent.code, "not finished: nothing is sent" in sent.err) == (2, True)
    for words in (("migrate", "out"), ("map", "out"), ("submit", "out", "--dry-run")):
        assert "not finished: what is said here may change" in bridge(*words).err
    assert emulated.stats["tasks"] == 0
