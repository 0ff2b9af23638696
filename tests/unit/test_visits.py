"""Visits that were, and whether the patient is known (mapping, section 10)."""

from __future__ import annotations

from collections.abc import Callable

from fhir_bridge.mapping.recorder import Recorder
from tests.unit.marigold import SNOMED, V2_0276, Told, appointment, concept, encounter


def test_visits_are_told_newest_first_and_at_most_five(told: Callable[..., Told]) -> None:
    """Planned ones, later ones and telephone calls are none."""
    days = [f"2026-0{month}-10" for month in range(1, 8)]
    call = concept(None, {"system": SNOMED, "code": "185317003"})
    said = told(
        appointment(),
        *map(encounter, days),
        encounter("2026-12-01"),
        encounter("2026-09-01", status="planned"),
        encounter("2026-09-02", type=[call]),
    )
    assert [visit["date"] for visit in said["previous_visits"]] == sorted(days, reverse=True)[:5]
    assert {visit["purpose"] for visit in said["previous_visits"]} == {"office visit"}
    assert said["patient_status"] == "existing"


def test_a_visit_has_its_purpose_and_outcome(told: Callable[..., Told]) -> None:
    """Reason before type; disposition before diagnosis."""
    said = told(
        appointment(),
        encounter(
            "2026-03-10T01:30:00Z",
            id="e1",
            type=[concept("Check-up")],
            reasonCode=[concept("Chest pain")],
            hospitalization={"dischargeDisposition": concept("Discharged home")},
            diagnosis=[{"condition": {"display": "Angina"}}],
        ),
    )
    assert said["previous_visits"] == [
        {"purpose": "Chest pain", "date": "2026-03-09", "outcome": "Discharged home"}
    ]


def test_refuted_diagnoses_are_no_outcome(told: Callable[..., Told]) -> None:
    """What turned out untrue is not repeated to the patient."""
    condition = {
        "resourceType": "Condition",
        "id": "c1",
        "subject": {"reference": "Patient/marigold"},
        "verificationStatus": {"coding": [{"code": "refuted"}]},
        "code": concept("Cancer"),
    }
    visit = encounter(
        "2026-03-10", diagnosis=[{"condition": {"reference": "Condition/c1", "display": "Cancer"}}]
    )
    assert told(appointment(), visit, condition)["previous_visits"][0]["outcome"] is None


def test_new_needs_evidence(told: Callable[..., Told]) -> None:
    """A check-up proves nothing; a complete history without visits does."""
    checkup = concept(None, {"system": V2_0276, "code": "CHECKUP"})
    assert told(appointment(appointmentType=checkup))["patient_status"] is None
    assert told(appointment(), history_complete=True)["patient_status"] == "new"
    assert told(appointment(serviceType=[concept("Initial Visit")]))["patient_status"] == "new"


def test_a_restricted_visit_is_evidence_and_not_told(told: Callable[..., Told]) -> None:
    """The patient is known there, and why is nobody's to hear."""
    visit = encounter("2026-03-10", meta={"security": [{"code": "R"}]}, reasonCode=[concept("Private")])
    said = told({"resourceType": "Appointment"}, visit)
    assert said["previous_visits"] is None
    assert said["patient_status"] == "existing"


def test_an_order_placed_in_a_visit_is_its_outcome(told: Callable[..., Told]) -> None:
    """Not one that was withdrawn."""
    placed = {"resourceType": "ServiceRequest", "encounter": {"reference": "Encounter/e1"}}
    said = told(
        {"resourceType": "Appointment"},
        encounter("2026-03-10", id="e1"),
        placed | {"id": "o2", "status": "revoked", "code": concept("Bypass")},
        placed | {"id": "o3", "code": concept("Stress test")},
    )
    assert said["previous_visits"][0]["outcome"] == "Ordered: Stress test"


def test_an_appointment_with_an_encounter_is_told_once(told: Callable[..., Told]) -> None:
    """The Encounter tells more; one by telephone keeps its Appointment out, too."""
    kept = {"resourceType": "Appointment", "status": "fulfilled", "start": "2026-03-10T09:00:00-05:00"}
    call = concept(None, {"system": SNOMED, "code": "185317003"})
    said = told(
        {"resourceType": "Appointment"},
        kept | {"id": "a2"},
        kept | {"id": "a3", "start": "2026-04-10T09:00:00-05:00"},
        encounter("2026-03-10", id="e1", appointment=[{"reference": "Appointment/a2"}]),
        encounter("2026-04-10", id="e2", type=[call], appointment=[{"reference": "Appointment/a3"}]),
    )
    assert [visit["date"] for visit in said["previous_visits"]] == ["2026-03-10"]


def test_a_visit_whose_date_cannot_be_read_is_noted(told: Callable[..., Told]) -> None:
    """It is left out, and a person can see why."""
    recorder = Recorder()
    assert (
        told({"resourceType": "Appointment"}, encounter("last spring"), recorder=recorder)["previous_visits"]
        is None
    )
    assert [note.code for note in recorder.notes] == ["date-unreadable"]


def test_a_display_that_no_person_says_gives_way_to_the_map(told: Callable[..., Told]) -> None:
    """SNOMED CT calls the root of all encounters a patient encounter procedure; people call it a visit."""
    root = {"system": SNOMED, "code": "308335008", "display": "Patient encounter procedure"}
    said = told(appointment(), encounter("2026-03-10", type=[concept("Patient encounter procedure", root)]))
    assert said["previous_visits"][0]["purpose"] == "visit"
