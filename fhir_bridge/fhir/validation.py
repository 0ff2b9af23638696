"""Advice on conformance, by fhir.resources: checked against the version a resource is written in (mapping,
section 16).

fhir.resources costs a third of a second to import and a hundred views a resource, so it is imported when
first used.
"""

from __future__ import annotations

import importlib
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


def validate(raw: bytes, place: str = "-") -> list[Issue]:
    """Check one resource against the version its elements show; empty where it conforms.

    Raises InputError, naming `place`, for what is no JSON object with a resourceType.
    """
    try:
        data = msgspec.json.decode(raw, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise unreadable(error, place) from None
    name = data.get("resourceType")
    if not isinstance(name, str):
        raise InputError(f"{place}: not FHIR: an object without a resourceType", code="not-fhir")
    version = guess(data)
    model = _model(version, name)
    if model is None:
        return [Issue(f"{name}.resourceType", "unknown-resource-type", version)]
    return [Issue(_path(name, location), kind, version) for location, kind in _errors(model, data)]


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
