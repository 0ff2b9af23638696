"""Several resources at once, in as few requests as the server takes (intake, "batched reads")."""

from __future__ import annotations

import msgspec

from fhir_bridge.errors import FhirServerError
from fhir_bridge.fhir_client.answers import other_resource, refusal
from fhir_bridge.fhir_client.references import is_answer

Name = tuple[str, str]
"""A type and an id."""

MOST_IN_BATCH = 50


class _Response(msgspec.Struct):
    status: str | None = None


_NOTHING = msgspec.Raw()


class _Entry(msgspec.Struct):
    resource: msgspec.Raw = _NOTHING
    response: _Response | None = None


class _Bundle(msgspec.Struct, rename="camel"):
    resource_type: str | None = None
    entry: list[_Entry] = []


_decode = msgspec.json.Decoder(_Bundle).decode


def batch_of(paths: list[str]) -> bytes:
    """A Bundle that reads each of them (https://hl7.org/fhir/R4/http.html#transaction)."""
    entries = [{"request": {"method": "GET", "url": path}} for path in paths]
    return msgspec.json.encode({"resourceType": "Bundle", "type": "batch", "entry": entries})


def answers_of(body: bytes, paths: list[str]) -> list[bytes | FhirServerError] | None:
    """The answers in the order of the paths that were asked for; None where the body is not the answer to so
    many."""
    try:
        bundle = _decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if bundle.resource_type != "Bundle" or len(bundle.entry) != len(paths):
        return None
    return [_answer(entry, path) for entry, path in zip(bundle.entry, paths, strict=True)]


def _answer(entry: _Entry, path: str) -> bytes | FhirServerError:
    text = (entry.response.status if entry.response else None) or ""
    status = int(text[:3]) if text[:3].isdigit() else 0
    if 200 <= status < 300 and entry.resource != _NOTHING:
        body = bytes(entry.resource)
        return body if is_answer(body, path) else other_resource("read in a batch")
    return refusal(status or 404, b"", "read in a batch")
