"""Subscriptions in every form a server may take, and how they are known again (intake, section 1)."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fhir.resources.R4B.subscription import Subscription as R4Subscription
from fhir.resources.subscription import Subscription as R5Subscription

from fhir_bridge.subscriptions.building import BACKPORT, Form, Wanted, build, hidden
from fhir_bridge.subscriptions.criteria import criteria_of
from fhir_bridge.subscriptions.kept import Kept, asked_again, kept_of
from tests.conftest import MONDAY

ENDPOINT = "https://bridge.example/fhir/ehr"
TOPIC = "http://ehr.example/topic/appointments"
SECRET = (("Authorization", "Bearer s3cret"),)
FORMS: tuple[Form, ...] = ("r4", "r4-backport", "r4b", "r5")


def wanted(form: Form, **given: Any) -> Wanted:
    """A subscription to appointments, with all that can be said."""
    told: dict[str, Any] = {
        "criteria": (criteria_of("Appointment?location=Location/1"),),
        "topic": None if form == "r4" else TOPIC,
        "headers": SECRET,
        "heartbeat": 600,
        "timeout": 30,
        "ends_at": MONDAY,
    }
    return Wanted(form, ENDPOINT, **{**told, **given})


def kept(built: dict[str, Any], **elements: Any) -> Kept:
    """The same as its server gives it back."""
    found = kept_of({**built, "id": "7", "status": "active", "meta": {"versionId": "3"}, **elements})
    assert found is not None
    return found


def test_r4_is_a_rest_hook_with_criteria() -> None:
    """https://hl7.org/fhir/R4/subscription.html"""
    assert build(wanted("r4")) == {
        "resourceType": "Subscription",
        "status": "requested",
        "end": "2026-11-23T15:00:00Z",
        "reason": "fhir-bridge: appointments and orders that call for a phone call",
        "criteria": "Appointment?location=Location/1",
        "channel": {
            "type": "rest-hook",
            "endpoint": ENDPOINT,
            "payload": "application/fhir+json",
            "header": ["Authorization: Bearer s3cret"],
        },
    }


@pytest.mark.parametrize("form", ["r4-backport", "r4b"])
def test_the_backport_names_a_topic_and_says_the_rest_in_extensions(form: Form) -> None:
    """StructureDefinition-backport-subscription.html"""
    built = build(wanted(form, content="id-only"))
    assert built["meta"] == {"profile": [f"{BACKPORT}/backport-subscription"]}
    assert built["criteria"] == TOPIC
    assert built["_criteria"]["extension"] == [
        {"url": f"{BACKPORT}/backport-filter-criteria", "valueString": "Appointment?location=Location/1"}
    ]
    assert built["channel"]["_payload"]["extension"] == [
        {"url": f"{BACKPORT}/backport-payload-content", "valueCode": "id-only"}
    ]
    assert built["channel"]["extension"] == [
        {"url": f"{BACKPORT}/backport-heartbeat-period", "valueUnsignedInt": 600},
        {"url": f"{BACKPORT}/backport-timeout", "valueUnsignedInt": 30},
    ]


def test_r5_has_elements_for_all_of_it() -> None:
    """https://hl7.org/fhir/R5/subscription.html"""
    built = build(wanted("r5"))
    assert built["topic"] == TOPIC
    assert built["filterBy"] == [
        {"resourceType": "Appointment", "filterParameter": "location", "value": "Location/1"}
    ]
    assert built["parameter"] == [{"name": "Authorization", "value": "Bearer s3cret"}]
    assert (built["heartbeatPeriod"], built["timeout"], built["content"]) == (600, 30, "full-resource")
    assert built["channelType"]["code"] == "rest-hook"


@pytest.mark.parametrize("form", FORMS)
def test_every_form_conforms_also_at_its_least(form: Form) -> None:
    """Without heartbeat, timeout, end, headers and filters nothing empty is left."""
    least = {"headers": (), "heartbeat": None, "timeout": None, "ends_at": None}
    built = build(wanted(form, criteria=(criteria_of("Appointment?"),), **least))
    model: Any = R5Subscription if form == "r5" else R4Subscription
    assert model.model_validate(built)
    assert "null" not in json.dumps(built)
    assert not {"end", "filterBy", "parameter", "_criteria"} & set(built)


@pytest.mark.parametrize("form", FORMS)
def test_no_secret_is_shown(form: Form) -> None:
    """The headers' names are, for they tell what will be presented."""
    shown = json.dumps(hidden(build(wanted(form))))
    assert "s3cret" not in shown
    assert "Authorization" in shown and "***" in shown


