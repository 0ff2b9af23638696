"""What is asked of `$export`: the kick-off request of Bulk Data Access 2.0, as GET or as POST."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from fhir_bridge.errors import UsageError

SYSTEM = ""
PATIENT = "Patient"
_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")
_TYPE = re.compile(r"[A-Z][A-Za-z]{1,63}")

HEADERS = {"Accept": "application/fhir+json", "Prefer": "respond-async"}
"""What a kick-off must carry (http://hl7.org/fhir/uv/bulkdata/STU2/export.html#headers)."""


class ExportRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One question to one server; two that are equal ask for the same.

    `scope` is `` (the whole system), `Patient` or `Group/ID`; `since` a FHIR instant; `types` empty: all.
    """

    base_url: str
    scope: str = SYSTEM
    types: tuple[str, ...] = ()
    since: str | None = None
    type_filters: tuple[str, ...] = ()
    output_format: str | None = None

    @property
    def url(self) -> str:
        """Where `$export` is, without parameters."""
        return "/".join(part for part in (self.base_url, self.scope, "$export") if part)

    def parameters(self) -> dict[str, str]:
        """The parameters as a query has them, each once.

        Oracle Health rejects a repeated `_type`; within a filter a comma is written %2C, for between filters
        it separates them.
        """
        filters = ",".join(text.replace(",", "%2C") for text in self.type_filters)
        told = {
            "_type": ",".join(self.types),
            "_since": self.since,
            "_typeFilter": filters,
            "_outputFormat": self.output_format,
        }
        return {name: value for name, value in told.items() if value}

    def kick_off_url(self) -> str:
        """The whole of a kick-off by GET."""
        query = urlencode(self.parameters(), safe=",:", quote_via=quote)
        return f"{self.url}?{query}" if query else self.url

    def body(self) -> dict[str, Any]:
        """A kick-off by POST: a FHIR Parameters resource, each filter a parameter of its own."""
        given = self.parameters()
        parts: list[dict[str, str]] = []
        if "_type" in given:
            parts.append({"name": "_type", "valueString": given["_type"]})
        if self.since:
            parts.append({"name": "_since", "valueInstant": self.since})
        parts += [{"name": "_typeFilter", "valueString": text} for text in self.type_filters]
        if self.output_format:
            parts.append({"name": "_outputFormat", "valueString": self.output_format})
        return {"resourceType": "Parameters", "parameter": parts}

    def same_but_since(self, other: ExportRequest) -> bool:
        """Whether one asks what the other asks, from another moment on: what an increment may build on."""
        return msgspec.structs.replace(self, since=None) == msgspec.structs.replace(other, since=None)


def group_scope(group: str) -> str:
    """The scope of a Group by its id. Raises UsageError for what is none."""
    group = group.removeprefix("Group/")
    if not _ID.fullmatch(group):
        raise UsageError("--group takes the id of a Group: letters, digits, - and ., at most 64")
    return f"Group/{group}"


def checked_types(types: tuple[str, ...]) -> tuple[str, ...]:
    """Resource types, each once; several may stand in one text, with commas. Raises UsageError."""
    found = [name.strip() for text in types for name in text.split(",") if name.strip()]
    for name in found:
        if not _TYPE.fullmatch(name):
            raise UsageError(f"{name!r} is no resource type", hint="write it like Appointment")
    return tuple(dict.fromkeys(found))


def checked_filters(filters: tuple[str, ...], types: tuple[str, ...]) -> tuple[str, ...]:
    """`Type?search` texts. Raises UsageError for other forms, and for a type that is not asked for."""
    for text in filters:
        name, mark, search = text.partition("?")
        if not mark or not search or not _TYPE.fullmatch(name):
            raise UsageError(
                f"{text!r} is no filter", hint="write it like 'ServiceRequest?status=active,draft'"
            )
        if types and name not in types:
            raise UsageError(f"there is a filter for {name}, which is not asked for", hint=f"--type {name}")
    return filters


def instant(moment: datetime) -> str:
    """An aware moment as a FHIR instant in UTC, in milliseconds where it is not on the second."""
    text = moment.astimezone(UTC).isoformat(timespec="milliseconds" if moment.microsecond else "seconds")
    return text.replace("+00:00", "Z")
