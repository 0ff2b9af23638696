"""Whether a visit takes place by video or telephone (mapping, section 13)."""

from __future__ import annotations

from collections.abc import Iterator

from fhir_bridge.case.case import Case
from fhir_bridge.fhir.datatypes import CodeableConcept
from fhir_bridge.fhir.views import Appointment, is_appointment
from fhir_bridge.mapping.concepts import concept_words
from fhir_bridge.mapping.profile import Profile, remembered
from fhir_bridge.mapping.recorder import Element


def is_virtual(case: Case, profile: Profile) -> Element | None:
    """The element that says the visit is virtual: R5's virtualService, a type by code or words, of the
    appointment or of a service that takes part, a place that is one."""
    trigger, view = case.trigger, case.trigger.view
    if is_appointment(view) and view.virtual_service:
        return trigger, "virtualService[0]"
    for concept, path in _types(view) if is_appointment(view) else ():
        if _says_so(concept, profile):
            return trigger, path
    for service in case.services:
        for index, concept in enumerate(service.view.type):
            if _says_so(concept, profile):
                return service, f"type[{index}]"
    for place in case.locations:
        for kind, path in ((place.view.physical_type, "physicalType"), (place.view.form, "form")):
            if kind is not None and _coded(kind, profile):
                return place, path
    return None


def _types(view: Appointment) -> Iterator[tuple[CodeableConcept, str]]:
    if view.appointment_type is not None:
        yield view.appointment_type, "appointmentType"
    for index, each in enumerate(view.service_type):
        if each.words is not None:
            yield each.words, f"serviceType[{index}]"


@remembered
def _says_so(concept: CodeableConcept, profile: Profile) -> bool:
    if _coded(concept, profile):
        return True
    words = concept_words(concept, "", profile)
    if words is None:
        return False
    text = words.text.casefold()
    return any(each in text for each in profile.context.virtual_words)


def _coded(concept: CodeableConcept, profile: Profile) -> bool:
    return any(coding.code in profile.context.virtual_codes for coding in concept.coding)
