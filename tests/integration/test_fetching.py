"""A case completed from a FHIR server: only what the decision asks for, only from where it may be asked."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fhir_bridge.app.rules import run_with
from fhir_bridge.errors import FhirServerError
from fhir_bridge.fetching.completing import MOST_FETCHED, Completion
from fhir_bridge.fhir import documents
from fhir_bridge.fhir_client.politeness import Limits
from fhir_bridge.fhir_client.server import FhirServer
from fhir_bridge.intake.files import Inputs
from fhir_bridge.mapping.decision import Call, Decision, Reject, Skip
from fhir_bridge.mapping_run import MappingRun
from fhir_bridge.settings import load_settings
from tests.doubles.case import LOST, PATIENT, WORLD, Json, reference
from tests.doubles.faults import Fault
from tests.doubles.fhir_server import FhirServerDouble

NOW = datetime(2026, 11, 23, 15, tzinfo=UTC)
QUICK = Limits(rate=None, backoff=0.01, backoff_cap=0.02, timeout=2.0, patience=5.0)


@pytest.fixture
async def ehr() -> AsyncIterator[FhirServerDouble]:
    """An EHR with all of one patient's case."""
    double = FhirServerDouble()
    double.records.put(*WORLD)
    async with double.running():
        yield double


def run_for(double: FhirServerDouble, tmp_path: Path, now: datetime = NOW, **source: str) -> MappingRun:
    """A run over the source `ehr`, whose FHIR server is the double."""
    lines = [f'{name} = "{value}"' for name, value in source.items()]
    text = "\n".join([f'[sources.ehr]\nbase_url = "{double.url}"\ntimezone = "America/New_York"', *lines])
    (tmp_path / "bridge.toml").write_text(text)
    return run_with(load_settings(environ={}, working_folder=tmp_path), "ehr", {}, now)


def inputs_of(*resources: Json) -> Inputs:
    """What a message brought."""
    read = documents.read(json.dumps(list(resources)).encode(), "message").resources if resources else []
    return Inputs(resources=list(read))


async def completed(
    double: FhirServerDouble, run: MappingRun, *resources: Json, triggers: tuple[str, ...] = (), **client: Any
) -> Inputs:
    """What a message brought, completed from the double."""
    async with FhirServer(double.url, limits=QUICK, **client) as server:
        return await Completion(server, run.profile).complete(run, inputs_of(*resources), triggers)


def only(run: MappingRun, inputs: Inputs) -> Decision:
    """The one decision."""
    (decision,) = run.decide(inputs)
    return decision


async def test_an_id_alone_becomes_the_same_request_as_all_at_once(
    ehr: FhirServerDouble, tmp_path: Path
) -> None:
    """Trigger, patient, order, requester with role and organization, place, visits, insurance: all found."""
    run = run_for(ehr, tmp_path)
    fetched = only(run, await completed(ehr, run, triggers=("Appointment/a1",)))
    everything = inputs_of(*WORLD)
    given = next(each for each in run.decide(everything) if each.subject.trigger == "Appointment/a1")
    assert isinstance(fetched, Call) and isinstance(given, Call)
    assert fetched.task.task_data.referral is not None
    assert fetched.task.task_data.referral.facility == "Sample Clinic"
    assert fetched.task.task_data.previous_visits is not None
    assert fetched.task.task_data.previous_visits[0].purpose == "Palpitations"
    assert fetched.patient.primary_care_provider == given.patient.primary_care_provider is not None
    assert fetched.patient == given.patient


async def test_what_is_at_hand_is_not_fetched(ehr: FhirServerDouble, tmp_path: Path) -> None:
    """Only searches are left, for nothing says that they brought all."""
    run = run_for(ehr, tmp_path)
    everything = [dict(resource) for resource in WORLD]
    await completed(ehr, run, *everything)
    reads = [line for line in ehr.lines("GET") if "?" not in line and line != "GET metadata"]
    assert reads == [] and ehr.lines("POST") == []
    assert len(ehr.lines("GET Encounter?")) == 1
    assert sorted(ehr.lines("GET Appointment?")) == [
        "GET Appointment?based-on=ServiceRequest%2Fs1",
        "GET Appointment?patient=p1&date=ge2026-05-27",
    ]


