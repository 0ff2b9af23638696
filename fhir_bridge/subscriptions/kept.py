"""Subscriptions as a server gives them back, whatever their form: what they are about and how they stand."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from fhir_bridge.fhir import dates
from fhir_bridge.subscriptions.building import BACKPORT, SIGNING, Content, Form, Wanted, signing
from fhir_bridge.subscriptions.criteria import Criteria, criteria_of

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Kept:
    """A Subscription on a server. `subject` compares with `Wanted.subject`; `resource` is all of it, its
    headers too, which some servers do not give back.
    """

    id: str
    status: str
    form: Form
    endpoint: str | None
    subject: str
    topic: str | None
    criteria: str
    content: str | None
    heartbeat: int | None
    ends_at: datetime | None
    version_id: str | None
    resource: Json

    @property
    def label(self) -> str:
        """`Subscription/id`."""
        return f"Subscription/{self.id}"

    def is_as(self, wanted: Wanted) -> bool:
        """Whether this is what is wanted: a second one would bring us everything twice."""
        return self.endpoint == wanted.endpoint and self.subject == wanted.subject


def kept_of(resource: Json) -> Kept | None:
    """A server's Subscription; None for what is none, or has no id."""
    if resource.get("resourceType") != "Subscription" or not isinstance(resource.get("id"), str):
        return None
    read = _of_r5(resource) if "topic" in resource or "channelType" in resource else _of_r4(resource)
    meta = resource.get("meta")
    end = dates.parse(text) if isinstance(text := resource.get("end"), str) else None
    return Kept(
        id=resource["id"],
        status=str(resource.get("status") or "unknown"),
        ends_at=end.instant(UTC) if end else None,
        version_id=meta.get("versionId") if isinstance(meta, dict) else None,
        resource=resource,
        **read,
    )


def _of_r5(resource: Json) -> Json:
    topic = _unversioned(resource.get("topic"))
    filters: dict[str, list[tuple[str, str]]] = {}
    for each in _dicts(resource.get("filterBy")):
        pair = (str(each.get("filterParameter")), str(each.get("value")))
        filters.setdefault(str(each.get("resourceType")), []).append(pair)
    narrowed = sorted(str(Criteria(kind, tuple(pairs))) for kind, pairs in filters.items())
    return {
        "form": "r5",
        "endpoint": _text(resource.get("endpoint")),
        "topic": topic,
        "criteria": " ".join(narrowed),
        "subject": " ".join(filter(None, (topic, *narrowed))),
        "content": _text(resource.get("content")),
        "heartbeat": _number(resource.get("heartbeatPeriod")),
    }


def _of_r4(resource: Json) -> Json:
    channel = resource.get("channel")
    channel = channel if isinstance(channel, dict) else {}
    written = str(resource.get("criteria") or "")
    common = {"endpoint": _text(channel.get("endpoint"))}
    if "://" not in written.partition("?")[0]:
        criteria = str(criteria_of(written))
        content: Content = "full-resource" if channel.get("payload") else "empty"
        return {**common, "form": "r4", "topic": None, "criteria": criteria, "subject": criteria,
                "content": content, "heartbeat": None}  # fmt: skip
    topic = _unversioned(written)
    filters = _extensions(resource.get("_criteria"), "filter-criteria")
    narrowed = sorted(str(criteria_of(each)) for each in filters if isinstance(each, str))
    contents = _extensions(channel.get("_payload"), "payload-content")
    heartbeats = _extensions(channel, "heartbeat-period")
    return {
        **common,
        "form": "r4-backport",
        "topic": topic,
        "criteria": " ".join(narrowed),
        "subject": " ".join(filter(None, (topic, *narrowed))),
        "content": _text(next(iter(contents), None)),
        "heartbeat": _number(next(iter(heartbeats), None)),
    }


def _extensions(element: Any, name: str) -> list[Any]:
    """The values of the backport's extensions of this name; some servers write other value types than it
    says."""
    found = _dicts(element.get("extension")) if isinstance(element, dict) else []
    return [
        value
        for each in found
        if each.get("url") == f"{BACKPORT}/backport-{name}"
        for key, value in each.items()
        if key.startswith("value")
    ]


def _dicts(value: Any) -> list[Json]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _unversioned(canonical: Any) -> str | None:
    return canonical.partition("|")[0] if isinstance(canonical, str) else None


def asked_again(kept: Kept, wanted: Wanted) -> Json:
    """The same Subscription to be put in its place: asked for anew, with our headers and our end.

    Servers were seen to give back no headers: what is put as it was read would post without our secret.
    """
    resource = {name: value for name, value in kept.resource.items() if name != "error"}
    resource["status"] = wanted.status
    if wanted.ends_at is not None:
        resource["end"] = wanted.ends_at.isoformat()
    elif kept.ends_at is not None:
        resource.pop("end", None)
    if wanted.secret is not None:
        others = [each for each in _dicts(resource.get("extension")) if each.get("url") != SIGNING]
        resource["extension"] = [*others, signing(wanted.secret)]
    if kept.form == "r5":
        if wanted.headers:
            resource["parameter"] = [{"name": name, "value": value} for name, value in wanted.headers]
    elif wanted.headers:
        header = [f"{name}: {value}" for name, value in wanted.headers]
        resource["channel"] = {**resource["channel"], "header": header}
    return resource
