"""Subscriptions as we have a server keep them, in each form there is, built and checked with fhir.resources.

- `r4`: a rest-hook with criteria, https://hl7.org/fhir/R4/subscription.html; STU3 and R4B take the same.
- `r4-backport`: a topic, and the rest in extensions,
  https://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition-backport-subscription.html
- `r4b`: the same profile on R4B, where topics are resources.
- `r5`: https://hl7.org/fhir/R5/subscription.html

No criteria names a status: a resource that leaves a criteria fires nothing, and what we want to hear of most
is what was booked and is not any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from fhir_bridge.subscriptions.criteria import Criteria

Form = Literal["r4", "r4-backport", "r4b", "r5"]
AskedAs = Literal["requested", "active"]
Content = Literal["empty", "id-only", "full-resource"]
Json = dict[str, Any]

REASON = "fhir-bridge: appointments and orders that call for a phone call"
FHIR_JSON = "application/fhir+json"
BACKPORT = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition"
CHANNEL_TYPES = "http://terminology.hl7.org/CodeSystem/subscription-channel-type"


@dataclass(frozen=True, slots=True)
class Wanted:
    """One subscription as we want it. `topic` is its canonical, in every form but `r4`; `criteria` narrow
    it there, and are all there is in `r4`. `status` is what it is sent with. `headers` carry our own
    secret: (name, value); `secret` is one that Medplum signs with. `heartbeat` and `timeout` are whole
    seconds, `ends_at` is aware.
    """

    form: Form
    endpoint: str
    criteria: tuple[Criteria, ...]
    topic: str | None = None
    content: Content = "full-resource"
    headers: Sequence[tuple[str, str]] = field(default=(), repr=False)
    heartbeat: int | None = None
    timeout: int | None = None
    ends_at: datetime | None = None
    secret: str | None = field(default=None, repr=False)
    status: AskedAs = "requested"

    @property
    def subject(self) -> str:
        """What it is about, the same for two that would bring us everything twice."""
        narrowed = [str(each) for each in self.criteria if each.is_narrowed or self.topic is None]
        return " ".join(filter(None, (self.topic, *sorted(narrowed))))


def build(wanted: Wanted) -> Json:
    """The Subscription to create. Its headers are secret: `hidden` hides them."""
    built = _r5(wanted) if wanted.form == "r5" else _r4(wanted)
    return _checked(built, wanted.form)


def _checked(built: Json, form: Form) -> Json:
    """As fhir.resources writes it; loaded here, for it takes a third of a second."""
    if form == "r5":
        from fhir.resources.subscription import Subscription as R5Subscription

        checked: Json = R5Subscription.model_validate(built).model_dump(mode="json")
    else:
        from fhir.resources.R4B.subscription import Subscription as R4Subscription

        checked = R4Subscription.model_validate(built).model_dump(mode="json")
    return checked


def _r4(wanted: Wanted) -> Json:
    built: Json = {
        "resourceType": "Subscription",
        "status": wanted.status,
        "reason": REASON,
        "criteria": wanted.topic or str(wanted.criteria[0]),
        "channel": _channel(wanted),
    }
    if wanted.ends_at is not None:
        built["end"] = wanted.ends_at
    if wanted.secret is not None:
        built["extension"] = [signing(wanted.secret)]
    if wanted.form != "r4":
        built["meta"] = {"profile": [f"{BACKPORT}/backport-subscription"]}
        filters = [_extension("filter-criteria", "String", str(c)) for c in wanted.criteria if c.is_narrowed]
        if filters:
            built["_criteria"] = {"extension": filters}
    return built


def _channel(wanted: Wanted) -> Json:
    channel: Json = {"type": "rest-hook", "endpoint": wanted.endpoint}
    if wanted.headers:
        channel["header"] = [f"{name}: {value}" for name, value in wanted.headers]
    if wanted.form == "r4":
        # Without a payload the server says no more than that something changed.
        return channel if wanted.content == "empty" else {**channel, "payload": FHIR_JSON}
    channel["payload"] = FHIR_JSON
    channel["_payload"] = {"extension": [_extension("payload-content", "Code", wanted.content)]}
    spans = [("heartbeat-period", wanted.heartbeat), ("timeout", wanted.timeout)]
    extensions = [_extension(name, "UnsignedInt", seconds) for name, seconds in spans if seconds]
    return {**channel, "extension": extensions} if extensions else channel


def _extension(name: str, kind: str, value: object) -> Json:
    return {"url": f"{BACKPORT}/backport-{name}", f"value{kind}": value}


def _r5(wanted: Wanted) -> Json:
    built: Json = {
        "resourceType": "Subscription",
        "status": wanted.status,
        "topic": wanted.topic,
        "reason": REASON,
        "channelType": {"system": CHANNEL_TYPES, "code": "rest-hook"},
        "endpoint": wanted.endpoint,
        "contentType": FHIR_JSON,
        "content": wanted.content,
    }
    filters = [
        {"resourceType": each.resource_type, "filterParameter": name, "value": value}
        for each in wanted.criteria
        for name, value in each.parameters
    ]
    more: Json = {
        "filterBy": filters,
        "parameter": [{"name": name, "value": value} for name, value in wanted.headers],
        "heartbeatPeriod": wanted.heartbeat,
        "timeout": wanted.timeout,
        "end": wanted.ends_at,
    }
    return {**built, **{name: value for name, value in more.items() if value}}


SIGNING = "https://www.medplum.com/fhir/StructureDefinition/subscription-secret"
"""https://www.medplum.com/docs/subscriptions/subscription-extensions"""


def signing(secret: str) -> Json:
    """Has Medplum sign what it posts."""
    return {"url": SIGNING, "valueString": secret}


HIDDEN = "***"


def hidden(subscription: Json) -> Json:
    """A copy to be shown: the values of its headers, of whatever form, are ***."""
    shown = dict(subscription)
    if isinstance(channel := shown.get("channel"), dict) and "header" in channel:
        names = [str(header).partition(":")[0] for header in channel["header"]]
        shown["channel"] = {**channel, "header": [f"{name}: {HIDDEN}" for name in names]}
    if isinstance(shown.get("parameter"), list):
        shown["parameter"] = [{**each, "value": HIDDEN} for each in shown["parameter"]]
    if isinstance(shown.get("extension"), list):
        shown["extension"] = [
            signing(HIDDEN) if each.get("url") == SIGNING else each for each in shown["extension"]
        ]
    return shown