async def test_a_trigger_that_is_skipped_costs_nothing_more(ehr: FhirServerDouble, tmp_path: Path) -> None:
    """Booked already, or too old: neither visits nor insurance are asked for."""
    run = run_for(ehr, tmp_path)
    booked = {**LOST, "status": "booked", "start": "2027-01-04T10:00:00-05:00"}
    ehr.records.put(booked)
    inputs = await completed(ehr, run, triggers=("Appointment/a1",))
    decision = only(run, inputs)
    assert isinstance(decision, Skip) and decision.reason == "already-booked"
    assert ehr.lines() == ["GET Appointment/a1"]


async def test_a_live_appointment_that_only_the_server_knows_stops_the_call(
    ehr: FhirServerDouble, tmp_path: Path
) -> None:
    """By its order, or by the patient and the service: both are searched for."""
    live = {**LOST, "id": "b1", "status": "booked", "start": "2026-12-04T10:00:00-05:00"}
    run = run_for(ehr, tmp_path)
    for reason in ("already-booked", "already-rebooked"):
        ehr.records.put(live)
        decision = only(run, await completed(ehr, run, LOST))
        assert isinstance(decision, Skip) and decision.reason == reason
        live.pop("basedOn", None)


async def test_a_patient_who_died_is_found_out(ehr: FhirServerDouble, tmp_path: Path) -> None:
    """The message brought the trigger only."""
    ehr.records.change("Patient/p1", deceasedBoolean=True)
    run = run_for(ehr, tmp_path)
    decision = only(run, await completed(ehr, run, LOST))
    assert isinstance(decision, Skip) and decision.reason == "patient-deceased"
    assert ehr.lines("GET Encounter") == []


async def test_a_minors_guardian_is_looked_for_and_an_adults_is_not(
    ehr: FhirServerDouble, tmp_path: Path
) -> None:
    """Who is called for a child is a RelatedPerson of theirs."""
    run = run_for(ehr, tmp_path)
    await completed(ehr, run, LOST)
    assert ehr.lines("GET RelatedPerson") == []
    ehr.records.change("Patient/p1", birthDate="2020-01-01", telecom=None)
    mother = {
        "resourceType": "RelatedPerson",
        "id": "m1",
        "patient": reference("Patient/p1"),
        "relationship": [{"coding": [{"code": "MTH"}], "text": "mother"}],
        "name": [{"family": "Sample", "given": ["Iris"]}],
        "telecom": [{"system": "phone", "value": "(212) 555-0177"}],
    }
    ehr.records.put(mother)
    decision = only(run, await completed(ehr, run, LOST))
    assert isinstance(decision, Call) and decision.task.phone_number == "+12125550177"


async def test_a_denial_on_the_server_is_obeyed(ehr: FhirServerDouble, tmp_path: Path) -> None:
    """An active Consent that denies, whatever the message brought."""
    denial = {
        "resourceType": "Consent",
        "id": "n1",
        "status": "active",
        "patient": reference("Patient/p1"),
        "provision": {"type": "deny"},
        "scope": {"coding": [{"code": "patient-privacy"}]},
        "category": [{"text": "calls"}],
    }
    run = run_for(ehr, tmp_path)
    ehr.records.put(denial)
    decision = only(run, await completed(ehr, run, LOST))
    assert isinstance(decision, Skip) and decision.reason == "consent-denied"


async def test_a_merged_record_is_followed(ehr: FhirServerDouble, tmp_path: Path) -> None:
    """To the one that took its place, which only the server has."""
    ehr.records.put({**PATIENT, "id": "p2"})
    ehr.records.change(
        "Patient/p1", active=False, link=[{"type": "replaced-by", "other": reference("Patient/p2")}]
    )
    run = run_for(ehr, tmp_path)
    decision = only(run, await completed(ehr, run, LOST))
    assert isinstance(decision, Call) and decision.subject.patient == "Patient/p2"
    assert any("patient=p2" in line for line in ehr.lines("GET Encounter"))


@pytest.mark.parametrize("takes_batches", [True, False])
async def test_another_record_than_was_asked_for_is_nobody(
    ehr: FhirServerDouble, tmp_path: Path, takes_batches: bool
) -> None:
    """A server that answers with whom a record was merged into, or just wrongly: that one is not called."""
    ehr.interactions = ("batch",) if takes_batches else ()
    other = {**PATIENT, "id": "p2", "meta": {"versionId": "1"}}
    if takes_batches:
        ehr.records.versions["Patient/p1"] = [other]
    else:
        ehr.faults.append(Fault("GET Patient/p1", 200, json.dumps(other).encode(), times=None))
    decision = only(run := run_for(ehr, tmp_path), await completed(ehr, run, LOST))
    assert isinstance(decision, Reject) and decision.reason == "patient-unresolved"