def test_a_secret_of_medplum_is_not_shown_either() -> None:
    """It stands in an extension of the Subscription."""
    secret = {"url": "https://www.medplum.com/fhir/StructureDefinition/subscription-secret",
              "valueString": "s3cret"}  # fmt: skip
    assert "s3cret" not in json.dumps(hidden({**build(wanted("r4")), "extension": [secret]}))


@pytest.mark.parametrize("form", FORMS)
def test_what_was_made_is_known_again(form: Form) -> None:
    """By what it is about and where it posts to: nothing else makes a second one worth having."""
    made = wanted(form)
    there = kept(build(made), text={"status": "generated"})
    assert there.is_as(made)
    assert (there.label, there.status, there.version_id, there.ends_at) == (
        "Subscription/7", "active", "3", MONDAY)  # fmt: skip
    assert there.is_as(replace(made, content="empty", heartbeat=1, headers=(), ends_at=None))
    assert not there.is_as(replace(made, endpoint=f"{ENDPOINT}-other"))
    assert not there.is_as(replace(made, criteria=(criteria_of("Appointment?location=Location/2"),)))
    if made.topic:
        assert not there.is_as(replace(made, topic=f"{TOPIC}-other"))
        versioned = {"topic": f"{TOPIC}|1.0"} if form == "r5" else {"criteria": f"{TOPIC}|1.0"}
        assert kept(build(made), **versioned).is_as(made)


def test_an_r4_criteria_without_parameters_is_one_with_a_question_mark() -> None:
    """HAPI wants it, others leave it out."""
    everything = wanted("r4", criteria=(criteria_of("Appointment?"),))
    assert kept(build(everything), criteria="Appointment").is_as(everything)


@pytest.mark.parametrize("form", FORMS)
def test_what_is_asked_for_again_carries_our_secret_anew(form: Form) -> None:
    """Servers were seen to give none back; what stopped it is taken out, what is theirs stays."""
    made = wanted(form)
    built = build(made)
    built.pop("parameter", None)
    built.get("channel", {}).pop("header", None)
    there = kept(built, status="error", error="Connection refused", text={"status": "generated"})
    again = asked_again(there, made)
    assert (again["status"], again["id"]) == ("requested", "7")
    assert "error" not in again and again["text"] == {"status": "generated"}
    assert kept_of(again) is not None
    secret = again["parameter"] if form == "r5" else again["channel"]["header"]
    assert "s3cret" in json.dumps(secret)


@pytest.mark.parametrize("form", FORMS)
def test_what_is_to_have_no_end_loses_the_one_it_had(form: Form) -> None:
    """And a new end takes the old one's place."""
    there = kept(build(wanted(form)))
    assert "end" not in asked_again(there, wanted(form, ends_at=None))
    assert asked_again(there, wanted(form))["end"].startswith("2026-11-23T15:00:00")


def test_the_subscriptions_of_others_are_read(corpora: Path) -> None:
    """Every Subscription of fhir-candle and the test kit: form, topic, content, heartbeat, end."""
    files = sorted((corpora / "subscriptions-backport").rglob("*ubscription*.json"))
    resources = [json.loads(file.read_text(encoding="utf-8-sig")) for file in files]
    found = [
        kept_of({"id": "x", **resource})
        for resource in resources
        if resource["resourceType"] == "Subscription"
    ]
    assert len(found) == 7
    told = [each for each in found if each is not None]
    assert [each.form for each in told].count("r5") == 1
    assert [each.form for each in told].count("r4-backport") == 6
    assert {each.content for each in told} == {"empty", "id-only", "full-resource"}
    assert {each.heartbeat for each in told} == {None, 120, 86400}
    assert all(each.topic and each.endpoint and each.ends_at and each.criteria for each in told)


@pytest.mark.parametrize(
    "resource", [{}, {"resourceType": "Patient", "id": "1"}, {"resourceType": "Subscription"}]
)
def test_what_is_none_is_none(resource: dict[str, Any]) -> None:
    """Another resource, or one that cannot be named."""
    assert kept_of(resource) is None


@pytest.mark.parametrize(
    "resource",
    [
        {"channel": "x", "criteria": 7},
        {"topic": 7, "filterBy": "x", "heartbeatPeriod": "soon"},
        {"criteria": "http://t", "_criteria": {"extension": "x"}, "channel": {"_payload": []}},
        {"end": "someday", "status": None},
    ],
)
def test_a_sloppy_subscription_is_read_as_far_as_it_goes(resource: dict[str, Any]) -> None:
    """It is another's; ours must still be found beside it."""
    assert kept_of({"resourceType": "Subscription", "id": "1", **resource}) is not None
