"""A reference whose type is misspelt keeps from being called whom it may mean, and calls nobody (mapping,
sections 15 and 16)."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest

from fhir_bridge.case.at_hand import AtHand
from fhir_bridge.case.gather import gather, triggers
from fhir_bridge.case.people import person_records
from fhir_bridge.fhir.documents import read
from fhir_bridge.fhir.references import parse
from fhir_bridge.mapping.decide import decide
from fhir_bridge.mapping.decision import Call, Decision
from fhir_bridge.mapping.profile import Profile
from fhir_bridge.mapping.statements import statements
from fhir_bridge.mapping_run import resolution_rules

Json = dict[str, Any]

SAME = (
    "patient/{}", "PATIENT/{}", "pATIENT/{}", " Patient/{}", "Patient /{}", "Patient/ {}", "Pat ient/{}",
    "\uff30\uff41\uff54\uff49\uff45\uff4e\uff54/{}", "\uff30\uff41\uff54\uff49\uff45\uff4e\uff54\uff0f{}",
    "P\u200batient/{}", "Pátient/{}", "\tPatient/{}\n", "Patient\\{}",
)  # fmt: skip
"""The letters of Patient, in whatever case, script and company."""

SLIPS = ("Pateint/{}", "Patent/{}", "patients/{}", "P\u0430tient/{}", "Pacient/{}", "PATEINT/{}")
"""Like no type of FHIR's as much as Patient."""

UNKNOWN = ("Client/{}", "Pt/{}", "Ptnt/{}", "患者/{}")
"""Like none."""

IN_DOUBT = SLIPS + UNKNOWN


def decided(profile: Profile, now: datetime, *resources: Json) -> dict[str, Decision]:
    """What is decided about each trigger, by its label."""
    found = AtHand(read(json.dumps(resources).encode(), "x.json").resources, resolution_rules(profile))
    return {
        trigger.label: decide(gather(found, trigger, source="default"), profile, now)
        for trigger in triggers(found, found.index.current)
    }


def reason(profile: Profile, now: datetime, *resources: Json) -> str | None:
    """Why the first trigger is not called; None for a call."""
    return getattr(next(iter(decided(profile, now, *resources).values())), "reason", None)


def respelt(value: Any, text: str, spelling: str) -> Any:
    """The value with every reference of that text, `Type/id`, spelt in another way."""
    if isinstance(value, dict):
        return {name: respelt(inner, text, spelling) for name, inner in value.items()}
    if isinstance(value, list):
        return [respelt(each, text, spelling) for each in value]
    return spelling.format(text.partition("/")[2]) if value == text else value


def consent(of: str, **elements: Any) -> Json:
    """A denial of somebody's."""
    told = {"resourceType": "Consent", "id": "c1", "status": "active", "provision": {"type": "deny"}}
    return {**told, "patient": {"reference": of}, **elements}


@pytest.mark.parametrize("spelling", SAME)
def test_the_same_letters_are_the_same_type(spelling: str) -> None:
    """Nothing else can be meant."""
    target = parse(spelling.format("p1"))
    assert target is not None
    assert (target.label, target.doubtful) == ("Patient/p1", False)


@pytest.mark.parametrize("text", ["Patient/p1", "Group/p1", "Appointment/a", "Subscription/s", "p1", "#p1"])
def test_a_type_of_fhirs_is_no_misspelt_one(text: str) -> None:
    """Also one that nobody here reads."""
    target = parse(text)
    assert target is not None
    assert not target.doubtful


@pytest.mark.parametrize("spelling", SAME)
def test_a_patient_in_other_letters_is_called(
    spelling: str, us: Profile, now: datetime, proposed: Json, order: Json, marigold: Json
) -> None:
    """As one in FHIR's."""
    for trigger in (proposed, order):
        assert reason(us, now, respelt(trigger, "Patient/marigold", spelling), marigold) is None


@pytest.mark.parametrize("spelling", IN_DOUBT)
def test_nobody_is_called_whom_a_misspelt_type_names(
    spelling: str, us: Profile, now: datetime, proposed: Json, order: Json, marigold: Json
) -> None:
    """Somebody wanted the call, and a person must say for whom; it is no slot offer."""
    for trigger in (proposed, order):
        spoilt = respelt(trigger, "Patient/marigold", spelling)
        assert reason(us, now, spoilt, marigold) == "patient-unresolved"
        assert reason(us, now, spoilt) == "patient-unresolved"
        (decision,) = decided(us, now, spoilt).values()
        assert decision.subject.patient == "Patient/marigold"


