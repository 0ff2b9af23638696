"""What a check against the standard changes in a decision (mapping, section 16)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from fhir_bridge.case.case import Case
from fhir_bridge.mapping.conformance import advised
from fhir_bridge.mapping.decide import decide
from fhir_bridge.mapping.decision import Call, Decision, Reject, Skip
from fhir_bridge.mapping.profile import Profile
from fhir_bridge.mapping_run import checked

Json = dict[str, Any]
Advised = Callable[..., Decision]


@pytest.fixture
def decided(case_of: Callable[..., Case], us: Profile, now: datetime) -> Advised:
    """The decision about the first of some resources, checked as an app checks it."""

    def make(*resources: Json, strict: bool) -> Decision:
        case = case_of(*resources)
        patient = None if case.patient is None else checked(case.patient)
        return advised(decide(case, us, now), checked(case.trigger), patient, strict=strict)

    return make


def test_a_call_that_conforms_stays_as_it_is(decided: Advised, proposed: Json, marigold: Json) -> None:
    """Nothing is noted and nothing rejected, however strict the source is."""
    found = decided(proposed, marigold, strict=True)
    assert isinstance(found, Call)
    assert not [note for note in found.notes if note.code.startswith("validation:")]


def test_what_does_not_conform_is_noted_and_called(decided: Advised, proposed: Json, marigold: Json) -> None:
    """`warn` is advice: the call is made, and the notes say where to look."""
    found = decided({**proposed, "zzUnknown": 1}, {**marigold, "gender": 7}, strict=False)
    assert isinstance(found, Call)
    notes = {(note.code, note.path) for note in found.notes if note.code.startswith("validation:")}
    assert {path for _, path in notes} == {"Appointment.zzUnknown", "Patient.gender"}


def test_a_strict_source_rejects_a_trigger_that_does_not_conform(
    decided: Advised, proposed: Json, marigold: Json
) -> None:
    """A person looks at the element named; a fault of the patient's is only noted."""
    found = decided({**proposed, "zzUnknown": 1}, marigold, strict=True)
    assert isinstance(found, Reject)
    assert (found.reason, found.expression) == ("not-conformant", "Appointment.zzUnknown")
    assert found.lineage[0].sources[0].path == "Appointment.zzUnknown"
    assert isinstance(decided(proposed, {**marigold, "gender": 7}, strict=True), Call)


def test_who_is_not_called_stays_so(decided: Advised, proposed: Json, marigold: Json) -> None:
    """A strict check takes no Skip back: there is nothing for a person to do."""
    found = decided({**proposed, "zzUnknown": 1}, {**marigold, "deceasedBoolean": True}, strict=True)
    assert isinstance(found, Skip)
    assert found.reason == "patient-deceased"


IN_ORDER = {
    "R4's own code that its invariant app-4 misspells": {"status": "noshow", "start": "2026-11-20T09:00:00Z"},
    "an extension beside a primitive": {
        "_status": {"extension": [{"url": "http://example.org/why", "valueString": "x"}]}
    },
    "R5": {"cancellationDate": "2026-11-20", "subject": {"reference": "Patient/marigold"}},
    "STU3": {"incomingReferral": [{"display": "by letter"}]},
}


@pytest.mark.parametrize("form", IN_ORDER)
def test_it_is_never_stricter_than_the_standard(
    form: str, decided: Advised, proposed: Json, marigold: Json
) -> None:
    """What the standard allows is called in a strict source."""
    trigger = {**proposed, "end": "2026-11-20T09:30:00Z", **IN_ORDER[form]}
    if "start" not in trigger:
        del trigger["end"]
    assert isinstance(decided(trigger, marigold, strict=True), Call)
