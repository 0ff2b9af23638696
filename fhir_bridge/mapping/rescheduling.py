"""What was lost, and why (mapping, section 12)."""

from __future__ import annotations

from datetime import datetime

from fhir_bridge.case.case import Case
from fhir_bridge.fhir.resource import Resource
from fhir_bridge.fhir.views import Appointment, is_appointment
from fhir_bridge.mapping.concepts import concept_words
from fhir_bridge.mapping.losses import reasons_of_loss
from fhir_bridge.mapping.moments import moment_at
from fhir_bridge.mapping.places import place_name
from fhir_bridge.mapping.practitioner import Seen, participants_of, party_name, taking_part
from fhir_bridge.mapping.profile import Profile
from fhir_bridge.mapping.recorder import Element, Recorder
from fhir_bridge.mapping.replacing import replaced
from fhir_bridge.mapping.service import service_of_appointment
from fhir_bridge.mapping.statuses import status_of
from fhir_bridge.mapping.templates import render
from fhir_bridge.mapping.when import moment_words
from fhir_bridge.mapping.zones import Clock

EXISTING, REASON = "task_data.existing_appointment", "task_data.reschedule_reason"


def lost_appointment(case: Case, profile: Profile) -> Resource[Appointment] | None:
    """The appointment a rescheduling is about: the trigger where it was lost, else one at hand it
    replaces."""
    trigger = case.trigger
    view = trigger.view
    if not is_appointment(view):
        return None
    status = status_of(trigger, profile)
    if status is not None and status.code in profile.triggers.lost:
        return trigger  # type: ignore[return-value]
    links = (
        case.follow(trigger, path, reference, Appointment) for path, reference in replaced(view, profile)
    )
    return next((link.resource for link in links if link and link.resource), None)


def existing_appointment(
    case: Case, profile: Profile, now: datetime, recorder: Recorder, clock: Clock, seen: Seen | None
) -> str | None:
    """When it was, what, with whom, where, and what became of it; None where nothing but that is known."""
    lost = lost_appointment(case, profile)
    status = status_of(lost, profile) if lost else None
    if lost is None or status is None:
        return None
    word = status.spoken or profile.rescheduling.statuses.get(status.code)
    found = {
        "when": _when(lost, clock, recorder),
        "what": _what(lost, profile),
        "practitioner": _practitioner(case, lost, profile, now, seen),
        "place": _place(case, lost),
    }
    known = {name: part for name, part in found.items() if part is not None}
    if not known or word is None:
        return None
    elements = [element for _, element in known.values()]
    recorder.take(EXISTING, "existing-appointment", *elements, (lost, "status"))
    values: dict[str, str | None] = {name: part[0] if part else None for name, part in found.items()}
    return render(profile.rescheduling.existing, {**values, "status": word}) or None


def look_through_loss(
    case: Case, profile: Profile, now: datetime, recorder: Recorder, seen: Seen | None
) -> None:
    """Notes what `existing_appointment` and `reschedule_reason` note, and asks the maps of codes what they
    ask."""
    lost = lost_appointment(case, profile)
    if lost is not None and status_of(lost, profile) is not None:
        moment_at(lost, "start", lost.view.start, recorder)
        _what(lost, profile)
        _practitioner(case, lost, profile, now, seen)
    reschedule_reason(case, profile, recorder)


def reschedule_reason(case: Case, profile: Profile, recorder: Recorder) -> str | None:
    """Why it was lost, in the first words its reasons have; for one not attended the layer's words."""
    lost = lost_appointment(case, profile)
    if lost is None:
        return None
    for concept, path in reasons_of_loss(lost, profile):
        if words := concept_words(concept, path, profile, "cancellation-reason"):
            recorder.take(
                REASON, "reason-of-loss", (lost, words.path), map_row=words.map_row, layer=words.layer
            )
            return words.text
    status = status_of(lost, profile)
    spoken = profile.rescheduling.not_attended.get(status.code) if status else None
    if spoken:
        layer = profile.layer_of(f"rescheduling.not_attended.{status.code}") if status else None
        recorder.take(REASON, "not-attended", (lost, "status"), layer=layer)
    return spoken


Part = tuple[str, Element] | None


def _when(lost: Resource[Appointment], clock: Clock, recorder: Recorder) -> Part:
    local = clock.local(moment_at(lost, "start", lost.view.start, recorder))
    return (moment_words(local), (lost, "start")) if local else None


def _what(lost: Resource[Appointment], profile: Profile) -> Part:
    found = service_of_appointment(lost, profile)
    return (found[0].text, found[1]) if found else None


def _practitioner(
    case: Case, lost: Resource[Appointment], profile: Profile, now: datetime, seen: Seen | None
) -> Part:
    """The lost appointment's own practitioner, also one who declined: the patient knows it by them."""
    if seen is not None and seen.party.link.holder is lost:
        return seen.called.text, seen.called.element
    for party in taking_part(participants_of(case, lost), profile, declined=True):
        if called := party_name(party, profile, now):
            return called.text, called.element
    return None


def _place(case: Case, lost: Resource[Appointment]) -> Part:
    links = (participant.location for participant in participants_of(case, lost))
    found: list[Part] = [place_name(link) for link in links if link is not None]
    return next((part for part in found if part is not None), None)
