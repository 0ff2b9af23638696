"""Who pays."""

from __future__ import annotations

import msgspec

from fhir_bridge.fhir.datatypes import CodeableConcept, Datatype, Identifier, Period, Reference, refused
from fhir_bridge.fhir.views.view import References, View


class CoverageClass(Datatype, frozen=True):
    """Group, plan and the like of a coverage."""

    type: CodeableConcept | None = None
    value: str | Identifier | None = None  # R5: an Identifier
    name: str | None = None


class CoverageGrouping(Datatype, frozen=True):
    """STU3's place for group and plan."""

    group: str | None = None
    plan_display: str | None = None


class Coverage(View, frozen=True, kw_only=True):
    """https://hl7.org/fhir/R4/coverage.html"""

    status: str | None = None
    kind: str | None = None  # R5
    type: CodeableConcept | None = None
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
    misspelt_1: None = refused("Status")
