from __future__ import annotations

from typing import Any

import msgspec
import orjson
import pytest

from fhir_bridge.case.at_hand import AtHand
from fhir_bridge.case.case import Case
from fhir_bridge.case.gather import gather, triggers
from fhir_bridge.case.index import ResolutionRules
from fhir_bridge.fhir.documents import read
from fhir_bridge.fhir.resource import Resource

Json = dict[str, Any]

NHS = "https://fhir.nhs.uk/Id/nhs-number"
OLD_NHS = "http://fhir.nhs.net/Id/nhs-number"
RULES = ResolutionRules(patient_systems=frozenset({NHS}), system_aliases={OLD_NHS: NHS})


def case(*resources: Json, rules: ResolutionRules = RULES) -> Case:
    """The case of the first resource, the others at hand."""
    document = read(orjson.dumps(list(resources)), "test.json")
    at_hand = AtHand(document.resources, rules)
    return gather(at_hand, triggers(at_hand, document.resources)[0], source="default")


def patient(id_: str | None = "p1", **elements: Any) -> Json:
    """A Patient."""
    return {"resourceType": "Patient"} | ({"id": id_} if id_ else {}) | elements


def visit(*actors: Json, **elements: Any) -> Json:
    """An Appointment of those actors; a key `type` beside `actor` is the participant's."""
    participants = [one if "actor" in one else {"actor": one} for one in actors]
    return {
        "resourceType": "Appointment",
        "id": "a1",
        "status": "proposed",
        "participant": participants,
    } | elements


def sbj(actor: Json) -> Json:
    """A participant who is the subject."""
    return {"actor": actor, "type": [{"coding": [{"code": "SBJ"}]}]}


BY_NUMBER = {"identifier": {"system": OLD_NHS, "value": "9000000009"}}


@pytest.mark.parametrize(
    ("trigger", "path"),
    [
        (
            visit({"reference": "Practitioner/d1"}, {"reference": "Patient/p1"}),
            "Appointment.participant[1].actor",
        ),
        (visit({"type": "Patient", **BY_NUMBER}), "Appointment.participant[0].actor"),
        (visit({"display": "Dr. Careful"}, BY_NUMBER), "Appointment.participant[1].actor"),
        (visit(subject={"reference": "Patient/p1"}), "Appointment.subject"),
        (
            {"resourceType": "ServiceRequest", "id": "s", "subject": {"reference": "Patient/p1"}},
            "ServiceRequest.subject",
        ),
        (
            {"resourceType": "ReferralRequest", "id": "s", "patient": {"reference": "p1"}},
            "ReferralRequest.patient",
        ),
    ],
)
def test_the_patient_is_named_by_reference_type_identifier_or_subject(trigger: Json, path: str) -> None:
    """Each way of the page, and the path says which."""
    found = case(trigger, patient(identifier=[{"system": NHS, "value": "9000000009"}]))
    assert found.patient is not None and found.patient.label == "Patient/p1"
    assert (found.patient_path, found.patient_identity) == (path, "Patient/p1")


def test_never_the_first_identifier_at_hand() -> None:
    """A practitioner's number is no patient's."""
    other = {"identifier": {"system": "https://fhir.hl7.org.uk/Id/gmc-number", "value": "1234567"}}
    found = case(visit(other), patient(identifier=[{"system": NHS, "value": "1"}]))
    assert found.patient_reference is None and found.patient_identity is None


def test_sbj_names_the_patient_of_an_actor_without_a_type() -> None:
    """But not one that is known to be somebody else."""
    found = case(visit({"reference": "urn:uuid:x"}, sbj({"reference": "urn:uuid:y"})))
    assert found.patient_path == "Appointment.participant[1].actor"
    assert case(visit(sbj({"reference": "Practitioner/d1"}))).patient_reference is None


def test_of_several_patients_the_subject_is_the_one_and_it_is_noted() -> None:
    """A mother comes with her child: the visit is the child's."""
    actors = [{"reference": "Patient/mother"}, {"reference": "Patient/child"}]
    people = [patient("mother"), patient("child")]
    by_sbj = case(visit(actors[0], sbj(actors[1])), *people)
    by_subject = case(visit(*actors, subject={"reference": "Patient/child"}), *people)
    assert by_sbj.patient_identity == by_subject.patient_identity == "Patient/child"
    assert "patients-several" in by_sbj.patient_notes
    assert case(visit(actors[0], actors[0]), *people).patient_notes == ()


def test_a_reference_that_leads_nowhere_and_says_not_to_what_is_no_slot_offer() -> None:
    """The patient's entry may be what is missing from the Bundle: a person must look."""
    found = case(visit({"reference": "Practitioner/d1"}, {"reference": "urn:uuid:gone"}))
    assert found.patient_path == "Appointment.participant[1].actor" and found.patient is None
    offer = case(visit({"reference": "Practitioner/d1"}, {"reference": "Location/l1"}, {"display": "Room 4"}))
    assert offer.patient_reference is None


def test_a_group_or_a_place_is_no_patient() -> None:
    """Orders for a ward or a device call for nobody."""
    for subject in ("Group/g", "Location/l", "Device/d"):
        order = {"resourceType": "ServiceRequest", "id": "s", "subject": {"reference": subject}}
        assert case(order).patient_reference is None


@pytest.mark.parametrize(
    ("actor", "identity"),
    [
        ({"reference": "Patient/p9"}, "Patient/p9"),
        ({"reference": "Patient/{{patientId}}"}, "Patient/{{patientId}}"),
        ({"reference": "https://other.example/fhir/Patient/p1"}, "https://other.example/fhir/Patient/p1"),
        ({"type": "Patient", "display": "Somebody"}, "Appointment/a1#patient"),
    ],
)
def test_a_patient_who_is_named_but_not_at_hand_is_still_named(actor: Json, identity: str) -> None:
    """So that the decision is a reject and not a slot offer."""
    found = case(visit(actor), patient("p1"))
    assert found.patient_reference is not None and found.patient is None
    assert found.patient_identity == identity


