"""Appointments that were lost: why, when, and whether another took their place (mapping, section 3, rows
15-18)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from functools import lru_cache

import msgspec

from fhir_bridge.case.case import Case
from fhir_bridge.fhir.datatypes import CodeableConcept, CodeableReference, Extension
from fhir_bridge.fhir.dates import parse
from fhir_bridge.fhir.resource import Resource
from fhir_bridge.fhir.views import Appointment
from fhir_bridge.mapping.periods import over
from fhir_bridge.mapping.profile import Profile, remembered
from fhir_bridge.mapping.said import said
from fhir_bridge.mapping.statuses import status_of

CANCELLATION_DATE = "http://hl7.org/fhir/5.0/StructureDefinition/extension-Appointment.cancellationDate"
"""R5's element in an R4 Appointment (https://hl7.org/fhir/R5/versions.html#extensions)."""

ReasonOfLoss = tuple[CodeableConcept, str]
"""Why an appointment was lost, and the FHIRPath of where that stands."""


class LossClass(msgspec.Struct, frozen=True):
    """The reason of the Skip a reason of loss leads to, where it stands, and the map's row or the layer's
    words."""

    reason: str
    path: str
    map_row: str | None
    layer: str


def reasons_of_loss(appointment: Resource[Appointment], profile: Profile) -> tuple[ReasonOfLoss, ...]:
    """Why an appointment was lost: R4's cancelationReason, R5's cancellationReason, or where the layer says
    (STU3)."""
    view = appointment.view
    elements = profile.losses.reason_elements
    found: list[ReasonOfLoss] = []
    if view.cancelation_reason and "cancelationReason" in elements:
        found.append((view.cancelation_reason, "cancelationReason"))
    if view.cancellation_reason and "cancellationReason" in elements:
        found.append((view.cancellation_reason, "cancellationReason"))
    if "reason" in elements:
        reasons = (view.reason,) if isinstance(view.reason, CodeableReference) else view.reason
        found.extend((words, f"reason[{i}]") for i, reason in enumerate(reasons) if (words := reason.words))
    if profile.losses.reason_extensions:
        found.extend(_in_extensions(view.extension, profile.losses.reason_extensions))
    return tuple(found)


def loss_class(appointment: Resource[Appointment], profile: Profile) -> LossClass | None:
    """The class of loss nobody is called for (`patient-deceased`, `booked-in-error`, …), by code, else by
    words."""
    return _loss_class(reasons_of_loss(appointment, profile), profile)


@remembered
def _loss_class(reasons: tuple[ReasonOfLoss, ...], profile: Profile) -> LossClass | None:
    for concept, path in reasons:
        for coding in concept.coding:
            if kind := profile.terms.kind("cancellation-class", coding):
                return LossClass(kind.text, path, kind.row, kind.layer)
    for concept, path in reasons:
        for text in (concept.text, *(coding.display for coding in concept.coding)):
            if reason := _worded(text, profile):
                return LossClass(reason, path, None, profile.layer_of("losses.words"))
    return None


def lost_at(case: Case, view: Appointment, profile: Profile) -> tuple[datetime, str] | None:
    """When the case's Appointment was cancelled (aware UTC) and by what we know it: R5's cancellationDate (in
    R4 the extension for it), the first cancelled version seen, the notification, or `created`, which it
    cannot precede. None where nothing tells.
    """
    zone = profile.source.zone
    if moment := parse(view.cancellation_date):
        return moment.end_instant(zone), "cancellationDate"
    for extension in view.extension:
        if extension.url == CANCELLATION_DATE and (moment := parse(extension.value_date_time)):
            return moment.end_instant(zone), f"extension('{CANCELLATION_DATE}').value"
    if case.first_cancelled_at is not None:
        return case.first_cancelled_at, "status"
    if case.reported_at is not None:
        return case.reported_at, "status"
    moment = parse(view.created)
    return (moment.instant(zone), "created") if moment else None


