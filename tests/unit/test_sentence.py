"""The task's one sentence, and the specialty and practitioner it prefers (mapping, sections 7 and 9)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fhir_bridge.mapping.profile import Profile
from fhir_bridge.mapping.sentence import article
from tests.unit.marigold import ADAM, CAREFUL, PATIENT, SNOMED, V2_0276, Json, Told, appointment, concept


def test_a_follow_up_names_its_practitioner(told: Callable[..., Told]) -> None:
    """The page's own sentence."""
    follow_up = concept(None, {"system": V2_0276, "code": "FOLLOWUP"})
    said = told(appointment(appointmentType=follow_up, participant=[PATIENT, ADAM]), CAREFUL)
    assert said["task"] == "Schedule a follow-up appointment with Dr. Adam Careful"
    assert said["patient_status"] == "existing"


@pytest.mark.parametrize(
    ("service", "task"),
    [
        (concept("General Discussion"), "Schedule an appointment for General Discussion"),
        (
            concept(None, {"system": SNOMED, "code": "1", "display": "MRI of brain (procedure)"}),
            "Schedule an appointment for MRI of brain",
        ),
        (
            concept("Ambulatory referral to Cardiology"),
            "Schedule an appointment for Cardiology",
        ),
        (concept("New patient appointment"), "Schedule a New patient appointment"),
        (concept(None, {"system": "http://acme.example", "code": "LIPID"}), "Schedule an appointment"),
        (concept("LIPID", {"system": "http://acme.example", "code": "LIPID"}), "Schedule an appointment"),
        (concept("99213"), "Schedule an appointment"),
        (concept("Z00.00"), "Schedule an appointment"),
        (concept("${service}"), "Schedule an appointment"),
        (concept("null"), "Schedule an appointment"),
        (concept("Other"), "Schedule an appointment"),
        (concept("x" * 101), "Schedule an appointment"),
        (
            concept(
                None,
                {"code": "a", "display": "Checked"},
                {"code": "b", "display": "Chosen", "userSelected": True},
            ),
            "Schedule an appointment for Chosen",
        ),
        (
            concept(None, {"system": "http://terminology.hl7.org/CodeSystem/service-type", "code": "50"}),
            "Schedule an appointment for audiology",
        ),
    ],
)
def test_a_service_is_said_in_words_or_not_at_all(
    told: Callable[..., Told], service: Json, task: str
) -> None:
    """Text, display, map; never a code, a token or a note."""
    assert told(appointment(serviceType=[service]))["task"] == task


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("MRI session", "an"),
        ("urology appointment", "a"),
        ("urgent appointment", "an"),
        ("US session", "a"),
        ("hour session", "an"),
        ("annual appointment", "an"),
        ("X-ray appointment", "an"),
        ("follow-up", "a"),
        ("one-hour session", "a"),
    ],
)
def test_articles_follow_the_sound(us: Profile, words: str, expected: str) -> None:
    """`an MRI`, `a urology`."""
    assert article(words, us.sentence) == expected


def test_who_declined_or_may_be_a_room_is_not_named(told: Callable[..., Told]) -> None:
    """A display alone proves nobody; the attending goes first."""
    attending = concept(
        None, {"system": "http://terminology.hl7.org/CodeSystem/v3-ParticipationType", "code": "ATND"}
    )
    said = told(
        appointment(
            participant=[
                PATIENT,
                ADAM | {"status": "declined"},
                {"actor": {"display": "Room 4"}, "status": "accepted"},
                {"actor": {"reference": "Practitioner/x", "display": "Assist, Ann"}, "status": "accepted"},
                {
                    "actor": {"type": "Practitioner", "display": "Lead, Bea"},
                    "type": [attending],
                    "status": "accepted",
                },
            ]
        ),
        CAREFUL,
    )
    assert said["task"] == "Schedule an appointment with Bea Lead"
    assert said["speciality_preferences"] == "Preferably Bea Lead"


def test_specialties_come_from_the_first_place_that_names_any(told: Callable[..., Told]) -> None:
    """A SNOMED display without its tag, each once."""
    specialty = [
        concept(None, {"system": SNOMED, "code": "394814009", "display": "General practice (specialty)"}),
        concept("general practice"),
    ]
    said = told(appointment(specialty=specialty, participant=[PATIENT, ADAM]), CAREFUL)
    assert said["speciality_preferences"] == "General practice, preferably Dr. Adam Careful"


def test_a_service_type_the_map_knows_is_a_specialty(told: Callable[..., Told]) -> None:
    """Cardiology is; a discussion is none."""
    service = concept(None, {"system": SNOMED, "code": "394579002", "display": "Cardiology"})
    assert told(appointment(serviceType=[service]))["speciality_preferences"] == "Cardiology"
    assert told(appointment(serviceType=[concept("Discussion")]))["speciality_preferences"] is None
