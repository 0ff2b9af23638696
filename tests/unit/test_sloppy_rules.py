"""Each rule of mapping, sections 15 and 16, by its own small example: a test for each sentence there."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from fhir_bridge.case.at_hand import AtHand
from fhir_bridge.case.gather import gather, triggers
from fhir_bridge.case.index import ResolutionRules
from fhir_bridge.case.links import Link
from fhir_bridge.errors import InputError
from fhir_bridge.fhir.datatypes import Identifier, Reference
from fhir_bridge.fhir.documents import read
from fhir_bridge.fhir.views import View
from fhir_bridge.mapping.decide import decide
from fhir_bridge.mapping.decision import Decision
from fhir_bridge.mapping.profile import Profile
from fhir_bridge.mapping_run import resolution_rules

Json = dict[str, Any]
MRN = "https://example.org/mrn"
OWN = "https://fhir.example.org/r4"


def bundle(*entries: Json) -> Json:
    """Resources, or entries that already are ones, in a Bundle."""
    wrapped = [each if "resource" in each else {"resource": each} for each in entries]
    return {"resourceType": "Bundle", "type": "collection", "entry": wrapped}


def at_hand(*entries: Json, **rules: Any) -> AtHand:
    """What is at hand after reading a Bundle."""
    return AtHand(read(json.dumps(bundle(*entries)).encode(), "x.json").resources, ResolutionRules(**rules))


def follow(known: AtHand, reference: str | Reference) -> Link[View]:
    """Where a reference of the first resource leads."""
    target = Reference(reference) if isinstance(reference, str) else reference
    return known.follow(known.index.current[0], "x", target, View)


def patient(id_: str = "p1", **more: Any) -> Json:
    """A Patient with an id and a record number."""
    return {"resourceType": "Patient", "id": id_, "identifier": [{"system": MRN, "value": "7"}], **more}


HOLDER = {"resourceType": "Appointment", "id": "a1", "status": "proposed"}


# -- section 15 --


def test_contained() -> None:
    """`#id`, and `#` alone for the container."""
    known = at_hand({**HOLDER, "contained": [patient("inner")]})
    found = follow(known, "#inner").resource
    assert found is not None
    assert found.label == "Appointment/a1#inner"
    assert follow(known, "#").resource is known.index.current[0]


def test_full_url_and_urn() -> None:
    """A Bundle's fullUrl, `urn:uuid` in any case."""
    uuid = "urn:uuid:3F2504E0-4F89-11D3-9A0C-0305E82C3301"
    known = at_hand(HOLDER, {"fullUrl": uuid.lower(), "resource": patient()})
    assert follow(known, uuid).resource is not None


def test_relative_by_type_and_id_whatever_base_it_has() -> None:
    """The one resource at hand of that name is meant."""
    known = at_hand(HOLDER, {"fullUrl": "https://elsewhere.example/Patient/p1", "resource": patient()})
    assert follow(known, "Patient/p1").resource is not None


def test_absolute_only_on_the_sources_own_base() -> None:
    """Somebody else's Patient/p1 is somebody else."""
    known = at_hand(HOLDER, patient(), base_urls=frozenset({OWN}))
    assert follow(known, f"{OWN}/Patient/p1").resource is not None
    assert follow(known, "https://elsewhere.example/Patient/p1").notes == ("reference-unresolved",)


def test_untyped_id_only_if_exactly_one_resource_has_it() -> None:
    """And it is noted."""
    assert follow(at_hand(HOLDER, patient("x7")), "x7").notes == ("reference-untyped",)
    two = at_hand(HOLDER, patient("x7"), {"resourceType": "Practitioner", "id": "x7"})
    assert follow(two, "x7").notes == ("reference-ambiguous",)


def test_logical_identifier_with_exactly_one_match() -> None:
    """By system, under any of its names, and value."""
    rules = {"system_aliases": {"urn:oid:1.2.3": MRN}}
    by_alias = Reference(identifier=Identifier(system="urn:oid:1.2.3", value="7"))
    assert follow(at_hand(HOLDER, patient(), **rules), by_alias).resource is not None
    assert follow(at_hand(HOLDER, patient("p1"), patient("p2"), **rules), by_alias).resource is None


