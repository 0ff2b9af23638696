"""What unit tests of the mapping share: a made-up person, and cases read from JSON by the real reader."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import orjson
import pytest

from fhir_bridge.case.at_hand import AtHand
from fhir_bridge.case.case import Case
from fhir_bridge.case.gather import gather, triggers
from fhir_bridge.fhir.documents import read
from fhir_bridge.mapping.people import Callee
from fhir_bridge.mapping.phones import Phone
from fhir_bridge.mapping.profile import Profile, SourceFacts
from fhir_bridge.mapping.recorder import Recorder
from fhir_bridge.mapping.request import task_draft
from fhir_bridge.profiles.load import load_profile

Json = dict[str, Any]


@pytest.fixture(scope="session")
def now() -> datetime:
    """A Monday morning on the clinic's clock, aware UTC."""
    return datetime(2026, 11, 23, 15, 0, tzinfo=UTC)


@pytest.fixture(scope="session")
def profile_of() -> Callable[..., Profile]:
    """A profile by jurisdiction, zone and settings: `profile_of("GB", "Europe/London", consent="opt-in")`."""

    def make(jurisdiction: str = "US", zone: str = "America/New_York", **settings: str) -> Profile:
        return load_profile(SourceFacts(jurisdiction=jurisdiction, zone=ZoneInfo(zone)), None, settings)

    return make


@pytest.fixture(scope="session")
def us(profile_of: Callable[..., Profile]) -> Profile:
    """The profile of an American source in New York."""
    return profile_of()


@pytest.fixture
def case_of() -> Callable[..., Case]:
    """The case of the first of some resources, with the others at hand, all read from JSON."""

    def make(*resources: Json, **known: Any) -> Case:
        bundle = {"resourceType": "Bundle", "type": "collection"}
        entries = [{"resource": resource} for resource in resources]
        document = read(orjson.dumps(bundle | {"entry": entries}), "test.json")
        at_hand = AtHand(document.resources)
        return gather(at_hand, triggers(at_hand, document.resources)[0], source="default", **known)

    return make


@pytest.fixture
def marigold() -> Json:
    """An adult with everything the endpoint wants."""
    return {
        "resourceType": "Patient",
        "id": "marigold",
        "active": True,
        "name": [{"use": "official", "family": "Example", "given": ["Marigold", "Ann"]}],
        "telecom": [{"system": "phone", "use": "mobile", "value": "(646) 555-0101"}],
        "birthDate": "1985-04-12",
        "address": [
            {
                "use": "home",
                "line": ["12 Sample St", "Apt 4"],
                "city": "Springfield",
                "state": "NY",
                "postalCode": "12345",
            }
        ],
    }


@pytest.fixture
def proposed() -> Json:
    """An Appointment that wants a time in December."""
    return {
        "resourceType": "Appointment",
        "id": "a1",
        "status": "proposed",
        "created": "2026-11-20",
        "requestedPeriod": [{"start": "2026-12-01", "end": "2026-12-11"}],
        "participant": [{"actor": {"reference": "Patient/marigold"}, "status": "accepted"}],
    }


@pytest.fixture
def order() -> Json:
    """An active order for a consultation."""
    return {
        "resourceType": "ServiceRequest",
        "id": "o1",
        "status": "active",
        "intent": "order",
        "category": [{"coding": [{"system": "http://snomed.info/sct", "code": "11429006"}]}],
        "code": {"text": "Cardiology consultation"},
        "subject": {"reference": "Patient/marigold"},
        "authoredOn": "2026-11-20T10:00:00-05:00",
    }


OF_MARIGOLD: dict[str, Json] = {
    "Appointment": {
        "id": "a1",
        "status": "proposed",
        "participant": [{"actor": {"reference": "Patient/marigold"}, "status": "accepted"}],
    },
    "ServiceRequest": {
        "id": "o1",
        "status": "active",
        "intent": "order",
        "subject": {"reference": "Patient/marigold"},
    },
    "Encounter": {
        "status": "finished",
        "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB"},
        "subject": {"reference": "Patient/marigold"},
    },
}
"""What a resource of Marigold's has where a test does not say otherwise."""


@pytest.fixture
def told(case_of: Callable[..., Case], us: Profile, now: datetime, marigold: Json) -> Callable[..., Json]:
    """What the request says of the first of some resources, with the others at hand: `task`, and the data's
    fields, None where one is left out. An Appointment, order or Encounter is Marigold's."""

    def make(
        *resources: Json,
        profile: Profile = us,
        patient: Json = marigold,
        callee: Callee | None = None,
        rescheduling: bool = False,
        recorder: Recorder | None = None,
        **known: Any,
    ) -> Json:
        hers = [OF_MARIGOLD.get(resource["resourceType"], {}) | resource for resource in resources]
        case = case_of(*hers, patient, **known)
        callee = callee or Callee(Phone("+16465550101", None, 0), None, None, True, None)
        draft = task_draft(case, profile, now, recorder or Recorder(), callee, rescheduling)
        nothing = dict.fromkeys(type(draft.task_data).model_fields)
        return {"task": draft.task, **nothing, **draft.task_data.model_dump(mode="json")}

    return make
