"""A person may have several records at hand: none that the trigger names hides what another says."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, ClassVar

import pytest

from fhir_bridge.case.at_hand import AtHand
from fhir_bridge.case.gather import gather, triggers
from fhir_bridge.fhir.documents import read
from fhir_bridge.fhir.resource import Resource
from fhir_bridge.fhir.views import View
from fhir_bridge.intake.notifications import parse
from fhir_bridge.mapping.decide import decide
from fhir_bridge.mapping.gates import NOBODY_BLOCKED, Blocked
from fhir_bridge.mapping.profile import Profile
from fhir_bridge.mapping_run import resolution_rules
from fhir_bridge.processing.reading import inputs_of

Json = dict[str, Any]
NUMBER = [{"system": "https://example.org/mrn", "value": "7"}]
BOOKED = {
    "resourceType": "Appointment", "id": "b1", "status": "booked", "start": "2026-12-04T10:00:00-05:00",
    "created": "2026-11-22",
}  # fmt: skip


def reason(profile: Profile, now: datetime, *entries: Json, blocked: Blocked = NOBODY_BLOCKED) -> str | None:
    """Why the first trigger of some entries is not called, in a file and in a message; None for a call."""
    bundle = {"resourceType": "Bundle", "entry": [e if "resource" in e else {"resource": e} for e in entries]}
    text = json.dumps(bundle).encode()
    doors = read(text, "x.json").resources, inputs_of(parse(text), "message", now).resources
    (told,) = {_reason(profile, now, resources, blocked) for resources in doors}
    return told


def _reason(profile: Profile, now: datetime, resources: list[Resource[View]], blocked: Blocked) -> str | None:
    found = AtHand(resources, resolution_rules(profile))
    trigger, *_ = triggers(found, found.index.current)
    return getattr(decide(gather(found, trigger, source="default"), profile, now, blocked), "reason", None)


def about(trigger: Json, reference: str, **more: Any) -> Json:
    """The trigger about whom a reference names."""
    return {**trigger, "participant": [{"actor": {"reference": reference}, "status": "accepted"}], **more}


class TestAPatientTwice:
    """Alive in one, dead in the other: nobody is called, whichever the trigger names."""

    @pytest.mark.parametrize("versions", [(None, None), ("3", None), (None, "3")])
    def test_that_no_version_orders(
        self,
        versions: tuple[str | None, str | None],
        us: Profile,
        now: datetime,
        proposed: Json,
        marigold: Json,
    ) -> None:
        """Never "last one wins"."""
        alive, dead = (
            {**marigold, **said, **({"meta": {"versionId": version}} if version else {})}
            for version, said in zip(versions, ({}, {"deceasedBoolean": True}), strict=True)
        )
        assert reason(us, now, proposed, alive, dead) == "duplicate-id"
        assert reason(us, now, proposed, dead, alive) == "duplicate-id"

    @pytest.mark.parametrize(
        "bases", [("https://a.example", "https://b.example"), (None, "https://b.example")]
    )
    def test_under_two_addresses(
        self, bases: tuple[str | None, str], us: Profile, now: datetime, proposed: Json, marigold: Json
    ) -> None:
        """One server may have two names."""
        entries = [
            {"resource": {**marigold, **said}, **({"fullUrl": f"{base}/Patient/marigold"} if base else {})}
            for base, said in zip(bases, ({}, {"deceasedBoolean": True}), strict=True)
        ]
        trigger = {"resource": proposed, **({"fullUrl": f"{bases[0]}/Appointment/a1"} if bases[0] else {})}
        expected = "patient-deceased" if bases[0] else "duplicate-id"
        assert reason(us, now, trigger, *entries) == expected

    def test_unless_they_are_two_people(
        self, us: Profile, now: datetime, proposed: Json, marigold: Json
    ) -> None:
        """Two servers may give one id to two."""
        entries = (
            {"resource": proposed, "fullUrl": "https://a.example/Appointment/a1"},
            {"resource": marigold, "fullUrl": "https://a.example/Patient/marigold"},
            {
                "resource": {**marigold, "birthDate": "1931-01-01", "deceasedBoolean": True},
                "fullUrl": "https://b.example/Patient/marigold",
            },
        )
        assert reason(us, now, *entries) is None

    def test_once_within_the_trigger(
        self, us: Profile, now: datetime, proposed: Json, marigold: Json
    ) -> None:
        """By an identifier, for within another resource an id means nothing outside."""
        inner = {**marigold, "id": "p", "identifier": NUMBER}
        dead = {**marigold, "identifier": NUMBER, "deceasedBoolean": True}
        trigger = about(proposed, "#p", contained=[inner])
        assert reason(us, now, trigger) is None
        assert reason(us, now, trigger, dead) == "patient-deceased"
        assert reason(us, now, trigger, {**dead, "name": [{"family": "Stranger"}]}) is None
        outside, asked = {**marigold, "identifier": NUMBER}, Blocked(patients={"Patient/marigold"})
        assert reason(us, now, trigger, outside, blocked=asked) == "do-not-call"

    def test_once_within_the_trigger_without_a_number(
        self, us: Profile, now: datetime, proposed: Json, marigold: Json
    ) -> None:
        """Systems were seen that contain a record under its own id. An id within another resource may be
        anybody's, so the names must be the same, and nothing else another."""
        inner = {**marigold, "birthDate": None}
        dead = {**marigold, "deceasedBoolean": True}
        trigger = about(proposed, "#marigold", contained=[inner])
        assert reason(us, now, trigger, dead) == "patient-deceased"
        assert (
            reason(us, now, trigger, {**dead, "name": [{"family": "Stranger", "given": ["Marigold"]}]})
            is None
        )
        assert reason(us, now, trigger, {**dead, "name": [{"family": "Example", "given": ["Pip"]}]}) is None
        assert reason(us, now, trigger, {**dead, "name": []}) is None
        other = about(proposed, "#p", contained=[{**inner, "id": "p"}])
        assert reason(us, now, other, dead) is None
        born = about(proposed, "#marigold", contained=[{**inner, "birthDate": "1999-01-01"}])
        assert reason(us, now, born, dead) is None

    def test_twice_within_the_trigger(
        self, us: Profile, now: datetime, proposed: Json, marigold: Json
    ) -> None:
        """Two contents under one id are none."""
        both = [marigold, {**marigold, "deceasedBoolean": True}]
        assert reason(us, now, about(proposed, "#marigold", contained=both)) == "patient-unresolved"
        assert reason(us, now, about(proposed, "#marigold", contained=[marigold, marigold])) is None

    def test_once_by_its_contents(self, us: Profile, now: datetime, proposed: Json, marigold: Json) -> None:
        """A record without an id is known by its identifiers."""
        nameless = {name: value for name, value in marigold.items() if name != "id"} | {"identifier": NUMBER}
        entries = (about(proposed, "urn:uuid:1"), {"fullUrl": "urn:uuid:1", "resource": nameless})
        assert reason(us, now, *entries) is None
        dead = {**marigold, "identifier": NUMBER, "active": False}
        assert reason(us, now, *entries, dead) == "patient-inactive"


