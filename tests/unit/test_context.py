"""What is said besides, and that all of it can be followed to its elements (mapping, section 13)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fhir_bridge.errors import BridgeError
from fhir_bridge.mapping.people import Callee
from fhir_bridge.mapping.phones import Phone
from fhir_bridge.mapping.profile import Profile
from fhir_bridge.mapping.recorder import Recorder
from tests.unit.marigold import ADAM, CAREFUL, PATIENT, Json, Told, appointment, concept, encounter


def test_the_context_keeps_its_order_and_says_nothing_twice(
    told: Callable[..., Told], marigold: Json
) -> None:
    """Whom to ask for, language, interpreter, reason, description, comment, place, duration."""
    patient = marigold | {
        "extension": [
            {
                "url": "http://hl7.org/fhir/StructureDefinition/patient-interpreterRequired",
                "valueBoolean": True,
            }
        ],
        "communication": [{"language": concept(None, {"code": "es-MX"}), "preferred": True}],
    }
    mother = Callee(Phone("+16465550101", "42", 0), "Rose Example", "Mother", False, None)
    said = told(
        appointment(
            start="2026-12-08T09:00:00-05:00",
            end="2026-12-08T09:29:59-05:00",
            minutesDuration=70,
            priority=1,
            reasonCode=[concept("Chest pain"), concept("Cough")],
            description="Chest pain",
            comment="<b>Use</b> the side door",
        ),
        patient=patient,
        callee=mother,
    )
    assert said["additional_context"] == (
        "Ask for Rose Example, the patient's mother. Ask for extension 42. The patient speaks Spanish. "
        "An interpreter is needed. Reason: Chest pain and Cough. Use the side door. Duration: 30 minutes."
    )


def test_a_restricted_reason_is_left_out(told: Callable[..., Told]) -> None:
    """The Condition's own label counts."""
    condition = {
        "resourceType": "Condition",
        "id": "c1",
        "meta": {"security": [{"code": "R"}]},
        "subject": {"reference": "Patient/marigold"},
        "code": concept("Something private"),
    }
    recorder = Recorder()
    said = told(
        appointment(reasonReference=[{"reference": "Condition/c1", "display": "Something private"}]),
        condition,
        recorder=recorder,
    )
    assert said["additional_context"] is None
    assert [note.code for note in recorder.notes] == ["reason-restricted"]


def test_a_sentence_can_be_switched_off(
    told: Callable[..., Told], profile_of: Callable[..., Profile]
) -> None:
    """Comments often hold remarks meant for staff."""
    profile = profile_of(**{"context.said": '["reason"]'})
    said = told(appointment(reasonCode=[concept("Cough")], comment="Grumpy"), profile=profile)
    assert said["additional_context"] == "Reason: Cough."


def test_english_and_one_of_several_languages_are_not_told(told: Callable[..., Told], marigold: Json) -> None:
    """The agent speaks English; without a preference nobody knows which of two it is."""
    for codes in (["en-US"], ["es", "fr"]):
        spoken = [{"language": concept(None, {"code": code})} for code in codes]
        assert told(appointment(), patient=marigold | {"communication": spoken})["additional_context"] is None


def test_every_field_has_its_lineage(told: Callable[..., Told]) -> None:
    """Each value of the request can be followed to an element."""
    recorder = Recorder()
    said = told(
        appointment(
            start="2026-12-08T09:00:00-05:00",
            specialty=[concept("Cardiology")],
            comment="Bring water",
            participant=[PATIENT, ADAM],
        ),
        CAREFUL,
        encounter("2026-03-10"),
        recorder=recorder,
    )
    fields = {entry.field.partition("[")[0] for entry in recorder.lineage}
    names = {
        name if name == "task" else f"task_data.{name}" for name, value in said.items() if value is not None
    }
    assert names == fields
    assert all(entry.sources for entry in recorder.lineage)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("context.said", '["gossip"]'),
        ("context.place", "At {plaec}."),
        ("sentence.task", "{verb} {what"),
        ("concepts.code_shapes", '["("]'),
    ],
)
def test_what_cannot_be_said_is_refused_when_the_layers_are_read(
    profile_of: Callable[..., Profile], key: str, value: str
) -> None:
    """Not when somebody is called."""
    with pytest.raises(BridgeError, match=key.partition(".")[0]):
        profile_of(**{key: value})
