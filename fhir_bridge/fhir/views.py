"""The resources the bridge reads, each as one forgiving view of its STU3, R4, R4B and R5 forms.

Only elements that are read stand here. Where a version renamed or retyped one, both names stand side by side
and the comment says whose they are; the mapping asks for each in turn (mapping, section 16).
"""

from __future__ import annotations

from typing import Any

import msgspec

from fhir_bridge.fhir.datatypes import (
    Address,
    Annotation,
    CodeableConcept,
    CodeableReference,
    Coding,
    ContactPoint,
    Datatype,
    ExtendedContactDetail,
    Extension,
    HumanName,
    Identifier,
    Meta,
    Period,
    Reference,
    Timing,
)

References = tuple[Reference, ...]
Concepts = tuple[CodeableConcept, ...]


class View(Datatype, frozen=True, kw_only=True):
    """What every resource has. `contained` stays raw until a reference asks for it."""

    resource_type: str
    id: str | None = None
    meta: Meta | None = None
    language: str | None = None
    contained: tuple[msgspec.Raw, ...] = ()
    extension: tuple[Extension, ...] = ()
    identifier: tuple[Identifier, ...] | Identifier = ()

    @property
    def identifiers(self) -> tuple[Identifier, ...]:
        """All identifiers, whether the version allows one or many."""
        return (self.identifier,) if isinstance(self.identifier, Identifier) else self.identifier


class PatientContact(Datatype, frozen=True):
    """A person to contact for the patient."""

    relationship: Concepts = ()
    name: HumanName | None = None
    telecom: tuple[ContactPoint, ...] = ()
    address: Address | None = None
    period: Period | None = None
    extension: tuple[Extension, ...] = ()


class PatientLink(Datatype, frozen=True):
    """A link to another record of the same person."""

    other: Reference | None = None
    type: str | None = None


class Communication(Datatype, frozen=True):
    """A language the person speaks."""

    language: CodeableConcept | None = None
    preferred: bool = False
    extension: tuple[Extension, ...] = ()


class Patient(View, frozen=True, kw_only=True):
    """https://hl7.org/fhir/R4/patient.html"""

    active: bool | None = None
    name: tuple[HumanName, ...] = ()
    telecom: tuple[ContactPoint, ...] = ()
    birth_date: str | None = None
    deceased_boolean: bool | None = None
    deceased_date_time: str | None = None
    address: tuple[Address, ...] = ()
    contact: tuple[PatientContact, ...] = ()
    communication: tuple[Communication, ...] = ()
    general_practitioner: References = ()
    managing_organization: Reference | None = None
    link: tuple[PatientLink, ...] = ()
    # Spellings of what decides whether to call; a resource that uses one is mended (mapping, section 16).
    misspelt_1: Any = msgspec.field(default=None, name="deceased")
    misspelt_2: Any = msgspec.field(default=None, name="Deceased")
    misspelt_3: Any = msgspec.field(default=None, name="DeceasedBoolean")
    misspelt_4: Any = msgspec.field(default=None, name="deceasedboolean")
    misspelt_5: Any = msgspec.field(default=None, name="DeceasedDateTime")
    misspelt_6: Any = msgspec.field(default=None, name="deceaseddatetime")
    misspelt_7: Any = msgspec.field(default=None, name="Active")
    misspelt_8: Any = msgspec.field(default=None, name="BirthDate")
    misspelt_9: Any = msgspec.field(default=None, name="birthdate")
    misspelt_10: Any = msgspec.field(default=None, name="Meta")
    misspelt_11: Any = msgspec.field(default=None, name="Extension")


class RelatedPerson(View, frozen=True, kw_only=True):
    """https://hl7.org/fhir/R4/relatedperson.html"""

    active: bool | None = None
    patient: Reference | None = None
    relationship: Concepts | CodeableConcept = ()  # STU3: one
    name: tuple[HumanName, ...] = ()
    telecom: tuple[ContactPoint, ...] = ()
    birth_date: str | None = None
    address: tuple[Address, ...] = ()
    period: Period | None = None
    communication: tuple[Communication, ...] = ()


class Qualification(Datatype, frozen=True):
    """A qualification of a practitioner."""

    code: CodeableConcept | None = None
    period: Period | None = None


class Practitioner(View, frozen=True, kw_only=True):
    """https://hl7.org/fhir/R4/practitioner.html"""

    active: bool | None = None
    name: tuple[HumanName, ...] | HumanName = ()  # DSTU2: one
    telecom: tuple[ContactPoint, ...] = ()
    address: tuple[Address, ...] = ()
    qualification: tuple[Qualification, ...] = ()


