"""Which specialty, and preferably whom (mapping, section 9)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from fhir_bridge.case.case import Case
from fhir_bridge.fhir.datatypes import CodeableConcept
from fhir_bridge.fhir.resource import Resource
from fhir_bridge.fhir.views import Appointment, View, is_appointment
from fhir_bridge.mapping.concepts import Words, concept_words, mapped_words
from fhir_bridge.mapping.practitioner import Seen, taking_part
from fhir_bridge.mapping.profile import Profile
from fhir_bridge.mapping.recorder import Recorder
from fhir_bridge.mapping.templates import render
from fhir_bridge.mapping.when import listed

FIELD = "task_data.speciality_preferences"
MAP = "specialty"

Found = tuple[Resource[View], Words]


def speciality_preferences(case: Case, profile: Profile, recorder: Recorder, seen: Seen | None) -> str | None:
    """Specialty words, then `, preferably <name>`; None where neither is known."""
    rules = profile.specialty
    found = specialties(case, profile, seen)
    for resource, words in found:
        recorder.take(FIELD, "specialty", (resource, words.path), map_row=words.map_row, layer=words.layer)
    if seen:
        recorder.take(FIELD, "practitioner", seen.called.element)
    values = {
        "specialty": listed([words.text for _, words in found]) or None,
        "practitioner": seen.called.text if seen else None,
    }
    if values["specialty"] is None and seen is None:
        return None
    return render(rules.template if found else rules.alone, values) or None


def specialties(case: Case, profile: Profile, seen: Seen | None) -> list[Found]:
    """The specialties of the first place that names any, each word once."""
    for place in _places(case, profile, seen):
        if found := _once(place, profile.specialty.most):
            return found
    return []


def _places(case: Case, profile: Profile, seen: Seen | None) -> Iterator[Iterable[Found]]:
    """Where a specialty may stand, the first that counts in front."""
    view = case.trigger.view
    if is_appointment(view):
        yield _all(case.trigger, view.specialty, "specialty", profile)
    for party in (seen.party,) if seen else (*taking_part(case.participants, profile), *case.performers):
        if party.role is not None:
            yield _all(party.role, party.role.view.specialty, "specialty", profile)
    for service in case.services:
        yield _all(service, service.view.specialty, "specialty", profile)
    order = case.order.resource if case.order else None
    if order is not None:
        named = ((order.view.performer_type, "performerType"), (order.view.specialty, "specialty"))
        yield [
            (order, words)
            for concept, path in named
            if (words := concept_words(concept, path, profile, MAP)) is not None
        ]
    if is_appointment(view):
        yield _known_services(case.trigger, view, profile)


def _all(
    resource: Resource[View], concepts: Iterable[CodeableConcept], path: str, profile: Profile
) -> Iterator[Found]:
    for index, concept in enumerate(concepts):
        if (words := concept_words(concept, f"{path}[{index}]", profile, MAP)) is not None:
            yield resource, words


def _known_services(resource: Resource[View], view: Appointment, profile: Profile) -> Iterator[Found]:
    """Service types whose coding the map knows as a specialty: their own words, for they were chosen."""
    for index, each in enumerate(view.service_type):
        path = f"serviceType[{index}]" + (".concept" if each.concept is not None else "")
        if each.words is None or (known := mapped_words(each.words, path, profile, MAP)) is None:
            continue
        own = concept_words(each.words, path, profile)
        yield resource, Words(own.text, own.path, known.map_row, known.layer) if own else known


def _once(found: Iterable[Found], most: int) -> list[Found]:
    kept: dict[str, Found] = {}
    for resource, words in found:
        kept.setdefault(words.text.casefold(), (resource, words))
    return list(kept.values())[:most]