def test_an_id_is_never_matched_against_an_identifier_value() -> None:
    """Patient/7 is not the patient with the record number 7."""
    assert follow(at_hand(HOLDER, patient()), "Patient/7").resource is None


def test_a_conditional_reference_is_an_identifier() -> None:
    """`Patient?identifier=system|value`, as transactions have it."""
    assert follow(at_hand(HOLDER, patient()), f"Patient?identifier={MRN}|7").resource is not None


def test_at_hand_any_version_counts_for_what_it_is() -> None:
    """A version that is not there leads to the current one, noted."""
    known = at_hand(HOLDER, patient(meta={"versionId": "3"}))
    link = follow(known, "Patient/p1/_history/2")
    assert link.resource is not None
    assert link.notes == ("reference-other-version",)


def test_unresolved_is_noted_and_its_display_used(told: Callable[..., Json]) -> None:
    """A practitioner who is not at hand is still called by name."""
    participants = [
        {"actor": {"reference": "Patient/marigold"}, "status": "accepted"},
        {"actor": {"reference": "Practitioner/gone", "display": "Dr. Adam Careful"}, "status": "accepted"},
    ]
    data = told({"resourceType": "Appointment", "id": "a1", "participant": participants})
    assert data["task"] == "Schedule an appointment with Dr. Adam Careful"


# -- section 16 --


def only(content: Json | list[Any]) -> Any:
    """The one resource in some JSON."""
    (resource,) = read(json.dumps(content).encode(), "x.json").resources
    return resource


def reason(profile: Profile, now: datetime, *resources: Json) -> str | None:
    """Why the first trigger of some resources is not called; None for a call."""
    found = AtHand(
        read(json.dumps(bundle(*resources)).encode(), "x.json").resources, resolution_rules(profile)
    )
    (trigger, *_) = triggers(found, found.index.current)
    decision: Decision = decide(gather(found, trigger, source="default"), profile, now)
    return getattr(decision, "reason", None)


@pytest.mark.parametrize("status", ["Booked", "BOOKED", " booked "])
def test_status_in_another_case(
    status: str, us: Profile, now: datetime, proposed: Json, marigold: Json
) -> None:
    """Booked is booked: nobody is phoned about it."""
    assert reason(us, now, {**proposed, "status": status}, marigold) == "already-booked"


GATES: dict[str, tuple[str, Json]] = {
    "DeceasedBoolean": ("patient-deceased", {"DeceasedBoolean": True}),
    "deceasedboolean": ("patient-deceased", {"deceasedboolean": "true"}),
    "DeceasedDateTime": ("patient-deceased", {"DeceasedDateTime": "2026-01-01"}),
    "Active": ("patient-inactive", {"Active": False}),
    "active as a text": ("patient-inactive", {"active": "False"}),
    "active as a number": ("patient-inactive", {"active": 0}),
    "active as a word": ("patient-inactive", {"active": "N"}),
    "Meta": ("restricted-record", {"Meta": {"security": [{"code": "R"}]}}),
    "meta.Security": ("restricted-record", {"meta": {"Security": [{"code": "R"}]}}),
    "a label in small letters": ("restricted-record", {"meta": {"security": [{"code": "r"}]}}),
    "a label that is no list": ("restricted-record", {"meta": {"security": {"code": "V"}}}),
    "a label that is a text": ("restricted-record", {"meta": {"security": ["R"]}}),
    "a tag in small letters": ("patient-test", {"meta": {"tag": [{"code": "htest"}]}}),
}


@pytest.mark.parametrize("spelling", GATES)
def test_what_keeps_people_out_in_any_spelling(
    spelling: str, us: Profile, now: datetime, proposed: Json, marigold: Json
) -> None:
    """A view drops what it does not know: these must not read as if nothing were there."""
    expected, elements = GATES[spelling]
    record = {name: value for name, value in marigold.items() if name not in ("active", "meta")}
    assert reason(us, now, proposed, {**record, **elements}) == expected


@pytest.mark.parametrize("name", ["BirthDate", "birthdate"])
def test_a_birth_date_in_another_case(
    name: str, us: Profile, now: datetime, proposed: Json, marigold: Json
) -> None:
    """A child must not be phoned as an adult without a birth date."""
    record = {each: value for each, value in marigold.items() if each != "birthDate"}
    assert reason(us, now, proposed, {**record, name: "2018-01-01"}) == "minor-without-guardian"


