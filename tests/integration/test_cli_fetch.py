"""`map`, `explain` and `submit` with --fetch: what the files lack comes from the source's FHIR server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.doubles.faults import Fault
from tests.doubles.fhir_server import Bearer, FhirServerDouble

SOURCE = """
[sources.ehr]
base_url = "{url}"
timezone = "America/New_York"
[sources.ehr.client]
bearer = {{ env = "EHR_TOKEN" }}
rate = "1000/s"
"""


@pytest.fixture
def ehr(hospital: Any) -> Iterator[FhirServerDouble]:
    """An EHR that knows a patient and their appointment."""
    double = FhirServerDouble(guard=Bearer("token"))
    double.records.put(hospital.patient(), hospital.appointment())
    with double.running_in_thread():
        yield double


def test_a_lone_appointment_becomes_a_request(
    bridge: Any, hospital: Any, ehr: FhirServerDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without --fetch its patient is not at hand; with it, nothing that is at hand is asked for."""
    monkeypatch.setenv("EHR_TOKEN", "token")
    bridge.settings("https://api.example", SOURCE.format(url=ehr.url))
    file = hospital.write("appointment.json", hospital.appointment())
    assert bridge("map", file, "--format", "decisions").lines[0]["reason"] == "patient-unresolved"
    assert ehr.requests == []
    ran = bridge("map", file, "--fetch")
    assert ran.code == 0 and ran.json[0]["phone_number"] == "+12125550101"
    assert "GET Patient/p1" in ehr.lines() and "GET Appointment/a1" not in ehr.lines()
    told = bridge("explain", file, "--fetch", "--json").json[0]
    assert told["decision"] == "call"


def test_submit_fetches_before_it_sends(
    bridge: Any, hospital: Any, ehr: FhirServerDouble, endpoint: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And reads again before the call; a second time nobody is called."""
    monkeypatch.setenv("EHR_TOKEN", "token")
    api = endpoint()
    bridge.settings(api.url, SOURCE.format(url=ehr.url))
    file = hospital.write("appointment.json", hospital.appointment())
    dry = bridge("submit", file, "--fetch", "--dry-run", "--json")
    assert len(dry.json["would_send"]) == 1
    for _ in range(2):
        ran = bridge("submit", file, "--fetch", "--json")
        assert ran.code == 0 and ran.json["states"] == {"sent": 1}
    assert len(api.tasks) == 1


def test_what_could_not_be_fetched_is_told(
    bridge: Any, hospital: Any, ehr: FhirServerDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gap is a line; a server that is down, refuses us or is not set ends the command."""
    monkeypatch.setenv("EHR_TOKEN", "token")
    bridge.settings("https://api.example", SOURCE.format(url=ehr.url))
    file = hospital.write("appointment.json", hospital.appointment())
    ehr.faults.append(Fault("GET Coverage", 403, times=None))
    ran = bridge("map", file, "--fetch")
    assert ran.code == 0 and "fetching: search of Coverage by patient: HTTP 403" in ran.err
    monkeypatch.setenv("EHR_TOKEN", "wrong")
    ran = bridge("map", file, "--fetch")
    assert ran.code == 5 and "client" in ran.err and ran.out == ""
    monkeypatch.delenv("EHR_TOKEN")
    assert bridge("map", file, "--fetch").code == 3
    bridge.settings("https://api.example")
    ran = bridge("map", file, "--fetch")
    assert ran.code == 3 and "[sources.default.client]" in ran.err
