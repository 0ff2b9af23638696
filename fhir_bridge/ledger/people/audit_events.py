"""Disclosures and people's acts as FHIR R4 AuditEvents (https://hl7.org/fhir/R4/auditevent.html).

Coded as IHE's Basic Audit Log Patterns code a disclosure by its source
(https://profiles.ihe.net/ITI/BALP/StructureDefinition-IHE.BasicAudit.PrivacyDisclosure.Source.html).
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from fhir.resources.R4B.auditevent import AuditEvent

from fhir_bridge.ledger.people.disclosures import Acted, Disclosure
from fhir_bridge.task_api.outcome import OutcomeClass

DICOM = "http://dicom.nema.org/resources/ontology/DCM"
LIFECYCLE = "http://terminology.hl7.org/CodeSystem/iso-21089-lifecycle"
ENTITY = "http://terminology.hl7.org/CodeSystem/audit-entity-type"
ROLE = "http://terminology.hl7.org/CodeSystem/object-role"
BRIDGE = "fhir-bridge"
PURPOSE = "having an appointment arranged by telephone"

VIEWS = frozenset({"show", "patients-export", "audit-export"})
"""Acts that look and change nothing."""

_TOLD = {
    "create_patient": "the patient's name, telephone number and what else the task API asks of a patient",
    "create_task": "whom to call at which number, and what the appointment is for",
}
_OUTCOME: dict[str, tuple[str, str]] = {
    OutcomeClass.ACCEPTED: ("0", "taken"),
    OutcomeClass.NOT_PROCESSED: ("4", "not processed"),
    OutcomeClass.KEY_REFUSED: ("4", "not processed: our key was refused"),
    OutcomeClass.REFUSED: ("4", "refused"),
    OutcomeClass.UNKNOWN: ("8", "no usable answer: it may have been processed"),
}
_NEVER_SETTLED = ("8", "never settled: it may have been processed")
_PLAIN_REFERENCE = "Patient/"


def disclosure_event(told: Disclosure, recipient: str) -> AuditEvent:
    """One request to the task API at `recipient` (a URL): when, about whom, what became of it."""
    code, words = _OUTCOME.get(told.outcome or "", _NEVER_SETTLED)
    period = {"start": told.started_at, **({"end": told.finished_at} if told.finished_at else {})}
    return AuditEvent.model_validate(
        {
            "id": f"attempt-{told.id}",
            "type": {"system": DICOM, "code": "110106", "display": "Export"},
            "subtype": [{"system": LIFECYCLE, "code": "disclose", "display": "Disclose"}],
            "action": "R",
            "period": period,
            "recorded": told.started_at,
            "outcome": code,
            "outcomeDesc": f"{words} ({told.error})" if told.error else words,
            "purposeOfEvent": [{"text": PURPOSE}],
            "agent": [
                _agent("110153", "Source Role ID", BRIDGE, requestor=True),
                {
                    **_agent("110152", "Destination Role ID", recipient, requestor=False),
                    "network": {"address": urlsplit(recipient).hostname or recipient, "type": "5"},
                },
            ],
            "source": {"observer": {"display": BRIDGE}, "site": told.source},
            "entity": list(_entities(told)),
        }
    )


def act_event(acted: Acted) -> AuditEvent:
    """What a person did or looked at, and why."""
    is_view = acted.action in VIEWS
    code, display = ("110110", "Patient Record") if is_view else ("110100", "Application Activity")
    return AuditEvent.model_validate(
        {
            "id": f"act-{acted.number}",
            "type": {"system": DICOM, "code": code, "display": display},
            "subtype": [{"code": acted.action}],
            "action": "R" if is_view else "U",
            "recorded": acted.at,
            "outcome": "0",
            "purposeOfEvent": [{"text": acted.reason}] if acted.reason.strip() else None,
            "agent": [{"who": {"display": acted.actor}, "requestor": True}],
            "source": {"observer": {"display": BRIDGE}},
            "entity": [{"name": acted.subject}] if acted.subject else None,
        }
    )


def _agent(code: str, display: str, who: str, *, requestor: bool) -> dict[str, Any]:
    kind = {"coding": [{"system": DICOM, "code": code, "display": display}]}
    return {"type": kind, "who": {"display": who}, "requestor": requestor}


def _entities(told: Disclosure) -> list[dict[str, Any]]:
    """The patient, by the source's reference, and the request itself with both sides' ids."""
    plain = told.patient.startswith(_PLAIN_REFERENCE)
    patient = {"reference": told.patient} if plain else {"identifier": {"value": told.patient}}
    names = ("patient_id", "task_id", "intent", "trigger")
    ids = {name: getattr(told, name) for name in names}
    request = {
        "type": {"system": ENTITY, "code": "2", "display": "System Object"},
        "role": {"system": ROLE, "code": "4", "display": "Domain Resource"},
        "name": told.call,
        "description": _TOLD[told.call],
        "detail": [{"type": kind, "valueString": value} for kind, value in ids.items() if value] or None,
    }
    person = {"system": ENTITY, "code": "1", "display": "Person"}
    return [
        {"what": patient, "type": person, "role": {"system": ROLE, "code": "1", "display": "Patient"}},
        request,
    ]
