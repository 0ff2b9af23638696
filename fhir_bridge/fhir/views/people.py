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
    refused,
)
from fhir_bridge.fhir.views.view import Concepts, References, View


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
    link: tuple[PatientLink, ...] = ()
    misspelt_1: None = refused("deceased")
    misspelt_2: None = refused("Deceased")
    misspelt_3: None = refused("DECEASED")
    misspelt_4: None = refused("DeceasedBoolean")
    misspelt_5: None = refused("deceasedboolean")
    misspelt_6: None = refused("DECEASEDBOOLEAN")
    misspelt_7: None = refused("DeceasedDateTime")
    misspelt_8: None = refused("deceaseddatetime")
    misspelt_9: None = refused("DECEASEDDATETIME")
    misspelt_10: None = refused("_deceasedDateTime")
    misspelt_11: None = refused("Active")
    misspelt_12: None = refused("ACTIVE")
    misspelt_13: None = refused("BirthDate")
    misspelt_14: None = refused("birthdate")
    misspelt_15: None = refused("Meta")
    misspelt_16: None = refused("META")
    misspelt_17: None = refused("Extension")


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
