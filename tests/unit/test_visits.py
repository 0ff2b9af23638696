"""Visits that were, and whether the patient is known (mapping, section 10)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Json = dict[str, Any]
Told = dict[str, Any]

SNOMED = "http://snomed.info/sct"
V2_0276 = "http://terminology.hl7.org/CodeSystem/v2-0276"


def appointment(**elements: Any) -> Json:
    """An Appointment of Marigold's, proposed unless told otherwise."""
    return {"resourceType": "Appointment", **elements}


def concept(text: str | None = None, *codings: Json) -> Json:
    """A CodeableConcept."""
    return ({"text": text} if text else {}) | ({"coding": list(codings)} if codings else {})


def encounter(day: str, **elements: Any) -> Json:
    """A finished visit of Marigold's."""
    return {"resourceType": "Encounter", "id": f"e-{day}", "period": {"start": day}, **elements}


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