def replacement(
    case: Case, lost: Resource[Appointment], since: datetime | None, profile: Profile, now: datetime
) -> Resource[Appointment] | None:
    """The live appointment that took the lost one's place (mapping, section 3, row 17), else None.

    In the chain: created after the loss, or starting after `now`. Outside of it: of the same service type,
    specialty or practitioner, starting later than the lost start; one that belongs to another order than the
    lost one is no replacement. `since`: when it was lost (aware), as far as that is known.
    """
    for other in case.chain_appointments:
        if other.label != lost.label and _live(other, profile) and _came_later(other, since, profile, now):
            return other
    return next((other for other in case.other_appointments if _stands_in(other, lost, profile, now)), None)


def _came_later(other: Resource[Appointment], loss: datetime | None, profile: Profile, now: datetime) -> bool:
    """Whether it may have been created after the loss, or is still to come.

    One that waits without a start is still to come unless every period it asks for is past: its own trigger
    calls, and two calls for one piece of work would be one too many.
    """
    view, zone = other.view, profile.source.zone
    if loss is not None and _after(view.created, loss, profile):
        return True
    if parse(view.start):
        return _after(view.start, now, profile)
    return not view.requested_period or not all(over(period, now, zone) for period in view.requested_period)


def _stands_in(
    other: Resource[Appointment], lost: Resource[Appointment], profile: Profile, now: datetime
) -> bool:
    if other.label == lost.label or not _live(other, profile):
        return False
    if _has_order(other.view) and _has_order(lost.view):
        return False
    moment = parse(lost.view.start)
    since = moment.instant(profile.source.zone) if moment else now
    if not _after(other.view.start, since, profile):
        return False
    wanted = frozenset(_subjects(lost.view, profile))
    return any(subject in wanted for subject in _subjects(other.view, profile))


def _live(appointment: Resource[Appointment], profile: Profile) -> bool:
    status = status_of(appointment, profile)
    return status is not None and (
        status.code in profile.triggers.waiting or status.code in profile.triggers.booked
    )


def _after(text: str | None, instant: datetime, profile: Profile) -> bool:
    """Whether a date or time may lie after the instant: one without a time of day counts to its end."""
    moment = parse(text)
    return moment is not None and moment.end_instant(profile.source.zone) > instant


def _has_order(view: Appointment) -> bool:
    return bool(view.based_on or view.incoming_referral)


def _subjects(view: Appointment, profile: Profile) -> Iterator[tuple[str, str]]:
    """What an appointment is about, for comparison: its service types and specialties by code or words, and
    who sees the patient."""
    services = [concept for service in view.service_type if (concept := service.words)]
    for name, concepts in (("service", services), ("specialty", view.specialty)):
        for concept in concepts:
            yield from (
                (name, f"{profile.terms.canonical(coding.system or '')}|{coding.code}")
                for coding in concept.coding
                if coding.code
            )
            if text := said(concept.text):
                yield name, text.casefold()
    for participant in view.participant:
        actor = participant.actor
        if actor is None or not actor.reference:
            continue
        if "Practitioner" in (actor.type or actor.reference):
            yield "practitioner", "/".join(actor.reference.split("/_history/")[0].split("/")[-2:])


def _in_extensions(extensions: tuple[Extension, ...], urls: tuple[str, ...]) -> Iterator[ReasonOfLoss]:
    for url in urls:
        path = f"extension('{url}').value"
        for extension in extensions:
            if extension.url != url:
                continue
            if extension.value_codeable_concept:
                yield extension.value_codeable_concept, path
            elif extension.value_string:
                yield CodeableConcept(text=extension.value_string), path


def _worded(text: str | None, profile: Profile) -> str | None:
    words = said(text)
    if words is None:
        return None
    spoken = words.casefold()
    table = _patterns(tuple(profile.losses.words.items()))
    return next((reason for reason, pattern in table if pattern.search(spoken)), None)


@lru_cache(maxsize=16)
def _patterns(words: tuple[tuple[str, tuple[str, ...]], ...]) -> tuple[tuple[str, re.Pattern[str]], ...]:
    return tuple(
        (reason, re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, listed))})(?!\w)"))
        for reason, listed in words
        if listed
    )
