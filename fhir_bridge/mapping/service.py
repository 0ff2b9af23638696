"""What is to be scheduled: a follow-up, a service, or just an appointment (mapping, section 7)."""

from __future__ import annotations

from collections.abc import Iterable

from fhir_bridge.case.case import Case
from fhir_bridge.fhir.datatypes import CodeableConcept, CodeableReference
from fhir_bridge.fhir.resource import Resource
from fhir_bridge.fhir.views import Appointment, ServiceRequest, View, is_appointment
from fhir_bridge.mapping.concepts import Words, concept_words, kinds
from fhir_bridge.mapping.profile import Profile, remembered
from fhir_bridge.mapping.recorder import Element

Found = tuple[Words, Element]
"""The words, and the resource and FHIRPath they come from."""


def service_of_appointment(appointment: Resource[Appointment], profile: Profile) -> Found | None:
    """The words of the first service type that has any."""
    return _found(appointment, _words_of_types(appointment.view.service_type, profile))


def service_of_order(order: Resource[ServiceRequest], profile: Profile) -> Found | None:
    """The words of what is ordered: `code`, STU3's `serviceRequested`."""
    return _found(order, _words_of_codes(order.view.code, order.view.service_requested, profile))


def service_of(case: Case, profile: Profile) -> Found | None:
    """The trigger's own service, else its order's."""
    view = case.trigger.view
    if is_appointment(view):
        found = service_of_appointment(case.trigger, profile)  # type: ignore[arg-type]
        if found is not None:
            return found
    order = case.order.resource if case.order else None
    return service_of_order(order, profile) if order is not None else None


def follow_up(case: Case, profile: Profile) -> tuple[Element, str | None] | None:
    """The element that says this is a follow-up, and the map's row if one had a say; None where none does."""
    view = case.trigger.view
    if not is_appointment(view) or view.appointment_type is None:
        return None
    rules = profile.sentence
    for kind, row, _ in kinds(view.appointment_type, profile, "appointment-type"):
        if kind in rules.follow_up_types:
            return (case.trigger, "appointmentType"), row
    words = concept_words(view.appointment_type, "appointmentType", profile)
    if words is not None and words.text.casefold() in rules.follow_up_words:
        return (case.trigger, words.path), None
    return None


def _references(
    references: Iterable[CodeableReference], path: str, *, listed: bool = True
) -> list[tuple[CodeableConcept | None, str]]:
    """The concepts of CodeableReferences with their paths, in R4's place or R5's."""
    return [
        (each.words, (f"{path}[{i}]" if listed else path) + (".concept" if each.concept is not None else ""))
        for i, each in enumerate(references)
    ]


def _found(resource: Resource[View], words: Words | None) -> Found | None:
    return None if words is None else (words, (resource, words.path))


@remembered
def _words_of_types(types: tuple[CodeableReference, ...], profile: Profile) -> Words | None:
    return _first(_references(types, "serviceType"), profile)


@remembered
def _words_of_codes(
    code: CodeableReference | None, requested: tuple[CodeableConcept, ...], profile: Profile
) -> Words | None:
    codes = [] if code is None else _references((code,), "code", listed=False)
    return _first([*codes, *((each, f"serviceRequested[{i}]") for i, each in enumerate(requested))], profile)


def _first(concepts: Iterable[tuple[CodeableConcept | None, str]], profile: Profile) -> Words | None:
    """The first words that are a name and not a note, without what adds nothing in front of them."""
    for concept, path in concepts:
        words = concept_words(concept, path, profile, "service-type")
        if words is not None and len(words.text) <= profile.sentence.longest_service:
            text = _without_beginning(words.text, profile)
            return Words(text, words.path, words.map_row, words.layer)
    return None


def _without_beginning(text: str, profile: Profile) -> str:
    """ "Ambulatory referral to Cardiology" is Cardiology: the sentence around it says the rest."""
    lower = text.casefold()
    for beginning in profile.sentence.dropped_beginnings:
        if lower.startswith(beginning) and len(text) > len(beginning):
            return text[len(beginning) :]
    return text
