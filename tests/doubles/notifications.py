"""Made-up notifications of a Subscription's server, in each of the forms in which they come."""

from __future__ import annotations

from typing import Any

from fhir_bridge.intake.notifications import Shape

BASE = "https://ehr.example/fhir"


def event(
    number: Any = "1", focus: str | None = f"{BASE}/Appointment/a1", *additional: str
) -> dict[str, Any]:
    """A notificationEvent of R4B and R5."""
    made: dict[str, Any] = {"eventNumber": number, "timestamp": "2026-11-23T12:00:00Z"}
    if focus:
        made["focus"] = {"reference": focus}
    if additional:
        made["additionalContext"] = [{"reference": each} for each in additional]
    return made


def status(kind: str = "event-notification", *events: dict[str, Any], **elements: Any) -> dict[str, Any]:
    """A SubscriptionStatus."""
    return {
        "resourceType": "SubscriptionStatus",
        "type": kind,
        "status": "active",
        "eventsSinceSubscriptionStart": "7",
        "subscription": {"reference": f"{BASE}/Subscription/s1"},
        "topic": "https://ehr.example/topics/lost-appointment",
        "notificationEvent": list(events),
        **elements,
    }


def as_parameters(made: dict[str, Any]) -> dict[str, Any]:
    """The same as R4 Backport has it."""
    parameters: list[dict[str, Any]] = [
        {"name": "subscription", "valueReference": made["subscription"]},
        {"name": "topic", "valueCanonical": made["topic"]},
        {"name": "status", "valueCode": made["status"]},
        {"name": "type", "valueCode": made["type"]},
        {"name": "events-since-subscription-start", "valueString": made["eventsSinceSubscriptionStart"]},
    ]
    for one in made["notificationEvent"]:
        part = [
            {"name": "event-number", "valueString": one["eventNumber"]},
            {"name": "timestamp", "valueInstant": one["timestamp"]},
        ]
        if "focus" in one:
            part.append({"name": "focus", "valueReference": one["focus"]})
        part += [
            {"name": "additional-context", "valueReference": a} for a in one.get("additionalContext", ())
        ]
        parameters.append({"name": "notification-event", "part": part})
    return {"resourceType": "Parameters", "parameter": parameters}


def bundle(kind: str, *entries: dict[str, Any]) -> dict[str, Any]:
    """A Bundle of this type; a resource stands for its entry."""
    made = [{"resource": e} if "resourceType" in e else e for e in entries]
    return {"resourceType": "Bundle", "type": kind, "timestamp": "2026-11-23T12:00:01Z", "entry": made}


def forms(made: dict[str, Any], *entries: dict[str, Any]) -> list[tuple[Shape, dict[str, Any]]]:
    """One notification in each of its forms."""
    return [
        (Shape.R4_BACKPORT, bundle("history", as_parameters(made), *entries)),
        (Shape.R4B, bundle("history", made, *entries)),
        (Shape.R5, bundle("subscription-notification", made, *entries)),
        (Shape.R5, bundle("transaction", made, *entries)),
    ]
