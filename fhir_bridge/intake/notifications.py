"""What a Subscription's server sent, told by its content and not by a declared version (intake, section 1).

Pure: reading a notification fetches nothing. Resources, bare or in a Bundle, stay bytes; whoever maps reads
them.

Long because every shape is told from the others here and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import msgspec

from fhir_bridge.errors import InputError
from fhir_bridge.fhir import envelopes, references
from fhir_bridge.fhir.documents import utf8
from fhir_bridge.fhir.envelopes import Part
from fhir_bridge.fhir.reading import resource_type
from fhir_bridge.fhir.unreadable import unreadable
from fhir_bridge.intake.subscription_status import (
    Event,
    NotificationType,
    SubscriptionStatus,
    is_status,
    read_status,
)

DELETED_HEADER = "X-Medplum-Deleted-Resource"
"""Medplum says by it what was deleted: its body is `{}` then."""


class Shape(StrEnum):
    """How it came."""

    RESOURCE = "resource"
    """A bare resource: an R4 rest-hook with payload."""
    EMPTY = "empty"
    """No body: an R4 rest-hook without payload. What changed is to be searched for, or named by the path."""
    DELETION = "deletion"
    """Something was deleted: a DELETE, or Medplum's header."""
    BUNDLE = "bundle"
    """A Bundle without a subscription's status."""
    R4_BACKPORT = "r4-backport"
    """The status is Parameters."""
    R4B = "r4b"
    """The status is a SubscriptionStatus, in a history."""
    R5 = "r5"
    """The same in a subscription-notification; one server was seen to say transaction."""


class Content(StrEnum):
    """How much of a resource came along, by what came and not by what was agreed."""

    EMPTY = "empty"
    ID_ONLY = "id-only"
    FULL = "full-resource"


@dataclass(frozen=True, slots=True)
class Route:
    """What a request says beside its body: method, the path's Type and id, Medplum's header."""

    method: str = "POST"
    resource_type: str | None = None
    resource_id: str | None = None
    deleted: str | None = None

    @property
    def label(self) -> str | None:
        """`Type/id` of the path, None where it names nothing."""
        return f"{self.resource_type}/{self.resource_id}" if self.resource_id else None


@dataclass(frozen=True, slots=True)
class Deletion:
    """`Type/id` that is gone, since when (a FHIR instant, None where nobody says)."""

    label: str
    at: str | None = None


@dataclass(frozen=True, slots=True)
class Notification:
    """One message of a Subscription's server.

    `parts` are the resources that came with it, as bytes with their fullUrl, without the status; `named` are
    the resources that it speaks of, as reference texts (a path's, each focus, each entry without a resource),
    each once; `timestamp` is the Bundle's, as it stands. All else is as in `SubscriptionStatus`, and empty
    where there was no status.
    """

    shape: Shape
    type: NotificationType = NotificationType.EVENT
    subscription: str | None = None
    topic: str | None = None
    status: str | None = None
    events_since_start: int | None = None
    events: tuple[Event, ...] = ()
    errors: tuple[str, ...] = ()
    parts: tuple[Part, ...] = ()
    deletions: tuple[Deletion, ...] = ()
    named: tuple[str, ...] = ()
    timestamp: str | None = None

    @property
    def content(self) -> Content:
        """What came of the resources."""
        if self.parts:
            return Content.FULL
        return Content.ID_ONLY if self.named or self.deletions else Content.EMPTY

    @property
    def is_about_events(self) -> bool:
        """Whether anything may have changed; a handshake, a heartbeat and a query's status say no."""
        return self.type in (NotificationType.EVENT, NotificationType.QUERY_EVENT)


def parse(body: bytes, route: Route | None = None, name: str = "message") -> Notification:
    """The notification in a request's body; `name` stands for it in errors.

    Raises InputError that names the element, and never shows its value, for what cannot be read.
    """
    route = route or Route()
    if route.deleted is not None or route.method == "DELETE":
        return _deletion(route, name)
    if not body.strip():
        return Notification(Shape.EMPTY, named=(route.label,) if route.label else ())
    # No U+0000, as in a file (fhir/documents.py).
    body = utf8(body, name).replace(rb"\u0000", rb"\ufffd")
    try:
        notification = _of_body(body, name)
        if notification.shape is Shape.RESOURCE and route.label:
            _check_place(notification.parts, route.label, name)
        return notification
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise unreadable(error, name, body) from None


def check(body: bytes, route: Route, name: str = "message") -> None:
    """Raise InputError for what no later version could make sense of either: not JSON, not FHIR, XML.

    That is all a sender is told. A notification that is FHIR and has a fault further in is taken, and a
    person sees it: a sender that is refused drops what it had to say.
    """
    if not body.strip() or route.deleted is not None or route.method == "DELETE":
        return
    body = utf8(body, name)
    try:
        envelopes.skim(body)
        is_fhir = resource_type(body) is not None or envelopes.unpack(body).is_fhir
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise unreadable(error, name, body) from None
    if not is_fhir:
        raise InputError(f"{name}: not FHIR: no resourceType in it", code="not-fhir")


def _deletion(route: Route, name: str) -> Notification:
    target = references.parse(route.deleted if route.deleted is not None else route.label)
    if target is None or target.label is None:
        where = DELETED_HEADER if route.deleted is not None else "the path of a DELETE"
        raise InputError(f"{name}: {where}: not Type/id", code="notification-element")
    return Notification(Shape.DELETION, deletions=(Deletion(target.label),))


