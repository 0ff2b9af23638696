"""What was lost, and why (mapping, section 12)."""

from __future__ import annotations

from collections.abc import Callable

from tests.unit.marigold import ADAM, CAREFUL, PATIENT, Told, appointment, concept


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
