"""Visits that were, and whether the patient is known (mapping, section 10)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from operator import itemgetter

import msgspec
from msgspec.structs import replace

from fhir_bridge.case.case import Case
from fhir_bridge.fhir.datatypes import CodeableConcept, CodeableReference, Reference
from fhir_bridge.fhir.dates import Moment
from fhir_bridge.fhir.resource import Resource
from fhir_bridge.fhir.views import Appointment, Encounter, EncounterClass, View
from fhir_bridge.mapping.concepts import Words, concept_words, first_words, mapped_words
from fhir_bridge.mapping.moments import moment_at
from fhir_bridge.mapping.profile import Profile
from fhir_bridge.mapping.reasons_for import Reasons
from fhir_bridge.mapping.recorder import Element, Recorder
from fhir_bridge.mapping.service import service_of_appointment, service_of_order
from fhir_bridge.mapping.templates import render
from fhir_bridge.mapping.zones import Clock
from fhir_bridge.task_api.models import Visit

FIELD = "task_data.previous_visits"
VISIT_EXCLUSION = "visit-exclusion"

Part = tuple[Words, Resource[View]] | None


class Past(msgspec.Struct, frozen=True):
    """A visit that took place: its resource, when it began, and the element that says so."""

    resource: Resource[Encounter] | Resource[Appointment]
    moment: Moment
    element: Element


def past_visits(case: Case, profile: Profile, now: datetime, recorder: Recorder) -> list[Past]:
    """Every finished visit before `now` (aware), newest first: Encounters, and fulfilled Appointments that no
    Encounter points to; laboratory and telephone ones left out."""
    finished = (_encounter(each, profile, recorder) for each in case.encounters)
    encounters = [past for past in finished if past is not None]
    covered = {
        id(found)
        for each in case.encounters
        if each.view.appointment
        for found in _appointments_of(case, each)
    }
    fulfilled = [
        past
        for each in (*case.chain.appointments, *case.other_appointments)
        if id(each) not in covered and (past := _appointment(each, profile, recorder)) is not None
    ]
    zone = profile.source.zone
    began = [(past.moment.instant(zone), past) for past in (*encounters, *fulfilled)]
    before = [pair for pair in began if pair[0] < now]
    return [past for _, past in sorted(before, key=itemgetter(0), reverse=True)]


def previous_visits(
    case: Case, profile: Profile, recorder: Recorder, clock: Clock, past: list[Past]
) -> tuple[Visit, ...] | None:
    """The newest of them, each with its local date, purpose and outcome as far as they are known."""
    told = [each for each in past if not _is_restricted(each, profile, recorder)][: profile.visits.most]
    visits = (_told(case, profile, recorder, clock, each, f"{FIELD}[{at}]") for at, each in enumerate(told))
    return tuple(visits) or None


def _is_restricted(past: Past, profile: Profile, recorder: Recorder) -> bool:
    """A visit under a restricted label is evidence that the patient is known, and nobody's to hear of."""
    labels = past.resource.view.meta.security if past.resource.view.meta else ()
    if not any(label.code in profile.gates.restricted_codes for label in labels):
        return False
    recorder.note("visit-restricted", past.resource, "meta.security")
    return True


def _encounter(encounter: Resource[Encounter], profile: Profile, recorder: Recorder) -> Past | None:
    view = encounter.view
    if (view.status or "").casefold() not in profile.visits.finished or _is_excluded(view, profile):
        return None
    period, path = (view.period, "period") if view.period else (view.actual_period, "actualPeriod")
    for name, text in (("start", period.start), ("end", period.end)) if period else ():
        element = f"{path}.{name}"
        if moment := moment_at(encounter, element, text, recorder):
            return Past(encounter, moment, (encounter, element))
    return None


def _appointment(appointment: Resource[Appointment], profile: Profile, recorder: Recorder) -> Past | None:
    view = appointment.view
    if (view.status or "").casefold() not in profile.visits.fulfilled:
        return None
    moment = moment_at(appointment, "start", view.start, recorder)
    return Past(appointment, moment, (appointment, "start")) if moment else None


def _is_excluded(view: Encounter, profile: Profile) -> bool:
    """Whether every word of it says that it was laboratory work or a telephone call."""
    kind = profile.terms.kind
    for concept in (*[each.concept for each in _classes(view)], *view.type):
        for coding in concept.coding:
            if kind(VISIT_EXCLUSION, coding):
                return True
    return False


def _classes(view: Encounter) -> tuple[EncounterClass, ...]:
    return (view.class_,) if isinstance(view.class_, EncounterClass) else view.class_


