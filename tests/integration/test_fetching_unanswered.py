"""What the source did not tell, and could have spoken against a call, keeps it from being made."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from fhir_bridge.mapping.decision import Call, Reject, Skip
from tests.doubles.case import LOST, PATIENT, WORLD, Json, reference
from tests.doubles.faults import Fault
from tests.doubles.fhir_server import FhirServerDouble
from tests.integration.test_fetching import BY_NUMBER, NUMBER, completed, only, run_for

OUTCOME = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "incomplete"}]}
ORDER: Json = next(one for one in WORLD if one["resourceType"] == "ServiceRequest")


@pytest.fixture
async def ehr() -> AsyncIterator[FhirServerDouble]:
    """An EHR with all of one patient's case, that takes no batches."""
    double = FhirServerDouble(interactions=())
    double.records.put(*WORLD)
    async with double.running():
        yield double


def page(*resources: Any, **more: Any) -> bytes:
    """One page of a search."""
    entries = [{"resource": each} for each in resources]
    return json.dumps({"resourceType": "Bundle", "type": "searchset", "entry": entries} | more).encode()


def site(folder: Path, *names: str) -> str:
    """The site's layer, which does without the answers to these questions."""
    (folder / "site.yaml").write_text(f"searches:\n  do_without: [{', '.join(names)}]\n")
    return "site.yaml"


HELD = {
    "appointments refused": ("GET Appointment", 403, b"", "search of Appointment by patient, date: HTTP 403"),
    "appointments not taken": ("GET Appointment", 400, b"", "search of Appointment by patient: HTTP 400"),
    "consents refused": ("GET Consent", 403, b"", "search of Consent by patient: HTTP 403"),
    "an appointment unreadable": (
        *("GET Appointment", 200, page({"resourceType": 7})),
        "search of Appointment: a match cannot be read",
    ),
    "a consent unreadable": (
        *("GET Consent", 200, page("nothing")),
        "search of Consent: a match cannot be read",
    ),
    "appointments failed in part": (
        *("GET Appointment", 200, page(OUTCOME)),
        "search of Appointment: its answer says that it failed in part",
    ),
    "the order refused": ("GET ServiceRequest/s1", 403, b"", "ServiceRequest by reference: forbidden"),
    "the order gone": ("GET ServiceRequest/s1", 410, b"", "ServiceRequest by reference: gone"),
    "the order unreadable": ("GET ServiceRequest/s1", 200, b"{}", "ServiceRequest by reference: "),
}
"""What the server does wrong to which request, and what a person is told."""


@pytest.mark.parametrize("what", HELD)
async def test_an_answer_that_may_have_stopped_a_call_is_not_done_without(
    ehr: FhirServerDouble, tmp_path: Path, what: str
) -> None:
    """A person has to look, and is told what was asked."""
    request, status, body, seen = HELD[what]
    ehr.faults.append(Fault(request, status, body, times=None))
    run = run_for(ehr, tmp_path)
    decision = only(run, await completed(ehr, run, LOST))
    assert isinstance(decision, Reject) and decision.reason == "source-incomplete"
    assert seen in (decision.detail or "")


@pytest.mark.parametrize(
    ("fault", "name"),
    [
        (Fault("GET Appointment", 403, times=None), "appointments"),
        (Fault("GET Consent", 403, times=None), "consents"),
        (Fault("GET ServiceRequest/s1", 403, times=None), "orders"),
    ],
)
async def test_a_site_may_say_that_it_does_without(
    ehr: FhirServerDouble, tmp_path: Path, fault: Fault, name: str
) -> None:
    """Only of what it names; the gap is told all the same."""
    ehr.faults.append(fault)
    run = run_for(ehr, tmp_path, mappings=site(tmp_path, name))
    inputs = await completed(ehr, run, LOST)
    assert isinstance(only(run, inputs), Call) and inputs.gaps
    others = {"appointments", "consents", "orders"} - {name}
    run = run_for(ehr, tmp_path, mappings=site(tmp_path, *others))
    assert isinstance(only(run, await completed(ehr, run, LOST)), Reject)


