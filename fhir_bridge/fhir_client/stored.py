"""What a server says it keeps after a create or an update."""

from __future__ import annotations

import re
from dataclasses import dataclass

import httpx
import msgspec

from fhir_bridge.errors import FhirServerError


@dataclass(frozen=True, slots=True)
class Stored:
    """A resource as the server keeps it: its id, its version where it says one, and its body (empty where
    the server gives none back)."""

    id: str
    version: str | None
    body: bytes


class _Meta(msgspec.Struct, rename="camel"):
    version_id: str | None = None


class _Kept(msgspec.Struct, rename="camel"):
    resource_type: str | None = None
    id: str | None = None
    meta: _Meta | None = None


_decode = msgspec.json.Decoder(_Kept).decode
_LOCATION = re.compile(r"/([A-Za-z0-9\-._]+)(?:/_history/([A-Za-z0-9\-._]+))?/?$")
_ETAG = re.compile(r'(?:W/)?"([^"]+)"')


def stored(response: httpx.Response, what: str, id: str | None = None) -> Stored:
    """From the body, else from Location and ETag; `id` is known of an update.

    Raises FhirServerError `not-fhir` where nothing says under which id it is kept.
    """
    try:
        kept = _decode(response.content)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        kept = _Kept()
    is_it = kept.resource_type not in (None, "OperationOutcome")
    place = _LOCATION.search(response.headers.get("location", ""))
    tag = _ETAG.fullmatch(response.headers.get("etag", ""))
    found = (kept.id if is_it else None) or (place[1] if place else None) or id
    if found is None:
        raise FhirServerError(f"{what}: the answer does not say under which id", code="not-fhir")
    version = (kept.meta.version_id if is_it and kept.meta else None) or (tag[1] if tag else None)
    return Stored(found, version or (place[2] if place else None), response.content if is_it else b"")
