"""Advice on conformance, by fhir.resources: checked against the version a resource is written in (mapping,
section 16).

fhir.resources costs a third of a second to import and a hundred views a resource, so it is imported when
first used.
"""

from __future__ import annotations

import importlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import msgspec

from fhir_bridge.errors import InputError
from fhir_bridge.fhir.unreadable import unreadable
from fhir_bridge.fhir.versions import Version, guess

_PACKAGES: dict[Version, str] = {
    "STU3": "fhir.resources.STU3",
    "R4": "fhir.resources.R4B",  # there is no plain R4; what the bridge reads is the same in both
    "R5": "fhir.resources",
}


@dataclass(frozen=True, slots=True)
class Issue:
    """Something that does not conform: where (FHIRPath) and what kind, by the checker's name. Never the
    value."""

    element: str
    type: str
    version: Version


def validate(raw: bytes, place: str = "-", version: Version | None = None) -> list[Issue]:
    """Check one resource against a version, else the one its elements show; empty where it conforms.

    Raises InputError, naming `place`, for what is no JSON object with a resourceType.
    """
    try:
        data = msgspec.json.decode(raw, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise unreadable(error, place) from None
    name = data.get("resourceType")
    if not isinstance(name, str):
        raise InputError(f"{place}: not FHIR: an object without a resourceType", code="not-fhir")
    version = version or guess(data)
    model = _model(version, name)
    if model is None:
        return [Issue(f"{name}.resourceType", "unknown-resource-type", version)]
    found = [(_path(name, location), kind) for location, kind in _errors(model, data)]
    found += [(path, "duplicate-element") for path in _repeated(name, raw)]
    return [Issue(path, kind, version) for path, kind in found]


class _Pairs(list[tuple[str, Any]]):
    """An object as its names and values in order, those that stand twice too."""


def _repeated(name: str, raw: bytes) -> Iterator[str]:
    """Each element that stands twice in its object: JSON readers do not agree on which of the two counts."""
    rest: list[tuple[str, Any]] = [(name, json.loads(raw, object_pairs_hook=_Pairs))]
    while rest:
        path, value = rest.pop()
        if isinstance(value, _Pairs):
            counts = Counter(key for key, _ in value)
            yield from (f"{path}.{key}" for key, count in counts.items() if count > 1)
            rest += [(f"{path}.{key}", each) for key, each in value]
        elif isinstance(value, list):
            rest += [(f"{path}[{index}]", each) for index, each in enumerate(value)]


@cache
def _model(version: Version, name: str) -> Any:
    """The model of a resource type, None where the version has none of that name."""
    if not name.isalpha():
        return None
    try:
        module = importlib.import_module(f"{_PACKAGES[version]}.{name.lower()}")
    except ModuleNotFoundError:
        return None
    return getattr(module, name, None)


def _errors(model: Any, data: dict[str, Any]) -> list[tuple[tuple[int | str, ...], str]]:
    from pydantic import ValidationError

    try:
        model.model_validate(data)
    except ValidationError as error:
        found = error.errors(include_input=False, include_url=False, include_context=False)
        return [(one["loc"], one["type"]) for one in found]
    except RecursionError:
        return [((), "too-deep")]
    return []


def _path(name: str, location: tuple[int | str, ...]) -> str:
    """A pydantic location as FHIRPath: `Appointment.participant[0].status`."""
    steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in location)
    return name + "".join(steps)