async def test_a_reference_to_a_strange_server_is_never_followed(
    ehr: FhirServerDouble, tmp_path: Path
) -> None:
    """Nothing is asked there; the gap says to where, and the call goes without. A listed server is asked."""
    other = FhirServerDouble(base="/directory")
    other.records.put({"resourceType": "Practitioner", "id": "x1", "name": [{"family": "Far"}]})
    async with other.running():
        actor = {"actor": reference(f"{other.url}/Practitioner/x1"), "status": "accepted"}
        visit = {**LOST, "participant": [*LOST["participant"][:1], actor]}
        run = run_for(ehr, tmp_path)
        inputs = await completed(ehr, run, visit)
        assert isinstance(only(run, inputs), Call) and other.requests == []
        assert "Practitioner by reference: foreign-link" in inputs.gaps
        inputs = await completed(ehr, run, visit, other_bases=[other.url])
        assert other.lines() == ["GET Practitioner/x1"]
        decision = only(run, inputs)
        assert isinstance(decision, Call) and "Far" in str(decision.task.task_data.speciality_preferences)


async def test_a_server_that_refuses_a_parameter_is_asked_in_another_way(
    ehr: FhirServerDouble, tmp_path: Path
) -> None:
    """Once; the next case begins with what it took. What was refused is told, without values."""
    ehr.rejects |= {"Encounter.status", "Appointment.date", "based-on"}
    run = run_for(ehr, tmp_path)
    async with FhirServer(ehr.url, limits=QUICK) as server:
        completion = Completion(server, run.profile)
        inputs = await completion.complete(run, inputs_of(LOST))
        decision = only(run, inputs)
        assert isinstance(decision, Call) and decision.task.task_data.previous_visits
        refused = "search of Encounter by patient, status, _sort, _count: HTTP 400 (error invalid)"
        assert f"{refused}; asked in another way" in inputs.gaps
        assert not any("Juniper" in gap or "p1" in gap for gap in inputs.gaps)
        before = len(ehr.requests)
        await completion.complete(run, inputs_of(LOST))
    again = [line for line in ehr.lines("GET Encounter")[2:] if "status=" in line]
    assert again == [] and len(ehr.requests) > before


async def test_a_type_that_we_may_not_see_leaves_a_gap(ehr: FhirServerDouble, tmp_path: Path) -> None:
    """403 for one type, no such type for another: the rest is fetched."""
    ehr.types = [kind for kind in ehr.types if kind != "Consent"]
    ehr.faults.append(Fault("GET Coverage", 403, times=None))
    run = run_for(ehr, tmp_path)
    inputs = await completed(ehr, run, LOST)
    assert isinstance(only(run, inputs), Call)
    assert "search of Consent: not supported" in inputs.gaps
    assert "search of Coverage by patient: HTTP 403" in inputs.gaps
    assert len(ehr.lines("GET Coverage")) == 1 and ehr.lines("GET Consent") == []


@pytest.mark.parametrize("where", ["Patient/p1", "GET Appointment", "GET Encounter", "metadata"])
async def test_a_server_that_does_not_answer_decides_nothing(
    ehr: FhirServerDouble, tmp_path: Path, where: str
) -> None:
    """It may know why nobody must be called: the whole case waits."""
    ehr.interactions = ()
    ehr.faults.append(Fault(where, 503, times=None))
    run = run_for(ehr, tmp_path)
    with pytest.raises(FhirServerError) as error:
        await completed(ehr, run, LOST)
    assert error.value.code == "overloaded"


async def test_a_server_that_says_nothing_of_itself_is_asked_all_the_same(
    ehr: FhirServerDouble, tmp_path: Path
) -> None:
    """It is asked for its statement once."""
    ehr.faults.append(Fault("metadata", 404, times=None))
    run = run_for(ehr, tmp_path)
    assert isinstance(only(run, await completed(ehr, run, LOST)), Call)
    assert ehr.lines("GET metadata") == ["GET metadata"]


