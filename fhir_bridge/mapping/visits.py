"""Visits that were, and whether the patient is known (mapping, section 10)."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from datetime import date, datetime
from operator import itemgetter

import msgspec
from msgspec.structs import replace

from fhir_bridge.case.case import Case
from fhir_bridge.fhir.datatypes import CodeableConcept, CodeableReference, Reference
from fhir_bridge.fhir.dates import Moment
from fhir_bridge.fhir.resource import Resource
from fhir_bridge.fhir.views import Appointment, Encounter, EncounterClass, View, is_appointment, is_encounter
from fhir_bridge.mapping.concepts import Words, concept_words, first_words, mapped_words
from fhir_bridge.mapping.moments import comparable, moment_at
from fhir_bridge.mapping.profile import Profile, remembered
from fhir_bridge.mapping.reasons_for import Reasons
from fhir_bridge.mapping.recorder import Element, Recorder
from fhir_bridge.mapping.service import service_of_appointment, service_of_order
from fhir_bridge.mapping.shared import shared
from fhir_bridge.mapping.templates import render
from fhir_bridge.mapping.zones import Clock
from fhir_bridge.task_api.models import Visit

FIELD = "task_data.previous_visits"
VISIT_EXCLUSION = "visit-exclusion"

PERIOD, ACTUAL_PERIOD = ("period.start", "period.end"), ("actualPeriod.start", "actualPeriod.end")

Told = dict[str, str | date | None]
"""A visit as the task has it, before it is checked: `purpose`, `date`, `outcome`."""

Part = tuple[Words, Resource[View]] | None
Classes = tuple[EncounterClass, ...] | EncounterClass


class Past(msgspec.Struct, frozen=True):
    """A visit that took place: its resource, when it began, and the element that says so."""

    resource: Resource[Encounter] | Resource[Appointment]
    moment: Moment
    element: Element


_Began = tuple[datetime, Past]


def past_visits(case: Case, profile: Profile, now: datetime, recorder: Recorder) -> list[Past]:
    """Every finished visit before `now` (aware), newest first: Encounters, and fulfilled Appointments that no
    Encounter points to; laboratory and telephone ones left out."""
    key = "past", *_past_of(case, profile)
    return shared(case, profile, now, recorder, key, lambda own: _past(case, profile, now, own))


def _past_of(case: Case, profile: Profile) -> tuple[Hashable, ...]:
    """What the past visits of a case hang on: whose they are, and which of them are counted first, as those
    of its chain."""
    kept = [id(each) for each in case.chain_appointments if _is_fulfilled(each, profile)]
    return case.patient_identity, *kept


def _past(case: Case, profile: Profile, now: datetime, recorder: Recorder) -> list[Past]:
    key = "encounters", case.patient_identity
    finished, covered = shared(case, profile, now, recorder, key, lambda own: _encounters(case, profile, own))
    fulfilled = [
        _began(past, profile)
        for each in (*case.chain_appointments, *case.other_appointments)
        if _is_fulfilled(each, profile)
        and id(each) not in covered
        and not case.may_be_anothers(each)
        and (past := _appointment(each, recorder)) is not None
    ]
    began = sorted((*finished, *fulfilled), key=itemgetter(0), reverse=True) if fulfilled else finished
    return [past for instant, past in began if instant < now]


def _is_fulfilled(appointment: Resource[Appointment], profile: Profile) -> bool:
    return (appointment.view.status or "").casefold() in profile.visits.fulfilled


def _encounters(case: Case, profile: Profile, recorder: Recorder) -> tuple[list[_Began], frozenset[int]]:
    """The finished Encounters, the newest first, and which Appointments any Encounter points to."""
    encounters = case.encounters
    finished = [
        _began(past, profile)
        for each in encounters
        if (past := _encounter(each, profile, recorder)) is not None
    ]
    finished.sort(key=itemgetter(0), reverse=True)
    pointing = [each for each in encounters if each.view.appointment]
    return finished, frozenset(id(found) for each in pointing for found in _appointments_of(case, each))


def _began(past: Past, profile: Profile) -> _Began:
    return comparable(past.moment, profile.source.zone), past


def previous_visits(
    case: Case, profile: Profile, now: datetime, recorder: Recorder, clock: Clock, past: list[Past]
) -> tuple[Visit, ...] | None:
    """The newest of them, each with its local date, purpose and outcome as far as they are known."""
    key = "visits", clock.places, *_past_of(case, profile)
    visits = shared(case, profile, now, recorder, key, lambda own: _all_told(case, profile, own, clock, past))
    return visits or None


def _all_told(
    case: Case, profile: Profile, recorder: Recorder, clock: Clock, past: list[Past]
) -> tuple[Visit, ...]:
    """Checked against the contract here, once for all tasks that tell of them."""
    newest = enumerate(_newest(past, profile, recorder))
    told = (_told(case, profile, recorder, clock, each, f"{FIELD}[{at}]") for at, each in newest)
    return tuple(Visit.model_validate(each) for each in told)


def look_through_visits(case: Case, profile: Profile, now: datetime, recorder: Recorder) -> list[Past]:
    """The past visits; noted is what `previous_visits` notes of them, and the maps of codes are asked what it
    asks, without its words."""
    key = "past noted", *_past_of(case, profile)
    return shared(case, profile, now, recorder, key, lambda own: _look_through(case, profile, now, own))


def _look_through(case: Case, profile: Profile, now: datetime, recorder: Recorder) -> list[Past]:
    past = _past(case, profile, now, recorder)
    for each in _newest(past, profile, recorder):
        _purpose(case, each.resource, profile)
        _outcome(case, each.resource, profile)
    return past


def _newest(past: list[Past], profile: Profile, recorder: Recorder) -> list[Past]:
    """Those that are told of."""
    return [each for each in past if not _is_restricted(each, profile, recorder)][: profile.visits.most]


def _is_restricted(past: Past, profile: Profile, recorder: Recorder) -> bool:
    """A visit under a restricted label is evidence that the patient is known, and nobody's to hear of."""
    meta = past.resource.view.meta
    labels = meta.security if meta else ()
    if not labels or not any(label.code in profile.gates.restricted_codes for label in labels):
        return False
    recorder.note("visit-restricted", past.resource, "meta.security")
    return True


