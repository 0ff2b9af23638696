"""What is said of a case: from the sentence to the context (mapping, sections 7 to 13)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fhir_bridge.case.case import Case
from fhir_bridge.mapping.people import Callee
from fhir_bridge.mapping.phones import Phone
from fhir_bridge.mapping.profile import Profile
from fhir_bridge.mapping.recorder import Recorder
from fhir_bridge.mapping.request import task_draft, valid_until
from fhir_bridge.mapping.sentence import article

Json = dict[str, Any]
Told = dict[str, Any]

NPI_SYSTEM = "http://hl7.org/fhir/sid/us-npi"
SNOMED = "http://snomed.info/sct"
V2_0276 = "http://terminology.hl7.org/CodeSystem/v2-0276"

PATIENT: Json = {"actor": {"reference": "Patient/marigold"}, "status": "accepted"}
ADAM: Json = {"actor": {"reference": "Practitioner/adam"}, "status": "accepted"}
CAREFUL: Json = {
    "resourceType": "Practitioner",
    "id": "adam",
    "name": [{"family": "Careful", "given": ["Adam"], "prefix": ["Dr."]}],
}


@pytest.fixture
def told(case_of: Callable[..., Case], us: Profile, now: datetime, marigold: Json) -> Callable[..., Told]:
    """What the request says of some resources: `task` and the data's fields, None where one is left out."""

    def make(
        *resources: Json,
        profile: Profile = us,
        patient: Json = marigold,
        callee: Callee | None = None,
        rescheduling: bool = False,
        recorder: Recorder | None = None,
        **known: Any,
    ) -> Told:
        case = case_of(*resources, patient, **known)
        callee = callee or Callee(Phone("+16465550101", None, 0), None, None, True, None)
        draft = task_draft(case, profile, now, recorder or Recorder(), callee, rescheduling)
        return {"task": draft.task, **draft.task_data.model_dump(mode="json")}

    return make


def appointment(**elements: Any) -> Json:
    """A proposed Appointment of Marigold's."""
    return {
        "resourceType": "Appointment",
        "id": "a1",
        "status": "proposed",
        "participant": [PATIENT],
        **elements,
    }


def order(**elements: Any) -> Json:
    """An active order for Marigold."""
    return {
        "resourceType": "ServiceRequest",
        "id": "o1",
        "status": "active",
        "intent": "order",
        "subject": {"reference": "Patient/marigold"},
        **elements,
    }


def concept(text: str | None = None, *codings: Json) -> Json:
    """A CodeableConcept."""
    return ({"text": text} if text else {}) | ({"coding": list(codings)} if codings else {})


# -- section 7 --


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


# -- section 8 --


def test_requested_periods_go_before_start_and_past_ones_are_dropped(told: Callable[..., Told]) -> None:
    """Windows are joined by semicolons."""
    said = told(
        appointment(
            start="2026-12-24T09:00:00-05:00",
            requestedPeriod=[
                {"start": "2026-11-02", "end": "2026-11-06"},
                {"start": "2026-12-07", "end": "2026-12-11"},
                {"start": "2026-12-14"},
            ],
        )
    )
    assert said["timeframe_availability"] == (
        "Between Mon 7 Dec 2026 and Fri 11 Dec 2026; From Mon 14 Dec 2026"
    )


def test_the_old_slot_of_a_lost_appointment_is_never_offered(told: Callable[..., Told]) -> None:
    """Not by the Appointment, and not by its order, which names the same time."""
    lost = appointment(
        status="cancelled",
        start="2026-12-08T09:00:00-05:00",
        end="2026-12-08T09:30:00-05:00",
        basedOn=[{"reference": "ServiceRequest/o1"}],
    )
    placed = order(occurrencePeriod={"start": "2026-12-08T14:00:00Z"})
    assert told(lost, placed, rescheduling=True)["timeframe_availability"] is None


def test_a_timing_is_told_as_a_week(told: Callable[..., Told]) -> None:
    """Days, hours and bounds."""
    repeat = {
        "boundsPeriod": {"start": "2026-12-07", "end": "2026-12-18"},
        "dayOfWeek": ["mon", "tue", "wed", "thu", "fri"],
        "timeOfDay": ["14:00:00"],
        "duration": 3,
        "durationUnit": "h",
    }
    said = told(order(occurrenceTiming={"repeat": repeat}))
    assert said["timeframe_availability"] == (
        "Weekdays between 2 PM and 5 PM, between Mon 7 Dec 2026 and Fri 18 Dec 2026"
    )


def test_what_cannot_be_read_is_left_out_and_noted(told: Callable[..., Told]) -> None:
    """A bad date never costs the call."""
    recorder = Recorder()
    said = told(appointment(requestedPeriod=[{"start": "next week"}]), recorder=recorder)
    assert said["timeframe_availability"] is None
    assert [(note.code, note.path) for note in recorder.notes] == [
        ("date-unreadable", "requestedPeriod[0].start")
    ]


