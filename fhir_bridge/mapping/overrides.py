"""Fields of the request that a site fills by its own FHIRPath (mapping, section 17)."""

from __future__ import annotations

from collections.abc import Mapping

from fhir_bridge.mapping.expressions import ExpressionError, Override
from fhir_bridge.mapping.profile import Profile
from fhir_bridge.mapping.recorder import Recorder
from fhir_bridge.mapping.said import said
from fhir_bridge.mapping.scope import Scope
from fhir_bridge.mapping.texts import cut, plain
from fhir_bridge.task_api.models import PatientDraft, TaskDraft, draft_fields, with_values

FAILED = "override-failed"

CONTEXT = "task_data.additional_context"
SPOKEN = frozenset(
    {"task", CONTEXT, "task_data.timeframe_availability", "task_data.speciality_preferences"}
    | {"task_data.existing_appointment", "task_data.reschedule_reason"}
)
"""Texts the voice agent reads: markup, addresses of pages and control characters go, as everywhere
(section 13)."""

REFUSED: Mapping[str, str] = {
    "phone_number": "it is chosen before the do-not-call list is asked; the section `phones` says how",
    "patient.phone_number": "it is the number that is called; the section `phones` says which that is",
    "patient_id": "`patient.task_api_system` names the identifier that carries it",
    "project_id": "it is a setting, `api.project_id`",
}
"""Fields of the request that no override may fill, and what to do instead."""


class _Nothing:
    """What an expression gave that leaves the field as it was."""


def fields() -> tuple[str, ...]:
    """Every field an override may fill, in the contract's order."""
    return tuple(field for field in draft_fields() if field not in REFUSED)


def overridden(
    task: TaskDraft, patient: PatientDraft, scope: Scope, profile: Profile, recorder: Recorder
) -> tuple[TaskDraft, PatientDraft]:
    """The drafts with the fields the site fills itself.

    An expression that gives nothing leaves its field as it was; one that gives the empty text leaves it out.
    One that fails, gives several values or one that the endpoint's contract refuses is noted, and its field
    stays as it was.
    """
    given: dict[str, str | bool | None] = {}
    failed: set[str] = set()
    for override in profile.site.overrides:
        try:
            value = _value(override, scope, profile)
        except ExpressionError:
            failed.add(override.field)
        else:
            if not isinstance(value, _Nothing):
                given[override.field] = value
    task, patient, refused = with_values(task, patient, given)
    for override in profile.site.overrides:
        if override.field in failed | refused:
            recorder.note_key(FAILED, scope.case.trigger, f"overrides.{override.field}")
        elif override.field in given:
            _record(override, scope, recorder)
    return task, patient


def _value(override: Override, scope: Scope, profile: Profile) -> str | bool | _Nothing | None:
    """The one value the expression gives, as its field may say it; None: nothing is to be said."""
    found = scope.evaluate(override.expression)
    if not found:
        return _Nothing()
    if len(found) > 1 or not isinstance(found[0], str | bool):
        raise ExpressionError("not one text")
    value = found[0]
    if isinstance(value, bool) or not value:
        return value if isinstance(value, bool) else None
    text = plain(value) if override.field in SPOKEN else said(value)
    if text is None:
        return _Nothing()
    return cut(text, profile.context.limit) if override.field == CONTEXT else text


def _record(override: Override, scope: Scope, recorder: Recorder) -> None:
    elements = scope.elements(override.expression)
    recorder.retake(
        override.field, "override", *elements, map_row=override.expression.text, layer=override.layer
    )
