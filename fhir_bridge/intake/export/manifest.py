"""What a server says it has exported: the manifest of Bulk Data Access 2.0, read forgivingly.

Only what would lose data is an error: a file without an address. Whatever else is not as the standard has it
counts as not said.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin, urlsplit

import msgspec

from fhir_bridge.errors import FhirServerError

OUTPUT, DELETED, ERROR = "output", "deleted", "error"
KINDS = (OUTPUT, DELETED, ERROR)
_LISTS = ((OUTPUT, OUTPUT), (DELETED, DELETED), (ERROR, ERROR), ("outcome", ERROR))
"""Where a manifest lists which kind: drafts of version 3 say `outcome` for `error`."""

_TYPE = re.compile(r"[A-Za-z]{1,64}")
_UNTYPED = {OUTPUT: "Resource", DELETED: "Bundle", ERROR: "OperationOutcome"}


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """A file to fetch: `kind` is one of KINDS, `type` that of its resources, `count` None where not said."""

    kind: str
    type: str
    url: str
    count: int | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """One page of a manifest; `next` is where the next page is. URLs are absolute."""

    transaction_time: str | None
    requires_access_token: bool
    files: tuple[ManifestFile, ...]
    next: str | None = None


def read_manifest(body: bytes, url: str) -> Manifest:
    """The manifest that `url` answered with. Raises FhirServerError that names the element."""
    try:
        data = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _unreadable("it is not JSON") from None
    if not isinstance(data, dict) or not {"output", "transactionTime"} & set(data):
        raise _unreadable("there is neither output nor transactionTime in it")
    time = data.get("transactionTime")
    return Manifest(
        transaction_time=time if isinstance(time, str) and time else None,
        requires_access_token=data.get("requiresAccessToken") is not False,
        files=tuple(file for name, kind in _LISTS for file in _files(data.get(name), name, kind, url)),
        next=_next(data.get("link"), url),
    )


def _files(value: Any, name: str, kind: str, base: str) -> Iterator[ManifestFile]:
    if value is None:
        return
    if not isinstance(value, list):
        raise _unreadable(f"{name} is no list")
    for number, entry in enumerate(value):
        place = f"{name}[{number}]"
        if not isinstance(entry, dict):
            raise _unreadable(f"{place} is no object")
        what, count = entry.get("type"), entry.get("count")
        yield ManifestFile(
            kind,
            what if isinstance(what, str) and _TYPE.fullmatch(what) else _UNTYPED[kind],
            _address(entry.get("url"), base, f"{place}.url"),
            count if isinstance(count, int) and not isinstance(count, bool) and count >= 0 else None,
        )


def _next(value: Any, base: str) -> str | None:
    """The page after this one (`link` with relation `next`)."""
    for number, link in enumerate(value if isinstance(value, list) else ()):
        if isinstance(link, dict) and link.get("relation") == "next":
            return _address(link.get("url"), base, f"link[{number}].url")
    return None


def _address(value: Any, base: str, place: str) -> str:
    """An absolute address; a relative one counts from the manifest's own."""
    if not isinstance(value, str) or not value.strip():
        raise _unreadable(f"{place} is missing")
    try:
        url = urljoin(base, value.strip())
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        known = False
    if not known:
        raise _unreadable(f"{place} is no web address", hint="fhir-bridge fetches files over https only")
    return url


def _unreadable(why: str, hint: str | None = None) -> FhirServerError:
    return FhirServerError(
        f"the server's export manifest cannot be read: {why}",
        code="export-manifest",
        hint=hint
        or "the export itself may be whole: tell the server's vendor, then run the same command again",
    )
