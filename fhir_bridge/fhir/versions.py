"""Which FHIR version a resource is written in, by the elements it uses; folders and profiles are often
wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

Version = Literal["STU3", "R4", "R5"]

_ONLY_STU3_TYPES = frozenset({"ReferralRequest", "ProcedureRequest"})

# What only one version has, as paths: a name must be there, `[]` a list, `{}` an object, `""` a text.
# From the R3 and R4 difference pages of each resource (https://hl7.org/fhir/R5/diff.html).
_MARKS: dict[str, dict[Version, tuple[str, ...]]] = {
    "Appointment": {
        "STU3": ("incomingReferral", "indication", "serviceCategory{}"),
        "R4": ("cancelationReason", "reasonCode", "reasonReference", 'patientInstruction""'),
        "R5": (
            *(
                "cancellationReason",
                "cancellationDate",
                "class",
                "note",
                "subject",
                "replaces",
                "virtualService",
            ),
            *("previousAppointment", "originatingAppointment", "recurrenceTemplate", "occurrenceChanged"),
            *("serviceType.concept", "serviceType.reference", "reason.concept", "reason.reference"),
        ),
    },
    "ConceptMap": {
        "R4": ("sourceUri", "targetUri", "sourceCanonical", "group.element.target.equivalence"),
        "R5": (
            *("sourceScopeUri", "sourceScopeCanonical", "targetScopeUri", "targetScopeCanonical"),
            *("group.element.target.relationship", "group.element.noMap"),
        ),
    },
    "Condition": {"STU3": ('clinicalStatus""', "context", "assertedDate"), "R5": ("participant",)},
    "Consent": {
        "STU3": ("except", "consentingParty", "securityLabel"),
        "R4": ("scope", "performer", "organization"),
        "R5": ("decision", "grantor", "grantee", "controller", "subject", "provision[]"),
    },
    "Coverage": {
        "STU3": ("grouping", "sequence"),
        "R4": ("class.value",),
        "R5": ("kind", "insurer", "paymentBy", "subscriberId[]", "insurancePlan"),
    },
    "DiagnosticReport": {"STU3": ("context", "codedDiagnosis"), "R5": ("study", "note", "supportingInfo")},
    "Encounter": {
        "STU3": ("incomingReferral", "reason.coding", "reason.text", "appointment{}"),
        "R4": ("reasonCode", "reasonReference"),
        "R5": ("actualPeriod", "admission", "class[]", "reason.value", "reason.use", "plannedStartDate"),
    },
    "HealthcareService": {
        "STU3": ("category{}", "programName", "eligibility{}", "eligibilityNote"),
        "R5": ("contact", "offeredIn", "availability"),
    },
    "Location": {"STU3": ("type{}",), "R5": ("contact", "form", "characteristic", "virtualService")},
    "Organization": {"R5": ("qualification", "description", "contact.name[]")},
    "Patient": {"STU3": ("animal",)},
    "PractitionerRole": {"R5": ("contact", "characteristic", "availability")},
    "RelatedPerson": {"STU3": ("relationship{}",)},
    "ServiceRequest": {
        "R4": ("reasonCode", "reasonReference", "code.coding", "code.text", "locationReference"),
        "R5": (
            "code.concept",
            "code.reference",
            "reason",
            "location",
            "bodyStructure",
            "patientInstruction[]",
        ),
    },
    "Schedule": {
        "STU3": ("serviceCategory{}",),
        "R5": ("serviceType.concept", "serviceType.reference", "name"),
    },
    "Slot": {"STU3": ("serviceCategory{}",), "R5": ("serviceType.concept", "serviceType.reference")},
}


def guess(resource: Mapping[str, Any]) -> Version:
    """The version whose own elements a resource uses most; R4 where none says anything."""
    name = resource.get("resourceType")
    if name in _ONLY_STU3_TYPES:
        return "STU3"
    marks = _MARKS.get(str(name), {})
    counts: dict[Version, int] = {
        version: sum(_has(resource, path.split(".")) for path in paths) for version, paths in marks.items()
    }
    best = max(counts.values(), default=0)
    candidates = [version for version, count in counts.items() if count == best]
    return candidates[0] if best and len(candidates) == 1 else "R4"


def _has(value: Any, path: list[str]) -> bool:
    """Whether a path leads to something of the shape its ending asks for."""
    if isinstance(value, list):
        return any(_has(item, path) for item in value)
    if not isinstance(value, dict):
        return False
    name, shape = _shape(path[0])
    found = value.get(name)
    if found is None or (shape is not None and not isinstance(found, shape)):
        return False
    return len(path) == 1 or _has(found, path[1:])


def _shape(step: str) -> tuple[str, type | None]:
    for ending, shape in (("[]", list), ("{}", dict), ('""', str)):
        if step.endswith(ending):
            return step[:-2], shape
    return step, None