@pytest.mark.parametrize("spelling", [*SAME, *IN_DOUBT])
@pytest.mark.parametrize("is_record_at_hand", [True, False])
def test_a_denial_stops_whom_it_may_mean(
    spelling: str, is_record_at_hand: bool, us: Profile, now: datetime, proposed: Json, marigold: Json
) -> None:
    """In the same message, and for what waits in the ledger."""
    denial = consent(spelling.format("marigold"))
    assert reason(us, now, proposed, marigold, denial) == "consent-denied"
    people = [denial, marigold] if is_record_at_hand else [denial]
    found = AtHand(read(json.dumps(people).encode(), "x.json").resources, resolution_rules(us))
    said = [one for one in statements(person_records(found), us, now) if one.stop]
    assert [("Patient/marigold" in one.names, one.stop) for one in said] == [(True, "consent-denied")]


def test_a_denial_stops_whom_a_bare_id_may_mean(
    us: Profile, now: datetime, proposed: Json, marigold: Json
) -> None:
    """Also where something else has that id, or nothing at hand."""
    other = {"resourceType": "Encounter", "id": "marigold", "status": "finished"}
    assert reason(us, now, proposed, marigold, other, consent("marigold")) == "consent-denied"
    found = AtHand(read(json.dumps([consent("marigold")]).encode(), "x.json").resources)
    (said,) = statements(person_records(found), us, now)
    assert "Patient/marigold" in said.names


@pytest.mark.parametrize("spelling", IN_DOUBT)
def test_a_permission_that_may_be_anothers_permits_nothing(
    spelling: str, profile_of: Any, now: datetime, proposed: Json, marigold: Json
) -> None:
    """Where the site calls only those who consented."""
    opt_in = profile_of(consent="opt-in")
    given = consent("Patient/marigold", provision={"type": "permit"})
    assert reason(opt_in, now, proposed, marigold, given) is None
    spoilt = respelt(given, "Patient/marigold", spelling)
    assert reason(opt_in, now, proposed, marigold, spoilt) == "consent-missing"


def booked(patient: str, order: str) -> Json:
    """A visit that is booked for an order."""
    return {
        "resourceType": "Appointment",
        "id": "b1",
        "status": "booked",
        "start": "2030-01-01T10:00:00Z",
        "basedOn": [{"reference": order}],
        "participant": [{"actor": {"reference": patient}, "status": "accepted"}],
    }


@pytest.mark.parametrize("spelling", [*SAME, *IN_DOUBT, "Room/12", "Practitoner/x"])
def test_a_booked_visit_keeps_its_order_from_being_called_whomever_it_names(
    spelling: str, us: Profile, now: datetime, order: Json, marigold: Json
) -> None:
    """The order that it is based on tells whose it is."""
    visit = booked(spelling.format("marigold"), "ServiceRequest/o1")
    assert reason(us, now, order, marigold, visit) == "already-booked"
    told = decided(us, now, order, marigold, visit)["Appointment/b1"]
    assert "ServiceRequest/o1" in told.subject.members


@pytest.mark.parametrize(
    "spelling",
    ["servicerequest/{}", "ServiceReqest/{}", "Service Request/{}", "SERVICEREQUEST/{}", "Auftrag/{}"],
)
def test_a_booked_visit_keeps_an_order_from_being_called_whose_type_it_misspells(
    spelling: str, us: Profile, now: datetime, order: Json, marigold: Json
) -> None:
    """At hand or, by its members, in the ledger."""
    visit = booked("Patient/marigold", spelling.format("o1"))
    assert reason(us, now, order, marigold, visit) == "already-booked"
    (told,) = decided(us, now, visit, marigold).values()
    assert "ServiceRequest/o1" in told.subject.members


@pytest.mark.parametrize("spelling", [*SAME, *IN_DOUBT])
@pytest.mark.parametrize("type_", ["seealso", "refer"])
def test_a_death_that_a_linked_record_knows_of_stops_whom_the_link_may_mean(
    spelling: str, type_: str, us: Profile, now: datetime, proposed: Json, marigold: Json
) -> None:
    """By either of the two."""
    link = [{"other": {"reference": spelling.format("marigold")}, "type": type_}]
    dead = {"resourceType": "Patient", "id": "m2", "deceasedBoolean": True, "link": link}
    assert reason(us, now, proposed, marigold, dead) == "patient-deceased"


@pytest.mark.parametrize("spelling", IN_DOUBT)
@pytest.mark.parametrize("type_", ["replaced-by", "replaces"])
def test_a_merge_with_a_misspelt_type_is_not_followed(
    spelling: str, type_: str, us: Profile, now: datetime, proposed: Json, marigold: Json
) -> None:
    """Nor is the record called that may have been merged."""
    other = {**marigold, "id": "m2", "telecom": [{"system": "phone", "value": "(646) 555-0199"}]}
    if type_ == "replaced-by":
        link = {"other": {"reference": spelling.format("m2")}, "type": type_}
        people = [{**marigold, "link": [link]}, other]
    else:
        link = {"other": {"reference": spelling.format("marigold")}, "type": type_}
        people = [marigold, {**other, "link": [link]}]
    assert reason(us, now, proposed, *people) == "patient-merged"


