"""The slow way for a resource its view refuses: as plain data, mended element by element, converted (mapping,
section 16).

What each element may hold is in `shapes`; what other names FHIR has, for telling a misspelt one, in
`elements`.
"""

from __future__ import annotations

import re
from functools import partial, reduce
from typing import Any, TypeVar

import msgspec

from fhir_bridge.fhir import deaths
from fhir_bridge.fhir.datatypes import (
    Annotation,
    CodeableConcept,
    CodeableReference,
    Coding,
    Extension,
    HumanName,
    Identifier,
    Reference,
)
from fhir_bridge.fhir.elements import ELEMENTS
from fhir_bridge.fhir.misspelt import meant, misspelling
from fhir_bridge.fhir.repeated import both, decoded
from fhir_bridge.fhir.shapes import Shape, names_of, shape_of, shapes_of

V = TypeVar("V", bound=msgspec.Struct)

_CODES = frozenset({"status", "intent", "use", "decision"})
"""Elements whose codes FHIR writes in small letters throughout."""

_TEXT_OF: dict[type, str] = {
    CodeableConcept: "text",
    CodeableReference: "text",
    Coding: "code",
    HumanName: "text",
    Annotation: "text",
    Identifier: "value",
    Reference: "reference",
}
"""Where a bare text belongs that stands in place of one of these."""

_JOINED = {"family": " ", "text": "; "}
"""Texts of which several are one, and what stands between them."""

_ABSENT: Any = object()
_EMPTY: tuple[Any, ...] = (None, "", [], {})
_YES = frozenset({"true", "yes", "y", "1", "t"})
_NO = frozenset({"false", "no", "n", "0", "f"})

_IN_DOUBT = {"doNotPerform": True, "active": False}
"""What these count as where something stands there that nobody can read: no typing error phones anybody."""

_DENYING = {
    "Consent": {
        "status": "active",
        "decision": "deny",
        "policyRule": "http://hl7.org/fhir/ConsentPolicy/opt-out",
    },
    "ConsentProvision": {"type": "deny"},
}
"""What denies: of what a Consent says twice it counts, and it is what nobody can read."""


def mended(raw: bytes, view: type[V], resource_type: str) -> tuple[V, tuple[str, ...]]:
    """The view of a resource that does not quite have its form, with a note for each kind of repair, in
    FHIR's order:

    `list-for-object`, `object-for-list`, `text-for-object`, `number-for-string`, `string-for-number`,
    `number-for-truth`, `null-dropped`, `blank-dropped`, `code-case` for codes and names in another case,
    `name-misspelt`, `deceased-unreadable`, `element-twice`, `concept-for-coding`, and `element-dropped` where
    an element could not be read as anything. Raises `msgspec.MsgspecError`, `UnicodeDecodeError` or
    `RecursionError` for what is no JSON object.
    """
    data = msgspec.json.decode(raw, type=dict[str, Any])
    mender = _Mender()
    kept, is_repeated = decoded(raw)
    if is_repeated:
        data = kept
        mender.note("element-twice")
    fields = mender.fields(deaths.settled(data, mender.note), view)
    fields["resourceType"] = resource_type
    if data.get("resourceType") != resource_type:
        mender.note("code-case")
    return msgspec.convert(fields, view), tuple(mender.notes)


def mended_element(raw: bytes, kind: Any, absent: Any) -> Any:
    """One element by itself, of the type that its view says; `absent` where nothing in it can be read."""
    value = _Mender().value(msgspec.json.decode(raw), shape_of(kind), "")
    return absent if value is _ABSENT else msgspec.convert(value, kind)


