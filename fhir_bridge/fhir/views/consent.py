"""What a person allows."""

from __future__ import annotations

from fhir_bridge.fhir.datatypes import CodeableConcept, Datatype, Period, Reference
from fhir_bridge.fhir.views.view import Concepts, View


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
