from __future__ import annotations

from typing import Any

import orjson

from fhir_bridge.case.at_hand import AtHand
from fhir_bridge.case.case import Case
from fhir_bridge.case.gather import gather, triggers
from fhir_bridge.fhir.documents import read
from fhir_bridge.fhir.resource import Resource

Json = dict[str, Any]

PRACTITIONER = {"resourceType": "Practitioner", "id": "d1"}
ORGANIZATION = {"resourceType": "Organization", "id": "o1"}
LOCATION = {"resourceType": "Location", "id": "l1"}
SERVICE = {"resourceType": "HealthcareService", "id": "h1", "location": [{"reference": "Location/l2"}]}
ROLE = {
    "resourceType": "PractitionerRole",
    "id": "r1",
    "practitioner": {"reference": "Practitioner/d1"},
    "organization": {"reference": "Organization/o1"},
    "location": [{"reference": "Location/l1"}],
    "healthcareService": [{"reference": "HealthcareService/h1"}],
}
DIRECTORY = [PRACTITIONER, ORGANIZATION, LOCATION, LOCATION | {"id": "l2"}, SERVICE]


def case(trigger: Json, *resources: Json) -> Case:
    """The case of a trigger, with the directory and some resources at hand."""
    document = read(orjson.dumps([trigger, *DIRECTORY, *resources]), "test.json")
    at_hand = AtHand(document.resources)
    return gather(at_hand, triggers(at_hand, document.resources)[0], source="default")


def order(requester: Json, **elements: Any) -> Json:
    """An order asked for by somebody."""
    return {"resourceType": "ServiceRequest", "id": "s1", "requester": requester} | elements


def visit(*actors: Json, **elements: Any) -> Json:
    """An Appointment of those actors."""
    participants = [{"actor": actor} for actor in actors]
    return {"resourceType": "Appointment", "id": "a1", "participant": participants} | elements


def label(resource: Resource[Any] | None) -> str | None:
    """What was found, if anything."""
    return resource.label if resource else None


def test_a_role_brings_its_practitioner_organization_and_places() -> None:
    """What the referral says comes from these."""
    party = case(order({"reference": "PractitionerRole/r1"}), ROLE).requester
    assert party is not None
    assert label(party.role) == "PractitionerRole/r1"
    assert label(party.practitioner) == "Practitioner/d1"
    assert label(party.organization) == "Organization/o1"
    assert [label(one) for one in party.locations] == ["Location/l1"]
    assert [label(one) for one in party.services] == ["HealthcareService/h1"]


def test_a_practitioner_brings_the_one_active_role_at_hand() -> None:
    """Of two nobody can say which is meant."""
    asked = order({"reference": "Practitioner/d1"})
    one = case(asked, ROLE, ROLE | {"id": "r2", "active": False}).requester
    two = case(asked, ROLE, ROLE | {"id": "r2"}).requester
    assert (
        one is not None
        and label(one.role) == "PractitionerRole/r1"
        and label(one.organization) == "Organization/o1"
    )
    assert two is not None and label(two.practitioner) == "Practitioner/d1" and two.role is None


def test_an_organization_may_ask_and_a_patient_too() -> None:
    """The patient's own request has a link and no party behind it."""
    by_organization = case(order({"reference": "Organization/o1"})).requester
    by_patient = case(order({"reference": "Patient/p1"}), {"resourceType": "Patient", "id": "p1"}).requester
    assert by_organization is not None and label(by_organization.organization) == "Organization/o1"
    assert by_patient is not None and label(by_patient.link.resource) == "Patient/p1"
    assert (by_patient.practitioner, by_patient.organization) == (None, None)


def test_who_is_not_at_hand_keeps_reference_and_note() -> None:
    """The display may still be said."""
    party = case(order({"reference": "Practitioner/gone", "display": "Dr. Careful"})).requester
    assert party is not None and party.link.reference.display == "Dr. Careful"
    assert party.link.notes == ("reference-unresolved",)