def test_unknown_elements_are_ignored(us: Profile, now: datetime, proposed: Json, marigold: Json) -> None:
    """Without a note."""
    assert only({**marigold, "zzUnknown": {"x": [1]}}).notes == ()
    assert reason(us, now, {**proposed, "zzUnknown": 1}, marigold) is None


@pytest.mark.parametrize("token", ["XXXX", "${phone}", "{{phone}}", "<phone>", "TBC", "***"])
def test_masks_and_template_tokens_are_absent(
    token: str, us: Profile, now: datetime, proposed: Json, marigold: Json
) -> None:
    """Here as everywhere (section 5): no number is none, and no wrong one."""
    unfilled = {**marigold, "telecom": [{"system": "phone", "value": token}]}
    assert reason(us, now, proposed, unfilled) == "phone-missing"


def test_a_reference_whose_id_is_a_token_still_names_a_patient(
    us: Profile, now: datetime, proposed: Json
) -> None:
    """Somebody wanted this call: a person looks who it is."""
    unfilled = {**proposed, "participant": [{"actor": {"reference": "Patient/{{patientId}}"}}]}
    assert reason(us, now, unfilled) == "patient-unresolved"


NOTED: dict[str, tuple[Json, str]] = {
    "codes in wrong case": ({"name": [{"use": "Official"}], "telecom": {}}, "code-case"),
    "one object for a list": ({"name": {"family": "Example"}}, "object-for-list"),
    "a list for one object": ({"birthDate": ["1980-01-01"]}, "list-for-object"),
    "numbers as strings": ({"telecom": [{"rank": "1"}]}, "string-for-number"),
    "strings as numbers": ({"id": 7}, "number-for-string"),
    "blanks": ({"id": "p1", "telecom": {"value": " "}}, "blank-dropped"),
    "nulls": ({"name": [None]}, "null-dropped"),
}


@pytest.mark.parametrize("what", NOTED)
def test_noted(what: str) -> None:
    """So that an operator learns what the source gets wrong."""
    elements, note = NOTED[what]
    assert note in only({"resourceType": "Patient", **elements}).notes


WRAPPED: dict[str, Callable[[Json], Any]] = {
    "resource": lambda one: {"resource": one},
    "array": lambda one: [one],
    "Parameters": lambda one: {"resourceType": "Parameters", "parameter": [{"name": "x", "resource": one}]},
    "context": lambda one: {"hook": "order-sign", "context": {"draftOrders": bundle(one)}},
    "Bundle in a Bundle": lambda one: bundle(bundle(one)),
    "an entry that is the resource": lambda one: {"resourceType": "Bundle", "entry": [one]},
}


@pytest.mark.parametrize("wrapping", WRAPPED)
def test_read_in(wrapping: str) -> None:
    """Whatever envelope it comes in."""
    assert only(WRAPPED[wrapping](patient())).label == "Patient/p1"


@pytest.mark.parametrize("content", [{}, {"id": "p1"}, {"resourceType": 7}, {"resourceType": ""}, [], 7])
def test_given_up_only_when_no_object_with_a_resource_type(content: Any) -> None:
    """And then with an error, never in silence."""
    with pytest.raises(InputError, match=r"x\.json"):
        read(json.dumps(content).encode(), "x.json")


DATES = {
    "a blank for the T": "2026-12-01 09:00:00-05:00",
    "a two-digit offset": "2026-12-01T09:00:00-05",
    "an odd fraction": "2026-12-01T09:00:00:00-05:00",
    "no seconds": "2026-12-01T09:00-05:00",
}


@pytest.mark.parametrize("form", DATES)
def test_dates(form: str, told: Callable[..., Json]) -> None:
    """Read as what they mean (section 8)."""
    data = told({"resourceType": "Appointment", "id": "a1", "start": DATES[form]})
    assert data["timeframe_availability"] == "Tue 1 Dec 2026, 9:00 AM (EST)"


def test_a_date_that_cannot_be_read_is_left_out(told: Callable[..., Json]) -> None:
    """Never a reject."""
    assert told({"resourceType": "Appointment", "start": "next week"})["timeframe_availability"] is None