def _encounter(encounter: Resource[Encounter], profile: Profile, recorder: Recorder) -> Past | None:
    view = encounter.view
    if not _is_visit(view.status, bytes(view.kept_class_), bytes(view.kept_type), profile):
        return None
    period, (start, end) = (view.period, PERIOD) if view.period else (view.actual_period, ACTUAL_PERIOD)
    if period is None:
        return None
    if moment := moment_at(encounter, start, period.start, recorder):
        return Past(encounter, moment, (encounter, start))
    moment = moment_at(encounter, end, period.end, recorder)
    return Past(encounter, moment, (encounter, end)) if moment else None


def _appointment(appointment: Resource[Appointment], recorder: Recorder) -> Past | None:
    moment = moment_at(appointment, "start", appointment.view.start, recorder)
    return Past(appointment, moment, (appointment, "start")) if moment else None


@remembered
def _is_visit(status: str | None, class_: bytes, types: bytes, profile: Profile) -> bool:
    """Whether it is finished, and nothing says that it was laboratory work or a telephone call. Its class
    and types come in the bytes they stood in: those of most visits are the same, and need no reading."""
    if (status or "").casefold() not in profile.visits.finished:
        return False
    concepts = (
        *[each.concept for each in _listed(Encounter.class_.read(class_))],
        *Encounter.type.read(types),
    )
    kinds = (profile.terms.kind(VISIT_EXCLUSION, coding) for each in concepts for coding in each.coding)
    return not any(kinds)


def _listed(class_: Classes) -> tuple[EncounterClass, ...]:
    return (class_,) if isinstance(class_, EncounterClass) else class_


def _appointments_of(case: Case, resource: Resource[View]) -> Iterator[Resource[View]]:
    view = resource.view
    assert is_encounter(view)
    named = (view.appointment,) if isinstance(view.appointment, Reference) else view.appointment
    for index, reference in enumerate(named):
        link = case.follow(resource, f"appointment[{index}]", reference, Appointment)
        if link is not None and link.resource is not None:
            yield link.resource


def _told(case: Case, profile: Profile, recorder: Recorder, clock: Clock, past: Past, field: str) -> Told:
    day = clock.day(past.moment)
    if day is not None:
        recorder.take(f"{field}.date", "visit-date", past.element)
    purpose, outcome = _purpose(case, past.resource, profile), _outcome(case, past.resource, profile)
    for name, rule, part in (("purpose", "visit-purpose", purpose), ("outcome", "visit-outcome", outcome)):
        if part is not None:
            words, where = part
            recorder.take(
                f"{field}.{name}", rule, (where, words.path), map_row=words.map_row, layer=words.layer
            )
    return {
        "purpose": purpose[0].text if purpose else None,
        "date": day,
        "outcome": outcome[0].text if outcome else None,
    }


def _purpose(case: Case, resource: Resource[View], profile: Profile) -> Part:
    """Reason, its Condition, type, service type, class: the first that says anything."""
    view = resource.view
    assert is_appointment(view) or is_encounter(view)
    if (reason := Reasons(case, profile).first(resource)) is not None:
        return reason
    if is_appointment(view):
        found = service_of_appointment(resource, profile)  # type: ignore[arg-type]
        return (found[0], resource) if found else _appointment_type(resource, view, profile)
    words = (
        first_words(view.type, "type", profile, "encounter-type")
        or _service_type(view, profile)
        or _class_words(view.class_, profile)
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
    concepts = tuple(each.words or CodeableConcept() for each in view.service_type or ())
    return first_words(concepts, "serviceType", profile, "service-type")


@remembered
def _class_words(class_: Classes, profile: Profile) -> Words | None:
    """The map's word goes first: the code system's own "ambulatory" is nobody's word for a visit."""
    path = "class"
    concepts = [each.concept for each in _listed(class_)]
    found = (mapped_words(each, path, profile, "encounter-class") for each in concepts)
    words = next((each for each in found if each), None)
    return words or next(
        (each for concept in concepts if (each := concept_words(concept, path, profile))), None
    )


def _outcome(case: Case, resource: Resource[View], profile: Profile) -> Part:
    """How it ended, what was ordered in it, what was found; None where nothing says."""
    view = resource.view
    if not is_encounter(view):
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
    return _diagnosis(case, resource, view, profile) if view.diagnosis else None


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
