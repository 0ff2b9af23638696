from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fhir_bridge.case.at_hand import AtHand
from fhir_bridge.case.gather import triggers
from fhir_bridge.case.index import ResolutionRules
from fhir_bridge.fhir.datatypes import Identifier, Reference
from fhir_bridge.fhir.reading import read
from fhir_bridge.fhir.resource import Origin, Resource
from fhir_bridge.fhir.views import Appointment, Organization, Patient, Practitioner, ServiceRequest, View
from fhir_bridge.ledger.arrivals.precedence import Age, Version, age

EHR = "https://ehr.example/fhir"
OTHER = "https://other.example/fhir"
NHS = "https://fhir.nhs.uk/Id/nhs-number"


def resource(kind: str, id_: str | None = None, url: str | None = None, **elements: Any) -> Resource[View]:
    """A resource as it is read, from a file named after it."""
    identity = {"resourceType": kind} | ({"id": id_} if id_ else {})
    return read(json.dumps(identity | elements).encode(), Origin(f"{id_}.json"), url)


def version(number: str | None = None, updated: str | None = None, **elements: Any) -> Resource[View]:
    """One version of Patient/p1."""
    meta = {"versionId": number, "lastUpdated": updated}
    given = {name: value for name, value in meta.items() if value}
    return resource("Patient", "p1", meta=given, **elements)


HOLDER = resource("Appointment", "a1", f"{EHR}/Appointment/a1")


def followed(at_hand: AtHand, text: str, kind: type[View] = Patient) -> tuple[str | None, tuple[str, ...]]:
    """Where a reference leads, and what was noted."""
    link = at_hand.follow(HOLDER, "Appointment.subject", Reference(reference=text), kind)
    return (link.resource.label if link.resource else None), link.notes


def test_orders_of_every_version_are_found_as_orders() -> None:
    """In the order they were read."""
    kinds = ("ServiceRequest", "ReferralRequest", "ProcedureRequest", "ReferralRequest")
    index = AtHand([resource(kind, f"o{number}") for number, kind in enumerate(kinds)]).index
    assert [one.view.id for one in index.of(ServiceRequest)] == ["o0", "o1", "o2", "o3"]


UNRESOLVED = (None, ("reference-unresolved",))


@pytest.mark.parametrize(
    "text", ["Patient/p1", "/Patient/p1", "patient/p1", f"{EHR}/Patient/p1", "urn:uuid:AB"]
)
def test_follows_what_names_a_resource_at_hand(text: str) -> None:
    """By Type/id, by fullUrl, by URN in any case."""
    at_hand = AtHand(
        [resource("Patient", "p1", f"{EHR}/Patient/p1"), resource("Patient", "p1", "urn:uuid:ab")]
    )
    assert followed(at_hand, text) == ("Patient/p1", ())


def test_a_stranger_base_is_not_ours() -> None:
    """Patient 1 of another server is another person."""
    assert followed(AtHand([resource("Patient", "p1")]), f"{OTHER}/Patient/p1") == UNRESOLVED
    assert (
        followed(AtHand([resource("Patient", "p1", f"{EHR}/Patient/p1")]), f"{OTHER}/Patient/p1")
        == UNRESOLVED
    )


def test_a_base_is_our_own_where_the_settings_or_the_full_urls_say_so() -> None:
    """From files the fullUrls at hand show the source's base."""
    configured = AtHand([resource("Patient", "p1")], ResolutionRules(base_urls=frozenset({EHR + "/"})))
    assert followed(configured, f"{EHR}/Patient/p1") == ("Patient/p1", ())
    shown = AtHand([resource("Patient", "p1"), resource("Organization", "o", f"{EHR}/Organization/o")])
    assert followed(shown, f"{EHR}/Patient/p1") == ("Patient/p1", ())


def test_two_servers_in_one_bundle_keep_their_patients_apart() -> None:
    """A relative reference means the server its holder came from."""
    at_hand = AtHand([resource("Patient", "p1", f"{base}/Patient/p1", gender=base) for base in (EHR, OTHER)])
    link = at_hand.follow(HOLDER, "", Reference(reference="Patient/p1"), Patient)
    assert link.resource is not None and link.resource.full_url == f"{EHR}/Patient/p1"
    bare = at_hand.follow(resource("Appointment", "a2"), "", Reference(reference="Patient/p1"), Patient)
    assert (bare.resource, bare.notes) == (None, ("reference-ambiguous",))


