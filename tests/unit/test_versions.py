"""What another version writes elsewhere means the same: elements that moved between STU3, R4 and R5."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from fhir_bridge.case.case import Case
from fhir_bridge.mapping.decide import decide
from fhir_bridge.mapping.decision import Call, Decision
from fhir_bridge.mapping.profile import Profile

Json = dict[str, Any]
Decided = Callable[..., Decision]

PURPOSES = "http://terminology.hl7.org/CodeSystem/contactentity-type"


@pytest.fixture
def decided(case_of: Callable[..., Case], us: Profile, now: datetime, marigold: Json) -> Decided:
    """What is decided about the first of some resources, Marigold's record at hand."""

    def make(*resources: Json, profile: Profile = us) -> Decision:
        return decide(case_of(*resources, marigold), profile, now)

    return make


def consent(**elements: Any) -> Json:
    """An active Consent of Marigold's in no particular version."""
    person = {"patient": {"reference": "Patient/marigold"}}
    return {"resourceType": "Consent", "id": "c1", "status": "active", **person, **elements}


DENIALS = {
    "STU3": {"policyRule": "http://hl7.org/fhir/ConsentPolicy/opt-out"},
    "R4 by policy": {"policyRule": {"coding": [{"code": "OPTOUT"}]}},
    "R4 by rule": {"provision": {"type": "deny"}},
    "R5": {"decision": "deny"},
    "R5 with an exception that is over": {
        "decision": "deny",
        "provision": [{"period": {"end": "2020-01-01"}}],
    },
}
PERMISSIONS = {
    "STU3": {"policyRule": "http://hl7.org/fhir/ConsentPolicy/opt-in"},
    "R4 by policy": {"policyRule": {"coding": [{"code": "OPTIN"}]}},
    "R4 with an exception": {"provision": {"provision": [{"type": "deny"}]}},
    "R5": {"decision": "permit", "provision": [{"purpose": []}]},
}


@pytest.mark.parametrize("version", DENIALS)
def test_a_consent_denies_in_every_version(version: str, decided: Decided, proposed: Json) -> None:
    """Each has its own element for the rule at the root."""
    assert getattr(decided(proposed, consent(**DENIALS[version])), "reason", None) == "consent-denied"


@pytest.mark.parametrize("version", PERMISSIONS)
def test_a_consent_permits_in_every_version(version: str, decided: Decided, proposed: Json) -> None:
    """What stands below the root is an exception and denies nobody the call."""
    assert isinstance(decided(proposed, consent(**PERMISSIONS[version])), Call)


@pytest.mark.parametrize("version", ["STU3", "R5"])
def test_a_consent_that_is_over_is_none(
    version: str, decided: Decided, proposed: Json, profile_of: Callable[..., Profile]
) -> None:
    """Neither a denial nor the sign that a site with opt-in waits for; STU3 and R5 date the whole Consent."""
    over = {"period": {"end": "2020-01-01"}}
    assert isinstance(decided(proposed, consent(**DENIALS[version], **over)), Call)
    opt_in = decided(proposed, consent(**PERMISSIONS[version], **over), profile=profile_of(consent="opt-in"))
    assert getattr(opt_in, "reason", None) == "consent-missing"


def details(laterality: str) -> dict[str, Json]:
    """What qualifies an order's code, as each version writes it."""
    parameter = {"code": {"text": "laterality"}, "valueCodeableConcept": {"text": laterality}}
    return {
        "R4": {"orderDetail": [{"text": laterality}]},
        "R5": {"orderDetail": [{"parameter": [parameter]}]},
        "R5 as a text": {"orderDetail": [{"parameter": [{"valueString": laterality}]}]},
        "R5 by structure": {"bodyStructure": {"reference": f"BodyStructure/{laterality}"}},
    }


