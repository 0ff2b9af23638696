"""A file, message or standard input taken apart into resources: Bundles, NDJSON, arrays, Parameters, other
envelopes.

Intake, section 3, and mapping, section 16. What cannot be read is listed with its place; the rest is kept.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC
from io import BytesIO
from pathlib import Path

import msgspec
from stringzilla import find

from fhir_bridge.errors import InputError, printable
from fhir_bridge.fhir import dates, envelopes, reading
from fhir_bridge.fhir.lost import lost_in
from fhir_bridge.fhir.resource import Origin, Resource
from fhir_bridge.fhir.unreadable import unreadable
from fhir_bridge.fhir.views import VIEWS, View

_MARKS: tuple[tuple[bytes, str, str], ...] = (
    (b"\x1f\x8b", "compressed", "this is a gzip file; unpack it first"),
    (b"PK\x03\x04", "compressed", "this is a zip file; unpack it first"),
    (b"MSH|", "hl7v2", "this is an HL7 v2 message, not FHIR"),
    (b"<", "xml", "this is XML; the bridge reads FHIR in JSON, so convert it first"),
)


_SOLID = re.compile(rb"\S")


@dataclass(slots=True)
class Document:
    """What one file held.

    `resources` are those of types the bridge has views for, in the order they stand; `others` counts the
    types it passes over; `deleted` are the labels that a history says are gone, and when; `problems`
    lists every part that could not be read, each naming file and line or entry.
    """

    name: str
    resources: list[Resource[View]] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)
    deleted: dict[str, str | None] = field(default_factory=dict)
    problems: list[InputError] = field(default_factory=list)


def read_file(path: Path) -> Document:
    """Read a file. Raises InputError where the file cannot be opened or nothing in it can be read."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or 'cannot be read'}", code="no-file") from None
    return read(data, printable(str(path)))


def read(data: bytes, name: str) -> Document:
    """Take the bytes of a file apart; `name` stands for it in errors (`-` for standard input).

    Raises InputError, naming the file and where known the line, where nothing in it can be read: empty, not
    JSON, not FHIR, XML, another encoding than UTF-8, -16 or -32, nested too deeply.
    """
    try:
        return _read(data, name)
    except InputError as error:
        error.lost = error.lost or lost_in(data, Origin(name))
        raise


def _read(data: bytes, name: str) -> Document:
    # FHIR has no U+0000 (R4, 2.24.0.1, string) and PostgreSQL keeps none: one record's would keep all that
    # came with it out of the ledger.
    data = utf8(data, name)
    if find(data, rb"\u0000") >= 0:
        data = data.replace(rb"\u0000", rb"\ufffd")
    document = Document(name)
    if _is_ndjson(data):
        _read_lines(data, document)
    else:
        _read_whole(data, document)
    document.problems += undated(document.resources, document.deleted)
    document.resources = without_deleted(document.resources, document.deleted)
    if document.problems and not (document.resources or document.others or document.deleted):
        first = document.problems[0]
        first.lost = tuple(lost for problem in document.problems for lost in problem.lost)
        raise first
    return document


def utf8(data: bytes, name: str) -> bytes:
    """The text as UTF-8 without a byte order mark. Raises InputError for what is no JSON text at all."""
    if data[:1] == b"{" and data[1:2] > b"\0":
        return data  # what most are: an object in UTF-8
    encoding = json.detect_encoding(data)
    try:
        if encoding != "utf-8":
            data = data.decode(encoding).encode()
    except UnicodeError:
        raise InputError(
            f"{name}: neither UTF-8 nor UTF-16", code="encoding", hint="save it as UTF-8"
        ) from None
    start = data[:512].lstrip()
    if not start and not data.strip():
        raise InputError(f"{name}: empty", code="empty")
    for mark, code, words in _MARKS:
        if start.startswith(mark):
            raise InputError(f"{name}: {words}", code=code)
    return data


def _is_ndjson(data: bytes) -> bool:
    """Whether the first line that is not blank is an object of its own and more follows."""
    data = data.lstrip()
    end = data.find(b"\n")
    first = data[: max(end, 0)].rstrip()
    return first.startswith(b"{") and first.endswith(b"}") and _SOLID.search(data, end) is not None


def _read_whole(data: bytes, document: Document) -> None:
    """One JSON value; where it is none, still the lines of it that are FHIR."""
    try:
        _collect(data, document, None)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        if _has_resource_lines(data):
            _read_lines(data, document)
            return
        raise unreadable(error, document.name, data) from None


