"""Marigold's resources, as the tests of what is said write them: an element for each argument.

What an Appointment, order or Encounter leaves out, the fixture `told` fills in (`OF_MARIGOLD`).
"""

from __future__ import annotations

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

SNOMED = "http://snomed.info/sct"
V2_0276 = "http://terminology.hl7.org/CodeSystem/v2-0276"


def appointment(**elements: Any) -> Json:
    """An Appointment of Marigold's, proposed unless told otherwise."""
    return {"resourceType": "Appointment", **elements}


def order(**elements: Any) -> Json:
    """An active order for Marigold."""
    return {"resourceType": "ServiceRequest", **elements}


def encounter(day: str, **elements: Any) -> Json:
    """A finished visit of Marigold's."""
    return {"resourceType": "Encounter", "id": f"e-{day}", "period": {"start": day}, **elements}


def concept(text: str | None = None, *codings: Json) -> Json:
    """A CodeableConcept."""
    return ({"text": text} if text else {}) | ({"coding": list(codings)} if codings else {})
