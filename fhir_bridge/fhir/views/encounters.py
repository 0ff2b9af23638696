"""Visits that were, and the conditions found in them."""

from __future__ import annotations

import msgspec

from fhir_bridge.fhir.datatypes import (
    CodeableConcept,
    CodeableReference,
    Coding,
    Datatype,
    Period,
    Reference,
    refused,
)
from fhir_bridge.fhir.views.view import Concepts, References, View


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
    misspelt_1: None = refused("Status")


class Condition(View, frozen=True, kw_only=True):
    """https://hl7.org/fhir/R4/condition.html"""

    verification_status: CodeableConcept | str | None = None
    code: CodeableConcept | None = None
    subject: Reference | None = None
    encounter: Reference | None = None