def test_a_patient_without_an_id_is_known_by_the_number_wherever_it_stands() -> None:
    """Contained, nameless in a Bundle, or only referred to: one person, one identity, and no number in it."""
    number = {"identifier": [{"system": NHS, "value": "9000000009"}]}
    contained = visit({"reference": "#pat"}, contained=[patient("pat", **number)])
    identities = {
        case(contained).patient_identity,
        case(contained | {"id": "a2"}).patient_identity,
        case(visit(BY_NUMBER)).patient_identity,
        case(visit(BY_NUMBER), patient(None, **number)).patient_identity,
    }
    assert len(identities) == 1
    identity = identities.pop() or ""
    assert identity.startswith("identifier:") and "9000000009" not in identity


def test_a_contained_patient_without_a_number_is_known_by_its_place() -> None:
    """Nothing better is there."""
    contained = visit({"reference": "#pat"}, contained=[patient("pat")])
    assert case(contained).patient_identity == "Appointment/a1#pat"


def replaced(id_: str, by: str, kind: str = "replaced-by") -> Json:
    """A record that says which one took its place."""
    return patient(id_, active=False, link=[{"type": kind, "other": {"reference": f"Patient/{by}"}}])


@pytest.mark.parametrize("kind", ["replaced-by", "Replaced-By", "replace"])
def test_a_merged_record_leads_to_the_one_that_is_kept(kind: str) -> None:
    """In several steps; the visit is then the kept one's."""
    found = case(
        visit({"reference": "Patient/p1"}), replaced("p1", "p2", kind), replaced("p2", "p3"), patient("p3")
    )
    assert found.patient is not None and found.patient.label == found.patient_identity == "Patient/p3"
    assert not found.patient_merge_broken
    assert "patient-merge-followed" in found.patient_notes


@pytest.mark.parametrize(
    "records",
    [
        [replaced("p1", "p2")],
        [replaced("p1", "p2"), replaced("p2", "p1")],
        [replaced("p1", "p1")],
        [patient("p1", link=[{"type": "replaced-by"}])],
        [
            patient("p1", link=[*replaced("p1", "p2")["link"], *replaced("p1", "p3")["link"]]),
            patient("p2"),
            patient("p3"),
        ],
    ],
)
def test_a_merge_that_leads_nowhere_or_round_in_circles_is_broken(records: list[Json]) -> None:
    """Who the person is now, nobody can say."""
    assert case(visit({"reference": "Patient/p1"}), *records).patient_merge_broken


def test_other_links_are_no_merges() -> None:
    """`seealso` and `replaces` leave the record as it is."""
    for kind in ("seealso", "replaces", "refer"):
        found = case(visit({"reference": "Patient/p1"}), replaced("p1", "p2", kind))
        assert found.patient_identity == "Patient/p1" and not found.patient_merge_broken


def test_what_is_the_patients_is_found_through_merges_too() -> None:
    """Guardians, consents, coverage and visits that still point to the old record."""
    old = {"reference": "Patient/old"}
    belongings = [
        {"resourceType": "RelatedPerson", "id": "r", "patient": old},
        {"resourceType": "Consent", "id": "c", "patient": old},
        {"resourceType": "Coverage", "id": "v", "beneficiary": old},
        {"resourceType": "Encounter", "id": "e", "subject": old},
        {"resourceType": "Appointment", "id": "a0", "participant": [{"actor": old}]},
        {"resourceType": "Encounter", "id": "x", "subject": {"reference": "Patient/other"}},
    ]
    found = case(visit({"reference": "Patient/new"}), replaced("old", "new"), patient("new"), *belongings)
    assert [one.label for one in found.related_persons] == ["RelatedPerson/r"]
    assert [one.label for one in found.consents] == ["Consent/c"]
    assert [one.label for one in found.coverages] == ["Coverage/v"]
    assert [one.label for one in found.encounters] == ["Encounter/e"]
    assert [one.label for one in found.other_appointments] == ["Appointment/a0"]


def test_two_contents_of_the_patient_are_named_with_their_places() -> None:
    """Which of two numbers to call is not for us to choose."""
    found = case(visit({"reference": "Patient/p1"}), patient("p1", active=True), patient("p1", active=False))
    assert found.patient is None
    assert found.duplicate_places == ("test.json entry 1", "test.json entry 2")
    assert case(visit({"reference": "Patient/p1"}), patient("p1"), patient("p1")).duplicate_places == ()


def test_no_resource_is_given_the_answer_of_one_that_is_gone() -> None:
    """What is asked about for a moment, as the status a trigger might have had, leaves its place in memory to
    the next."""
    offer, wanted = visit({"reference": "Location/l1"}), visit({"reference": "Patient/p1"}) | {"id": "a2"}
    resources = read(orjson.dumps([offer, wanted, patient("p1")]), "test.json").resources
    patients = AtHand(resources).patients
    nobodys, hers = (msgspec.structs.astuple(one) for one in resources[:2])
    places = set()
    for _ in range(100):
        for_a_moment = Resource(*nobodys)
        assert patients.of(for_a_moment) is None
        places.add(id(for_a_moment))
        del for_a_moment
        one = Resource(*hers)
        found = patients.of(one)
        assert found is not None and found.identity == "Patient/p1"
        if id(one) in places:
            return
    pytest.fail("no place in memory was used twice")
