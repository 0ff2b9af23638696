"""From the bytes of one resource to its view: straight where the view takes them, mended where it does
not."""

from __future__ import annotations

import re
from collections.abc import Callable
from operator import attrgetter
from typing import Any

import msgspec

from fhir_bridge.errors import InputError
from fhir_bridge.fhir.mending import mended
from fhir_bridge.fhir.repeated import repeats
from fhir_bridge.fhir.resource import Origin, Resource
from fhir_bridge.fhir.unreadable import unreadable
from fhir_bridge.fhir.views import (
    VIEWS,
    Appointment,
    Consent,
    Coverage,
    Encounter,
    Patient,
    ServiceRequest,
    View,
)

_TYPES = {name.lower(): name for name in (*VIEWS, "Bundle", "Parameters")}
_FRONT = 64
"""Bytes that hold `{"resourceType":"…"` where a resource begins with it: split, they give the type in a third
of the time that a pattern takes."""


class _Peek(msgspec.Struct, rename="camel"):
    resource_type: str | None = None


_peek = msgspec.json.Decoder(_Peek).decode
_decode_other = msgspec.json.Decoder(View).decode


def resource_type(raw: bytes) -> str | None:
    """The resourceType of an object, in FHIR's case where the bridge knows the type; None without one.

    Raises `msgspec.MsgspecError`, `UnicodeDecodeError` or `RecursionError` for what is no JSON object.
    """
    head = raw[:_FRONT].split(b'"', 4)
    in_front = len(head) == 5 and head[1] == b"resourceType" and head[3].isalpha()
    if in_front and head[0].strip() == b"{" and head[2].strip() == b":":
        name: str | None = head[3].decode()
    else:
        name = _peek(raw).resource_type
    if not name or not name.isalpha():
        return None
    return name if name in VIEWS else _TYPES.get(name.lower(), name)


def read(
    raw: bytes, origin: Origin, full_url: str | None = None, container: Resource[View] | None = None
) -> Resource[View]:
    """Read one resource (mapping, section 16).

    Raises InputError, naming the origin, for what is not a JSON object with a `resourceType`.
    """
    resource = read_plain(raw, origin, full_url, container)
    return _read_slowly(raw, origin, full_url, container) if resource is None else resource


def read_plain(
    raw: bytes, origin: Origin, full_url: str | None = None, container: Resource[View] | None = None
) -> Resource[View] | None:
    """Read a resource that begins with a type the bridge knows and has nothing to be mended, as most are;
    None for anything else."""
    try:
        reader = _readers.get(raw[:_FRONT].split(b'"', 4)[3])
        if reader is None:
            return None
        decode, name, is_suspect = reader
        view = decode(raw)
    except (LookupError, msgspec.MsgspecError, UnicodeError, RecursionError):
        return None
    if view.resource_type == name and (is_suspect is None or not is_suspect(view, raw)):
        return Resource(view, raw, origin, full_url, container)
    return None


def _read_slowly(
    raw: bytes, origin: Origin, full_url: str | None, container: Resource[View] | None
) -> Resource[View]:
    """What is not as it should be: another type, a name or code in another case, an element out of form."""
    try:
        name = resource_type(raw)
        if name is None:
            raise InputError(f"{origin}: not FHIR: an object without a resourceType", code="not-fhir")
        if name not in VIEWS:
            try:
                return Resource(_decode_other(raw), raw, origin, full_url, container)
            except msgspec.ValidationError:
                pass
        view, notes = mended(raw, VIEWS.get(name, View), name)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        is_whole = origin.line is None and origin.entry is None
        raise unreadable(error, str(origin), raw if is_whole else None) from None
    return Resource(view, raw, origin, full_url, container, notes)


_CAPITAL = re.compile(rb'"[A-Z]\w*"\s*:')
"""The name of an element with a capital in front: FHIR has none."""

_SETTLED = frozenset(
    {"booked", "arrived", "checked-in", "fulfilled", "entered-in-error", "completed", "revoked"}
)
"""A trigger with one of these never calls, however its other elements are spelt."""

Suspect = Callable[[Any, bytes], bool]


def _with_status(view: Any, raw: bytes) -> bool:
    """Whether a status is not in FHIR's form, or none is there but one under another spelling."""
    status = view.status
    return b'"Status"' in raw if status is None else not status.islower() or " " in status


def _misspelt(kind: type[View]) -> Callable[[Any], bool]:
    """Whether a view holds an element that decides about a call under another spelling."""
    names = [name for name in kind.__struct_fields__ if name.startswith("misspelt_")]
    found: Callable[[Any], Any] = attrgetter(*names)
    as_it_should_be = None if len(names) == 1 else (None,) * len(names)
    return lambda view: found(view) != as_it_should_be


def _stands_twice(raw: bytes, names: tuple[bytes, ...]) -> bool:
    """Whether an element that decides about a call may stand there more than once: the last would count."""
    return any(raw.count(name) > 1 for name in names)


def _has_bare_label(view: Any) -> bool:
    """Whether a label has no code where a Coding's would stand."""
    meta = view.meta
    return meta is not None and any(label.code is None for label in (*meta.security, *meta.tag))


_ONCE = (
    b'"meta"',
    b'"security"',
    b'"subject"',
    b'"participant"',
    b'"intent"',
    b'"doNotPerform"',
    b'"basedOn"',
)
"""What a trigger has once; a status each participant and the narrative have too."""

_ONCE_IN_PATIENT = (b'"deceasedBoolean"', b'"deceasedDateTime"', b'"active"', b'"meta"', b'"security"')
_SHOUTED = (b'"_deceasedDateTime"', b'"DECEASED', b'"ACTIVE"', b'"META"', b'"SECURITY"', b'"TAG"')
"""What may hide that nobody is to be called, in spellings that no view knows."""


def _has_second_status(view: Any, raw: bytes) -> bool:
    known = 1 + len(getattr(view, "participant", ())) + (b'"div"' in raw)
    return raw.count(b'"status"') > known


def _trigger_or_consent(kind: type[View]) -> Suspect:
    """What may decide about a call is looked at whole: a capital may stand anywhere in it."""
    misspelt = _misspelt(kind)

    def is_suspect(view: Any, raw: bytes) -> bool:
        if view.status in _SETTLED:
            return False
        if _with_status(view, raw) or misspelt(view) or _CAPITAL.search(raw) is not None:
            return True
        if _has_bare_label(view):
            return True
        perhaps = kind is Consent or _has_second_status(view, raw) or _stands_twice(raw, _ONCE)
        return perhaps and repeats(raw)

    return is_suspect


_misspelt_patient = _misspelt(Patient)


def _patient(view: Any, raw: bytes) -> bool:
    """There are more of them than of open triggers, so only what keeps people out is looked for."""
    meta = view.meta
    labels = meta is not None and (meta.misspelt_1 is not None or meta.misspelt_2 is not None)
    if labels or _misspelt_patient(view) or _has_bare_label(view):
        return True
    return any(name in raw for name in _SHOUTED) or (_stands_twice(raw, _ONCE_IN_PATIENT) and repeats(raw))


_SUSPECT: dict[type[View], Suspect] = {
    **{kind: _trigger_or_consent(kind) for kind in (Appointment, Consent, ServiceRequest)},
    Coverage: _with_status,
    Encounter: _with_status,
    Patient: _patient,
}
_readers = {
    name.encode(): (msgspec.json.Decoder(view).decode, name, _SUSPECT.get(view))
    for name, view in VIEWS.items()
}