def linked(patient: Json, type_: Any, other: str = "Patient/other") -> Json:
    """The Patient with a link."""
    return {**patient, "link": [{"type": type_, "other": {"reference": other}}]}


@pytest.mark.parametrize(
    "type_", ["replaced-by", "replaced by", "replacedBy", "REPLACED_BY", "merged", None, {}]
)
def test_a_link_by_which_it_may_have_been_merged_must_lead_somewhere(
    type_: Any, us: Profile, now: datetime, proposed: Json, marigold: Json
) -> None:
    """Whatever nobody can read may mean that."""
    assert reason(us, now, proposed, linked(marigold, type_)) == "patient-merged"
    dead = {**marigold, "id": "other", "deceasedBoolean": True}
    assert reason(us, now, proposed, linked(marigold, type_), dead) == "patient-deceased"


@pytest.mark.parametrize("type_", ["refer", "seealso", "SeeAlso"])
def test_who_died_by_a_linked_record_is_dead(
    type_: str, us: Profile, now: datetime, proposed: Json, marigold: Json
) -> None:
    """Both records are in use, of one person; told by either."""
    other = {**marigold, "id": "other", "active": False}
    assert reason(us, now, proposed, linked(marigold, type_), other) is None
    dead = {**other, "deceasedDateTime": "2026-11-01"}
    assert reason(us, now, proposed, linked(marigold, type_), dead) == "patient-deceased"
    assert reason(us, now, proposed, marigold, linked(dead, type_, "Patient/marigold")) == "patient-deceased"


def test_a_record_that_took_anothers_place_counts_though_only_it_says_so(
    us: Profile, now: datetime, proposed: Json, marigold: Json
) -> None:
    """The one that is named may not know."""
    other = linked({**marigold, "id": "other"}, "replaces", "Patient/marigold")
    assert reason(us, now, proposed, marigold, other) is None
    assert reason(us, now, proposed, marigold, {**other, "deceasedBoolean": True}) == "patient-deceased"


@pytest.mark.parametrize(
    "text",
    [
        "ServiceRequest/r1/", "./ServiceRequest/r1", "ServiceRequest//r1", "ServiceRequest\\r1",
        "ServiceRequest/r1?_format=json", "ServiceRequest/r1#x", "servicerequest/r1/_history/2",
        "ServiceRequest%2Fr1",
    ],
)  # fmt: skip
def test_a_reference_that_is_put_together_badly_still_ties_what_is_booked(
    text: str, us: Profile, now: datetime, marigold: Json
) -> None:
    """The order is not called for what it already led to."""
    order = {
        "resourceType": "ServiceRequest", "id": "r1", "status": "active", "intent": "order",
        "category": [{"text": "Referral"}], "authoredOn": "2026-11-20",
        "subject": {"reference": "Patient/marigold"},
    }  # fmt: skip
    assert reason(us, now, order, marigold) is None
    booked = about(BOOKED, "Patient/marigold", basedOn=[{"reference": text}])
    assert reason(us, now, order, marigold, booked) == "already-booked"
    far = about(BOOKED, "https://ehr.example/Patient/marigold", basedOn=[{"reference": "ServiceRequest/r1"}])
    assert reason(us, now, order, marigold, far) == "already-booked"


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ({"code": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality|R"}, "restricted-record"),
        ({"display": "very restricted"}, "restricted-record"),
        ({"code": "\uff32"}, "restricted-record"),
        ({"display": "test health data"}, "patient-test"),
        ({"code": "N", "display": "restricted"}, None),
        ({"display": "normal"}, None),
    ],
)
def test_a_label_is_known_by_its_code_or_its_words(
    label: Json, expected: str | None, us: Profile, now: datetime, proposed: Json, marigold: Json
) -> None:
    """In whatever form it comes."""
    assert reason(us, now, proposed, {**marigold, "meta": {"security": [label]}}) == expected


