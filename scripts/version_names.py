"""What each element the bridge reads is called in each version of FHIR: the page docs/versions.md.

The elements are those of the views, their names and types those of fhir.resources; only what was renamed into
what stands here.
"""

from __future__ import annotations

import importlib
import sys
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import msgspec

from fhir_bridge.fhir import datatypes, views
from fhir_bridge.fhir.later import KEPT, Later

PACKAGES = {"STU3": "fhir.resources.STU3", "R4, R4B": "fhir.resources.R4B", "R5": "fhir.resources"}
"""fhir.resources has no plain R4: in what the bridge reads, R4B is the same."""

OF_EVERY_RESOURCE = tuple(field.encode_name for field in msgspec.structs.fields(views.View))

ORDERS = {
    "STU3": ("ReferralRequest", "ProcedureRequest"),
    "R4, R4B": ("ServiceRequest",),
    "R5": ("ServiceRequest",),
}

RENAMED: dict[str, tuple[tuple[str, ...], ...]] = {
    "Appointment": (
        ("cancelationReason", "cancellationReason"),
        ("reasonCode", "reasonReference", "reason", "indication"),
        ("comment", "note"),
        ("basedOn", "incomingReferral"),
    ),
    "Consent": (("patient", "subject"), ("policyRule", "provision", "decision")),
    "Coverage": (("payor", "insurer"), ("class", "grouping")),
    "Encounter": (
        ("period", "actualPeriod"),
        ("reasonCode", "reasonReference", "reason"),
        ("hospitalization", "admission"),
        ("basedOn", "incomingReferral"),
    ),
    "HealthcareService": (("telecom", "contact"),),
    "Location": (("telecom", "contact"), ("physicalType", "form")),
    "Organization": (("telecom", "address", "contact"),),
    "PractitionerRole": (("telecom", "contact"),),
    "ServiceRequest": (
        ("category", "type"),
        ("code", "serviceRequested"),
        ("encounter", "context"),
        ("performer", "recipient"),
        ("performerType", "specialty"),
        ("reasonCode", "reasonReference", "reason"),
        ("locationReference", "location"),
        ("bodySite", "bodyStructure"),
        ("note", "description"),
    ),
}
"""Elements of a view that say the same in different versions, or together in one."""

NOT_OF_THESE = {
    "Appointment": {"_start": "the extensions beside `start`, for its time zone"},
    "CodeableReference": {
        "text": "and `coding` where an earlier version has a CodeableConcept in the same place",
        "coding": "see `text`",
        "display": "with `reference`, `identifier` and `type` where one has a Reference there",
        "identifier": "see `display`",
        "type": "see `display`",
    },
    "Encounter": {"patient": "DSTU2's `subject`"},
    "ServiceRequest": {"patient": "DSTU2's `subject`", "date": "DSTU2's `authoredOn`"},
}
"""What is read and none of the three versions has, with the reason."""

HEAD = """\
# What every element is called in each version

Written by `make docs` from the views the bridge reads with and the definitions of fhir.resources; a test
holds it to both. Elements decide one by one: a resource may mix versions, and whatever folder, profile or
`fhirVersion` says is not asked. R4B is R4 in all that is read. `[]` marks a list.

What was only renamed or moved stands in one row. An element that stands alone has its name in all versions
that have a type beside it; where a cell is empty, that version has nothing of the kind.
"""


@dataclass(frozen=True)
class Element:
    """An element of a version: its type's name, whether it is a list, and its model where it has parts of
    its own."""

    type: str
    is_list: bool
    model: Any = None

    @property
    def shown(self) -> str:
        """`CodeableConcept[]`"""
        return self.type + ("[]" if self.is_list else "")


@cache
def model(version: str, name: str) -> Any:
    """The model of a resource or datatype; None where the version has none of that name."""
    try:
        module = importlib.import_module(f"{PACKAGES[version]}.{name.lower()}")
    except ModuleNotFoundError:
        return None
    return getattr(module, name, None)


def elements(version: str, of: Any) -> dict[str, Element]:
    """The elements of a model by their names."""
    found = {}
    for key, field in of.model_fields.items():
        if not key.endswith("__ext") and key not in ("fhir_comments", "resource_type"):
            found[field.alias or key] = _element(version, of, field.annotation)
    return found


def _element(version: str, of: Any, annotation: Any, is_list: bool = False) -> Element:
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _element(version, of, inner[0], is_list)
    if origin is list:
        return _element(version, of, inner[0], True)
    if origin in (typing.Union, types.UnionType):
        return _element(version, of, next(one for one in inner if one is not type(None)), is_list)
    name = annotation.__name__
    if not name.endswith("Type"):
        return Element({"str": "text", "int": "number", "bool": "true or false"}.get(name, name), is_list)
    name = name.removesuffix("Type")
    backbone = getattr(sys.modules[of.__module__], name, None)
    return Element("parts" if backbone else name, is_list, backbone or model(version, name))


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    parts += [_section(name, view) for name, view in resources()]
    parts.append("## Datatypes\n")
    parts += [_section(name, struct, "###") for name, struct in sorted(of_datatypes())]
    return "\n".join(parts)