def _appointments_of(case: Case, resource: Resource[View]) -> Iterator[Resource[View]]:
    view = resource.view
    assert isinstance(view, Encounter)
    named = (view.appointment,) if isinstance(view.appointment, Reference) else view.appointment
    for index, reference in enumerate(named):
        link = case.follow(resource, f"appointment[{index}]", reference, Appointment)
        if link is not None and link.resource is not None:
            yield link.resource


def _told(case: Case, profile: Profile, recorder: Recorder, clock: Clock, past: Past, field: str) -> Visit:
    local = clock.local(past.moment)
    whole = local is not None and local.precision in ("day", "time")
    date = local.wall.date() if local and whole else None
    if date is not None:
        recorder.take(f"{field}.date", "visit-date", past.element)
    purpose = _take(recorder, f"{field}.purpose", _purpose(case, past.resource, profile))
    outcome = _take(recorder, f"{field}.outcome", _outcome(case, past.resource, profile))
    return Visit(purpose=purpose, date=date, outcome=outcome)


def _take(recorder: Recorder, field: str, part: Part) -> str | None:
    if part is None:
        return None
    words, resource = part
    rule = field.rpartition(".")[2]
    recorder.take(field, f"visit-{rule}", (resource, words.path), map_row=words.map_row, layer=words.layer)
    return words.text


def _purpose(case: Case, resource: Resource[View], profile: Profile) -> Part:
    """Reason, its Condition, type, service type, class: the first that says anything."""
    reason = Reasons(case, profile).first(resource)
    if reason is not None:
        return reason
    view = resource.view
    if isinstance(view, Appointment):
        found = service_of_appointment(resource, profile)  # type: ignore[arg-type]
        return (found[0], resource) if found else _appointment_type(resource, view, profile)
    assert isinstance(view, Encounter)
    words = (
        first_words(view.type, "type", profile, "encounter-type")
        or _service_type(view, profile)
        or _class_words(view, profile)
    )
    return (words, resource) if words else None


def _appointment_type(resource: Resource[View], view: Appointment, profile: Profile) -> Part:
    concept = view.appointment_type
    if concept is None:
        return None
    words = mapped_words(concept, "appointmentType", profile, "appointment-type")
    words = words or concept_words(concept, "appointmentType", profile)
    return (words, resource) if words else None


def _service_type(view: Encounter, profile: Profile) -> Words | None:
    if isinstance(view.service_type, CodeableConcept):
        return concept_words(view.service_type, "serviceType", profile, "service-type")
    concepts = [each.words or CodeableConcept() for each in view.service_type or ()]
    return first_words(concepts, "serviceType", profile, "service-type")


def _class_words(view: Encounter, profile: Profile) -> Words | None:
    """The map's word goes first: the code system's own "ambulatory" is nobody's word for a visit."""
    path = "class"
    concepts = [each.concept for each in _classes(view)]
    found = (mapped_words(each, path, profile, "encounter-class") for each in concepts)
    words = next((each for each in found if each), None)
    return words or next(
        (each for concept in concepts if (each := concept_words(concept, path, profile))), None
    )


def _outcome(case: Case, resource: Resource[View], profile: Profile) -> Part:
    """How it ended, what was ordered in it, what was found; None where nothing says."""
    view = resource.view
    if not isinstance(view, Encounter):
        return None
    for stay, path in ((view.hospitalization, "hospitalization"), (view.admission, "admission")):
        if stay and stay.discharge_disposition:
            path = f"{path}.dischargeDisposition"
            words = concept_words(stay.discharge_disposition, path, profile, "discharge-disposition")
            if words:
                return words, resource
    for order in case.follow_up_orders(resource):  # type: ignore[arg-type]
        counts = order.view.status in profile.visits.ordered_statuses and not order.view.do_not_perform
        if counts and (found := service_of_order(order, profile)):
            text = render(profile.visits.ordered, {"service": found[0].text})
            return replace(found[0], text=text), order
    return _diagnosis(case, resource, view, profile)


def _diagnosis(case: Case, resource: Resource[View], view: Encounter, profile: Profile) -> Part:
    reasons = Reasons(case, profile)
    for index, diagnosis in enumerate(view.diagnosis):
        single = isinstance(diagnosis.condition, CodeableReference)
        conditions: Iterable[CodeableReference] = (
            (diagnosis.condition,) if single else diagnosis.condition  # type: ignore[assignment]
        )
        for position, condition in enumerate(conditions):
            path = f"diagnosis[{index}].condition" + ("" if single else f"[{position}]")
            if part := reasons.of_reference(resource, path, condition):
                return part
    return None