class PractitionerRole(View, frozen=True, kw_only=True):
    """https://hl7.org/fhir/R4/practitionerrole.html"""

    active: bool | None = None
    period: Period | None = None
    practitioner: Reference | None = None
    organization: Reference | None = None
    code: Concepts = ()
    specialty: Concepts = ()
    location: References = ()
    healthcare_service: References = ()
    telecom: tuple[ContactPoint, ...] = ()
    contact: tuple[ExtendedContactDetail, ...] = ()  # R5


class Organization(View, frozen=True, kw_only=True):
    """https://hl7.org/fhir/R4/organization.html"""

    active: bool | None = None
    type: Concepts | CodeableConcept = ()
    name: str | None = None
    alias: tuple[str, ...] = ()
    telecom: tuple[ContactPoint, ...] = ()
    address: tuple[Address, ...] = ()
    part_of: Reference | None = None
    contact: tuple[ExtendedContactDetail, ...] = ()  # R4: backbone; R5: ExtendedContactDetail


class Location(View, frozen=True, kw_only=True):
    """https://hl7.org/fhir/R4/location.html"""

    status: str | None = None
    name: str | None = None
    description: str | None = None
    mode: str | None = None
    type: Concepts | CodeableConcept = ()
    telecom: tuple[ContactPoint, ...] = ()
    contact: tuple[ExtendedContactDetail, ...] = ()  # R5
    address: Address | None = None
    physical_type: CodeableConcept | None = None
    form: CodeableConcept | None = None  # R5
    managing_organization: Reference | None = None
    part_of: Reference | None = None


class HealthcareService(View, frozen=True, kw_only=True):
    """https://hl7.org/fhir/R4/healthcareservice.html"""

    active: bool | None = None
    provided_by: Reference | None = None
    category: Concepts | CodeableConcept = ()
    type: Concepts = ()
    specialty: Concepts = ()
    location: References = ()
    name: str | None = None
    telecom: tuple[ContactPoint, ...] = ()
    contact: tuple[ExtendedContactDetail, ...] = ()  # R5


class AppointmentParticipant(Datatype, frozen=True):
    """Who or what takes part."""

    type: Concepts = ()
    actor: Reference | None = None
    required: bool | str | None = None
    status: str | None = None
    period: tuple[Period, ...] | Period | None = None


class VirtualService(Datatype, frozen=True):
    """R5's VirtualServiceDetail, as far as it says that the visit is virtual."""

    channel_type: Coding | None = None


class RecurrenceTemplate(Datatype, frozen=True):
    """R5's recurrence, as far as its time zone."""

    timezone: CodeableConcept | None = None


class Element(Datatype, frozen=True):
    """What stands beside a primitive element, under its name with an underscore."""

    extension: tuple[Extension, ...] = ()


class Appointment(View, frozen=True, kw_only=True):
    """https://hl7.org/fhir/R4/appointment.html"""

    status: str | None = None
    cancelation_reason: CodeableConcept | None = None  # R4
    cancellation_reason: CodeableConcept | None = None  # R5
    cancellation_date: str | None = None  # R5
    service_category: Concepts | CodeableConcept = ()  # STU3: one
    service_type: tuple[CodeableReference, ...] = ()
    specialty: Concepts = ()
    appointment_type: CodeableConcept | None = None
    reason_code: Concepts = ()  # R4
    reason_reference: References = ()  # R4
    reason: tuple[CodeableReference, ...] | CodeableReference = ()  # R5; STU3 as concepts; DSTU2 one
    indication: References = ()  # STU3
    priority: int | CodeableConcept | None = None  # R5: a concept
    description: str | None = None
    replaces: References = ()  # R5
    virtual_service: tuple[VirtualService, ...] = ()  # R5
    supporting_information: References = ()
    previous_appointment: Reference | None = None  # R5
    originating_appointment: Reference | None = None  # R5
    start: str | None = None
    start_element: Element | None = msgspec.field(default=None, name="_start")
    end: str | None = None
    minutes_duration: int | None = None
    requested_period: tuple[Period, ...] = ()
    slot: References = ()
    created: str | None = None
    comment: str | None = None  # R4
    note: tuple[Annotation, ...] = ()  # R5
    patient_instruction: str | tuple[CodeableReference, ...] | None = None  # R5: a list
    based_on: References = ()
    incoming_referral: References = ()  # STU3
    subject: Reference | None = None  # R5
    recurrence_template: tuple[RecurrenceTemplate, ...] = ()  # R5
    participant: tuple[AppointmentParticipant, ...] = ()
    misspelt_1: Any = msgspec.field(default=None, name="cancelationreason")
    misspelt_2: Any = msgspec.field(default=None, name="cancellationreason")


