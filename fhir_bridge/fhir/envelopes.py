"""What resources come wrapped in: Bundles, Parameters, arrays, `{"resource": …}`, CDS Hooks requests
(mapping, section 16).

Everything stays bytes: one typed pass a level finds where each resource starts and ends.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

import msgspec

from fhir_bridge.fhir import references
from fhir_bridge.fhir.misspelt import meant
from fhir_bridge.fhir.reading import resource_type
from fhir_bridge.fhir.repeated import decoded, has_escaped_name
from fhir_bridge.fhir.views import VIEWS

_DEEPEST = 16
"""Envelopes in envelopes beyond this are refused: each level is a pass over the bytes."""

NAMES = frozenset({"Bundle", "Parameters"})
"""The types that are no resource of their own."""

_SUGGESTIONS = frozenset({"cards", "suggestions"})
"""A CDS Hooks response suggests in its cards; a suggestion is no order
(https://cds-hooks.hl7.org/2.0/#suggestion)."""


class _Request(msgspec.Struct):
    method: str | None = None
    url: str | None = None


class _Response(msgspec.Struct, rename="camel"):
    last_modified: str | None = None


_NOTHING = msgspec.Raw()

_ENTRY, _RESOURCE = frozenset({"entry"}), frozenset({"resource"})
_BESIDE_ENTRY = frozenset({"id", "meta", "type", "identifier", "timestamp", "total", "link", "signature"})
_BESIDE_RESOURCE = frozenset({"id", "link", "fullUrl", "search", "request", "response", "resourceType"})
"""The other elements of a Bundle and of its entries (https://hl7.org/fhir/R5/bundle.html)."""

T = TypeVar("T")


class _Entry(msgspec.Struct, rename="camel"):
    full_url: str | None = None
    resource: msgspec.Raw = _NOTHING  # msgspec takes no object where Raw or None may stand
    request: _Request | None = None
    response: _Response | None = None


class _Bundle(msgspec.Struct):
    entry: list[_Entry] = []


_bundle = msgspec.json.Decoder(_Bundle).decode
_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_items = msgspec.json.Decoder(list[msgspec.Raw]).decode
skim = msgspec.json.Decoder(msgspec.Raw).decode
_entry = msgspec.json.Decoder(_Entry).decode


class Part(msgspec.Struct, frozen=True, gc=False):
    """One resource: its bytes, fullUrl, number among the parts (None where it was alone) and type."""

    raw: bytes
    full_url: str | None
    number: int | None
    resource_type: str | None = None


@dataclass(slots=True)
class Contents:
    """What an envelope held: parts in order, and what it says is deleted: `Type/id` → when (FHIR instant
    or None)."""

    parts: list[Part] = field(default_factory=list)
    deleted: dict[str, str | None] = field(default_factory=dict)
    is_fhir: bool = False
    count: int = 0


def unpack(data: bytes) -> Contents:
    """Every resource in one JSON value, however it is wrapped; none where it holds none.

    Raises `msgspec.MsgspecError`, `UnicodeDecodeError` or `RecursionError` for what is not JSON or nested too
    deeply.
    """
    contents = Contents()
    _walk(data, None, contents, 0)
    return contents


def _walk(raw: bytes, full_url: str | None, contents: Contents, depth: int) -> None:
    if depth > _DEEPEST:
        raise RecursionError
    opening = raw[:1]
    if opening not in (b"{", b"["):
        opening = raw.lstrip()[:1]
    if opening == b"[":
        for item in _items(raw):
            _walk(bytes(item), None, contents, depth + 1)
    elif opening != b"{":
        skim(raw)  # so that what is no JSON says so
    else:
        _walk_object(raw, full_url, contents, depth)


def _walk_object(raw: bytes, full_url: str | None, contents: Contents, depth: int) -> None:
    try:
        name = resource_type(raw)
    except msgspec.ValidationError:  # kept for its complaint: a resourceType that is no text
        contents.parts.append(Part(raw, full_url, contents.count if depth else None))
        contents.count += 1
        return
    contents.is_fhir = contents.is_fhir or name is not None
    if name == "Bundle":
        since = len(contents.parts)
        for entry in _entries(raw):
            _walk_entry(entry, contents, depth, since)
        for value in _misnamed(raw):
            _keep_for_complaint(value, None, contents)
    elif name is None or name == "Parameters":
        for member, value in _members(raw).items():
            if member not in _SUGGESTIONS and _opening(value) in (b"{", b"["):
                _walk(bytes(value), None, contents, depth + 1)
    else:
        if not depth and name not in VIEWS:
            skim(raw)  # nobody else will look whether it is whole
        contents.parts.append(Part(raw, full_url, contents.count if depth else None, name))
        contents.count += 1


def _walk_entry(entry: _Entry, contents: Contents, depth: int, since: int) -> None:
    """One entry; `since` is where the parts of its own Bundle begin. A history tells the newest first: what
    it deletes without saying when, and wrote before that in its order, was written again since."""
    request = entry.request
    if request is not None and (request.method or "").upper() == "DELETE":
        target = references.parse(request.url) or references.parse(entry.full_url)
        if target is not None and target.label is not None:
            at = entry.response.last_modified if entry.response else None
            if at is not None or target.label not in _labels(contents.parts[since:]):
                contents.deleted[target.label] = at
        contents.count += 1
    elif entry.resource is _NOTHING and (request is not None or entry.response is not None):
        contents.count += 1  # as in the answer to a transaction (Bundle's invariant bdl-5)
    elif _opening(entry.resource) == b"{":
        raw, seen = bytes(entry.resource), contents.count
        _walk(raw, entry.full_url, contents, depth + 1)
        if contents.count == seen and resource_type(raw) is None:
            _keep_for_complaint(raw, entry.full_url, contents)
    else:
        _keep_for_complaint(bytes(entry.resource) or b"null", entry.full_url, contents)


class _Named(msgspec.Struct):
    id: str | None = None


def _labels(parts: list[Part]) -> set[str]:
    """The `Type/id` of parts whose id can be read."""
    found = set()
    for part in parts:
        try:
            found.add(f"{part.resource_type}/{msgspec.json.decode(part.raw, type=_Named).id}")
        except msgspec.MsgspecError:
            continue
    return found


def _keep_for_complaint(raw: bytes, full_url: str | None, contents: Contents) -> None:
    """What stands where a resource should, and is none: whoever reads it says so, with its number."""
    contents.parts.append(Part(raw, full_url, contents.count))
    contents.count += 1


def _entries(raw: bytes) -> list[_Entry]:
    """The Bundle's entries; where their form is not quite FHIR's, what can be had of each.

    An NHS server was seen to list resources themselves as entries.
    """
    try:
        entries = _bundle(raw).entry
        whole = _with_all_entries(raw, len(entries))
        entries = entries if whole is raw else _bundle(whole).entry
        if all(entry.resource is not _NOTHING for entry in entries):
            return entries
    except msgspec.ValidationError:
        pass
    value = _members(raw).get("entry")
    if value is None or value == b"null":
        return []
    return [_entry_mended(item) for item in (_items(value) if _opening(value) == b"[" else [value])]


def _with_all_entries(raw: bytes, entries: int) -> bytes:
    """The Bundle; where it has `entry` twice, or an entry its `resource`, one in which none hides another."""
    if raw.count(b'"entry"') > 1 or raw.count(b'"resource"') > entries or has_escaped_name(raw):
        data, is_repeated = decoded(raw)
        return msgspec.json.encode(data) if is_repeated else raw
    return raw


def _misnamed(raw: bytes) -> list[bytes]:
    """What stands in a Bundle under a name that was meant for its entries."""
    named = _members(raw).items()
    return [bytes(v) for n, v in named if n.casefold() == "entries" or meant(n, _ENTRY, _BESIDE_ENTRY)]


def _entry_mended(raw: msgspec.Raw) -> _Entry:
    """An entry by its members alone: whatever is not as it should be counts as not there, but the
    resource."""
    try:
        entry = _entry(raw)
        if entry.resource is not _NOTHING:
            return entry
    except msgspec.ValidationError:
        entry = None
    if _opening(raw) != b"{":
        return _Entry(resource=raw)
    members = _members(raw)
    resource = members.get("resource") or next(
        (value for name, value in members.items() if meant(name, _RESOURCE, _BESIDE_RESOURCE)), _NOTHING
    )
    if resource is _NOTHING and resource_type(bytes(raw)) is not None:
        return _Entry(resource=raw)
    if entry is not None:
        return msgspec.structs.replace(entry, resource=resource)
    return _Entry(
        full_url=_read_as(str, members.get("fullUrl")),
        resource=resource,
        request=_read_as(_Request, members.get("request")),
    )


def _read_as(kind: type[T], value: msgspec.Raw | None) -> T | None:
    """A member of an entry, None where it is not of its kind."""
    try:
        return None if value is None else msgspec.json.decode(value, type=kind)
    except msgspec.ValidationError:
        return None


def _opening(raw: msgspec.Raw) -> bytes:
    return bytes(memoryview(raw)[:1])