def of_datatypes() -> Iterator[tuple[str, type[msgspec.Struct]]]:
    """Each datatype that some version has under that name, with the struct it is read into."""
    for name, struct in vars(datatypes).items():
        is_ours = isinstance(struct, type) and struct.__module__ == datatypes.__name__
        if is_ours and any(model(version, name) for version in PACKAGES):
            yield name, struct


def resources() -> Iterator[tuple[str, type[views.View]]]:
    """Each view under the name of the resource it is a view of; the three kinds of order once."""
    for name, view in views.VIEWS.items():
        if name not in ORDERS["STU3"]:
            yield name, view


def types_of(name: str) -> dict[str, tuple[str, ...]]:
    """The resource types that one view reads in each version."""
    return ORDERS if name == "ServiceRequest" else dict.fromkeys(PACKAGES, (name,))


def _section(name: str, struct: type[msgspec.Struct], level: str = "##") -> str:
    also = [f"`{element}`, {why}" for element, why in NOT_OF_THESE.get(name, {}).items()]
    title = "ServiceRequest, ReferralRequest, ProcedureRequest" if name == "ServiceRequest" else name
    told = f"\nBesides: {'; '.join(also)}.\n" if also else ""
    return f"{level} {title}\n\n{_table(struct, types_of(name), name)}{told}"


def _table(struct: type[msgspec.Struct], types_: dict[str, tuple[str, ...]], name: str) -> str:
    lines = [f"| {' | '.join(PACKAGES)} |", "|---|---|---|"]
    lines += [f"| {' | '.join(row)} |" for row in rows(struct, types_, name)]
    return "\n".join(lines) + "\n"


def rows(
    struct: type[msgspec.Struct], types_: dict[str, tuple[str, ...]], name: str
) -> Iterator[tuple[str, ...]]:
    """The cells of each row, versions in their order; elements in the order of the view. Raises ValueError
    for an element that no version has."""
    models = {version: [model(version, each) for each in names] for version, names in types_.items()}
    left = dict.fromkeys(read_by(struct, name))
    for element in list(left):
        group = next((each for each in RENAMED.get(name, ()) if element in each), (element,))
        if element not in left:
            continue
        for each in group:
            left.pop(each, None)
        cells = tuple(_cell(version, struct, found, group) for version, found in models.items())
        if not any(cells):
            raise ValueError(f"{name}.{element}: no version has it, and NOT_OF_THESE does not say why")
        yield cells


def read_by(struct: type[msgspec.Struct], name: str) -> list[str]:
    """The names of the elements a struct reads and a version should have."""
    named = [field.encode_name for field in msgspec.structs.fields(struct) if "misspelt" not in field.name]
    general = {*OF_EVERY_RESOURCE} - {"identifier"} if issubclass(struct, views.View) else set()
    return [each for each in named if each not in general and each not in NOT_OF_THESE.get(name, {})]


def _cell(version: str, struct: type[msgspec.Struct], models: list[Any], group: tuple[str, ...]) -> str:
    """What one version has of a row: each element with its type, and the parts of it that are read."""
    found: dict[str, str] = {}
    for each in filter(None, models):
        for name, element in elements(version, each).items():
            if name in group:
                found.setdefault(name, f"`{name}` {element.shown}{_parts(version, struct, name, element)}")
    return "<br>".join(found[name] for name in group if name in found)


def _parts(version: str, struct: type[msgspec.Struct], name: str, element: Element) -> str:
    """Of an element with parts: those that are read, in brackets."""
    inner = inner_struct(struct, name)
    if element.type != "parts" or inner is None:
        return ""
    known = {field.encode_name for field in msgspec.structs.fields(inner)}
    there = elements(version, element.model)
    read = [f"`{part}` {there[part].shown}" for part in there if part in known and part != "extension"]
    return f" ({', '.join(read)})"


def inner_struct(struct: type[msgspec.Struct], name: str) -> type[msgspec.Struct] | None:
    """The struct that an element of a view is read into; None for a primitive."""
    field = next(field for field in msgspec.structs.fields(struct) if field.encode_name == name)
    later = vars(struct).get(field.name.removeprefix(KEPT))
    waiting: list[Any] = [later.type if isinstance(later, Later) else field.type]
    while waiting:
        kind = waiting.pop(0)
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            return kind
        waiting += typing.get_args(kind)
    return None
