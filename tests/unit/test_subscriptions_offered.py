"""What a server offers in the way of Subscriptions, by its own statement (intake, section 1)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fhir_bridge.subscriptions.building import BACKPORT
from fhir_bridge.subscriptions.offered import TOPIC_CANONICAL, Offered, Topic, offered_of, topic_of

R5_TOPIC = "http://hl7.org/fhir/5.0/StructureDefinition/extension-SubscriptionTopic"
R4B_TOPIC = "http://hl7.org/fhir/4.3/StructureDefinition/extension-SubscriptionTopic"
URL = "http://ehr.example/topic/appointments"


def statement(version: str, *others: str, **subscription: Any) -> Offered:
    """A server of this version with Subscription, as it is said of it, and other types."""
    own = {"type": "Subscription", "interaction": [{"code": "create"}], **subscription}
    resources = [own, *({"type": name} for name in others)]
    told = {"resourceType": "CapabilityStatement", "fhirVersion": version,
            "rest": [{"mode": "server", "resource": resources}]}  # fmt: skip
    return offered_of(json.dumps(told).encode())


@pytest.mark.parametrize(
    ("offered", "form"),
    [
        (statement("4.0.1"), "r4"),
        (statement("3.0.2"), "r4"),
        (statement("4.0.1", supportedProfile=[f"{BACKPORT}/backport-subscription"]), "r4-backport"),
        (statement("4.0.1", operation=[{"name": "$events"}]), "r4-backport"),
        (statement("4.0.1", extension=[{"url": TOPIC_CANONICAL, "valueCanonical": URL}]), "r4-backport"),
        (statement("4.3.0"), "r4"),
        (statement("4.3.0", "SubscriptionTopic"), "r4b"),
        (statement("5.0.0"), "r5"),
        (statement(""), "r4"),
    ],
)
def test_the_form_is_what_the_server_says(offered: Offered, form: str) -> None:
    """By its version, and whether anything shows that it knows topics."""
    assert offered.form == form


def test_an_implementation_guide_tells_of_the_backport() -> None:
    """Where the statement names the guide and nothing else."""
    guides = ["http://hl7.org/fhir/uv/subscriptions-backport/ImplementationGuide/x"]
    told = {"resourceType": "CapabilityStatement", "fhirVersion": "4.0.1", "implementationGuide": guides}
    offered = offered_of(json.dumps(told).encode())
    assert offered.form == "r4-backport"
    assert offered.subscribes


def test_a_server_that_lists_its_types_without_subscription_has_none() -> None:
    """One that lists nothing forbids nothing."""
    told: dict[str, Any] = {"resourceType": "CapabilityStatement", "fhirVersion": "4.0.1"}
    with_types = {**told, "rest": [{"mode": "server", "resource": [{"type": "Patient"}]}]}
    assert not offered_of(json.dumps(with_types).encode()).subscribes
    assert offered_of(json.dumps(told).encode()).subscribes


def test_the_topics_of_the_statement_are_known() -> None:
    """By the backport's extension, and the operations and interactions beside it."""
    offered = statement(
        "4.0.1",
        "Basic",
        extension=[{"url": TOPIC_CANONICAL, "valueCanonical": URL}, {"url": "other", "valueCanonical": "x"}],
        operation=[{"name": "$status"}, {"name": "events"}],
    )
    assert offered.topics == (URL,)
    assert offered.operations == {"status", "events"}
    assert offered.topic_types == {"Basic"}


def test_a_topic_is_read_as_a_resource() -> None:
    """R4B and R5; the type by name or by its definition's address."""
    triggers = [{"resource": "Appointment"}, {"resource": "http://hl7.org/fhir/StructureDefinition/Slot"}]
    resource = {"resourceType": "SubscriptionTopic", "url": URL, "title": "Appointments", "status": "active",
                "resourceTrigger": triggers}  # fmt: skip
    assert topic_of(resource) == Topic(URL, "Appointments", "active", frozenset({"Appointment", "Slot"}))


@pytest.mark.parametrize("trigger", [R4B_TOPIC, R5_TOPIC])
def test_a_topic_is_read_out_of_a_basic(trigger: str) -> None:
    """R4 has no such resource; the guide's own example mixes the versions in its addresses."""
    definition = "http://hl7.org/fhir/StructureDefinition/Appointment"
    parts = [{"url": "description", "valueMarkdown": "x"}, {"url": "resource", "valueUri": definition}]
    basic = {
        "resourceType": "Basic",
        "extension": [
            {"url": f"{R5_TOPIC}.url", "valueUri": URL},
            {"url": f"{R5_TOPIC}.title", "valueString": "Appointments"},
            {"url": f"{R5_TOPIC}.status", "valueCode": "active"},
            {"url": f"{trigger}.resourceTrigger", "extension": parts},
        ],
    }
    assert topic_of(basic) == Topic(URL, "Appointments", "active", frozenset({"Appointment"}))


@pytest.mark.parametrize(
    "resource", [{}, {"resourceType": "Basic"}, {"resourceType": "Basic", "extension": [{"url": "other"}]},
                 {"resourceType": "SubscriptionTopic", "url": 7}, {"resourceType": "Patient"}]
)  # fmt: skip
def test_what_is_no_topic_is_none(resource: dict[str, Any]) -> None:
    """A Basic may stand for anything."""
    assert topic_of(resource) is None