async def test_what_is_no_reference_is_no_reason_to_give_up(ehr: FhirServerDouble, tmp_path: Path) -> None:
    """An id that no path can hold is asked for by nobody; the others are, in one batch."""
    odd = {"actor": reference("Practitioner/{{id}} of today"), "status": "accepted"}
    run = run_for(ehr, tmp_path)
    inputs = await completed(ehr, run, {**LOST, "participant": [*LOST["participant"], odd]})
    assert isinstance(only(run, inputs), Call)
    assert not any("today" in line for line in ehr.lines())


async def test_an_entry_that_cannot_be_read_leaves_a_gap(ehr: FhirServerDouble, tmp_path: Path) -> None:
    """The others of its page are used."""
    broken = {"resourceType": "Bundle", "entry": [{"resource": WORLD[11]}, {"resource": "nothing"}]}
    ehr.faults.append(Fault("GET Encounter", 200, json.dumps(broken).encode()))
    run = run_for(ehr, tmp_path)
    inputs = await completed(ehr, run, LOST)
    decision = only(run, inputs)
    assert isinstance(decision, Call) and decision.task.task_data.previous_visits
    assert any(gap.startswith("unreadable") for gap in inputs.gaps)


async def test_a_trigger_that_is_gone_is_skipped_and_one_unknown_is_an_error(
    ehr: FhirServerDouble, tmp_path: Path
) -> None:
    """410 is an answer; 404 may as well be a wrong address."""
    ehr.records.remove("Appointment/a1")
    run = run_for(ehr, tmp_path)
    inputs = await completed(ehr, run, triggers=("Appointment/a1",))
    (arrival,) = run.arrivals(inputs)
    assert isinstance(arrival.decision, Skip) and arrival.decision.detail == "deleted"
    with pytest.raises(FhirServerError) as error:
        await completed(ehr, run, triggers=("Appointment/unknown",))
    assert error.value.code == "not-found"


async def test_a_server_takes_many_reads_at_once(ehr: FhirServerDouble, tmp_path: Path) -> None:
    """As a batch where it says so; one by one where it does not, or breaks its word."""
    run = run_for(ehr, tmp_path)
    told = only(run, await completed(ehr, run, LOST))
    assert len(ehr.lines("POST")) >= 1 and ehr.lines("GET Practitioner/d1") == []
    ehr.requests.clear()
    ehr.faults.append(Fault("^POST", 500, times=None))
    assert only(run, await completed(ehr, run, LOST)) == told
    assert ehr.lines("GET Practitioner/d1") == ["GET Practitioner/d1"]
    ehr.faults.clear()
    ehr.requests.clear()
    ehr.interactions = ()
    assert only(run, await completed(ehr, run, LOST)) == told
    assert ehr.lines("POST") == []


async def test_what_is_known_to_be_all_is_said(ehr: FhirServerDouble, tmp_path: Path) -> None:
    """A patient without any visit is new; one whose visits could not all be asked for may be not."""
    ehr.records.remove("Encounter/e1")
    visit = {name: value for name, value in LOST.items() if name != "basedOn"}
    ehr.records.put(visit)
    run = run_for(ehr, tmp_path)
    inputs = await completed(ehr, run, visit)
    assert inputs.whole_histories == {"Patient/p1"} and inputs.whole_chains == {"Appointment/a1"}
    decision = only(run, inputs)
    assert isinstance(decision, Call)
    assert decision.task.task_data.patient_status == "new"
    assert decision.task.task_data.has_referral is False
    ehr.faults.append(Fault("GET Encounter", 403, times=None))
    ehr.rejects.add("based-on")
    inputs = await completed(ehr, run, visit)
    assert inputs.whole_histories == inputs.whole_chains == frozenset()
    decision = only(run, inputs)
    assert isinstance(decision, Call) and decision.task.task_data.patient_status is None


async def test_a_record_that_refers_to_everything_is_not_followed_to_its_end(
    ehr: FhirServerDouble, tmp_path: Path
) -> None:
    """A bounded number of requests a trigger, and it is said."""
    ehr.interactions = ()
    crowd = [{"actor": reference(f"Practitioner/x{n}"), "status": "accepted"} for n in range(300)]
    run = run_for(ehr, tmp_path)
    inputs = await completed(ehr, run, {**LOST, "participant": [*LOST["participant"], *crowd]})
    assert len(ehr.requests) <= MOST_FETCHED + 5
    assert "more is referred to than is fetched for one case" in inputs.gaps


