"""A case becomes a decision: the table, the gates, then what is said (mapping, sections 1 to 6)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from fhir_bridge.case.case import Case
from fhir_bridge.fhir.resource import Resource
from fhir_bridge.mapping.decision import Call, Decision, Due, Reject, Skip, Subject
from fhir_bridge.mapping.gates import NOBODY_BLOCKED, Admitted, Blocked, admit, several_contents
from fhir_bridge.mapping.intent import subject_of
from fhir_bridge.mapping.overrides import overridden
from fhir_bridge.mapping.patient_request import look_through_patient, patient_draft, patient_id
from fhir_bridge.mapping.people import Callee
from fhir_bridge.mapping.profile import Profile
from fhir_bridge.mapping.recorder import Element, Recorder, fhirpath
from fhir_bridge.mapping.request import look_through, task_draft, valid_until
from fhir_bridge.mapping.scope import Scope
from fhir_bridge.mapping.shared import shared
from fhir_bridge.mapping.triggers import ends_by_status, is_rescheduling, status_verdict, table_verdict
from fhir_bridge.mapping.verdict import Look, Verdict
from fhir_bridge.mapping.zones import address_zones

MOST_PLACES = 5
"""Of what cannot be read: so many are told of one decision; the errors of the run have them all."""


def decide(
    case: Case,
    profile: Profile,
    now: datetime,
    blocked: Blocked = NOBODY_BLOCKED,
    *,
    brief: bool = False,
) -> Decision:
    """What is to be done about the case's trigger at `now` (aware): Call, Skip or Reject, with lineage and
    notes.

    `blocked` is the site's do-not-call list. A `brief` decision is for who only counts: it has no lineage,
    names of its subject no more than the trigger, and of a call nothing is worded (`Due`, unless the site
    overrides words); otherwise it is the same. Never raises for data: what it cannot use it leaves out or
    rejects.
    """
    recorder = Recorder(lineage=not brief)
    subject = Subject(case.trigger.label, None) if brief else subject_of(case, profile)
    _note_sources(case, recorder)
    if case.duplicate_triggers and not _calls_nobody(case, profile):
        verdict = several_contents(case, (case.trigger, "id"), case.duplicate_triggers)
        return _ended(subject, verdict, verdict.reason, recorder)
    status, verdict_on_status = status_verdict(case.trigger, profile, recorder)
    if status is None:
        assert verdict_on_status is not None
        return _ended(subject, verdict_on_status, "row 2", recorder)
    look = Look(case, profile, now, recorder, status.code)
    if decided := table_verdict(look):
        number, verdict = decided
        return _ended(subject, verdict, f"row {number}", recorder)
    admitted = admit(look, blocked)
    if not isinstance(admitted, Admitted):
        return _ended(subject, admitted, "gate", recorder)
    if case.unanswered:
        verdict = Verdict("source-incomplete", ((case.trigger, ""),), "; ".join(case.unanswered), wanted=True)
        return _ended(subject, verdict, "gate", recorder)
    if case.unreadable:
        places = ", ".join(case.unreadable[:MOST_PLACES])
        verdict = Verdict("record-unreadable", ((case.trigger, ""),), places, wanted=True)
        return _ended(subject, verdict, "gate", recorder)
    if brief and not profile.site.overrides:
        return _due(subject, admitted, look)
    return _call(subject, admitted, look)


def would_call(case: Case, status: str, profile: Profile, now: datetime) -> bool:
    """Whether the table would have a call made if the trigger's status were this one. The gates are not
    asked: this is for who wants to know what an earlier version might have done."""
    trigger: Resource[Any] = case.trigger
    view = msgspec.structs.replace(trigger.view, status=status)
    then = msgspec.structs.replace(case, trigger=msgspec.structs.replace(trigger, view=view))
    recorder = Recorder(lineage=False)
    found, verdict = status_verdict(then.trigger, profile, recorder)
    if found is None or verdict is not None:
        return False
    return table_verdict(Look(then, profile, now, recorder, found.code)) is None


def _calls_nobody(case: Case, profile: Profile) -> bool:
    """Whether versions disagree of which each ends by its status: whichever holds, no call is wanted."""
    return case.versions_disagree and all(ends_by_status(one, profile) for one in case.contents)


def _call(subject: Subject, admitted: Admitted, look: Look) -> Call:
    """Row 20, every gate passed."""
    case, profile, now, recorder = look.case, look.profile, look.now, look.recorder
    patient, callee = admitted.patient, admitted.callee
    _take_number(admitted, recorder)
    recorder.take("decision", "row 20", (case.trigger, "status"))
    task = task_draft(case, profile, now, recorder, callee, is_rescheduling(look))
    draft = shared(
        case,
        profile,
        now,
        recorder,
        ("patient", id(patient), case.patient_identity),
        lambda own: patient_draft(case, patient, admitted.named, callee, profile, now, own),
    )
    if profile.site.overrides:
        scope = Scope.of(look, patient, callee)
        task, draft = overridden(task, draft, scope, profile, recorder)
    return Call(
        subject,
        task=task,
        patient=draft,
        valid_until=valid_until(look),
        patient_id=patient_id(patient, profile, recorder),
        zones=_zones(callee, profile),
        notes=recorder.notes,
        lineage=recorder.lineage,
    )


def _due(subject: Subject, admitted: Admitted, look: Look) -> Due:
    """The same for who only counts: everything is noted, and every map asked, as for a call."""
    case, profile, now, recorder = look.case, look.profile, look.now, look.recorder
    patient, callee = admitted.patient, admitted.callee
    _take_number(admitted, recorder)
    look_through(case, profile, now, recorder, is_rescheduling(look))
    shared(
        case,
        profile,
        now,
        recorder,
        ("patient noted", id(patient), case.patient_identity),
        lambda own: look_through_patient(case, patient, admitted.named, profile, now, own),
    )
    return Due(
        subject,
        phone_number=callee.phone.e164,
        valid_until=valid_until(look),
        zones=_zones(callee, profile),
        notes=recorder.notes,
    )


def _take_number(admitted: Admitted, recorder: Recorder) -> None:
    """Where the number that is called comes from, and what is odd about it."""
    callee = admitted.callee
    holder = callee.holder or admitted.patient
    number = f"{callee.path}telecom[{callee.phone.index}]"
    for field in ("phone_number", "patient.phone_number"):
        recorder.take(
            field, "patient-number" if callee.is_patient else "guardian-number", (holder, f"{number}.value")
        )
    for code in callee.phone.notes:
        recorder.note(code, holder, number)


def _zones(callee: Callee, profile: Profile) -> tuple[str, ...]:
    return tuple([zone.key for zone in address_zones(callee.address, profile)])


def _ended(subject: Subject, verdict: Verdict, rule: str, recorder: Recorder) -> Skip | Reject:
    """The decision not to call; the lineage of `decision` says which row or gate decided, and on what."""
    recorder.take("decision", rule, *verdict.elements, map_row=verdict.map_row, layer=verdict.layer)
    notes, lineage = recorder.notes, recorder.lineage
    if not verdict.wanted:
        return Skip(subject, reason=verdict.reason, detail=verdict.detail, notes=notes, lineage=lineage)
    return Reject(
        subject,
        reason=verdict.reason,
        expression=_expression(verdict.elements[0]),
        detail=verdict.detail,
        notes=notes,
        lineage=lineage,
    )


def _expression(element: Element) -> str:
    """The FHIRPath of the element a person must look at."""
    holder, path = element
    return fhirpath(holder.partition("/")[0] if isinstance(holder, str) else holder.view.resource_type, path)


def _note_sources(case: Case, recorder: Recorder) -> None:
    """What reading and resolving noted about the trigger and the patient."""
    trigger, patient = case.trigger, case.patient
    for code in trigger.notes:
        recorder.note(code, trigger)
    for code in case.patient_notes:
        recorder.note(code, trigger, case.patient_path)
    for code in patient.notes if patient else ():
        recorder.note(code, patient or trigger)