def test_stu3_puts_the_requester_under_agent() -> None:
    """And the path says so."""
    referral = order({"agent": {"reference": "Practitioner/d1"}}) | {"resourceType": "ReferralRequest"}
    party = case(referral).requester
    assert party is not None and label(party.practitioner) == "Practitioner/d1"
    assert party.link.path == "ReferralRequest.requester.agent"


def test_performers_are_a_list_one_object_or_recipients() -> None:
    """R4, ProcedureRequest, ReferralRequest."""
    someone = {"reference": "Practitioner/d1"}
    for elements in ({"performer": [someone]}, {"performer": someone}, {"recipient": [someone]}):
        (party,) = case(order(someone, **elements)).performers
        assert label(party.practitioner) == "Practitioner/d1"


def test_participants_keep_their_place_and_are_told_apart_by_type() -> None:
    """A room is no doctor, whatever its display says."""
    found = case(
        visit(
            {"reference": "Patient/p1"},
            {"reference": "Practitioner/d1"},
            {"reference": "Location/l1"},
            {"reference": "HealthcareService/h1"},
            {"type": "Location", "display": "Room 4"},
            {"display": "Dr. Careful"},
            {"reference": "RelatedPerson/x"},
        )
    )
    kinds = [
        "party" if one.party else "location" if one.location else "service" if one.service else None
        for one in found.participants
    ]
    assert kinds == [None, "party", "location", "service", "location", "party", None]
    assert [one.index for one in found.participants] == list(range(7))
    assert [label(one) for one in found.locations] == ["Location/l1", "Location/l2"]


def test_slots_lead_over_their_schedule_to_the_service() -> None:
    """And services to their places."""
    slot = {"resourceType": "Slot", "id": "t1", "schedule": {"reference": "Schedule/c1"}}
    schedule = {"resourceType": "Schedule", "id": "c1", "actor": [{"reference": "HealthcareService/h1"}]}
    found = case(visit(slot=[{"reference": "Slot/t1"}, {"reference": "Slot/gone"}]), slot, schedule)
    assert [label(one) for one in found.slots] == ["Slot/t1"]
    assert [label(one) for one in found.services] == ["HealthcareService/h1"]
    assert [label(one) for one in found.locations] == ["Location/l2"]


def test_an_order_names_its_places() -> None:
    """R4 by reference, R5 as a concept or reference."""
    someone = {"reference": "Practitioner/d1"}
    r4 = order(someone, locationReference=[{"reference": "Location/l1"}])
    r5 = order(someone, location=[{"reference": {"reference": "Location/l1"}}, {"concept": {"text": "home"}}])
    assert (
        [label(one) for one in case(r4).locations]
        == [label(one) for one in case(r5).locations]
        == ["Location/l1"]
    )


def test_follow_up_orders_are_those_placed_in_the_encounter() -> None:
    """STU3 calls it context."""
    encounter = {"resourceType": "Encounter", "id": "e1", "subject": {"reference": "Patient/p1"}}
    there = {"reference": "Encounter/e1"}
    found = case(
        order({"reference": "Practitioner/d1"}, subject={"reference": "Patient/p1"}),
        encounter,
        {"resourceType": "ServiceRequest", "id": "f1", "encounter": there},
        {"resourceType": "ReferralRequest", "id": "f2", "context": there},
        {"resourceType": "ServiceRequest", "id": "f3", "encounter": {"reference": "Encounter/e2"}},
    )
    (visited,) = found.encounters
    assert [one.label for one in found.follow_up_orders(visited)] == [
        "ServiceRequest/f1",
        "ReferralRequest/f2",
    ]


def test_primary_care_is_the_patients() -> None:
    """Each general practitioner with what hangs on them."""
    patient = {
        "resourceType": "Patient",
        "id": "p1",
        "generalPractitioner": [{"reference": "Practitioner/d1"}],
    }
    found = case(visit({"reference": "Patient/p1"}), patient, ROLE)
    (party,) = found.primary_care
    assert label(party.organization) == "Organization/o1"
    assert party.link.path == "Patient.generalPractitioner[0]"
