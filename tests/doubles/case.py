"""One made-up patient's case as an EHR has it: a cancelled appointment, its order, and all they refer to."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]


def reference(label: str) -> Json:
    """A reference as messages hold them."""
    return {"reference": label}


PATIENT = {
    "resourceType": "Patient",
    "id": "p1",
    "name": [{"family": "Sample", "given": ["Juniper"]}],
    "birthDate": "1980-01-01",
    "telecom": [{"system": "phone", "use": "mobile", "value": "(212) 555-0101"}],
    "address": [
        {
            "line": ["12 Sample St"],
            "city": "New York",
            "state": "NY",
            "postalCode": "10001",
            "country": "US",
        }
    ],
    "generalPractitioner": [reference("PractitionerRole/gp")],
}
LOST = {
    "resourceType": "Appointment",
    "id": "a1",
    "status": "cancelled",
    "created": "2026-11-01",
    "start": "2026-11-17T14:00:00-05:00",
    "end": "2026-11-17T14:30:00-05:00",
    "serviceType": [{"text": "Cardiology visit"}],
    "basedOn": [reference("ServiceRequest/s1")],
    "participant": [
        {"actor": reference("Patient/p1"), "status": "accepted"},
        {"actor": reference("Practitioner/d1"), "status": "accepted"},
        {"actor": reference("Location/l1"), "status": "accepted"},
    ],
}
WORLD = (
    PATIENT,
    LOST,
    {
        "resourceType": "ServiceRequest",
        "id": "s1",
        "status": "active",
        "intent": "order",
        "authoredOn": "2026-11-01",
        "code": {"text": "Referral to cardiology"},
        "subject": reference("Patient/p1"),
        "requester": reference("Practitioner/d2"),
    },
    {"resourceType": "Practitioner", "id": "d1", "name": [{"family": "Careful", "given": ["Adam"]}]},
    {"resourceType": "Practitioner", "id": "d2", "name": [{"family": "Asker", "given": ["Ada"]}]},
    {
        "resourceType": "PractitionerRole",
        "id": "r2",
        "practitioner": reference("Practitioner/d2"),
        "organization": reference("Organization/o1"),
    },
    {
        "resourceType": "PractitionerRole",
        "id": "gp",
        "practitioner": reference("Practitioner/d3"),
    },
    {"resourceType": "Practitioner", "id": "d3", "name": [{"family": "Known", "given": ["Kay"]}]},
    {"resourceType": "Organization", "id": "o1", "name": "Sample Clinic"},
    {"resourceType": "Location", "id": "l1", "name": "Second Floor"},
    {
        "resourceType": "Coverage",
        "id": "c1",
        "status": "active",
        "beneficiary": reference("Patient/p1"),
        "payor": [reference("Organization/o1")],
        "subscriberId": "123",
    },
    {
        "resourceType": "Encounter",
        "id": "e1",
        "status": "finished",
        "class": {"code": "AMB"},
        "subject": reference("Patient/p1"),
        "period": {"start": "2026-03-01T10:00:00-05:00"},
        "reasonReference": [reference("Condition/k1")],
    },
    {
        "resourceType": "Condition",
        "id": "k1",
        "subject": reference("Patient/p1"),
        "code": {"text": "Palpitations"},
    },
)
