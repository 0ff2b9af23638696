import copy
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

import orjson
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fhir_bridge.case.at_hand import AtHand
from fhir_bridge.case.gather import gather, triggers
from fhir_bridge.errors import InputError
from fhir_bridge.fhir.documents import read
from fhir_bridge.mapping.decide import decide
from fhir_bridge.mapping.decision import Call, Decision, Reject, Skip
from fhir_bridge.mapping.printed import decision_data
from fhir_bridge.mapping.profile import Profile, SourceFacts
from fhir_bridge.mapping.reasons import REASONS
from fhir_bridge.profiles.load import load_profile

Json = dict[str, Any]
NOW = datetime(2026, 11, 23, 15, 0, tzinfo=UTC)
SNOMED = "http://snomed.info/sct"

STORY: list[Json] = [
    {
        "resourceType": "Appointment",
        "id": "a1",
        "status": "proposed",
        "created": "2026-11-20T09:00:00-05:00",
        "appointmentType": {
            "coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0276", "code": "FOLLOWUP"}]
        },
        "serviceType": [{"coding": [{"system": "urn:x", "code": "zz52", "display": "General Discussion"}]}],
        "specialty": [{"coding": [{"system": SNOMED, "code": "394579002"}]}],
        "reasonCode": [{"text": "Chest pain on the stairs"}],
        "priority": 1,
        "minutesDuration": 30,
        "description": "Talk it over",
        "comment": "<b>Bring</b> the letter, see http://a.example/x",
        "cancelationReason": {"coding": [{"code": "qq77"}]},
        "start": "2026-12-03T09:00:00-05:00",
        "end": "2026-12-03T09:30:00-05:00",
        "requestedPeriod": [{"start": "2026-12-01", "end": "2026-12-11"}, {"start": "2026-12-20"}],
        "basedOn": [{"reference": "ServiceRequest/o1"}],
        "participant": [
            {"actor": {"reference": "Patient/p1"}, "status": "accepted"},
            {"actor": {"reference": "PractitionerRole/r1", "display": "Careful, Adam"}, "status": "accepted"},
            {"actor": {"reference": "Location/l1"}, "status": "accepted"},
        ],
    },
    {
        "resourceType": "ServiceRequest",
        "id": "o1",
        "status": "active",
        "intent": "order",
        "priority": "urgent",
        "category": [{"coding": [{"system": SNOMED, "code": "3457005"}]}],
        "code": {"coding": [{"system": SNOMED, "code": "zz11429006"}]},
        "subject": {"reference": "Patient/p1"},
        "authoredOn": "2026-11-19",
        "requester": {"reference": "PractitionerRole/r1"},
        "occurrenceTiming": {"repeat": {"dayOfWeek": ["mon"], "timeOfDay": ["09:00:00"]}},
        "note": [{"text": "Prefers mornings."}],
    },
    {
        "resourceType": "Patient",
        "id": "p1",
        "active": True,
        "birthDate": "1985-04-12",
        "name": [
            {"use": "official", "family": "Example", "given": ["Marigold", "Ann"], "text": "M. Example"}
        ],
        "telecom": [
            {"system": "phone", "use": "mobile", "rank": 1, "value": "(646) 555-0101"},
            {"system": "email", "value": "marigold@example.org"},
        ],
        "address": [
            {
                "use": "home",
                "line": ["12 Sample St"],
                "city": "Springfield",
                "state": "NY",
                "postalCode": "12345",
                "country": "USA",
            }
        ],
        "contact": [
            {
                "relationship": [{"text": "Mother"}],
                "name": {"text": "Petunia Example"},
                "telecom": [{"system": "phone", "value": "646-555-0102"}],
            }
        ],
        "communication": [{"language": {"coding": [{"code": "es"}]}, "preferred": True}],
    },
    {
        "resourceType": "PractitionerRole",
        "id": "r1",
        "practitioner": {"reference": "Practitioner/d1"},
        "organization": {"reference": "Organization/g1"},
        "specialty": [{"coding": [{"system": SNOMED, "code": "zz394"}]}],
        "telecom": [{"system": "phone", "value": "212-736-5000"}],
    },
    {
        "resourceType": "Practitioner",
        "id": "d1",
        "name": [{"family": "Careful", "given": ["Adam"], "prefix": ["Dr."]}],
        "identifier": [{"system": "http://hl7.org/fhir/sid/us-npi", "value": "1234567893"}],
    },
    {"resourceType": "Organization", "id": "g1", "name": "Sample Heart Group"},
    {"resourceType": "Location", "id": "l1", "name": "Room 12", "address": {"state": "NY", "country": "US"}},
    {
        "resourceType": "Encounter",
        "id": "e1",
        "status": "finished",
        "class": {"code": "AMB"},
        "subject": {"reference": "Patient/p1"},
        "period": {"start": "2026-05-01T10:00:00Z"},
        "type": [{"coding": [{"system": "urn:t", "code": "zz99"}]}],
        "reasonCode": [{"text": "Check"}],
    },
    {
        "resourceType": "Coverage",
        "id": "c1",
        "status": "active",
        "beneficiary": {"reference": "Patient/p1"},
        "type": {"coding": [{"code": "zz88"}]},
        "payor": [{"display": "Example Health"}],
        "subscriberId": "M-1",
    },
]
"""One made-up case that fills every part of a request; a code no map knows begins with two letters."""