def test_a_bare_id_counts_if_exactly_one_resource_has_it() -> None:
    """Noted, for it is a guess that happens to be certain."""
    assert followed(AtHand([resource("Patient", "p1")]), "p1") == ("Patient/p1", ("reference-untyped",))
    two = AtHand([resource("Patient", "p1"), resource("Practitioner", "p1")])
    assert followed(two, "p1") == (None, ("reference-ambiguous",))


def test_an_identifier_counts_if_exactly_one_resource_has_it() -> None:
    """The system under any of its names; an id is never matched against it."""
    rules = ResolutionRules(system_aliases={"urn:old": NHS})
    people = [
        resource("Patient", p, identifier=[{"system": NHS, "value": v}])
        for p, v in (("p1", "1"), ("p2", "2"))
    ]
    at_hand = AtHand(people, rules)

    def by(system: str | None, value: str, **more: Any) -> str | None:
        reference = Reference(identifier=Identifier(system=system, value=value), **more)
        link = at_hand.follow(HOLDER, "", reference, Patient)
        return link.resource.label if link.resource else None

    assert by(NHS, "1") == by("urn:old", "1") == "Patient/p1"
    assert by(None, "1") is None
    assert by(NHS, "p1") is None
    assert by(NHS, "1", type="Practitioner") is None
    assert followed(at_hand, f"Patient?identifier={NHS}|2") == ("Patient/p2", ())
    twice = AtHand([*people, resource("Patient", "p3", identifier=[{"system": NHS, "value": "1"}])], rules)
    reference = Reference(identifier=Identifier(system=NHS, value="1"))
    assert twice.follow(HOLDER, "", reference, Patient).notes == ("reference-ambiguous",)


def test_contained_resources_are_found_from_their_container_and_from_each_other() -> None:
    """`#id` within, `#` the container itself."""
    inner = [
        {"resourceType": "Patient", "id": "pat", "generalPractitioner": [{"reference": "#gp"}]},
        {"resourceType": "Practitioner", "id": "gp"},
    ]
    holder = resource("Appointment", "a1", contained=inner)
    at_hand = AtHand([holder, resource("Patient", "pat")])
    patient = at_hand.follow(holder, "", Reference(reference="#pat"), Patient).resource
    assert patient is not None and patient.label == "Appointment/a1#pat"
    gp = at_hand.follow(patient, "", patient.view.general_practitioner[0], Practitioner).resource
    assert gp is not None and gp.container is holder
    assert at_hand.follow(gp, "", Reference(reference="#"), Appointment).resource is holder
    assert at_hand.follow(gp, "", Reference(reference="#none"), View).resource is None


def test_a_resource_of_another_type_is_no_answer() -> None:
    """An Organization is no patient, whatever the reference says."""
    at_hand = AtHand([resource("Organization", "o1")])
    assert followed(at_hand, "Organization/o1") == (None, ("reference-other-type",))
    assert followed(at_hand, "Organization/o1", Organization) == ("Organization/o1", ())


