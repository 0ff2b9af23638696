"""Visits that were, and the conditions found in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

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
from fhir_bridge.fhir.later import Later, kept
from fhir_bridge.fhir.views.view import Concepts, References, View

if TYPE_CHECKING:
    from typing_extensions import TypeIs


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
    """https://hl7.org/fhir/R4/encounter.html

    What only a visit that is told of is asked for is kept as bytes until then.
    """

    status: str | None = None
    kept_class_: msgspec.Raw = kept("class")
    kept_type: msgspec.Raw = kept("type")
    kept_service_type: msgspec.Raw = kept("serviceType")
    subject: Reference | None = None
    patient: Reference | None = None  # DSTU2
    appointment: References | Reference = ()
    period: Period | None = None
    actual_period: Period | None = None  # R5
    kept_reason_code: msgspec.Raw = kept("reasonCode")
    kept_reason_reference: msgspec.Raw = kept("reasonReference")
    kept_reason: msgspec.Raw = kept("reason")
    kept_diagnosis: msgspec.Raw = kept("diagnosis")
    kept_hospitalization: msgspec.Raw = kept("hospitalization")
    kept_admission: msgspec.Raw = kept("admission")
    based_on: References = ()
    incoming_referral: References = ()  # STU3
    misspelt_1: None = refused("Status")

    class_: ClassVar[Later[tuple[EncounterClass, ...] | EncounterClass]] = Later(())
    type: ClassVar[Later[Concepts]] = Later(())
    service_type: ClassVar[Later[CodeableConcept | tuple[CodeableReference, ...] | None]] = Later(
        None
    )  # R5: a list
    reason_code: ClassVar[Later[Concepts]] = Later(())
    reason_reference: ClassVar[Later[References]] = Later(())
    reason: ClassVar[Later[tuple[EncounterReason, ...]]] = Later(())  # STU3, R5
    diagnosis: ClassVar[Later[tuple[EncounterDiagnosis, ...]]] = Later(())
    hospitalization: ClassVar[Later[Hospitalization | None]] = Later(None)
    admission: ClassVar[Later[Hospitalization | None]] = Later(None)  # R5


def is_encounter(view: View) -> TypeIs[Encounter]:
    """Whether it is one; see `is_appointment`."""
    return view.resource_type == "Encounter"


class Condition(View, frozen=True, kw_only=True):
    """https://hl7.org/fhir/R4/condition.html"""

    verification_status: CodeableConcept | str | None = None
    code: CodeableConcept | None = None
    subject: Reference | None = None
    encounter: Reference | None = None
