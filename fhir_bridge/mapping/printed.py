"""A decision as JSON data, stable for tools (mapping, section 18)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from fhir_bridge.mapping.decision import Call, Decision, Lineage


def decision_data(decision: Decision, project_id: str | None = None) -> dict[str, Any]:
    """One object for each trigger: `decision`, `reason`, `intent`, and for a call what would be sent.

    `request.patient_id` is null until a ledger knows it, `project_id` where no settings name one.
    """
    data: dict[str, Any] = {
        "trigger": decision.subject.trigger,
        "decision": kind(decision),
        "reason": getattr(decision, "reason", None),
        "expression": getattr(decision, "expression", None),
        "intent": decision.subject.intent,
        "request": None,
        "patient": None,
        "notes": [
            {"code": note.code, "resource": note.resource, "path": note.path} for note in decision.notes
        ],
        "lineage": [_lineage(entry) for entry in decision.lineage],
    }
    if isinstance(decision, Call):
        data["request"] = request_data(decision, project_id)
        data["patient"] = decision.patient.to_wire(project_id=project_id)
        data["valid_until"] = instant(decision.valid_until)
    return data


def request_data(call: Call, project_id: str | None = None) -> dict[str, Any]:
    """The body of `POST /v1/task` as far as it is known before the patient was created."""
    return call.task.to_wire(project_id=project_id, patient_id=call.patient_id)


def kind(decision: Decision) -> str:
    """`call`, `skip` or `reject`."""
    return decision.kind


def instant(moment: datetime) -> str:
    """An aware instant as FHIR writes it, in UTC to the second."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _lineage(entry: Lineage) -> dict[str, Any]:
    data: dict[str, Any] = {
        "field": entry.field,
        "sources": [{"resource": source.resource, "path": source.path} for source in entry.sources],
        "rule": entry.rule,
    }
    if entry.map_row is not None:
        data["map_row"] = entry.map_row
    if entry.layer is not None:
        data["layer"] = entry.layer
    return data