def test_the_site_may_name_an_extension_for_availability(
    told: Callable[..., Told], profile_of: Callable[..., Profile], marigold: Json
) -> None:
    """Its text is said besides the windows."""
    url = "https://clinic.example/availability"
    profile = profile_of(**{"availability.patient_extensions": f'["{url}"]'})
    patient = marigold | {"extension": [{"url": url, "valueString": "Weekday evenings"}]}
    assert (
        told(appointment(), patient=patient, profile=profile)["timeframe_availability"] == "Weekday evenings"
    )


TIMEZONE = "http://hl7.org/fhir/StructureDefinition/timezone"
TZ_CODE = "http://hl7.org/fhir/StructureDefinition/tz-code"


@pytest.mark.parametrize(
    ("elements", "words"),
    [
        ({"extension": [{"url": TIMEZONE, "valueCode": "Asia/Tokyo"}]}, "Tue 8 Dec 2026, 11:00 PM (JST)"),
        (
            {"_start": {"extension": [{"url": TZ_CODE, "valueCode": "Europe/Paris"}]}},
            "Tue 8 Dec 2026, 3:00 PM (CET)",
        ),
        (
            {"recurrenceTemplate": [{"timezone": {"coding": [{"code": "America/Denver"}]}}]},
            "Tue 8 Dec 2026, 7:00 AM (MST)",
        ),
    ],
)
def test_a_stated_zone_goes_first(told: Callable[..., Told], elements: Json, words: str) -> None:
    """On the resource, on its start, in R5's recurrence."""
    assert told(appointment(start="2026-12-08T14:00:00Z", **elements))["timeframe_availability"] == words


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ({"state": "IL", "country": "US"}, "8:00 AM (CST)"),
        ({"state": "Illinois"}, "8:00 AM (CST)"),
        ({"state": "TX"}, "9:00 AM (EST)"),
        ({"state": "Bavaria", "country": "Germany"}, "3:00 PM (CET)"),
        ({"country": "ES"}, "9:00 AM (EST)"),
    ],
)
def test_the_place_tells_the_zone_where_it_has_one(
    told: Callable[..., Told], address: Json, words: str
) -> None:
    """A state or country in several zones tells nothing."""
    place = {"resourceType": "Location", "id": "l1", "name": "Clinic", "address": address}
    at = {"actor": {"reference": "Location/l1"}, "status": "accepted"}
    said = told(appointment(start="2026-12-08T14:00:00Z", participant=[PATIENT, at]), place)
    assert said["timeframe_availability"] == f"Tue 8 Dec 2026, {words}"


# -- section 9 --


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


# -- section 10 --


def encounter(day: str, **elements: Any) -> Json:
    """A finished visit of Marigold's."""
    return {
        "resourceType": "Encounter",
        "id": f"e-{day}",
        "status": "finished",
        "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB"},
        "subject": {"reference": "Patient/marigold"},
        "period": {"start": day},
        **elements,
    }


def test_visits_are_told_newest_first_and_at_most_five(told: Callable[..., Told]) -> None:
    """Planned ones, later ones and telephone calls are none."""
    days = [f"2026-0{month}-10" for month in range(1, 8)]
    call = concept(None, {"system": SNOMED, "code": "185317003"})
    said = told(
        appointment(),
        *map(encounter, days),
        encounter("2026-12-01"),
        encounter("2026-09-01", status="planned"),
        encounter("2026-09-02", type=[call]),
    )
    assert [visit["date"] for visit in said["previous_visits"]] == sorted(days, reverse=True)[:5]
    assert {visit["purpose"] for visit in said["previous_visits"]} == {"office visit"}
    assert said["patient_status"] == "existing"


def test_a_visit_has_its_purpose_and_outcome(told: Callable[..., Told]) -> None:
    """Reason before type; disposition before diagnosis."""
    said = told(
        appointment(),
        encounter(
            "2026-03-10T01:30:00Z",
            id="e1",
            type=[concept("Check-up")],
            reasonCode=[concept("Chest pain")],
            hospitalization={"dischargeDisposition": concept("Discharged home")},
            diagnosis=[{"condition": {"display": "Angina"}}],
        ),
    )
    assert said["previous_visits"] == [
        {"purpose": "Chest pain", "date": "2026-03-09", "outcome": "Discharged home"}
    ]


def test_refuted_diagnoses_are_no_outcome(told: Callable[..., Told]) -> None:
    """What turned out untrue is not repeated to the patient."""
    condition = {
        "resourceType": "Condition",
        "id": "c1",
        "subject": {"reference": "Patient/marigold"},
        "verificationStatus": {"coding": [{"code": "refuted"}]},
        "code": concept("Cancer"),
    }
    visit = encounter(
        "2026-03-10", diagnosis=[{"condition": {"reference": "Condition/c1", "display": "Cancer"}}]
    )
    assert told(appointment(), visit, condition)["previous_visits"][0]["outcome"] is None


