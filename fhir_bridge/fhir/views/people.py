"""Patients and the persons beside them."""

from __future__ import annotations

from fhir_bridge.fhir.datatypes import (
    Address,
    CodeableConcept,
    ContactPoint,
    Datatype,
    Extension,
    HumanName,
    Period,
    Reference,
)
from fhir_bridge.fhir.views.view import Concepts, References, View


class PatientContact(Datatype, frozen=True, forbid_unknown_fields=True):
    """A person to contact for the patient."""

    relationship: Concepts = ()
    name: HumanName | None = None
    telecom: tuple[ContactPoint, ...] = ()
    address: Address | None = None
    gender: str | None = None
    organization: Reference | None = None
    period: Period | None = None
    extension: tuple[Extension, ...] = ()
    id: str | None = None


class PatientLink(Datatype, frozen=True, forbid_unknown_fields=True):
    """A link to another record of the same person."""

    other: Reference | None = None
    type: str | None = None
    id: str | None = None


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
    link: tuple[PatientLink, ...] = ()


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
