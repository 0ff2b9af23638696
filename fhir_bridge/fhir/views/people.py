"""Patients and the persons beside them."""

from __future__ import annotations

from typing import Any

import msgspec

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
