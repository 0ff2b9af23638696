"""What a server says of a subscription in a notification: `SubscriptionStatus` (R4B, R5), or `Parameters`
with the same content (R4 Backport).

https://hl7.org/fhir/R5/subscriptionstatus.html,
https://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition-backport-subscription-status-r4.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from fhir_bridge.errors import InputError
from fhir_bridge.fhir import dates


class NotificationType(StrEnum):
    """FHIR's SubscriptionNotificationType."""

    HANDSHAKE = "handshake"
    HEARTBEAT = "heartbeat"
    EVENT = "event-notification"
    QUERY_STATUS = "query-status"
    QUERY_EVENT = "query-event"


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a subscription. `focus` and `additional` are reference texts as they stand; the
    timestamp is aware UTC."""

    number: int | None = None
    timestamp: datetime | None = None
    focus: str | None = None
    additional: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SubscriptionStatus:
    """A subscription as its server sees it; what it does not say is None or empty.

    `errors` are codes, never the words beside them.
    """

    type: NotificationType
    subscription: str | None = None
    topic: str | None = None
    status: str | None = None
    events_since_start: int | None = None
    events: tuple[Event, ...] = ()
    errors: tuple[str, ...] = ()


Json = Mapping[str, Any]


def is_status(resource: Json) -> bool:
    """Whether a resource, as JSON, is a subscription's status; other Parameters are not."""
    if resource.get("resourceType") == "SubscriptionStatus":
        return True
    if resource.get("resourceType") != "Parameters":
        return False
    return {"subscription", "type"} <= {name for name, _ in _parameters(resource.get("parameter"))}


def read_status(resource: Json, place: str) -> SubscriptionStatus:
    """What it says, in either form. Raises InputError that names the element at `place`."""
    if resource.get("resourceType") == "Parameters":
        return _read(_from_parameters(resource.get("parameter")), place)
    return _read(dict(resource), place)


def _from_parameters(parameters: Any) -> dict[str, Any]:
    """The Parameters as the SubscriptionStatus they stand for: `event-number` is `eventNumber`."""
    found: dict[str, Any] = {}
    for name, parameter in _parameters(parameters):
        element = _camel(name)
        if "part" in parameter:
            found.setdefault(element, []).append(_from_parameters(parameter["part"]))
        elif element in ("additionalContext", "error"):
            found.setdefault(element, []).append(_value(parameter))
        else:
            found[element] = _value(parameter)
    return found


def _parameters(parameters: Any) -> Iterator[tuple[str, Json]]:
    for parameter in parameters if isinstance(parameters, list) else ():
        if isinstance(parameter, dict) and isinstance(parameter.get("name"), str):
            yield parameter["name"], parameter


def _camel(name: str) -> str:
    first, *rest = name.split("-")
    return first + "".join(part.capitalize() for part in rest)


def _value(parameter: Json) -> Any:
    """The parameter's value[x], of whatever type: servers were seen to use several for the same one."""
    return next((value for name, value in parameter.items() if name.startswith("value")), None)


def _read(status: dict[str, Any], place: str) -> SubscriptionStatus:
    return SubscriptionStatus(
        type=_type(status.get("type"), place),
        subscription=_reference(status.get("subscription"), f"{place}.subscription"),
        topic=_text(status.get("topic"), f"{place}.topic"),
        status=_text(status.get("status"), f"{place}.status"),
        events_since_start=_number(
            status.get("eventsSinceSubscriptionStart"), f"{place}.eventsSinceSubscriptionStart"
        ),
        events=tuple(
            _event(event, f"{place}.notificationEvent[{index}]")
            for index, event in enumerate(_list(status.get("notificationEvent")))
        ),
        errors=tuple(_codes(status.get("error"))),
    )


def _type(value: Any, place: str) -> NotificationType:
    try:
        return NotificationType(value)
    except ValueError:
        known = ", ".join(NotificationType)
        raise InputError(f"{place}.type: none of {known}", code="notification-type") from None


def _event(event: Any, place: str) -> Event:
    if not isinstance(event, dict):
        raise InputError(f"{place}: not an object", code="notification-element")
    additional = [
        _reference(each, f"{place}.additionalContext") for each in _list(event.get("additionalContext"))
    ]
    moment = dates.parse(_text(event.get("timestamp"), f"{place}.timestamp"))
    return Event(
        number=_number(event.get("eventNumber"), f"{place}.eventNumber"),
        timestamp=moment.instant(UTC) if moment else None,
        focus=_reference(event.get("focus"), f"{place}.focus"),
        additional=tuple(each for each in additional if each),
    )


def _list(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _text(value: Any, place: str) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise InputError(f"{place}: not a text", code="notification-element")


def _reference(value: Any, place: str) -> str | None:
    """The reference of a Reference; a text by itself where a server wrote that (fhir-candle does)."""
    return _text(value.get("reference") if isinstance(value, dict) else value, place)


_LONGEST_NUMBER = 19
"""Digits of the largest integer64."""


def _number(value: Any, place: str) -> int | None:
    """A counter, as a number or a text: integer64 is a text in JSON, earlier versions had numbers."""
    if value is None:
        return None
    text = value.strip() if isinstance(value, str) else str(value)
    is_number = not isinstance(value, bool) and text.isascii() and text.isdigit()
    if not is_number or len(text) > _LONGEST_NUMBER:
        raise InputError(f"{place}: not a whole number from 0 on", code="notification-element")
    return int(text)


def _codes(errors: Any) -> Iterator[str]:
    for concept in _list(errors):
        codings = concept.get("coding") if isinstance(concept, dict) else None
        for coding in _list(codings):
            if isinstance(coding, dict) and isinstance(coding.get("code"), str):
                yield coding["code"]
