"""What fuzzing starts from: made-up messages that are read to their end, one of each kind."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from typing import Any

from fhir_bridge.intake.subscription_status import NotificationType
from tests.doubles.notifications import BASE, bundle, event, forms, status

PATIENT = {
    "resourceType": "Patient", "id": "p1", "birthDate": "1980-01-01", "name": [{"family": "Sample"}],
    "telecom": [{"system": "phone", "value": "+12125550101"}], "deceasedBoolean": False,
}  # fmt: skip
RESOURCES: tuple[dict[str, Any], ...] = (
    PATIENT,
    {
        "resourceType": "Appointment", "id": "a1", "meta": {"versionId": "2"}, "status": "cancelled",
        "start": "2026-11-30T09:00:00-05:00", "contained": [{**PATIENT, "id": "inside"}],
        "participant": [{"actor": {"reference": "#inside"}, "status": "accepted"}],
    },
    {
        "resourceType": "ServiceRequest", "id": "s1", "status": "active", "intent": "order",
        "subject": {"reference": f"{BASE}/Patient/p1"},
        "code": {"coding": [{"system": "http://snomed.info/sct", "code": "306206005"}], "text": "Referral"},
    },
    {"resourceType": "Consent", "id": "c1", "status": "active", "patient": {"reference": "Patient/p1"}},
)  # fmt: skip
DELETED = {"fullUrl": f"{BASE}/Appointment/a1", "request": {"method": "DELETE", "url": "Appointment/a1"}}
NAMED = {"fullUrl": f"{BASE}/Appointment/a1", "request": {"method": "PUT", "url": "Appointment/a1"}}

POST, PUT, DELETE, DELETED_BY_HEADER, PACKED = 0, 1, 2, 3, 0x80
"""The first byte of what `fuzz_door` is given: the route, and whether the body is gzip."""


def messages() -> Iterator[Any]:
    """Every shape, type and content of a notification."""
    yield from RESOURCES
    yield bundle("collection", *RESOURCES)
    yield bundle("history", NAMED, DELETED)
    for kind in NotificationType:
        entries = RESOURCES[1:2] if "event" in kind else ()
        for _, sent in forms(status(kind, event(3), event("4", None, "Patient/p1")), *entries):
            yield sent
    for entry in (NAMED, DELETED, {**NAMED, "resource": RESOURCES[1]}):
        for _, sent in forms(status("event-notification", event()), entry):
            yield sent
    for form, sent in forms(status("heartbeat")):
        yield sent["entry"][0]["resource"] if form == "r4b" else sent


def seeds() -> Iterator[bytes]:
    """As `fuzz_door` takes them."""
    yield bytes([PUT])
    yield bytes([DELETE])
    yield bytes([DELETED_BY_HEADER]) + b"{}"
    yield bytes([PUT]) + json.dumps(RESOURCES[1]).encode()
    for message in messages():
        text = json.dumps(message).encode()
        yield bytes([POST]) + text
        yield bytes([POST | PACKED]) + gzip.compress(text, mtime=0)
