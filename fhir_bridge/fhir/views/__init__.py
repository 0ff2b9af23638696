"""The resources the bridge reads, each as one forgiving view of its STU3, R4, R4B and R5 forms.

Only elements that are read stand here. Where a version renamed or retyped one, both names stand side by side
and the comment says whose they are; the mapping asks for each in turn (mapping, section 16).
"""

from __future__ import annotations

from fhir_bridge.fhir.views.appointments import (
    Appointment,
    AppointmentParticipant,
    Element,
    RecurrenceTemplate,
    Schedule,
    Slot,
    VirtualService,
    is_appointment,
)
from fhir_bridge.fhir.views.consent import Consent, ConsentProvision
from fhir_bridge.fhir.views.coverage import Coverage, CoverageClass, CoverageGrouping
from fhir_bridge.fhir.views.encounters import (
    Condition,
    Encounter,
    EncounterClass,
    EncounterDiagnosis,
    EncounterReason,
    Hospitalization,
    is_encounter,
)
from fhir_bridge.fhir.views.orders import (
    DiagnosticReport,
    Instruction,
    OrderDetail,
    OrderParameter,
    ProcedureRequest,
    ReferralRequest,
    Requester,
    ServiceRequest,
    Specimen,
    is_order,
)
from fhir_bridge.fhir.views.people import Communication, Patient, PatientContact, PatientLink, RelatedPerson
from fhir_bridge.fhir.views.providers import (
    HealthcareService,
    Location,
    Organization,
    Practitioner,
    PractitionerRole,
    Qualification,
)
from fhir_bridge.fhir.views.view import Concepts, Other, References, View

__all__ = [
    "TRIGGER_TYPES",
    "VIEWS",
    "Appointment",
    "AppointmentParticipant",
    "Communication",
    "Concepts",
    "Condition",
    "Consent",
    "ConsentProvision",
    "Coverage",
    "CoverageClass",
    "CoverageGrouping",
    "DiagnosticReport",
    "Element",
    "Encounter",
    "EncounterClass",
    "EncounterDiagnosis",
    "EncounterReason",
    "HealthcareService",
    "Hospitalization",
    "Instruction",
    "Location",
    "OrderDetail",
    "OrderParameter",
    "Organization",
    "Other",
    "Patient",
    "PatientContact",
    "PatientLink",
    "Practitioner",
    "PractitionerRole",
    "ProcedureRequest",
    "Qualification",
    "RecurrenceTemplate",
    "References",
    "ReferralRequest",
    "RelatedPerson",
    "Requester",
    "Schedule",
    "ServiceRequest",
    "Slot",
    "Specimen",
    "View",
    "VirtualService",
    "is_appointment",
    "is_encounter",
    "is_order",
]

VIEWS: dict[str, type[View]] = {
    "Appointment": Appointment,
    "Condition": Condition,
    "Consent": Consent,
    "Coverage": Coverage,
    "DiagnosticReport": DiagnosticReport,
    "Encounter": Encounter,
    "HealthcareService": HealthcareService,
    "Location": Location,
    "Organization": Organization,
    "Patient": Patient,
    "Practitioner": Practitioner,
    "PractitionerRole": PractitionerRole,
    "ProcedureRequest": ProcedureRequest,
    "ReferralRequest": ReferralRequest,
    "RelatedPerson": RelatedPerson,
    "Schedule": Schedule,
    "ServiceRequest": ServiceRequest,
    "Slot": Slot,
    "Specimen": Specimen,
}
"""Which view reads which resource type; every other type is noise to the bridge."""

TRIGGER_TYPES = frozenset({"Appointment", "ServiceRequest", "ReferralRequest", "ProcedureRequest"})
"""The types that may call for a task (mapping, section 1)."""
