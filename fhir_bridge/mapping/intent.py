"""The intent of a call: what it is for, as one key (mapping, section 2). Which decision of several an intent
goes by is the ledger's."""

from __future__ import annotations

from datetime import UTC

from fhir_bridge.case.case import Case
from fhir_bridge.fhir.dates import parse
from fhir_bridge.fhir.views import is_appointment
from fhir_bridge.mapping.decision import Subject
from fhir_bridge.mapping.profile import Profile
from fhir_bridge.mapping.statuses import status_of


def subject_of(case: Case, profile: Profile) -> Subject:
    """What the case's decision is about: the trigger, its version, the intent, the members of its chain."""
    trigger, meta = case.trigger, case.trigger.view.meta
    updated = parse(meta.last_updated) if meta else None
    loss = loss_of(case, profile)
    return Subject(
        trigger=trigger.label,
        intent=intent_key(case, loss),
        members=case.chain.members,
        patient=case.patient_identity,
        version_id=trigger.version,
        last_updated=updated.instant(UTC) if updated else None,
        loss=loss,
        name=case.trigger_name,
        missed=loss is not None and _was_missed(case, profile),
    )


def intent_key(case: Case, loss: str | None) -> str | None:
    """`source|patient|chain root`; for a loss the lost Appointment and its lost start (UTC) behind it, so
    that each loss is an intent of its own. None where no patient is known: no call can be meant."""
    patient = case.patient_identity
    if patient is None:
        return None
    key = f"{case.source}|{patient}|{case.chain.root}"
    return key if loss is None else f"{key}|{loss}"


def loss_of(case: Case, profile: Profile) -> str | None:
    """The lost Appointment and its lost start (UTC), `Appointment/a1@2026-11-17T14:00:00Z`; None without a
    loss."""
    view = case.trigger.view
    if not is_appointment(view):
        return None
    status = status_of(case.trigger, profile)
    if status is None or status.code not in profile.triggers.lost:
        return None
    start = parse(view.start)
    when = start.instant(profile.source.zone).strftime("%Y-%m-%dT%H:%M:%SZ") if start else ""
    return f"{case.trigger_name}@{when}"


def _was_missed(case: Case, profile: Profile) -> bool:
    status = status_of(case.trigger, profile)
    return status is not None and status.code == "noshow"
