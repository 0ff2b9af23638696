"""Paths made of types and ids, and what a reference may be followed to."""

from __future__ import annotations

import re

import msgspec

from fhir_bridge.errors import FhirServerError

_TYPE = re.compile(r"[A-Za-z]{1,64}")
_ID = re.compile(r"[A-Za-z0-9\-._]{1,256}")


class _Named(msgspec.Struct, rename="camel"):
    resource_type: str | None = None
    id: str | None = None


_decode = msgspec.json.Decoder(_Named).decode


def resource_path(resource_type: str, id: str, version_id: str | None = None) -> str:
    """`Type/id`, with `/_history/version`. Raises FhirServerError `bad-reference` for what cannot be one:
    an id in a message is somebody else's text, and must not make a path of its own.

    Longer ids than the standard's 64 are met (athenahealth's).
    """
    parts = (id,) if version_id is None else (id, version_id)
    whole = _TYPE.fullmatch(resource_type) and all(_ID.fullmatch(part) and part.strip(".") for part in parts)
    if not whole:
        raise FhirServerError(
            "a reference has no form that a server could be asked for", code="bad-reference"
        )
    path = f"{resource_type}/{id}"
    return path if version_id is None else f"{path}/_history/{version_id}"


def foreign(reference: str) -> FhirServerError:
    """The error for a reference to a server that is not listed; it says to which host, for that is what must
    be listed."""
    host = re.match(r"https?://([^/@?#]{1,253})", reference)
    where = f"to {host[1]}" if host else "elsewhere"
    return FhirServerError(
        f"a reference {where} is not followed",
        code="foreign-link",
        hint="if that server is to be asked too, list its base in other_bases of this source's client",
    )


def is_resource(body: bytes) -> bool:
    """Whether a body is a JSON object with a resourceType."""
    named = _named(body)
    return named is not None and bool(named.resource_type)


def is_answer(body: bytes, path: str) -> bool:
    """Whether a body is the resource that was asked for by this path or address: `…/Type/id`, a version after
    it or not.

    Where a server answers with another one, such as the record that somebody was merged into, that must not
    be taken for the one that is meant. Ids are compared without case, as some servers keep them.
    """
    type_, _, id_ = path.partition("/_history/")[0].rpartition("/")
    named = _named(body)
    if named is None or named.id is None:
        return False
    return named.resource_type == type_.rpartition("/")[2] and named.id.casefold() == id_.casefold()


def _named(body: bytes) -> _Named | None:
    try:
        return _decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