@pytest.mark.parametrize("spelling", IN_DOUBT)
def test_nobodys_guardian_is_called_on_the_strength_of_a_misspelt_type(
    spelling: str, us: Profile, now: datetime, proposed: Json, marigold: Json
) -> None:
    """Whose child it is must be certain."""
    child = {**marigold, "birthDate": "2018-01-01", "telecom": []}
    mother = {
        "resourceType": "RelatedPerson",
        "id": "r1",
        "patient": {"reference": "Patient/marigold"},
        "relationship": [{"text": "mother"}],
        "name": [{"family": "Example", "given": ["Rose"]}],
        "telecom": [{"system": "phone", "value": "(646) 555-0199"}],
    }
    assert reason(us, now, proposed, child, mother) is None
    spoilt = respelt(mother, "Patient/marigold", spelling)
    assert reason(us, now, proposed, child, spoilt) == "minor-without-guardian"


@pytest.mark.parametrize("spelling", IN_DOUBT)
@pytest.mark.parametrize("kind", ["Coverage", "Encounter", "Appointment"])
def test_what_may_be_anothers_is_not_said_of_a_patient(
    spelling: str, kind: str, us: Profile, now: datetime, proposed: Json, marigold: Json
) -> None:
    """Neither an insurance nor a visit."""
    whose = {"reference": "Patient/marigold"}
    when = {"start": "2026-11-01T10:00:00-05:00", "end": "2026-11-01T11:00:00-05:00"}
    of_marigold: dict[str, Json] = {
        "Coverage": {"status": "active", "beneficiary": whose, "payor": [{"display": "Acme Health"}],
                     "subscriberId": "12"},
        "Encounter": {"status": "finished", "subject": whose, "period": when},
        "Appointment": {"status": "fulfilled", "participant": [{"actor": whose}], **when},
    }  # fmt: skip
    told = {"resourceType": kind, "id": "x1", **of_marigold[kind]}

    def request(*more: Json) -> Any:
        decision = decided(us, now, proposed, marigold, *more)["Appointment/a1"]
        assert isinstance(decision, Call)
        return decision.task, decision.patient

    assert request(told) != request()
    assert request(respelt(told, "Patient/marigold", spelling)) == request()


def test_somebody_else_in_a_misspelt_type_takes_nothing_from_a_patient_who_is_named(
    us: Profile, now: datetime, proposed: Json, marigold: Json
) -> None:
    """A vendor's own type beside the patient is no reason to call nobody, even where a patient has its id."""
    stranger = {**marigold, "id": "12"}
    for first in ("Room/12", "Practitoner/x"):
        participants = [{"actor": {"reference": first}}, *proposed["participant"]]
        assert reason(us, now, {**proposed, "participant": participants}, marigold, stranger) is None


@pytest.mark.parametrize("spelling", IN_DOUBT)
def test_nobody_is_called_in_the_place_of_the_one_whom_a_misspelt_type_may_single_out(
    spelling: str, us: Profile, now: datetime, proposed: Json, marigold: Json
) -> None:
    """Neither the mother who comes along with the subject, nor the second of two."""
    (mother,) = proposed["participant"]
    child: Json = {"actor": {"reference": spelling.format("child")}}
    people = [marigold, {**marigold, "id": "child"}]
    subject = {**child, "type": [{"coding": [{"code": "SBJ"}]}]}
    for participants in ([subject, mother], [mother, subject]):
        trigger = {**proposed, "participant": participants}
        assert reason(us, now, trigger, *people) == "patient-unresolved"
    if spelling in SLIPS:
        trigger = {**proposed, "participant": [child, mother]}
        assert reason(us, now, trigger, *people) == "patient-unresolved"
    assert reason(us, now, {**proposed, "subject": child["actor"]}, *people) == "patient-unresolved"


def test_a_type_beside_an_identifier_may_be_misspelt_too(
    us: Profile, now: datetime, proposed: Json, marigold: Json
) -> None:
    """It stops, and calls nobody."""
    number = {"system": "urn:mrn", "value": "12"}
    known = {**marigold, "identifier": [number]}
    for type_ in ("Pateint", "Client"):
        named = {"type": type_, "identifier": number}
        assert reason(us, now, proposed, known, consent("", patient=named)) == "consent-denied"
        trigger = {**proposed, "participant": [{"actor": named}]}
        assert reason(us, now, trigger, known) == "patient-unresolved"