@pytest.mark.parametrize("end", ["22.11.2020", "11/22/2020", "20200101", "2020-13-01", "last year"])
def test_a_number_whose_end_nobody_can_read_is_not_called(
    end: str, us: Profile, now: datetime, proposed: Json, marigold: Json
) -> None:
    """It may be somebody else's by now."""
    phone = {"system": "phone", "value": "(646) 555-0101", "period": {"end": end}}
    assert reason(us, now, proposed, {**marigold, "telecom": [phone]}) == "phone-missing"


@pytest.mark.parametrize("status", [None, "aktiv", "Active.", "ACTIVE"])
def test_a_denial_holds_unless_its_status_says_that_it_does_not(
    status: str | None, us: Profile, now: datetime, proposed: Json, marigold: Json
) -> None:
    """A status that nobody can read may stand for active; one of FHIR's others does not."""
    consent: Json = {"resourceType": "Consent", "id": "c", "provision": {"type": "deny"}}
    consent["patient"] = {"reference": "Patient/marigold"}
    assert reason(us, now, proposed, marigold, {**consent, "status": status}) == "consent-denied"
    for other in ("draft", "proposed", "rejected", "inactive", "entered-in-error", "not-done"):
        assert reason(us, now, proposed, marigold, {**consent, "status": other}) is None


class TestAReferenceThatNamesTwo:
    """One patient by its text, another by its identifier: whom the record means nobody can say."""

    BASIL: ClassVar[Json] = {"id": "basil", "name": [{"family": "Fictional", "given": ["Basil"]}]}
    ACTOR: ClassVar[Json] = {"reference": "Patient/marigold", "identifier": {**NUMBER[0], "value": "8"}}

    def trigger(self, proposed: Json, **actor: Any) -> Json:
        """An Appointment of whom both name."""
        return {**proposed, "participant": [{"actor": {**self.ACTOR, **actor}, "status": "accepted"}]}

    def test_waits(self, us: Profile, now: datetime, proposed: Json, marigold: Json) -> None:
        """Of two at hand, and of one whose own number is another; in an order too."""
        trigger = self.trigger(proposed)
        basil = {**marigold, **self.BASIL, "identifier": [{**NUMBER[0], "value": "8"}]}
        assert reason(us, now, trigger, marigold, basil) == "patient-contradicted"
        assert reason(us, now, trigger, {**marigold, "identifier": NUMBER}) == "patient-contradicted"
        order = {
            "resourceType": "ServiceRequest", "id": "r1", "status": "active", "intent": "order",
            "category": [{"text": "Referral"}], "authoredOn": "2026-11-20", "subject": self.ACTOR,
        }  # fmt: skip
        assert reason(us, now, order, marigold, basil) == "patient-contradicted"
        assert reason(us, now, order, marigold) is None

    def test_does_not_where_both_are_one(
        self, us: Profile, now: datetime, proposed: Json, marigold: Json
    ) -> None:
        """A record with that number among others, one that was merged or linked, or that no number is known
        of; the number in another spelling."""
        number = [{**NUMBER[0], "value": "8"}]
        trigger = self.trigger(proposed)
        assert reason(us, now, trigger, marigold) is None
        assert reason(us, now, trigger, {**marigold, "identifier": [*NUMBER, *number]}) is None
        other = {**marigold, "id": "other", "identifier": number}
        assert reason(us, now, trigger, linked(marigold, "replaced-by"), other) is None
        assert reason(us, now, trigger, marigold, linked(other, "seealso", "Patient/marigold")) is None
        spaced = self.trigger(proposed, identifier={**NUMBER[0], "value": "943-476 5919"})
        assert (
            reason(us, now, spaced, {**marigold, "identifier": [{**NUMBER[0], "value": "9434765919"}]})
            is None
        )

    def test_a_denial_holds_for_both(
        self, us: Profile, now: datetime, proposed: Json, marigold: Json
    ) -> None:
        """Whoever of the two said no."""
        basil = {**marigold, **self.BASIL, "identifier": [{**NUMBER[0], "value": "8"}]}
        consent = {"resourceType": "Consent", "status": "active", "provision": {"type": "deny"}}
        denial = {**consent, "patient": self.ACTOR}
        assert reason(us, now, proposed, marigold, basil, denial) == "consent-denied"
        assert reason(us, now, about(proposed, "Patient/basil"), marigold, basil, denial) == "consent-denied"
