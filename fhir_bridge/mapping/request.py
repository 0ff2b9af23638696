"""The task of a call, from everything the case says (mapping, sections 7 to 13)."""

from __future__ import annotations

from datetime import datetime, timedelta

from fhir_bridge.case.case import Case
from fhir_bridge.fhir.dates import parse
from fhir_bridge.fhir.resource import Resource
from fhir_bridge.fhir.views import View, is_appointment
from fhir_bridge.mapping.availability import look_through_times, timeframe_availability
from fhir_bridge.mapping.context import Speaking, additional_context, look_through_context
from fhir_bridge.mapping.patient_status import patient_status
from fhir_bridge.mapping.people import Callee
from fhir_bridge.mapping.practitioner import note_links, practitioner_to_see
from fhir_bridge.mapping.profile import Profile
from fhir_bridge.mapping.recorder import Recorder
from fhir_bridge.mapping.referral import has_referral, referral
from fhir_bridge.mapping.rescheduling import existing_appointment, look_through_loss, reschedule_reason
from fhir_bridge.mapping.sentence import sentence
from fhir_bridge.mapping.service import follow_up, service_of
from fhir_bridge.mapping.specialty import speciality_preferences, specialties
from fhir_bridge.mapping.verdict import Look
from fhir_bridge.mapping.visits import look_through_visits, past_visits, previous_visits
from fhir_bridge.mapping.windows import Window, without_slot
from fhir_bridge.mapping.zones import clock_of
from fhir_bridge.task_api.models import TaskDraft


def task_draft(
    case: Case, profile: Profile, now: datetime, recorder: Recorder, callee: Callee, rescheduling: bool
) -> TaskDraft:
    """The task in the endpoint's words; `now` is aware. Whom to call was settled before: `callee`.

    It is checked against the contract once, as a whole: part by part that would take twice as long.
    """
    clock = clock_of(case, profile)
    seen = practitioner_to_see(case, profile, now)
    if seen:
        note_links(recorder, seen.party)
    past = past_visits(case, profile, now, recorder)
    task = sentence(case, profile, recorder, seen, rescheduling=rescheduling)
    provider, unusable = referral(case, profile, now, recorder)
    data = {
        "timeframe_availability": timeframe_availability(case, profile, now, recorder, clock),
        "speciality_preferences": speciality_preferences(case, profile, recorder, seen),
        "additional_context": additional_context(Speaking(case, profile, callee, unusable, recorder)),
        "previous_visits": previous_visits(case, profile, now, recorder, clock, past),
        "patient_status": patient_status(case, profile, recorder, past),
        "has_referral": has_referral(case, profile, recorder),
        "referral": provider,
        "is_rescheduling": rescheduling,
        "existing_appointment": (
            existing_appointment(case, profile, now, recorder, clock, seen) if rescheduling else None
        ),
        "reschedule_reason": reschedule_reason(case, profile, recorder) if rescheduling else None,
    }
    recorder.take("task_data.is_rescheduling", "rescheduling", (case.trigger, "status"))
    _note_language(recorder, case.trigger)
    return TaskDraft.model_validate({"task": task, "phone_number": callee.phone.e164, "task_data": data})


def look_through(case: Case, profile: Profile, now: datetime, recorder: Recorder, rescheduling: bool) -> None:
    """Notes all that `task_draft` notes, and asks the maps of codes about all that it asks about, without
    its words: for who only counts. A part that is new there belongs here too, unless it does neither."""
    seen = practitioner_to_see(case, profile, now)
    if seen:
        note_links(recorder, seen.party)
    past = look_through_visits(case, profile, now, recorder)
    if follow_up(case, profile) is None:
        service_of(case, profile)
    referral(case, profile, now, recorder)
    look_through_times(case, profile, now, recorder)
    specialties(case, profile, seen)
    look_through_context(case, profile, recorder)
    patient_status(case, profile, recorder, past)
    has_referral(case, profile, recorder)
    if rescheduling:
        look_through_loss(case, profile, now, recorder, seen)
    _note_language(recorder, case.trigger)


def valid_until(look: Look) -> datetime:
    """When the call makes no sense any more, aware UTC (mapping, section 18): the end of the last window that
    is not past; where there is none, or one is open, when the trigger is too old (section 3, rows 18 and 19).
    The slot of a lost appointment is no window."""
    is_lost = is_appointment(look.case.trigger.view) and look.status in look.profile.triggers.lost
    wanted = without_slot(look.windows) if is_lost else look.windows
    ends = [window.ends for window in wanted if not window.over(look.now)]
    known = [end for end in ends if end is not None]
    if known and len(known) == len(ends):
        return max(known)
    return _too_late(look) if is_lost else _too_old(look, wanted)


def _too_old(look: Look, wanted: list[Window]) -> datetime:
    """Row 19: `max_age` after the newest of what dates the trigger."""
    view, zone = look.case.trigger.view, look.profile.source.zone
    dated = (view.created,) if is_appointment(view) else (view.authored_on, view.date)
    known = [moment.end_instant(zone) for text in dated if (moment := parse(text))]
    known += [window.last(zone) for window in wanted]
    return max(known, default=look.now) + timedelta(days=look.profile.triggers.max_age_days)


def _too_late(look: Look) -> datetime:
    """Row 18: `reschedule_within` after the newer of the lost start and the loss."""
    profile, view = look.profile, look.case.trigger.view
    assert is_appointment(view)
    start = parse(view.start)
    known = [start.end_instant(profile.source.zone)] if start else []
    known += [look.loss[0]] if look.loss else []
    return max(known, default=look.now) + timedelta(days=profile.triggers.reschedule_within_days)


def _note_language(recorder: Recorder, trigger: Resource[View]) -> None:
    """Texts in another language pass through as they are (section 9)."""
    language = trigger.view.language
    if language and not language.casefold().startswith("en"):
        recorder.note("other-language", trigger, "language")