class Requester(Datatype, frozen=True):
    """A reference; STU3's ReferralRequest.requester and ProcedureRequest.requester put it under `agent`."""

    reference: str | None = None
    type: str | None = None
    identifier: Identifier | None = None
    display: str | None = None
    agent: Reference | None = None
    on_behalf_of: Reference | None = None

    @property
    def target(self) -> Reference:
        """The reference to who asks, from whichever version's place."""
        return self.agent or Reference(self.reference, self.type, self.identifier, self.display)


class OrderParameter(Datatype, frozen=True):
    """R5: one detail of an order, as far as it tells two orders apart."""

    code: CodeableConcept | None = None
    value_codeable_concept: CodeableConcept | None = None
    value_string: str | None = None
    value_boolean: bool | None = None


class OrderDetail(Datatype, frozen=True):
    """ServiceRequest.orderDetail: a CodeableConcept up to R4B, in R5 a list of parameters."""

    text: str | None = None
    coding: tuple[Coding, ...] = ()
    parameter: tuple[OrderParameter, ...] = ()

    @property
    def concepts(self) -> Concepts:
        """What it says, from whichever version's place."""
        said: list[CodeableConcept | None] = [CodeableConcept(text=self.text, coding=self.coding)]
        for one in self.parameter:
            plain = one.value_string if one.value_boolean is None else str(one.value_boolean)
            said += (one.code, one.value_codeable_concept, CodeableConcept(text=plain))
        return tuple(concept for concept in said if concept is not None)


class Instruction(Datatype, frozen=True):
    """R5's ServiceRequest.patientInstruction."""

    instruction_markdown: str | None = None


class ServiceRequest(View, frozen=True, kw_only=True):
    """https://hl7.org/fhir/R4/servicerequest.html, and STU3's ReferralRequest and ProcedureRequest read as
    one."""

    status: str | None = None
    intent: str | None = None
    category: Concepts | CodeableConcept = ()
    type: CodeableConcept | None = None  # ReferralRequest
    priority: str | CodeableConcept | None = None  # DSTU2: a concept
    do_not_perform: bool | None = None
    code: CodeableReference | None = None
    service_requested: Concepts = ()  # ReferralRequest
    specialty: CodeableConcept | None = None  # ReferralRequest
    description: str | None = None  # ReferralRequest
    order_detail: tuple[OrderDetail, ...] = ()
    body_site: Concepts | CodeableConcept = ()  # DSTU2: one
    body_structure: Reference | None = None  # R5
    subject: Reference | None = None
    patient: Reference | None = None  # DSTU2
    encounter: Reference | None = None
    context: Reference | None = None  # STU3
    occurrence_date_time: str | None = None
    occurrence_period: Period | None = None
    occurrence_timing: Timing | None = None
    authored_on: str | None = None
    date: str | None = None  # DSTU2
    requester: Requester | None = None
    performer_type: CodeableConcept | None = None
    performer: References | Reference = ()  # ProcedureRequest: one
    recipient: References = ()  # ReferralRequest
    location_reference: References = ()  # R4
    location: tuple[CodeableReference, ...] = ()  # R5
    reason_code: Concepts = ()
    reason_reference: References = ()
    reason: tuple[CodeableReference, ...] | CodeableReference = ()  # R5; DSTU2 one
    insurance: References = ()
    supporting_info: tuple[CodeableReference, ...] = ()
    specimen: References = ()
    note: tuple[Annotation, ...] = ()
    patient_instruction: str | tuple[Instruction, ...] | None = None  # R5: a list
    based_on: References = ()
    replaces: References = ()
    requisition: Identifier | None = None
    misspelt_1: Any = msgspec.field(default=None, name="donotperform")


class EncounterClass(Datatype, frozen=True):
    """Encounter.class: a Coding up to R4B, a CodeableConcept in R5."""

    system: str | None = None
    code: str | None = None
    display: str | None = None
    text: str | None = None
    coding: tuple[Coding, ...] = ()

    @property
    def concept(self) -> CodeableConcept:
        """The class as a concept, whichever version it came from."""
        if self.coding or self.text is not None:
            return CodeableConcept(text=self.text, coding=self.coding)
        return CodeableConcept(coding=(Coding(self.system, self.code, self.display),))


class EncounterReason(Datatype, frozen=True):
    """Encounter.reason: R5's backbone with values, STU3's CodeableConcept."""

    value: tuple[CodeableReference, ...] = ()
    text: str | None = None
    coding: tuple[Coding, ...] = ()


class Hospitalization(Datatype, frozen=True):
    """Hospitalization (R5: admission) as far as how it ended."""

    discharge_disposition: CodeableConcept | None = None


