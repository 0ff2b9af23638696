"""Whether the patient is known there, on evidence alone (mapping, section 10)."""

from __future__ import annotations

from typing import Literal

from fhir_bridge.case.case import Case
from fhir_bridge.fhir.datatypes import CodeableConcept
from fhir_bridge.fhir.views import is_appointment
from fhir_bridge.mapping.concepts import concept_words, kinds
from fhir_bridge.mapping.profile import Profile
from fhir_bridge.mapping.recorder import Recorder
from fhir_bridge.mapping.service import follow_up
from fhir_bridge.mapping.visits import Past

FIELD = "task_data.patient_status"
MAPS = ("appointment-type", "service-type", "encounter-type")

PatientStatus = Literal["existing", "new"]


def patient_status(
    case: Case, profile: Profile, recorder: Recorder, past: list[Past]
) -> PatientStatus | None:
    """`existing`: a visit that was, a follow-up, the layer's words; `new`: the layer's words, or a complete
    history
    without visits; None without evidence."""
    if past:
        recorder.take(FIELD, "patient-had-visit", past[0].element)
        return "existing"
    if (found := follow_up(case, profile)) is not None:
        recorder.take(FIELD, "patient-follow-up", found[0], map_row=found[1])
        return "existing"
    for concept, path in _concepts(case):
        if status := _said(concept, path, profile):
            recorder.take(
                FIELD, f"patient-{status}-words", (case.trigger, path), layer=_layer(status, profile)
            )
            return status
    if case.history_complete and case.patient is not None:
        recorder.take(FIELD, "patient-without-visits", (case.patient, ""))
        return "new"
    return None


def _said(concept: CodeableConcept, path: str, profile: Profile) -> PatientStatus | None:
    rules = profile.visits
    words = concept_words(concept, path, profile)
    text = words.text.casefold() if words else ""
    classes = {kind for name in MAPS for kind, _, _ in kinds(concept, profile, name)}
    if text in rules.existing_words or classes & rules.existing_codes:
        return "existing"
    return "new" if text in rules.new_words or classes & rules.new_codes else None


def _layer(status: PatientStatus, profile: Profile) -> str:
    return profile.layer_of(f"visits.{status}_words")


def _concepts(case: Case) -> list[tuple[CodeableConcept, str]]:
    """What kind of visit the trigger says it is."""
    view = case.trigger.view
    if not is_appointment(view):
        codes = ((view.code.words, "code"),) if view.code else ()
        requested = ((each, f"serviceRequested[{i}]") for i, each in enumerate(view.service_requested))
        return [(concept, path) for concept, path in (*codes, *requested) if concept]
    services = ((each.words, f"serviceType[{i}]") for i, each in enumerate(view.service_type))
    named = ((view.appointment_type, "appointmentType"), *services)
    return [(concept, path) for concept, path in named if concept]