async def test_a_server_without_consents_keeps_no_denial(ehr: FhirServerDouble, tmp_path: Path) -> None:
    """By its statement, or because it knows no such type."""
    ehr.faults.append(Fault("GET Consent", 404, times=None))
    run = run_for(ehr, tmp_path)
    assert isinstance(only(run, await completed(ehr, run, LOST)), Call)
    ehr.types = [kind for kind in ehr.types if kind != "Consent"]
    assert isinstance(only(run, await completed(ehr, run, LOST)), Call)


async def test_an_order_that_the_server_does_not_know_is_none(ehr: FhirServerDouble, tmp_path: Path) -> None:
    """The reference leads nowhere: that is an answer."""
    run = run_for(ehr, tmp_path)
    elsewhere = {**LOST, "basedOn": [reference("ServiceRequest/none")]}
    assert isinstance(only(run, await completed(ehr, run, elsewhere)), Call)


async def test_warnings_beside_the_matches_are_no_failure(ehr: FhirServerDouble, tmp_path: Path) -> None:
    """Some servers send one with every page."""
    warning = {**OUTCOME, "issue": [{"severity": "warning", "code": "not-found"}]}
    ehr.faults.append(Fault("GET Appointment", 200, page(warning), times=None))
    run = run_for(ehr, tmp_path)
    assert isinstance(only(run, await completed(ehr, run, LOST)), Call)


async def test_an_order_is_looked_for_among_the_patients_appointments_where_it_cannot_be_asked_for(
    ehr: FhirServerDouble, tmp_path: Path
) -> None:
    """A server that knows no `based-on` may hold its appointment all the same."""
    ehr.rejects = {"Appointment.based-on", "Appointment.incomingreferral"}
    ehr.records.remove("Appointment/a1")
    run = run_for(ehr, tmp_path)
    order = {**ORDER, "category": [{"text": "Referral"}]}
    assert isinstance(only(run, await completed(ehr, run, order)), Call)
    ehr.records.put({**LOST, "id": "b1", "status": "booked", "start": "2027-01-04T10:00:00-05:00"})
    decision = only(run, await completed(ehr, run, order))
    assert isinstance(decision, Skip) and decision.reason == "already-booked"
    ehr.faults.append(Fault("GET Appointment", 403, times=None))
    assert isinstance(only(run, await completed(ehr, run, order)), Reject)


async def test_what_is_skipped_or_only_informs_is_no_matter(ehr: FhirServerDouble, tmp_path: Path) -> None:
    """A gate that closes anyway stays closed; visits and insurance change no decision."""
    ehr.faults += [
        Fault("GET Encounter", 403, times=None),
        Fault("GET Coverage", 200, page("nothing"), times=None),
    ]
    run = run_for(ehr, tmp_path)
    assert isinstance(only(run, await completed(ehr, run, LOST)), Call)
    ehr.faults.append(Fault("GET Consent", 403, times=None))
    ehr.records.change("Patient/p1", deceasedBoolean=True)
    decision = only(run, await completed(ehr, run, LOST))
    assert isinstance(decision, Skip) and decision.reason == "patient-deceased"


async def test_of_a_patient_by_number_all_matches_must_be_told(ehr: FhirServerDouble, tmp_path: Path) -> None:
    """Another one may have it too; refused, nobody is known at all."""
    numbered = {**PATIENT, "identifier": [NUMBER]}
    ehr.records.put(numbered)
    fault = Fault("GET Patient?", 200, page(numbered, OUTCOME), times=None)
    ehr.faults.append(fault)
    run = run_for(ehr, tmp_path)
    decision = only(run, await completed(ehr, run, BY_NUMBER))
    assert isinstance(decision, Reject) and decision.reason == "source-incomplete"
    assert decision.detail == "search of Patient: its answer says that it failed in part"
    ehr.faults[:] = [Fault("GET Patient?", 403, times=None)]
    decision = only(run, await completed(ehr, run, BY_NUMBER))
    assert isinstance(decision, Reject) and decision.reason == "patient-unresolved"
    ehr.faults.clear()
    assert isinstance(only(run, await completed(ehr, run, BY_NUMBER)), Call)