class EncounterDiagnosis(Datatype, frozen=True):
    """A diagnosis: `condition` is a Reference up to R4B, a list of CodeableReferences in R5."""

    condition: tuple[CodeableReference, ...] | CodeableReference = ()


class Encounter(View, frozen=True, kw_only=True):
    """https://hl7.org/fhir/R4/encounter.html"""

    status: str | None = None
    class_: tuple[EncounterClass, ...] | EncounterClass = msgspec.field(default=(), name="class")
    type: Concepts = ()
    service_type: CodeableConcept | tuple[CodeableReference, ...] | None = None  # R5: a list
    subject: Reference | None = None
    patient: Reference | None = None  # DSTU2
    appointment: References | Reference = ()
    period: Period | None = None
    actual_period: Period | None = None  # R5
    reason_code: Concepts = ()
    reason_reference: References = ()
    reason: tuple[EncounterReason, ...] = ()  # STU3, R5
    diagnosis: tuple[EncounterDiagnosis, ...] = ()
    hospitalization: Hospitalization | None = None
    admission: Hospitalization | None = None  # R5
    based_on: References = ()
    incoming_referral: References = ()  # STU3


class Condition(View, frozen=True, kw_only=True):
    """https://hl7.org/fhir/R4/condition.html"""

    clinical_status: CodeableConcept | str | None = None  # STU3: a code
    verification_status: CodeableConcept | str | None = None
    code: CodeableConcept | None = None
    subject: Reference | None = None
    encounter: Reference | None = None


class Slot(View, frozen=True, kw_only=True):
    """https://hl7.org/fhir/R4/slot.html"""

    service_type: tuple[CodeableReference, ...] = ()
    specialty: Concepts = ()
    schedule: Reference | None = None
    status: str | None = None
    start: str | None = None
    end: str | None = None


class Schedule(View, frozen=True, kw_only=True):
    """https://hl7.org/fhir/R4/schedule.html"""

    service_type: tuple[CodeableReference, ...] = ()
    specialty: Concepts = ()
    actor: References = ()


class CoverageClass(Datatype, frozen=True):
    """Group, plan and the like of a coverage."""

    type: CodeableConcept | None = None
    value: str | Identifier | None = None  # R5: an Identifier
    name: str | None = None


class CoverageGrouping(Datatype, frozen=True):
    """STU3's place for group and plan."""

    group: str | None = None
    group_display: str | None = None
    plan: str | None = None
    plan_display: str | None = None


class Coverage(View, frozen=True, kw_only=True):
    """https://hl7.org/fhir/R4/coverage.html"""

    status: str | None = None
    kind: str | None = None  # R5
    type: CodeableConcept | None = None
    policy_holder: Reference | None = None
    subscriber: Reference | None = None
    subscriber_id: str | tuple[Identifier, ...] | None = None  # R5: a list
    beneficiary: Reference | None = None
    relationship: CodeableConcept | None = None
    period: Period | None = None
    payor: References = ()
    insurer: Reference | None = None  # R5
    class_: tuple[CoverageClass, ...] = msgspec.field(default=(), name="class")
    grouping: CoverageGrouping | None = None  # STU3
    order: int | None = None


class ConsentProvision(Datatype, frozen=True):
    """R4's rule of a consent; in R5 a list of exceptions to `decision`, without a type."""

    type: str | None = None
    period: Period | None = None


class Consent(View, frozen=True, kw_only=True):
    """https://hl7.org/fhir/R4/consent.html"""

    status: str | None = None
    scope: CodeableConcept | None = None
    category: Concepts = ()
    patient: Reference | None = None
    subject: Reference | None = None  # R5
    policy_rule: CodeableConcept | str | None = None  # R4; STU3: a URI
    period: Period | None = None  # STU3, R5
    decision: str | None = None  # R5
    provision: ConsentProvision | tuple[ConsentProvision, ...] | None = None
    misspelt_1: Any = msgspec.field(default=None, name="policyrule")


class DiagnosticReport(View, frozen=True, kw_only=True):
    """As far as it proves that its order was laboratory work."""

    based_on: References = ()
    category: Concepts | CodeableConcept = ()


class Specimen(View, frozen=True, kw_only=True):
    """As far as it proves that its order was laboratory work."""

    request: References = ()


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
    "ProcedureRequest": ServiceRequest,
    "ReferralRequest": ServiceRequest,
    "RelatedPerson": RelatedPerson,
    "Schedule": Schedule,
    "ServiceRequest": ServiceRequest,
    "Slot": Slot,
    "Specimen": Specimen,
}
"""Which view reads which resource type; every other type is noise to the bridge."""

TRIGGER_TYPES = frozenset({"Appointment", "ServiceRequest", "ReferralRequest", "ProcedureRequest"})
"""The types that may call for a task (mapping, section 1)."""