def test_a_version_is_honoured_then_current() -> None:
    """For people and places; whether to call a patient is judged by what holds now."""
    versions = [resource("Organization", "o1", meta={"versionId": n}, name=n) for n in "12"]
    at_hand = AtHand([*versions, version("1"), version("2")])
    old = at_hand.follow(HOLDER, "", Reference(reference="Organization/o1/_history/1"), Organization)
    assert old.resource is versions[0] and old.notes == ()
    gone = at_hand.follow(HOLDER, "", Reference(reference="Organization/o1/_history/9"), Organization)
    assert gone.resource is versions[1] and gone.notes == ("reference-other-version",)
    patient = at_hand.follow(HOLDER, "", Reference(reference="Patient/p1/_history/1"), Patient)
    assert patient.resource is not None and patient.resource.version == "2"


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        (version("9"), version("10", active=False)),
        (version("9", "2026-01-01T01:00:00Z"), version("10", "2026-01-01T00:00:00Z")),
        (version("9", "2026-02-01T00:00:00Z"), version("10")),
        (version(None, "2026-01-01T09:00:00Z"), version(None, "2026-01-01T09:00:00.1Z", active=False)),
        (version("a", "2026-01-01T09:00:00Z"), version("b", "2026-01-01T05:00:00-05:00")),
        (version("3", "2026-01-01T09:00:00Z"), version("3", "2026-01-02T09:00:00Z")),
    ],
)
def test_the_newest_version_counts_in_whatever_order_they_come(
    older: Resource[View], newer: Resource[View]
) -> None:
    """versionId as a number, else lastUpdated as an instant."""
    for given in ([older, newer], [newer, older]):
        assert AtHand(given).index.labelled("Patient/p1") == (newer,)


def test_the_same_contents_twice_are_one() -> None:
    """A server sends an update nineteen times; a file lies in two folders."""
    twice = [version("1", active=True), version("1", active=True)]
    assert len(AtHand(twice).index.labelled("Patient/p1")) == 1
    nameless = [read(b'{"resourceType":"Appointment"}', Origin(name)) for name in ("a.json", "b.json")]
    assert len(triggers(AtHand(nameless), nameless)) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (version(active=True), version(active=False)),
        (version("1", active=True), version("1", active=False)),
        (version("1", active=True), version(None, "2026-01-01", active=False)),
        (version("a", active=True), version("b", active=False)),
        (version("9", "2026-01-01T01:00:01Z", active=True), version("10", "2026-01-01T00:00:00Z")),
    ],
)
def test_contents_that_nothing_orders_stay_several(one: Resource[View], other: Resource[View]) -> None:
    """Never "last one wins": the places are named."""
    at_hand = AtHand([one, other])
    assert at_hand.index.labelled("Patient/p1") == (one, other)
    assert at_hand.places_of(one) == ("p1.json", "p1.json")
    assert followed(at_hand, "Patient/p1") == (None, ("reference-ambiguous",))


def test_a_urn_counts_within_its_own_message() -> None:
    """A careless source calls every patient urn:uuid:1: each message means its own."""
    messages = []
    for number in "12":
        patient = resource("Patient", f"p{number}", "urn:uuid:1")
        holder = read(b'{"resourceType":"Appointment","id":"a%s"}' % number.encode(), patient.origin)
        messages.append((holder, patient))
    at_hand = AtHand([one for message in messages for one in message])
    for holder, patient in messages:
        assert at_hand.follow(holder, "", Reference(reference="urn:uuid:1"), Patient).resource is patient
    assert followed(at_hand, "urn:uuid:1") == (None, ("reference-ambiguous",))


def test_a_urn_leads_to_what_its_own_message_calls_so_though_a_newer_version_stands_elsewhere() -> None:
    """The newest version counts, and the URN of another message does not."""
    ours, newer = resource("Patient", "p1", "urn:uuid:1", meta={"versionId": "1"}), version("2")
    theirs = read(b'{"resourceType":"Patient","id":"p9"}', Origin("other.json"), "urn:uuid:1")
    holder = read(b'{"resourceType":"Appointment","id":"a1"}', ours.origin)
    at_hand = AtHand([theirs, ours, newer, holder])
    assert at_hand.follow(holder, "", Reference(reference="urn:uuid:1"), Patient).resource is newer


def test_a_newer_version_settles_what_two_older_ones_left_open() -> None:
    """Once something is newer than both, their quarrel is history."""
    quarrel = [version("1", active=True), version("1", active=False)]
    newest = version("2")
    assert AtHand([*quarrel, newest]).index.labelled("Patient/p1") == (newest,)
    assert AtHand([newest, *quarrel]).index.labelled("Patient/p1") == (newest,)


def test_a_directory_goes_by_numbers_alone() -> None:
    """Whose practice a letter names stops no call, and of two names none would be said."""
    older = resource("Organization", "o1", meta={"versionId": "9", "lastUpdated": "2026-02-01T00:00:00Z"})
    newer = resource("Organization", "o1", meta={"versionId": "10", "lastUpdated": "2026-01-01T00:00:00Z"})
    assert AtHand([older, newer]).index.labelled("Organization/o1") == (newer,)