async def test_a_fetched_copy_never_stands_beside_the_message(ehr: FhirServerDouble, tmp_path: Path) -> None:
    """A message without a version is not one of two that nothing orders; a newer one on the server counts."""
    run = run_for(ehr, tmp_path)
    decision = only(run, await completed(ehr, run, {**LOST, "description": "As it came"}))
    assert isinstance(decision, Call)
    assert "As it came" in str(decision.task.task_data.additional_context)
    old = {**LOST, "meta": {"versionId": "1", "lastUpdated": "2026-11-01T00:00:00Z"}}
    ehr.records.change("Appointment/a1", status="booked", start="2026-12-17T14:00:00-05:00")
    decision = only(run, await completed(ehr, run, old))
    assert isinstance(decision, Skip) and decision.reason == "already-booked"


async def test_a_vendors_way_of_asking_is_data(ehr: FhirServerDouble, tmp_path: Path) -> None:
    """Oracle Health wants a range of instants and knows no based-on; athenaOne searches no Appointments."""
    run = run_for(ehr, tmp_path, vendor="oracle-health")
    ehr.faults.append(Fault("date-or-req", 200, b'{"resourceType": "Bundle"}', times=None))
    await completed(ehr, run, LOST)
    since = (NOW - timedelta(days=180)).strftime("%Y-%m-%dT%H%%3A%M%%3A%SZ")
    (line,) = ehr.lines("GET Appointment?")
    assert line.startswith(f"GET Appointment?patient=p1&-date-or-req-period=ge{since}&-date-or-req-period=lt")
    ehr.requests.clear()
    await completed(ehr, run_for(ehr, tmp_path, vendor="athenaone"), LOST)
    assert ehr.lines("GET Appointment?") == [] and ehr.lines("GET Encounter") == ["GET Encounter?patient=p1"]


NUMBER = {"system": "https://harbour.example/mrn", "value": "HSC|1,7"}
BY_NUMBER = {
    **LOST,
    "participant": [{"actor": {"type": "Patient", "identifier": NUMBER}, "status": "accepted"}],
}


@pytest.mark.parametrize(
    "actor",
    [
        {"type": "Patient", "identifier": NUMBER},
        {"reference": "Patient?identifier=https://harbour.example/mrn|HSC%7C1%2C7"},
    ],
    ids=["identifier", "conditional"],
)
async def test_a_patient_known_by_a_number_alone_is_searched_for(
    ehr: FhirServerDouble, tmp_path: Path, actor: Json
) -> None:
    """And all else of them then, as of one who is named."""
    ehr.records.put({**PATIENT, "identifier": [NUMBER]})
    run = run_for(ehr, tmp_path)
    trigger = {**LOST, "participant": [{"actor": actor, "status": "accepted"}]}
    decision = only(run, await completed(ehr, run, trigger))
    assert isinstance(decision, Call) and decision.subject.patient == "Patient/p1"
    assert ehr.lines("GET Consent?")
    ehr.records.put({**PATIENT, "identifier": [NUMBER], "deceasedBoolean": True})
    decision = only(run, await completed(ehr, run, trigger))
    assert isinstance(decision, Skip) and decision.reason == "patient-deceased"


async def test_of_a_number_that_is_nobodys_or_of_two_nobody_is_called(
    ehr: FhirServerDouble, tmp_path: Path
) -> None:
    """One match exactly, and all matches known."""
    run = run_for(ehr, tmp_path)
    decision = only(run, await completed(ehr, run, BY_NUMBER))
    assert isinstance(decision, Reject) and decision.reason == "patient-unresolved"
    ehr.records.put({**PATIENT, "identifier": [NUMBER]}, {**PATIENT, "id": "p2", "identifier": [NUMBER]})
    decision = only(run, await completed(ehr, run, BY_NUMBER))
    assert isinstance(decision, Reject) and decision.reason == "patient-unresolved"


async def test_a_practitioner_known_by_a_number_is_no_patient_to_search_for(
    ehr: FhirServerDouble, tmp_path: Path
) -> None:
    """Never the first identifier at hand."""
    doctor = {"actor": {"identifier": NUMBER, "type": "Practitioner"}, "status": "accepted"}
    trigger = {**LOST, "participant": [doctor, *LOST["participant"]]}
    run = run_for(ehr, tmp_path)
    assert isinstance(only(run, await completed(ehr, run, trigger)), Call)
    assert not ehr.lines("GET Patient?")
