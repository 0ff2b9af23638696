"""Who gives care, and where."""

from __future__ import annotations

from fhir_bridge.fhir.datatypes import (
    Address,
    CodeableConcept,
    ContactPoint,
    Datatype,
    ExtendedContactDetail,
    HumanName,
    Period,
    Reference,
)
from fhir_bridge.fhir.views.view import Concepts, References, View


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
    contact: tuple[ExtendedContactDetail, ...] = ()  # R4: backbone; R5: ExtendedContactDetail


class Location(View, frozen=True, kw_only=True):
    """https://hl7.org/fhir/R4/location.html"""

    status: str | None = None
    name: str | None = None
    description: str | None = None
    type: Concepts | CodeableConcept = ()
    telecom: tuple[ContactPoint, ...] = ()
    contact: tuple[ExtendedContactDetail, ...] = ()  # R5
    address: Address | None = None
    physical_type: CodeableConcept | None = None
    form: CodeableConcept | None = None  # R5


class HealthcareService(View, frozen=True, kw_only=True):
    """https://hl7.org/fhir/R4/healthcareservice.html"""

    active: bool | None = None
    category: Concepts | CodeableConcept = ()
    type: Concepts = ()
    specialty: Concepts = ()
    location: References = ()
    name: str | None = None
    telecom: tuple[ContactPoint, ...] = ()
    contact: tuple[ExtendedContactDetail, ...] = ()  # R5
