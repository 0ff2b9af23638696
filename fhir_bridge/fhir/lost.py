"""What may have stood where nothing can be read, as far as the text still shows (mapping, section 16).

A broken record may have told of a death, a denial, a cancellation, or of what was booked instead.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from hashlib import blake2b

from fhir_bridge.errors import Lost
from fhir_bridge.fhir import references
from fhir_bridge.fhir.references import Target
from fhir_bridge.fhir.resource import Origin
from fhir_bridge.fhir.resource_types import meant_type
from fhir_bridge.fhir.views import TRIGGER_TYPES

_NAMED = frozenset({"Patient", *TRIGGER_TYPES})
_DECIDING = _NAMED | {"Consent"}
"""What may say that nobody is to be called."""

_ENVELOPES = frozenset({"Bundle", "Parameters"})

_TYPE = re.compile(rb'"resourceType"\s*:\s*"([^"\\]+)', re.IGNORECASE)
_ID = re.compile(rb'"id"\s*:\s*"([A-Za-z0-9\-._]+)"', re.IGNORECASE)
_LABELS = rb"\b(%b)\\?/([A-Za-z0-9\-._]+)" % "|".join(sorted(_NAMED)).encode()
_LABEL = re.compile(_LABELS)
_REFERENCE = re.compile(rb'"reference"\s*:\s*"[^"]*' + _LABELS)
"""What is neither FHIR by its type nor refers to anybody may speak of `Patient/p1` for any reason: the lines
that `map` prints do."""

_SAID = re.compile(rb'"reference"\s*:\s*"([^"\\]+)"', re.IGNORECASE)

_FRONT = re.compile(
    rb'\s*\{\s*"resourceType"\s*:\s*"([^"\\]+)"\s*,\s*"id"\s*:\s*"([A-Za-z0-9\-._]+)"'
    rb'(?:\s*,\s*"meta"\s*:\s*\{([^{}]*))?',
    re.IGNORECASE,
)
"""As nearly every server begins a resource: then these are its own, whatever it contains."""

_VERSION_ID = re.compile(rb'"versionId"\s*:\s*"([^"\\]+)"')
_LAST_UPDATED = re.compile(rb'"lastUpdated"\s*:\s*"([^"\\]+)"')

_URL_TYPE = re.compile(r"([A-Z][A-Za-z]+)/[A-Za-z0-9\-._]+(?:/_history/[^/]+)?/?$")

_SPELT = {name.lower(): name for name in _DECIDING}


def lost_in(raw: bytes, origin: Origin, full_url: str | None = None) -> tuple[Lost, ...]:
    """What an unreadable text may have spoken of; empty where it shows that it decides nothing."""
    url_type = _URL_TYPE.search(full_url or "")
    types = {_spelt(found.decode(errors="replace")) for found in _TYPE.findall(raw)} | (
        {url_type[1]} if url_type else set()
    )
    if types and not types & (_DECIDING | _ENVELOPES):
        return ()
    url = (full_url or "").encode()
    labels = [*(_LABEL if types else _REFERENCE).findall(raw), *_LABEL.findall(url)]
    named = {f"{kind.decode()}/{id_.decode()}" for kind, id_ in labels}
    own = {f"{kind}/{id_.decode()}" for kind in types & _NAMED for id_ in _ID.findall(raw)}
    names = frozenset(named | own)
    is_clear = any(name.startswith("Patient/") for name in names)
    spelt = [target for target in _misspelt(raw) if target.type in _NAMED or target.type is None]
    is_clear = is_clear or any(one.type == "Patient" and not one.doubtful for one in spelt)
    names |= {f"{one.type or 'Patient'}/{one.id}" for one in spelt}
    place = (origin.file, origin.line, origin.entry)
    digest = blake2b(raw + url, digest_size=16).digest()
    return (Lost(*place, names, not is_clear, *_named(raw, types), digest),)


def _misspelt(raw: bytes) -> Iterator[Target]:
    """What its references mean by types that are not written as FHIR's."""
    for text in set(_SAID.findall(raw)):
        target = references.parse(text.decode(errors="replace"))
        if target is None or not target.id or not (target.type or target.doubtful):
            continue
        if target.doubtful or f"{target.type}/{target.id}".encode() not in text:
            yield target


def _named(raw: bytes, types: set[str]) -> tuple[str | None, str | None, str | None]:
    """`Type/id`, versionId and lastUpdated of the record itself, each None unless it stands in front or the
    text shows one only: what it contains may have an id of its own."""
    kind, id_, meta = next(iter(types), ""), _only(_ID, raw), raw
    if front := _FRONT.match(raw):
        kind, id_ = _spelt(front[1].decode(errors="replace")), front[2].decode()
        meta = raw if len(types) == 1 else front[3] or b""
    elif len(types) > 1:
        return None, None, None
    if not id_ or kind not in _DECIDING:
        return None, None, None
    return f"{kind}/{id_}", _only(_VERSION_ID, meta), _only(_LAST_UPDATED, meta)


def _only(pattern: re.Pattern[bytes], raw: bytes) -> str | None:
    found = {each.decode(errors="replace") for each in pattern.findall(raw)}
    return found.pop() if len(found) == 1 else None


def _spelt(name: str) -> str:
    return _SPELT.get(name.lower()) or meant_type(name) or name
