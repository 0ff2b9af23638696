"""Which subscriptions a server offers: its CapabilityStatement, and its topics, as resources or in `Basic`.

https://hl7.org/fhir/uv/subscriptions-backport/components.html#subscription-topics-in-r4
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from fhir_bridge.subscriptions.building import BACKPORT, Form

Json = dict[str, Any]

TOPIC_CANONICAL = f"{BACKPORT}/capabilitystatement-subscriptiontopic-canonical"
_TOPIC_EXTENSION = "/StructureDefinition/extension-SubscriptionTopic."
"""In the address of each element of a topic that R4 keeps in a Basic, whatever version it names before."""


@dataclass(frozen=True, slots=True)
class Topic:
    """A SubscriptionTopic: its canonical, title, status, and the types whose changes it tells of (none: it
    does not say).
    """

    url: str
    title: str | None = None
    status: str | None = None
    resource_types: frozenset[str] = frozenset()

    @property
    def is_usable(self) -> bool:
        """Whether it is neither retired nor unnamed."""
        return bool(self.url) and self.status != "retired"


@dataclass(frozen=True, slots=True)
class Offered:
    """What a server says it can do with Subscriptions. `version` is FHIR's (`4.0.1`), `topics` the
    canonicals that its statement names; what it does not say is allowed.
    """

    version: str
    subscribes: bool
    backport: bool
    interactions: frozenset[str]
    operations: frozenset[str]
    topics: tuple[str, ...]
    topic_types: frozenset[str]

    @property
    def form(self) -> Form:
        """The form it takes, by its version and whether it knows topics."""
        major, _, rest = self.version.partition(".")
        if major.isdigit() and int(major) >= 5:
            return "r5"
        if major == "4" and not rest.startswith("0") and self.backport:
            return "r4b"
        return "r4-backport" if self.backport else "r4"


def offered_of(statement: bytes) -> Offered:
    """What a CapabilityStatement says of Subscriptions; one that lists no types forbids nothing."""
    read = msgspec.json.decode(statement)
    resources = [
        resource
        for rest in _dicts(read.get("rest"))
        if rest.get("mode") in (None, "server")
        for resource in _dicts(rest.get("resource"))
    ]
    types = {str(resource.get("type")) for resource in resources}
    own = next((each for each in resources if each.get("type") == "Subscription"), {})
    operations = frozenset(str(each.get("name")).lstrip("$") for each in _dicts(own.get("operation")))
    topics = tuple(
        str(each["valueCanonical"])
        for each in _dicts(own.get("extension"))
        if each.get("url") == TOPIC_CANONICAL and "valueCanonical" in each
    )
    told = [*_list(read.get("implementationGuide")), *_list(read.get("instantiates")),
            *_list(own.get("supportedProfile")), own.get("profile")]  # fmt: skip
    names_backport = any("subscriptions-backport" in str(each) for each in told)
    return Offered(
        version=str(read.get("fhirVersion") or ""),
        subscribes=not resources or "Subscription" in types,
        backport=bool(names_backport or topics or {"events", "status"} & operations)
        or "SubscriptionTopic" in types,
        interactions=frozenset(str(each.get("code")) for each in _dicts(own.get("interaction"))),
        operations=operations,
        topics=topics,
        topic_types=frozenset({"SubscriptionTopic", "Basic"} & types),
    )


def topic_of(resource: Json) -> Topic | None:
    """A SubscriptionTopic, or the Basic that stands for one in R4; None for anything else."""
    if resource.get("resourceType") == "SubscriptionTopic":
        triggers = [
            *_dicts(resource.get("resourceTrigger")),
            *_dicts(resource.get("eventTrigger")),
        ]
        return _topic(resource.get("url"), resource.get("title"), resource.get("status"),
                      [each.get("resource") for each in triggers])  # fmt: skip
    if resource.get("resourceType") != "Basic":
        return None
    elements: dict[str, list[Json]] = {}
    for extension in _dicts(resource.get("extension")):
        _, found, name = str(extension.get("url")).partition(_TOPIC_EXTENSION)
        if found:
            elements.setdefault(name, []).append(extension)
    triggered = [
        _value(part)
        for name in ("resourceTrigger", "eventTrigger")
        for trigger in elements.get(name, [])
        for part in _dicts(trigger.get("extension"))
        if part.get("url") == "resource"
    ]
    first = {name: _value(found[0]) for name, found in elements.items()}
    return _topic(first.get("url"), first.get("title"), first.get("status"), triggered)


def _topic(url: Any, title: Any, status: Any, types: Iterable[Any]) -> Topic | None:
    if not isinstance(url, str):
        return None
    # A type by its name or by its definition's address.
    named = frozenset(each.rpartition("/")[2] for each in types if isinstance(each, str))
    return Topic(
        url,
        title if isinstance(title, str) else None,
        status if isinstance(status, str) else None,
        named,
    )


def _value(extension: Json) -> Any:
    return next((value for name, value in extension.items() if name.startswith("value")), None)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _dicts(value: Any) -> list[Json]:
    return [each for each in _list(value) if isinstance(each, dict)]