@pytest.mark.parametrize("version", details(""))
def test_details_tell_two_orders_apart_in_every_version(version: str, decided: Decided, order: Json) -> None:
    """The left knee and the right one are two calls; the same knee twice is one."""
    requester = {"requester": {"display": "Dr. Bea Steady"}}
    left, again, right = (
        decided({**order, **requester, "id": id_, **details(side)[version]})
        for id_, side in (("o1", "left"), ("o2", "left"), ("o3", "right"))
    )
    assert left.subject.intent == again.subject.intent
    assert left.subject.intent != right.subject.intent


def test_the_time_of_cancellation_is_read_in_r4_too(decided: Decided, proposed: Json) -> None:
    """R5's cancellationDate has an extension for R4: a start long past was cancelled only last week."""
    url = "http://hl7.org/fhir/5.0/StructureDefinition/extension-Appointment.cancellationDate"
    lost = {**proposed, "status": "cancelled", "start": "2026-09-01T09:00:00-04:00", "created": "2026-08-01"}
    del lost["requestedPeriod"]
    assert getattr(decided(lost), "reason", None) == "reschedule-window-passed"
    told = {**lost, "extension": [{"url": url, "valueDateTime": "2026-11-16"}]}
    assert isinstance(decided(told), Call)
    assert isinstance(decided({**lost, "cancellationDate": "2026-11-16"}), Call)


def contact(number: str, purpose: str | None = None, **more: Any) -> Json:
    """An ExtendedContactDetail with one number."""
    coded = {"purpose": {"coding": [{"system": PURPOSES, "code": purpose}]}} if purpose else {}
    return {"telecom": [{"system": "phone", "value": number}], **coded, **more}


def test_an_insurance_is_reached_by_its_contact_in_r5(
    decided: Decided, proposed: Json, case_of: Callable[..., Case]
) -> None:
    """R5 took telecom from Organization: the number stands in a contact, and not in that for the press."""
    insurer = {
        "resourceType": "Organization",
        "id": "plan",
        "name": "Example Health Plan",
        "contact": [contact("(212) 555-0188", "PRESS"), contact("(212) 555-0189", "PAYOR")],
    }
    coverage = {
        "resourceType": "Coverage",
        "id": "c1",
        "status": "active",
        "kind": "insurance",
        "beneficiary": {"reference": "Patient/marigold"},
        "insurer": {"reference": "Organization/plan"},
        "subscriberId": [{"value": "M-1"}],
        "class": [{"type": {"coding": [{"code": "plan"}]}, "value": {"value": "Gold Plus"}}],
    }
    called = decided(proposed, insurer, coverage)
    assert isinstance(called, Call)
    assert called.patient.insurance is not None
    (member,) = called.patient.insurance.medical or ()
    assert (member.phone_number, member.member_id) == ("+12125550189", "M-1")
    assert (member.company_name, member.plan_name) == ("Example Health Plan", "Gold Plus")


ADDRESS = {"line": ["9 Role St"], "city": "New York", "state": "NY", "postalCode": "10001", "country": "US"}


def test_who_refers_is_reached_by_their_contact_in_r5(told: Callable[..., Json]) -> None:
    """By the contacts of R5's PractitionerRole; never by those for bills, or past ones."""
    role = {
        "resourceType": "PractitionerRole",
        "id": "r1",
        "practitioner": {"display": "Dr. Bea Steady"},
        "contact": [
            contact("(212) 555-0181", "BILL", address={**ADDRESS, "line": ["1 Bill St"]}),
            contact("(212) 555-0182", period={"end": "2020-01-01"}),
            contact("(212) 555-0183", "PATINF", address=ADDRESS),
        ],
    }
    order = {
        "resourceType": "ServiceRequest",
        "code": {"concept": {"text": "Cardiology consultation"}},
        "requester": {"reference": "PractitionerRole/r1"},
    }
    referral = told(order, role)["referral"]
    assert referral["phone_number"] == "+12125550183"
    assert referral["address"]["street_name"] == "9 Role St"
