"""The search parameters a FHIR server double understands, as the standard has them and no more."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

Json = dict[str, Any]


def _references(*elements: str) -> Callable[[Json], Iterator[str]]:
    def found(resource: Json) -> Iterator[str]:
        for element in elements:
            value = resource.get(element, [])
            for each in value if isinstance(value, list) else [value]:
                yield each.get("reference", "")

    return found


def _patients(resource: Json) -> Iterator[str]:
    yield from _references("patient", "subject", "beneficiary")(resource)
    for participant in resource.get("participant", []):
        yield participant.get("actor", {}).get("reference", "")


_COMMA, _ESCAPED = re.compile(r"(?<!\\),"), re.compile(r"\\([,|$\\])")


def _texts(element: str) -> Callable[[Json], Iterator[str]]:
    def found(resource: Json) -> Iterator[str]:
        yield str(resource.get(element, ""))

    return found


def _identifiers(resource: Json) -> Iterator[str]:
    for each in resource.get("identifier", []):
        yield f"{each.get('system', '')}|{each.get('value', '')}"


def _codings(resource: Json) -> Iterator[str]:
    for each in resource.get("code", {}).get("coding", []):
        yield f"{each.get('system', '')}|{each.get('code', '')}"


def _dates(resource: Json) -> Iterator[str]:
    period = resource.get("period", {})
    yield resource.get("start") or period.get("start") or resource.get("authoredOn") or ""


def _updated(resource: Json) -> Iterator[str]:
    yield resource["meta"]["lastUpdated"]


REFERENCES = {
    "patient": _patients,
    "subject": _patients,
    "beneficiary": _references("beneficiary"),
    "based-on": _references("basedOn"),
    "practitioner": _references("practitioner"),
    "encounter": _references("encounter"),
}
TOKENS = {"_id": _texts("id"), "status": _texts("status"), "identifier": _identifiers, "code": _codings}
DATES = {"date": _dates, "authored": _dates, "_lastUpdated": _updated}
NAMES = sorted({*REFERENCES, *TOKENS, *DATES})
"""The parameters that filter; `_count`, `_sort` and the double's own `_offset` shape the answer."""


def matches(resource: Json, name: str, value: str) -> bool:
    """Whether a resource is among what `name=value` asks for; a comma is an or, unless a backslash stands
    before it (https://hl7.org/fhir/R4/search.html#escaping)."""
    return any(_matches(resource, name, _ESCAPED.sub(r"\1", one)) for one in _COMMA.split(value))


def _matches(resource: Json, name: str, value: str) -> bool:
    if name in REFERENCES:
        return any(
            value in (found, found.rpartition("/")[2]) for found in REFERENCES[name](resource) if found
        )
    if name in TOKENS:
        return value in TOKENS[name](resource)
    return any(_in_time(found, value) for found in DATES[name](resource) if found)


def _in_time(found: str, value: str) -> bool:
    prefix, asked = (value[:2], value[2:]) if value[:2].isalpha() else ("eq", value)
    here = found[: len(asked)]
    return {
        "ge": here >= asked,
        "gt": here > asked,
        "le": here <= asked,
        "lt": here < asked,
        "eq": here == asked,
    }[prefix]


def ordered(found: Iterable[Json], sort: str | None) -> list[Json]:
    """By date or `_lastUpdated`, newest first with a minus."""
    if not sort:
        return list(found)
    name = sort.lstrip("-")
    return sorted(found, key=lambda one: next(iter(DATES[name](one)), ""), reverse=sort.startswith("-"))