def _has_resource_lines(data: bytes) -> bool:
    """Whether some line is a resource of its own: then it is NDJSON whose first lines are broken."""
    return any(
        line.startswith(b'{"resourceType"') and line.rstrip().endswith(b"}") for line in data.split(b"\n")
    )


def _read_lines(data: bytes, document: Document) -> None:
    """NDJSON: each line for itself."""
    name, others, keep = document.name, document.others, document.resources.append
    for number, line in enumerate(BytesIO(data), 1):
        line = line.removesuffix(b"\n")
        view = reading.plain_view(line)
        if isinstance(view, str):
            others[view] += 1
        elif view is not None:
            keep(Resource(view, line, Origin(name, number)))
        else:
            read_line(line, document, number)


def read_line(line: bytes, document: Document, number: int) -> None:
    """Read one line of NDJSON into the document, whatever it holds but a blank; what cannot be read is a
    problem there."""
    if not line.strip():
        return
    try:
        _read_line(line, document, number)
    except InputError as error:
        error.lost = error.lost or lost_in(line, Origin(document.name, number))
        document.problems.append(error)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        origin = Origin(document.name, number)
        document.problems.append(unreadable(error, str(origin), lost=lost_in(line, origin)))


def _read_line(line: bytes, document: Document, number: int) -> None:
    """A resource to be mended or passed over, or what must be taken out of its envelope first."""
    name = reading.resource_type(line) if line.startswith(b"{") else None
    if name in VIEWS:
        document.resources.append(reading.read(line, Origin(document.name, number)))
    elif name is None or name in envelopes.NAMES:
        _collect(line, document, number)
    else:
        envelopes.skim(line)
        reading.demand_spelt(name, line, Origin(document.name, number))
        document.others[name] += 1


def _collect(data: bytes, document: Document, line: int | None) -> None:
    """Read every resource of one JSON value into the document."""
    contents = envelopes.unpack(data)
    if not contents.parts and not contents.is_fhir:
        place = Origin(document.name, line)
        raise InputError(f"{place}: not FHIR: no resourceType in it", code="not-fhir")
    before = len(document.problems)
    for part in contents.parts:
        _keep(part, Origin(document.name, line, part.number), document)
    document.deleted.update(contents.deleted)
    _look_beside(document.problems[before:], data)


def _look_beside(problems: Iterable[InputError], data: bytes) -> None:
    """Have the first part that does not show whom it is about tell of all who are named around it."""
    first = next((each for each in problems if any(lost.is_unclear for lost in each.lost)), None)
    if first is not None:
        around = frozenset(name for lost in lost_in(data, Origin("")) for name in lost.names)
        first.lost = tuple(replace(lost, beside=around - lost.names) for lost in first.lost)


def _keep(part: envelopes.Part, origin: Origin, document: Document) -> None:
    """Read one part; count the types that no view reads."""
    try:
        if part.resource_type is not None and part.resource_type not in VIEWS:
            reading.demand_spelt(part.resource_type, part.raw, origin, part.full_url)
            document.others[part.resource_type] += 1
            return
        document.resources.append(reading.read(part.raw, origin, part.full_url))
    except InputError as error:
        document.problems.append(error)


def undated(resources: Iterable[Resource[View]], deleted: Mapping[str, str | None]) -> list[InputError]:
    """A problem for each resource that is left out as deleted, though nothing says which came last."""
    gone = {label for label, at in deleted.items() if at is None}
    if not gone:
        return []
    return [
        InputError(
            f"{one.origin}: left out: it is deleted too, and nothing says when", code="deletion-undated"
        )
        for one in resources
        if one.label in gone
    ]


def without_deleted(
    resources: Iterable[Resource[View]], deleted: Mapping[str, str | None]
) -> list[Resource[View]]:
    """The resources without those that are deleted (`Type/id` → FHIR instant, None where nobody says
    when), but for what was written again after it."""
    if not deleted:
        return list(resources)
    return [one for one in resources if one.label not in deleted or _is_later(one, deleted[one.label])]


def _is_later(resource: Resource[View], deleted_at: str | None) -> bool:
    gone = dates.parse(deleted_at)
    written = dates.parse(resource.view.meta.last_updated) if resource.view.meta else None
    return gone is not None and written is not None and written.instant(UTC) > gone.instant(UTC)