@pytest.mark.parametrize("hours", [-30, -1.001, -0.999, 0.0, 0.999, 1.001, 30])
@pytest.mark.parametrize("numbers", [("9", "10"), ("10", "9"), ("9", "9"), (None, "9"), ("a", "9")])
def test_versions_are_ordered_as_the_ledger_orders_them(hours: float, numbers: tuple[Any, Any]) -> None:
    """In one call and from one message to the next alike."""
    moments = [datetime(2026, 1, 2, tzinfo=UTC) + timedelta(hours=apart) for apart in (0.0, hours)]
    both = [
        version(number, moment.isoformat(), active=active)
        for number, moment, active in zip(numbers, moments, (True, False), strict=True)
    ]
    known, arrived = (Version(number, moment) for number, moment in zip(numbers, moments, strict=True))
    expected = {Age.NEWER: (both[1],), Age.OLDER: (both[0],)}.get(age(arrived, known), tuple(both))
    assert AtHand(both).index.labelled("Patient/p1") == expected


def test_a_urn_may_stand_for_one_thing_here_and_another_in_the_directory() -> None:
    """A partition's own URNs do not hide what the holder's message calls so."""
    doctor = resource("Practitioner", "d1", "urn:uuid:1")
    patient = read(b'{"resourceType":"Patient","id":"p9"}', Origin("other.json"), "urn:uuid:1")
    holder = read(b'{"resourceType":"ServiceRequest","id":"s1"}', doctor.origin)
    at_hand = AtHand([patient, holder], shared=AtHand([doctor]))
    assert at_hand.follow(holder, "", Reference(reference="urn:uuid:1"), View).resource is doctor


def test_a_partition_is_told_the_bases_of_the_whole() -> None:
    """Whether an address is the source's own is not judged by a part of what is at hand."""
    assert (
        AtHand([resource("Patient", "p1", f"{EHR}/Patient/p1")], bases=frozenset()).index.bases == frozenset()
    )


def test_a_shared_directory_is_looked_in_after_the_partition() -> None:
    """Practitioners and places are read once for all patients."""
    directory = AtHand([resource("Practitioner", "d1", identifier=[{"system": "s", "value": "v"}])])
    at_hand = AtHand([resource("Patient", "p1")], shared=directory)
    assert followed(at_hand, "Practitioner/d1", Practitioner)[0] == "Practitioner/d1"
    assert followed(at_hand, "Practitioner?identifier=s|v", Practitioner)[0] == "Practitioner/d1"
    assert followed(at_hand, "d1", Practitioner)[0] == "Practitioner/d1"


def test_only_the_files_triggers_are_given_in_their_order_and_newest_version() -> None:
    """Context brings visits and newer versions, never triggers of its own."""
    first, second = resource("Appointment", "a2"), resource("ServiceRequest", "s1", meta={"versionId": "1"})
    newer = resource("ServiceRequest", "s1", meta={"versionId": "2"})
    context = [resource("Appointment", "a9"), newer, resource("Patient", "p1")]
    at_hand = AtHand([first, second, *context])
    assert triggers(at_hand, [first, second, first]) == [first, newer]


def test_a_contained_appointment_is_no_trigger() -> None:
    """It belongs to the chain of its container."""
    holder = resource("ServiceRequest", "s1", contained=[{"resourceType": "Appointment", "id": "a"}])
    inner = AtHand([holder]).index.contained(holder)["a"]
    assert triggers(AtHand([holder, inner]), [holder, inner]) == [holder]


def test_answers_about_the_directory_are_everybodys() -> None:
    """Who refers thousands of patients is worked out once for all partitions; who came with one, for that."""
    theirs, own = resource("Practitioner", "d1"), resource("Practitioner", "d2")
    directory = AtHand([theirs])
    one, other = (AtHand([own], shared=directory) for _ in range(2))
    assert one.answers_about(theirs) is other.answers_about(theirs) is directory.answers
    assert one.answers_about(own) is one.answers