class _Mender:
    """Builds new data beside the old; collects notes in the order they arise, each once."""

    def __init__(self) -> None:
        self.notes: dict[str, None] = {}

    def note(self, code: str) -> None:
        self.notes.setdefault(code)

    def fields(self, data: dict[str, Any], struct: type[msgspec.Struct]) -> dict[str, Any]:
        """The elements the struct knows, mended, also those under a misspelt name."""
        shapes, built = shapes_of(struct), {}
        for name, value in self._named(data, struct).items():
            denying = _DENYING.get(struct.__name__, {}).get(name)
            if isinstance(value, list) and denying and denying.lower() in map(_small, value):
                value = denying
            mend = self.value(value, shapes[name], name)
            doubt = _IN_DOUBT.get(name, denying)
            if mend is _ABSENT and doubt is not None and value not in _EMPTY and _small(value) != "":
                mend = doubt
            if mend is not _ABSENT:
                built[name] = mend
        return built

    def _named(self, data: dict[str, Any], struct: type[msgspec.Struct]) -> dict[str, Any]:
        """What is read of an object, by the struct's own names."""
        shapes = shapes_of(struct)
        named = {name: value for name, value in data.items() if name in shapes}
        for name, value in data.items():
            element = None if name in shapes else _element(name, value, struct)
            if element is None:
                continue
            self.note(misspelling(name, element))
            if element in named and named[element] != value:
                self.note("element-twice")
                value = both(named[element], value, element)
            named[element] = value
        return named

    def value(self, value: Any, shape: Shape, name: str) -> Any:
        """The value in a form the shape takes, or _ABSENT."""
        if value is None:
            self.note("null-dropped")
            return _ABSENT
        if shape.raw:
            return msgspec.Raw(msgspec.json.encode(value))
        if isinstance(value, list):
            return self._list(value, shape, name)
        if isinstance(value, dict):
            return self._object(value, shape, name)
        return self._scalar(value, shape, name)

    def _list(self, values: list[Any], shape: Shape, name: str) -> Any:
        if shape.items is not None:
            values = [each for value in values for each in _alternatives(value, shape.items)]
            values = [each for value in values for each in self._codings(value, shape.items)]
            kept = [self.value(value, shape.items, name) for value in values]
            return [value for value in kept if value is not _ABSENT]
        self.note("list-for-object")
        if shape.struct is not None and any(isinstance(one, dict) for one in values):
            text = _TEXT_OF.get(shape.struct)
            told = [{text: one} if text and isinstance(one, str) else one for one in values]
            objects = [one for one in told if isinstance(one, dict)]
            return self._object(reduce(partial(both, name=name), objects), shape, name)
        kept = [
            value for value in (self.value(value, shape, name) for value in values) if value is not _ABSENT
        ]
        if name in _JOINED and kept:
            return _JOINED[name].join(dict.fromkeys(kept))
        if len(kept) == 1 or (kept and all(value == kept[0] for value in kept)):
            return kept[0]
        return self._drop() if kept else _ABSENT

    def _codings(self, value: Any, items: Shape) -> list[Any]:
        """The codings of a CodeableConcept that stands where one Coding should; else the value."""
        inner = value.get("coding") if items.struct is Coding and isinstance(value, dict) else None
        if not inner:
            return [value]
        self.note("concept-for-coding")
        return inner if isinstance(inner, list) else [inner]

    def _object(self, value: dict[str, Any], shape: Shape, name: str) -> Any:
        if shape.struct is not None:
            return self.fields(value, shape.struct)
        if shape.items is not None:
            self.note("object-for-list")
            return self._wrapped(value, shape.items, name)
        return self._drop()

    def _scalar(self, value: str | float | bool, shape: Shape, name: str) -> Any:
        if isinstance(value, str):
            value = value.strip()
            if not value:
                self.note("blank-dropped")
                return _ABSENT
        plain = self._plain(value, shape, name)
        if plain is not _ABSENT:
            return plain
        if isinstance(value, str) and shape.struct in _TEXT_OF:
            self.note("text-for-object")
            return {_TEXT_OF[shape.struct]: value}
        if shape.items is not None:
            self.note("object-for-list")
            return self._wrapped(value, shape.items, name)
        return self._drop()

    def _plain(self, value: str | float | bool, shape: Shape, name: str) -> Any:
        """The scalar where the shape takes one of some kind, else _ABSENT."""
        if isinstance(value, bool):
            if shape.truth:
                return value
        elif shape.truth and value in (0, 1):
            self.note("number-for-truth")
            return bool(value)
        elif isinstance(value, str):
            if shape.text:
                return self._code(value) if name in _CODES else value
            return self._parsed(value, shape)
        elif shape.whole and value == value // 1:
            return int(value)
        elif shape.decimal:
            return float(value)
        if not shape.text:
            return _ABSENT
        self.note("number-for-string")
        return str(value).lower() if isinstance(value, bool) else str(value)

    def _parsed(self, value: str, shape: Shape) -> Any:
        """A number or truth value written as a string."""
        if shape.truth and value.lower() in _YES | _NO:
            self.note("string-for-number")
            return value.lower() in _YES
        if shape.whole and re.fullmatch(r"-?\d{1,18}", value, re.ASCII):
            self.note("string-for-number")
            return int(value)
        if shape.decimal and re.fullmatch(r"-?\d{1,15}(\.\d{1,15})?", value, re.ASCII):
            self.note("string-for-number")
            return float(value)
        return _ABSENT

    def _code(self, value: str) -> str:
        if not value.islower():
            self.note("code-case")
        return value.lower()

    def _wrapped(self, value: Any, items: Shape, name: str) -> Any:
        inner = self.value(value, items, name)
        return _ABSENT if inner is _ABSENT else [inner]

    def _drop(self) -> Any:
        self.note("element-dropped")
        return _ABSENT


def _element(name: str, value: Any, struct: type[msgspec.Struct]) -> str | None:
    """The element of a struct that a name was meant for which is none of its own. With an underscore in front
    stands what is beside a primitive element, and never a plain value."""
    read = names_of(struct)
    if name.startswith("_") and not isinstance(value, dict | list | None):
        name = name.lstrip("_")
    if name in read:
        return name
    every = ELEMENTS.get(struct.__name__)
    if every is None:
        return next((known for known in read if known.lower() == name.lower()), None)
    return meant(name, read, every - read)


def _alternatives(value: Any, items: Shape) -> list[Any]:
    """A Coding or Extension with several texts for one element as so many: nobody knows which was meant, and
    one may be a label or mark that keeps somebody out."""
    if items.struct not in (Coding, Extension) or not isinstance(value, dict):
        return [value]
    several = {
        name: told
        for name, told in value.items()
        if isinstance(told, list) and told and not any(isinstance(one, dict | list) for one in told)
    }
    most = max(map(len, several.values()), default=1)
    return [
        {**value, **{name: told[min(number, len(told) - 1)] for name, told in several.items()}}
        for number in range(most)
    ]


def _small(value: Any) -> str | None:
    return value.strip().lower() if isinstance(value, str) else None