class _Named(msgspec.Struct):
    id: Any = None


def _check_place(parts: tuple[Part, ...], label: str, name: str) -> None:
    """Raise InputError for a resource that stands at another place than its own: its versions would be taken
    for several resources, and each for a call."""
    for part in parts:
        if label != f"{part.resource_type}/{msgspec.json.decode(part.raw, type=_Named).id}":
            raise InputError(
                f"{name}: id: not the one that the request's path names", code="notification-element"
            )


def _of_body(body: bytes, name: str) -> Notification:
    envelopes.skim(body)  # a Bundle whose end is missing is none
    kind = resource_type(body)
    if kind == "Bundle":
        return _of_bundle(body, name)
    if kind in ("Parameters", "SubscriptionStatus"):
        resource = msgspec.json.decode(body)
        if is_status(resource):
            status = read_status(resource, kind)
            return _notification(_shape(kind, None), status, (), {}, ())
    contents = envelopes.unpack(body)
    if not contents.is_fhir:
        raise InputError(f"{name}: not FHIR: no resourceType in it", code="not-fhir")
    return Notification(Shape.RESOURCE, parts=tuple(contents.parts), deletions=_deletions(contents.deleted))


class _BundleHead(msgspec.Struct):
    type: Any = None
    timestamp: Any = None
    entry: msgspec.Raw = msgspec.Raw(b"[]")


class _EntryHead(msgspec.Struct, rename="camel"):
    full_url: Any = None
    resource: msgspec.Raw = msgspec.Raw(b"null")
    request: Any = None


def _of_bundle(body: bytes, name: str) -> Notification:
    head = msgspec.json.decode(body, type=_BundleHead)
    entries = _entries(head.entry, name)
    contents = envelopes.unpack(body)
    timestamp = head.timestamp if isinstance(head.timestamp, str) else None
    found = _status(entries)
    if found is None:
        return Notification(
            Shape.BUNDLE,
            parts=tuple(contents.parts),
            deletions=_deletions(contents.deleted),
            named=_bare(entries),
            timestamp=timestamp,
        )
    index, kind, resource = found
    status = read_status(resource, f"Bundle.entry[{index}].resource")
    # An entry that only names a resource is one without its request and response (Bundle's invariant bdl-5).
    parts = tuple(
        part for part in contents.parts if part.resource_type != "SubscriptionStatus" and part.raw != b"null"
    )
    return _notification(
        _shape(kind, head.type), status, parts, contents.deleted, _bare(entries, index), timestamp
    )


def _entries(raw: msgspec.Raw, name: str) -> list[_EntryHead]:
    if bytes(raw) == b"null":
        return []
    try:
        return msgspec.json.decode(raw, type=list[_EntryHead])
    except msgspec.ValidationError:
        raise InputError(
            f"{name}: Bundle.entry: not a list of entries", code="notification-element"
        ) from None


def _status(entries: list[_EntryHead]) -> tuple[int, str, dict[str, Any]] | None:
    """The subscription's status: where it stands, its type, its JSON. FHIR has it first."""
    for index, entry in enumerate(entries):
        raw = bytes(entry.resource)
        try:
            kind = resource_type(raw) if raw.startswith(b"{") else None
        except msgspec.ValidationError:  # no status; whoever reads the entries complains of it
            continue
        if kind in ("Parameters", "SubscriptionStatus"):
            resource = msgspec.json.decode(raw)
            if is_status(resource):
                return index, kind, resource
    return None


def _shape(kind: str, bundle_type: Any) -> Shape:
    if kind == "Parameters":
        return Shape.R4_BACKPORT
    return Shape.R4B if bundle_type == "history" else Shape.R5


def _bare(entries: list[_EntryHead], status_at: int | None = None) -> tuple[str, ...]:
    """The fullUrls of entries that name a resource without bringing it; what is deleted is not among them."""
    return tuple(
        entry.full_url
        for index, entry in enumerate(entries)
        if index != status_at
        and isinstance(entry.full_url, str)
        and bytes(entry.resource) == b"null"
        and not _is_delete(entry.request)
    )


def _is_delete(request: Any) -> bool:
    method = request.get("method") if isinstance(request, dict) else None
    return isinstance(method, str) and method.upper() == "DELETE"


def _notification(
    shape: Shape,
    status: SubscriptionStatus,
    parts: tuple[Part, ...],
    deleted: dict[str, str | None],
    bare: tuple[str, ...],
    timestamp: str | None = None,
) -> Notification:
    """All of it; what is deleted is so since its event, where its entry does not say when."""
    at = {_label(event.focus): event.timestamp for event in status.events if event.focus}
    since = {label: when or _instant(at.get(label)) for label, when in deleted.items()}
    focuses = [event.focus for event in status.events if event.focus and _label(event.focus) not in deleted]
    return Notification(
        shape,
        status.type,
        status.subscription,
        status.topic,
        status.status,
        status.events_since_start,
        status.events,
        status.errors,
        parts,
        _deletions(since),
        tuple(dict.fromkeys([*focuses, *bare])),
        timestamp,
    )


def _label(reference: str | None) -> str | None:
    target = references.parse(reference)
    return target.label if target else None


def _instant(moment: Any) -> str | None:
    return moment.isoformat() if moment else None


def _deletions(deleted: dict[str, str | None]) -> tuple[Deletion, ...]:
    return tuple(Deletion(label, at) for label, at in deleted.items())
