"""What was lost, and why (mapping, section 12)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Json = dict[str, Any]
Told = dict[str, Any]

PATIENT: Json = {"actor": {"reference": "Patient/marigold"}, "status": "accepted"}
ADAM: Json = {"actor": {"reference": "Practitioner/adam"}, "status": "accepted"}
CAREFUL: Json = {
    "resourceType": "Practitioner",
    "id": "adam",
    "name": [{"family": "Careful", "given": ["Adam"], "prefix": ["Dr."]}],
}


def appointment(**elements: Any) -> Json:
    """An Appointment of Marigold's, proposed unless told otherwise."""
    return {"resourceType": "Appointment", **elements}


def concept(text: str | None = None, *codings: Json) -> Json:
    """A CodeableConcept."""
    return ({"text": text} if text else {}) | ({"coding": list(codings)} if codings else {})


def test_what_was_lost_is_told_with_its_reason(told: Callable[..., Told]) -> None:
    """Time, service, practitioner, place and status."""
    place = {"resourceType": "Location", "id": "l1", "name": "Burgers Medical Center"}
    lost = appointment(
        status="cancelled",
        start="2026-11-17T09:00:00-05:00",
        serviceType=[concept("General Discussion")],
        cancelationReason=concept("Clinician is ill"),
        participant=[PATIENT, ADAM, {"actor": {"reference": "Location/l1"}, "status": "accepted"}],
    )
    said = told(lost, CAREFUL, place, rescheduling=True)
    assert said["task"] == "Reschedule an appointment for General Discussion with Dr. Adam Careful"
    assert said["existing_appointment"] == (
        "Tue 17 Nov 2026, 9:00 AM (EST), General Discussion with Dr. Adam Careful at Burgers Medical Center"
        " (cancelled)"
    )
    assert said["reschedule_reason"] == "Clinician is ill"


def test_nothing_is_rescheduled_without_a_loss(told: Callable[..., Told]) -> None:
    """Both fields are null, as in the vendor's example."""
    said = told(appointment(start="2026-12-08T09:00:00-05:00"))
    assert (said["existing_appointment"], said["reschedule_reason"]) == (None, None)
