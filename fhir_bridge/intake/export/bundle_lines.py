"""A page of a search as NDJSON: each resource on a line, byte for byte as the server wrote it."""

from __future__ import annotations

import msgspec

from fhir_bridge.fhir.reading import resource_type


class _Search(msgspec.Struct):
    mode: str | None = None


_NOTHING = msgspec.Raw()


class _Entry(msgspec.Struct):
    resource: msgspec.Raw = _NOTHING
    search: _Search | None = None


class _Bundle(msgspec.Struct):
    entry: list[_Entry] = []


class _Named(msgspec.Struct, rename="camel"):
    resource_type: str | None = None
    id: str | None = None


_bundle = msgspec.json.Decoder(_Bundle).decode
_named = msgspec.json.Decoder(_Named).decode


def resource_lines(page: bytes) -> tuple[list[bytes], list[bytes]]:
    """The resources that were found, and the OperationOutcomes beside them (mode `outcome`), as lines.

    Raises msgspec.MsgspecError for what is no Bundle.
    """
    found: list[bytes] = []
    outcomes: list[bytes] = []
    for entry in _bundle(page).entry:
        if entry.resource is _NOTHING:
            continue
        line = one_line(bytes(entry.resource))
        is_outcome = resource_type(line) == "OperationOutcome"
        (outcomes if is_outcome else found).append(line)
    return found, outcomes


def one_line(resource: bytes) -> bytes:
    """The same JSON on one line. Within texts JSON has no line ends, so nothing of them is touched."""
    return resource.strip().replace(b"\r", b" ").replace(b"\n", b" ") + b"\n"


def label(line: bytes) -> str | None:
    """`Type/id` of a resource; None where it has no such."""
    try:
        named = _named(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return f"{named.resource_type}/{named.id}" if named.resource_type and named.id else None