NONSENSE: list[object] = [
    None, "", " ", "XXXX", "${token}", "{{x}}", "<x>", "TBC", "null", "None", "unknown", 0, -1, 10**30, 1.5,
    True, [], {}, [[]], [None], "9999-12-31", "0001-01-01", "2026-02-30", "2026-12-01T25:00:00Z",
    "2026-11-01T01:30:00", "\x00\x07", "\ud83d\ude00", "a  b\n\tc", "Ü" * 2000, "http://a.example",
    "Patient/p1", "#x", "..", "Not, a, Name", {"reference": "Patient/p1"}, {"text": "words"},
    {"coding": [{"code": "zz1"}]}, ["words"], "booked", "cancelled", "noshow", "BOOKED", "waitlist",
    "2014-01-01", {"start": "2026-01-01", "end": "2025-01-01"}, "+49123456789012345", "+1 900 555 0101", ",",
    "USA", "Dr. , MD", "Narnia", {"value": "0123456789012345", "system": "phone"}, "2008", "2015-01-01",
]  # fmt: skip

CODES = re.compile(r"\bzz\d+\b|\bqq77\b|FOLLOWUP|\bAMB\b")
WORDS_FOR_NOTHING = {"none", "null", "unknown", "undefined", ""}


def paths(value: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Every place in a JSON value, but ids and types."""
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        if key not in ("id", "resourceType"):
            yield from paths(inner, (*path, key))


PLACES = list(paths(STORY))


def put(story: Any, path: tuple[str | int, ...], value: object) -> None:
    """Set one place, where it still is."""
    for key in path[:-1]:
        try:
            story = story[key]
        except (KeyError, IndexError, TypeError):
            return
    if isinstance(story, dict) or (
        isinstance(story, list) and isinstance(path[-1], int) and path[-1] < len(story)
    ):
        story[path[-1]] = value


def bundle(resources: list[Json]) -> bytes:
    """The resources in one Bundle; the standard json writes numbers of any size."""
    entries = [{"resource": resource} for resource in resources]
    return json.dumps({"resourceType": "Bundle", "type": "collection", "entry": entries}).encode()


CHANGES = st.lists(st.tuples(st.sampled_from(PLACES), st.sampled_from(NONSENSE)), min_size=1, max_size=5)
"""Which elements of the story become which nonsense."""


def changed(changes: list[tuple[tuple[str | int, ...], object]]) -> bytes:
    """The story with a few of its elements made nonsense."""
    story = copy.deepcopy(STORY)
    for path, value in changes:
        put(story, path, copy.deepcopy(value))
    return bundle(story)


def decisions(data: bytes, profile: Profile, now: datetime = NOW) -> list[Decision]:
    """What is decided about every trigger of a Bundle."""
    try:
        document = read(data, "story.json")
    except InputError:
        return []
    at_hand = AtHand(document.resources)
    found = triggers(at_hand, document.resources)
    before = [(id(resource.view), resource.raw) for resource in document.resources]
    answers = [decide(gather(at_hand, trigger, source="default"), profile, now) for trigger in found]
    assert before == [(id(resource.view), resource.raw) for resource in document.resources], (
        "input was mutated"
    )
    return answers


def texts(value: object) -> Iterator[str]:
    """Every text in a JSON value."""
    if isinstance(value, str):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from texts(inner)


def check(decision: Decision) -> None:
    """What holds of every decision, whatever came in."""
    assert isinstance(decision, Call | Skip | Reject)
    if not isinstance(decision, Call):
        assert REASONS[decision.reason].kind == ("skip" if isinstance(decision, Skip) else "reject")
        return
    assert decision.valid_until > NOW - timedelta(days=1)
    for text in texts([decision.task.to_wire(), decision.patient.to_wire()]):
        assert text.strip().lower() not in WORDS_FOR_NOTHING
        assert text == text.strip()
        assert "  " not in text
        assert not re.search(r"\bNone\b|\bnull\b|\$\{|\{\{", text)
        assert not CODES.search(text), "a bare code"
    orjson.dumps(decision_data(decision))


@cache
def profiles() -> tuple[Profile, Profile]:
    """Two sources that see the same data otherwise. No fixture, for hypothesis would print them whole."""
    american = SourceFacts(jurisdiction="US", zone=ZoneInfo("America/New_York"))
    british = SourceFacts(jurisdiction="GB", zone=ZoneInfo("Europe/London"))
    return (
        load_profile(american, None, {"incomplete_address": "omit", "max_age": "36500d"}),
        load_profile(british, None, {"phone_check": "valid"}),
    )


SETTINGS = settings(
    max_examples=250,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=True,
)


def test_the_story_by_itself_calls() -> None:
    """So that the mutations below start from a case that fills every part."""
    by_appointment, by_order = decisions(bundle(STORY), profiles()[0])
    for found in (by_appointment, by_order):
        assert isinstance(found, Call)
        check(found)
        assert found.subject.intent == by_order.subject.intent
        assert found.task.task_data.referral is not None
        assert found.task.task_data.previous_visits
        assert found.patient.insurance is not None


@SETTINGS
@given(changes=CHANGES)
def test_whatever_comes_in_is_decided_without_raising(changes: Any) -> None:
    """Never an exception for bad data (section 1); never a code, a blank, a word for nothing (section 14)."""
    for profile in profiles():
        for decision in decisions(changed(changes), profile):
            check(decision)


@settings(SETTINGS, max_examples=60)
@given(changes=CHANGES)
def test_same_input_same_answer(changes: Any) -> None:
    """mapping, section 14: same input, settings and clock → same bytes."""
    first, second = (decisions(changed(changes), profiles()[0]) for _ in range(2))
    assert first == second
    assert [orjson.dumps(decision_data(one)) for one in first] == [
        orjson.dumps(decision_data(one)) for one in second
    ]
