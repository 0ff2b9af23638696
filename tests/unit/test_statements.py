"""What a Patient, a Consent or a lost Appointment says of its person, whether a trigger names it or not."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from fhir_bridge.case.at_hand import AtHand
from fhir_bridge.case.index import ResolutionRules
from fhir_bridge.case.people import person_records
from fhir_bridge.fhir.documents import read
from fhir_bridge.mapping.profile import Profile
from fhir_bridge.mapping.statements import Statement, statements

Json = dict[str, Any]
MRN = "https://ehr.example/mrn"
HTEST = {"system": "http://terminology.hl7.org/CodeSystem/v3-ActReason", "code": "HTEST"}
RESTRICTED = {"system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "code": "R"}


def heard(us: Profile, now: datetime, *resources: Json) -> dict[str, Statement]:
    """What the resources say, by record."""
    bundle = {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": r} for r in resources]}
    at_hand = AtHand(read(orjson.dumps(bundle), "f").resources)
    return {each.record: each for each in statements(person_records(at_hand), us, now)}


@pytest.mark.parametrize(
    ("told", "stop"),
    [
        ({}, None),
        ({"deceasedBoolean": True}, "patient-deceased"),
        ({"deceasedDateTime": "2026-11-01"}, "patient-deceased"),
        ({"active": False}, "patient-inactive"),
        ({"meta": {"tag": [HTEST]}}, "patient-test"),
        ({"meta": {"security": [RESTRICTED]}}, "restricted-record"),
    ],
)
def test_a_patient_record_is_judged_alone(
    us: Profile, now: datetime, marigold: Json, told: Json, stop: str | None
) -> None:
    """By the same gates as a case; its version goes with it."""
    meta = {"versionId": "2", "lastUpdated": "2026-11-20T10:00:00-05:00", **told.pop("meta", {})}
    (said,) = heard(us, now, {**marigold, **told, "meta": meta}).values()
    at = datetime(2026, 11, 20, 15, tzinfo=UTC)
    assert said == Statement(("Patient/marigold",), "Patient/marigold", stop, "2", at)


def test_a_merged_record_says_nothing_and_lends_its_name(us: Profile, now: datetime, marigold: Json) -> None:
    """It is inactive by nature; what the survivor says holds for what was placed for either."""
    old = {**marigold, "id": "old", "active": False}
    old["link"] = [{"type": "replaced-by", "other": {"reference": "Patient/marigold"}}]
    said = heard(us, now, {**marigold, "deceasedBoolean": True}, old)
    assert {name: (each.stop, each.names) for name, each in said.items()} == {
        "Patient/marigold": ("patient-deceased", ("Patient/marigold", "Patient/old")),
        "Patient/old": (None, ()),
    }


def test_the_survivor_knows_whom_it_replaces(us: Profile, now: datetime, marigold: Json) -> None:
    """Though the record it replaces is not at hand."""
    link = [{"type": "replaces", "other": {"reference": "Patient/old"}}]
    (said,) = heard(us, now, {**marigold, "link": link}).values()
    assert said.names == ("Patient/marigold", "Patient/old")


@pytest.mark.parametrize("kind", ["replaced-by", "replaces", "seealso", "refer"])
def test_a_record_says_who_is_the_same_person(us: Profile, now: datetime, marigold: Json, kind: str) -> None:
    """Whatever the link is for, and though the other record is not at hand; a relative's is another's."""
    others = ({"reference": "Patient/other"}, {"reference": "RelatedPerson/r1"})
    links = [{"type": kind, "other": other} for other in others]
    (said,) = heard(us, now, {**marigold, "link": links}).values()
    assert set(said.same) == {"Patient/marigold", "Patient/other"}


def test_a_record_that_is_known_by_identifiers_says_all_of_them(
    us: Profile, now: datetime, marigold: Json
) -> None:
    """One with an id of its own, linked to nothing, says nothing of the kind."""
    named = [{"system": "urn:oid:1.2.3", "value": "7"}, {"system": "urn:oid:1.2.4", "value": "8"}]
    record = {**marigold, "identifier": named}
    (said,) = heard(us, now, record).values()
    assert said.same == ()
    (said,) = heard(us, now, {name: value for name, value in record.items() if name != "id"}).values()
    assert len(said.same) == 2 and set(said.names) <= set(said.same)


@pytest.mark.parametrize(("status", "stop"), [("active", "consent-denied"), ("inactive", None)])
def test_a_consent_speaks_without_its_patient_at_hand(
    us: Profile, now: datetime, status: str, stop: str | None
) -> None:
    """Of the patient it names."""
    consent = {"resourceType": "Consent", "id": "c1", "status": status, "provision": {"type": "deny"}}
    said = heard(us, now, {**consent, "patient": {"reference": "Patient/marigold"}})
    assert (said["Consent/c1"].names, said["Consent/c1"].stop) == (("Patient/marigold",), stop)


def test_an_appointment_lost_by_death_speaks_of_the_person(
    us: Profile, now: datetime, marigold: Json, proposed: Json
) -> None:
    """Whatever else the person waits for; once it is not lost any more it says nothing."""
    lost = {**proposed, "status": "cancelled", "cancelationReason": {"text": "Patient deceased"}}
    assert heard(us, now, marigold, lost)["Appointment/a1"].stop == "patient-deceased"
    assert heard(us, now, marigold, proposed)["Appointment/a1"].stop is None


def test_what_stops_calls_holds_for_a_copy_of_the_record_too(
    us: Profile, now: datetime, marigold: Json
) -> None:
    """By the identifiers that only patients have: a number of an insurance may be a whole family's."""
    mine, shared = {"system": MRN, "value": "7"}, {"system": "urn:insurance", "value": "7"}
    rules = ResolutionRules(patient_systems=frozenset({MRN}))

    def said(*resources: Json) -> dict[str, tuple[str | None, tuple[str, ...]]]:
        at_hand = AtHand([read(orjson.dumps(each), "f").resources[0] for each in resources], rules)
        found = statements(person_records(at_hand), us, now)
        return {each.record: (each.stop, each.names) for each in found}

    trigger = {
        "resourceType": "Appointment", "id": "a1", "status": "proposed",
        "contained": [{**marigold, "id": "c", "identifier": [shared, mine]}],
        "participant": [{"actor": {"reference": "#c"}}],
    }  # fmt: skip
    ((_, (copy,)),) = said(trigger).values()
    whole = {**marigold, "identifier": [shared, mine]}
    assert said({**whole, "deceasedBoolean": True}) == {
        "Patient/marigold": ("patient-deceased", ("Patient/marigold", copy))
    }
    assert said({**whole, "active": False})["Patient/marigold"][1] == ("Patient/marigold",)
    assert said(whole) == {"Patient/marigold": (None, ("Patient/marigold",))}
    denial = {"resourceType": "Consent", "id": "c", "status": "active", "provision": {"type": "deny"}}
    denied = said(whole, {**denial, "patient": {"reference": "Patient/marigold"}})["Consent/c"]
    assert denied == ("consent-denied", ("Patient/marigold", copy))
