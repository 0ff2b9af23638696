"""Why a patient is seen: reason codes, and the conditions reasons refer to (mapping, sections 10 and 13)."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from fhir_bridge.case.case import Case
from fhir_bridge.fhir.datatypes import CodeableConcept, CodeableReference, Reference
from fhir_bridge.fhir.resource import Resource
from fhir_bridge.fhir.views import (
    Appointment,
    Condition,
    Encounter,
    ServiceRequest,
    View,
    is_appointment,
    is_encounter,
    is_order,
)
from fhir_bridge.mapping.concepts import Words, concept_words, display_words, first_words
from fhir_bridge.mapping.profile import Profile
from fhir_bridge.mapping.recorder import Recorder

Reason = tuple[Words, Resource[View]]
"""The words of a reason, and the resource they stand in."""

UNTRUE = frozenset({"refuted", "entered-in-error"})
"""Condition.verificationStatus of what the patient does not have: http://hl7.org/fhir/condition-ver-status"""


class Reasons(msgspec.Struct, frozen=True):
    """Reads the reasons of any resource. What is restricted is left out, and noted if there is a recorder."""

    case: Case
    profile: Profile
    recorder: Recorder | None = None

    def first(self, resource: Resource[View]) -> Reason | None:
        """The first reason that may be told and says anything."""
        view = resource.view
        codes = view.reason_code if is_encounter(view) or is_appointment(view) else ()
        if codes and (words := first_words(codes, "reasonCode", self.profile)) is not None:
            return words, resource
        return next(self.all(resource), None)

    def all(self, resource: Resource[View]) -> Iterator[Reason]:
        """Every reason: codes first, then references, by whichever name the version has for them."""
        view = resource.view
        if not (is_appointment(view) or is_order(view) or is_encounter(view)):
            return
        for index, concept in enumerate(view.reason_code):
            if words := concept_words(concept, f"reasonCode[{index}]", self.profile):
                yield words, resource
        for path, reason in _in_reason(view):
            if found := self.of_reference(resource, path, reason):
                yield found
        for path, reference in _references(view):
            if found := self.of_condition(resource, path, reference):
                yield found

    def of_reference(self, resource: Resource[View], path: str, reason: CodeableReference) -> Reason | None:
        """The words of a CodeableReference: of its concept, else of the Condition it refers to."""
        inner = f"{path}.concept" if reason.concept is not None else path
        if words := concept_words(reason.words, inner, self.profile):
            return words, resource
        target = reason.target
        return self.of_condition(resource, path, target) if target is not None else None

    def of_condition(self, resource: Resource[View], path: str, reference: Reference) -> Reason | None:
        """The words of a Condition, else of the reference's display; None where it must not be told."""
        link = self.case.follow(resource, path, reference, Condition)
        condition = link.resource if link else None
        if condition is not None:
            if not self._may_be_told(condition):
                return None
            if words := concept_words(condition.view.code, "code", self.profile):
                return words, condition
        words = display_words(reference.display, path, self.profile)
        return (words, resource) if words else None

    def _may_be_told(self, condition: Resource[Condition]) -> bool:
        """Not where it is restricted (section 13), nor where the patient turned out not to have it."""
        view = condition.view
        labels = view.meta.security if view.meta else ()
        if any(label.code in self.profile.gates.restricted_codes for label in labels):
            if self.recorder:
                self.recorder.note("reason-restricted", condition, "meta.security")
            return False
        status = view.verification_status
        codes = (
            {status}
            if isinstance(status, str)
            else {each.code for each in (status or CodeableConcept()).coding}
        )
        return not codes & UNTRUE


def _in_reason(view: Appointment | ServiceRequest | Encounter) -> Iterator[tuple[str, CodeableReference]]:
    """R5's `reason`; STU3's and DSTU2's, which are concepts."""
    if is_encounter(view):
        for index, each in enumerate(view.reason):
            if each.text is not None or each.coding:
                yield f"reason[{index}]", CodeableReference(text=each.text, coding=each.coding)
            yield from ((f"reason[{index}].value[{at}]", value) for at, value in enumerate(each.value))
    elif isinstance(view.reason, tuple):
        yield from ((f"reason[{index}]", each) for index, each in enumerate(view.reason))
    else:
        yield "reason", view.reason


def _references(view: Appointment | ServiceRequest | Encounter) -> Iterator[tuple[str, Reference]]:
    yield from ((f"reasonReference[{index}]", each) for index, each in enumerate(view.reason_reference))
    if is_appointment(view):
        yield from ((f"indication[{index}]", each) for index, each in enumerate(view.indication))