def test_new_needs_evidence(told: Callable[..., Told]) -> None:
    """A check-up proves nothing; a complete history without visits does."""
    checkup = concept(None, {"system": V2_0276, "code": "CHECKUP"})
    assert told(appointment(appointmentType=checkup))["patient_status"] is None
    assert told(appointment(), history_complete=True)["patient_status"] == "new"
    assert told(appointment(serviceType=[concept("Initial Visit")]))["patient_status"] == "new"


# -- section 11 --


def test_who_refers_is_told_without_their_home(told: Callable[..., Told]) -> None:
    """Name with its title, the NPI that passes, the work address and number."""
    bea = {
        "resourceType": "Practitioner",
        "id": "bea",
        "identifier": [{"system": NPI_SYSTEM, "value": "1234567893"}],
        "name": [{"family": "Steady", "given": ["Bea"]}],
        "qualification": [{"code": concept("MD")}],
        "telecom": [
            {"system": "phone", "use": "home", "value": "212-555-0177"},
            {"system": "phone", "use": "work", "value": "212-555-0188"},
        ],
        "address": [
            {"use": use, "line": [line], "city": "Brooklyn", "state": "NY", "postalCode": "11201"}
            for use, line in (("home", "1 Own St"), ("work", "2 Work St"))
        ],
    }
    said = told(
        order(code=concept("Cardiology consultation"), requester={"reference": "Practitioner/bea"}), bea
    )
    assert said["has_referral"] is True
    assert said["referral"] == {
        "name": "Dr. Bea Steady",
        "npi": "1234567893",
        "specialty": None,
        "facility": None,
        "address": {
            "street_name": "2 Work St",
            "city": "Brooklyn",
            "state": "NY",
            "postal_code": "11201",
            "country_code": "US",
        },
        "phone_number": "+12125550188",
    }


def test_a_home_is_never_told_even_where_it_is_all_there_is(told: Callable[..., Told]) -> None:
    """Not as data and not as a sentence."""
    bea = {
        "resourceType": "Practitioner",
        "id": "bea",
        "name": [{"family": "Steady", "given": ["Bea"]}],
        "telecom": [{"system": "phone", "use": "home", "value": "212-555-0177"}],
        "address": [{"use": "home", "line": ["1 Own St"]}, {"line": ["3 Some St"]}],
    }
    said = told(order(requester={"reference": "Practitioner/bea"}), bea)
    assert said["referral"]["address"] is None
    assert said["referral"]["phone_number"] is None
    assert said["additional_context"] is None


def test_the_patient_who_asks_refers_nobody(told: Callable[..., Told]) -> None:
    """And a chain that is known complete without a referral says so."""
    asked = order(code=concept("Physical therapy"), requester={"reference": "Patient/marigold"})
    assert told(asked)["has_referral"] is None
    assert told(asked)["referral"] is None
    assert told(appointment(), chain_complete=True)["has_referral"] is False


# -- section 12 --


def test_what_was_lost_is_told_with_its_reason(told: Callable[..., Told]) -> None:
    """Time, service, practitioner, place and status."""
    place = {"resourceType": "Location", "id": "l1", "name": "Burgers Medical Center"}
    lost = appointment(
        status="cancelled",
        start="2026-11-17T09:00:00-05:00",
        serviceType=[concept("General Discussion")],
        cancelationReason=concept("Clinician is ill"),
        participant=[PATIENT, ADAM, {"actor": {"reference": "Location/l1"}, "status": "accepted"}],
    )
    said = told(lost, CAREFUL, place, rescheduling=True)
    assert said["task"] == "Reschedule an appointment for General Discussion with Dr. Adam Careful"
    assert said["existing_appointment"] == (
        "Tue 17 Nov 2026, 9:00 AM (EST), General Discussion with Dr. Adam Careful at Burgers Medical Center"
        " (cancelled)"
    )
    assert said["reschedule_reason"] == "Clinician is ill"


def test_nothing_is_rescheduled_without_a_loss(told: Callable[..., Told]) -> None:
    """Both fields are null, as in the vendor's example."""
    said = told(appointment(start="2026-12-08T09:00:00-05:00"))
    assert (said["existing_appointment"], said["reschedule_reason"]) == (None, None)


# -- section 13 --


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


# -- the whole --


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


def test_a_call_is_valid_until_its_last_window_ends(
    case_of: Callable[..., Case], us: Profile, now: datetime, marigold: Json
) -> None:
    """Else as long as a trigger may be old."""
    windows = [{"start": "2026-12-07", "end": "2026-12-11"}, {"start": "2026-12-14", "end": "2026-12-18"}]
    case = case_of(appointment(requestedPeriod=windows), marigold)
    assert valid_until(case, us, now) == datetime(2026, 12, 19, 5, tzinfo=UTC)
    case = case_of(appointment(requestedPeriod=[*windows, {"start": "2026-12-21"}]), marigold)
    assert valid_until(case, us, now) == now + timedelta(days=us.triggers.max_age_days)
