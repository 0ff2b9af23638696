"""An element under a name that is nearly FHIR's is read as what it was meant for: no gate opens for a typing
error."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest

from fhir_bridge.case.at_hand import AtHand
from fhir_bridge.case.gather import gather, triggers
from fhir_bridge.fhir.documents import read
from fhir_bridge.fhir.elements import ELEMENTS
from fhir_bridge.fhir.misspelt import meant
from fhir_bridge.fhir.reading import read as read_one
from fhir_bridge.fhir.resource import Origin
from fhir_bridge.mapping.decide import decide
from fhir_bridge.mapping.profile import Profile
from fhir_bridge.mapping_run import resolution_rules

Json = dict[str, Any]

PATIENT = frozenset({"deceasedBoolean", "deceasedDateTime", "active", "link", "meta", "telecom"})

SPELLINGS = (
    lambda name: f" {name}",
    lambda name: f"{name} ",
    lambda name: f"\t{name}\n",
    lambda name: name.upper(),
    lambda name: name[0].upper() + name[1:],
    lambda name: "".join(f"_{each.lower()}" if each.isupper() else each for each in name) + ".",
    lambda name: "".join(f"-{each.lower()}" if each.isupper() else each for each in name) + "-",
    lambda name: "".join(chr(ord(each) + 0xFEE0) for each in name),  # full width
    lambda name: name[0] + "\u200b" + name[1:],  # a blank that is not seen
    lambda name: name.replace("e", "\u0435").replace("a", "\u0430"),  # Cyrillic, which looks the same
    lambda name: name.replace("a", "\u00e1").replace("i", "\u00ed"),
)
"""Ways to write one name that no reader of JSON takes for it."""


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("name", sorted(PATIENT))
def test_the_same_letters_are_the_same_name(name: str, spelling: Any) -> None:
    """In whatever case, script and company."""
    assert meant(spelling(name), PATIENT) == (None if spelling(name) == name else name)


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("deceasedBolean", "deceasedBoolean"),
        ("decaesedBoolean", "deceasedBoolean"),
        ("deceased\u017foolean", "deceasedBoolean"),
        ("deceasedDatetimes", "deceasedDateTime"),
        ("actve", "active"),
        ("telcom", "telecom"),
        ("deceased", None),
        ("linked", None),
        ("mta", None),
        ("gender", None),
        ("\u72b6\u614b\u72b6\u614b", None),
        ("", None),
        ("_active", None),
    ],
)
def test_one_slip_of_a_long_name_is_forgiven(name: str, known: str | None) -> None:
    """Of a short one it is not, nor two, nor letters that are all of another script."""
    assert meant(name, PATIENT) == known


def test_what_is_another_elements_name_is_no_slip() -> None:
    """Neither its own nor one that is a slip of two."""
    others = frozenset({"reasonCodes"})
    assert meant("reasonCodes", frozenset({"reasonCode"}), others) is None
    assert meant("ReasonCodes", frozenset({"reasonCode"}), others) is None
    assert meant("valued", frozenset({"value", "values"})) is None


@pytest.mark.parametrize("name", sorted(ELEMENTS))
def test_no_element_of_fhir_is_taken_for_another(name: str) -> None:
    """Those of a type that are one slip apart are told apart."""
    for each in ELEMENTS[name]:
        assert meant(each.upper(), ELEMENTS[name]) in (each, None if each.upper() == each else each)


GATES: dict[str, tuple[str, Json]] = {
    "deceasedBoolean": ("patient-deceased", {"deceasedBoolean": True}),
    "deceasedDateTime": ("patient-deceased", {"deceasedDateTime": "2026-01-01"}),
    "active": ("patient-inactive", {"active": False}),
    "meta": ("restricted-record", {"meta": {"security": [{"code": "R"}]}}),
    "link": ("patient-merged", {"link": [{"other": {"reference": "Patient/none"}, "type": "replaced-by"}]}),
    "birthDate": ("minor-without-guardian", {"birthDate": "2018-01-01"}),
}


def reason(profile: Profile, now: datetime, *resources: Json) -> str | None:
    """Why the first trigger of some resources is not called; None for a call."""
    text = json.dumps(resources).encode()
    found = AtHand(read(text, "x.json").resources, resolution_rules(profile))
    trigger, *_ = triggers(found, found.index.current)
    return getattr(decide(gather(found, trigger, source="default"), profile, now), "reason", None)


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("gate", GATES)
def test_a_gate_sees_its_element_however_it_is_spelt(
    gate: str, spelling: Any, us: Profile, now: datetime, proposed: Json, marigold: Json
) -> None:
    """And without it, nothing is made up."""
    expected, elements = GATES[gate]
    record = {name: value for name, value in marigold.items() if name not in elements}
    (value,) = elements.values()
    assert reason(us, now, proposed, record) is None
    assert reason(us, now, proposed, {**record, spelling(gate): value}) == expected


INNER: dict[str, tuple[str, Json]] = {
    "security": ("restricted-record", {"meta": {"security": [{"code": "R"}]}}),
    "tag": ("patient-test", {"meta": {"tag": [{"code": "HTEST"}]}}),
    "code": ("restricted-record", {"meta": {"security": [{"system": "urn:x", "code": "V"}]}}),
    "type": ("patient-merged", {"link": [{"other": {"reference": "Patient/none"}, "type": "replaced-by"}]}),
    "use": ("phone-missing", {"telecom": [{"system": "phone", "value": "617-555-0100", "use": "old"}]}),
    "period": (
        "phone-missing",
        {"telecom": [{"system": "phone", "value": "617-555-0100", "period": {"end": "2020"}}]},
    ),
    "end": (
        "phone-missing",
        {"telecom": [{"system": "phone", "value": "617-555-0100", "period": {"end": "2020"}}]},
    ),
}


def respelt(value: Any, name: str, spelling: Any) -> Any:
    """The value with a name in it spelt in another way, wherever it stands."""
    if isinstance(value, dict):
        return {spelling(k) if k == name else k: respelt(v, name, spelling) for k, v in value.items()}
    return [respelt(each, name, spelling) for each in value] if isinstance(value, list) else value


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("name", INNER)
def test_a_gate_sees_what_it_reads_within_an_element(
    name: str, spelling: Any, us: Profile, now: datetime, proposed: Json, marigold: Json
) -> None:
    """Labels, links and numbers have names of their own."""
    expected, elements = INNER[name]
    assert reason(us, now, proposed, {**marigold, **respelt(elements, name, spelling)}) == expected


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_two_statuses_that_differ_are_none(
    spelling: Any, us: Profile, now: datetime, proposed: Json, marigold: Json
) -> None:
    """Which of them holds nobody knows: a person looks."""
    assert reason(us, now, {**proposed, spelling("status"): "booked"}, marigold) == "status-missing"
    assert reason(us, now, {**proposed, spelling("status"): "proposed"}, marigold) is None


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("name", ["basedOn", "participant", "actor", "reference"])
def test_a_booked_appointment_keeps_its_order_from_being_called_however_it_says_so(
    name: str, spelling: Any, us: Profile, now: datetime, marigold: Json
) -> None:
    """What is settled calls nobody, but what ties it to others is looked at all the same."""
    referral = {
        "resourceType": "ServiceRequest",
        "id": "r1",
        "status": "active",
        "intent": "order",
        "category": [{"text": "Referral"}],
        "authoredOn": "2026-11-20",
        "subject": {"reference": "Patient/marigold"},
    }
    booked = {
        "resourceType": "Appointment",
        "id": "b1",
        "status": "booked",
        "start": "2030-01-01T10:00:00Z",
        "basedOn": [{"reference": "ServiceRequest/r1"}],
        "participant": [{"actor": {"reference": "Patient/marigold"}, "status": "accepted"}],
    }
    assert reason(us, now, referral, marigold) is None
    assert reason(us, now, referral, marigold, booked) == "already-booked"
    assert reason(us, now, referral, marigold, respelt(booked, name, spelling)) == "already-booked"


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("name", ["status", "provision", "type", "patient"])
def test_a_denial_is_seen_however_it_is_spelt(
    name: str, spelling: Any, us: Profile, now: datetime, proposed: Json, marigold: Json
) -> None:
    """A Consent that denies is few words."""
    consent = {
        "resourceType": "Consent",
        "id": "c1",
        "status": "active",
        "patient": {"reference": "Patient/marigold"},
        "provision": {"type": "deny"},
    }
    assert reason(us, now, proposed, marigold, respelt(consent, name, spelling)) == "consent-denied"


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_of_two_statuses_of_a_consent_the_one_in_force_counts(
    spelling: Any, us: Profile, now: datetime, proposed: Json, marigold: Json
) -> None:
    """Under whatever name it stands beside the other."""
    consent = {
        "resourceType": "Consent",
        "id": "c1",
        "status": "inactive",
        spelling("status"): "active",
        "patient": {"reference": "Patient/marigold"},
        "provision": {"type": "deny"},
    }
    assert reason(us, now, proposed, marigold, consent) == "consent-denied"


def test_what_cannot_stand_beside_an_element_is_the_element() -> None:
    """With an underscore in front FHIR has objects; a plain value there is a misspelt name."""
    assert of_patient(_deceasedBoolean=True).view.deceased_boolean is True
    assert of_patient(_deceasedBoolean={"extension": []}).view.deceased_boolean is None
    assert of_patient(_active=False).view.active is False


@pytest.mark.parametrize(
    "name", ["deceasedString", "DeceasedDate", "deceased_at", "deceasedInstant", "deceasedAge"]
)
def test_whatever_is_said_of_a_death_is_one(name: str) -> None:
    """Of a type that the element does not have."""
    assert of_patient(**{name: "in spring"}).view.deceased_boolean is True
    assert not of_patient(**{name: False}).view.deceased_boolean


def of_patient(**elements: Any) -> Any:
    """A Patient of these elements, as it is read."""
    return read_one(json.dumps({"resourceType": "Patient", "id": "p"} | elements).encode(), Origin("x"))


def test_a_misspelt_name_is_noted() -> None:
    """In another case as such, for it is common; and what no one can have meant is not."""
    assert of_patient(deceased_boolean=True).notes == ("name-misspelt",)
    assert of_patient(DeceasedBoolean=True).notes == ("code-case",)
    assert of_patient(zzUnknown=True, favouriteColour="blue").notes == ()


def test_an_escaped_name_hides_no_second_element() -> None:
    """JSON may write any letter by its number."""
    told = b'{"resourceType":"Patient","id":"p","active":false,"\\u0061ctive":true}'
    assert read_one(told, Origin("x")).view.active is False


def test_two_readings_that_differ_in_nothing_that_is_read_are_one(
    us: Profile, now: datetime, proposed: Json, marigold: Json
) -> None:
    """Neither a narrative, nor a profile, nor how a name is spelt makes two records of one."""
    told = {**marigold, "text": {"status": "empty"}, "meta": {"profile": ["urn:x"]}}
    spelt = {("BirthDate" if name == "birthDate" else name): value for name, value in marigold.items()}
    assert reason(us, now, proposed, {**marigold, "meta": {}}, told) is None
    assert reason(us, now, proposed, marigold, spelt) is None
    assert (
        reason(us, now, proposed, marigold, {**marigold, "gender": "other", "active": False})
        == "duplicate-id"
    )
