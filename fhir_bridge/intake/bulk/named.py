"""Whom one resource names, and by what it can be asked for, told by its view."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, cast

import msgspec
from msgspec import inspect

from fhir_bridge.errors import InputError
from fhir_bridge.fhir import reading, references
from fhir_bridge.fhir.datatypes import Identifier
from fhir_bridge.fhir.resource import Resource
from fhir_bridge.fhir.views import TRIGGER_TYPES, View
from fhir_bridge.intake.bulk.names import KINDS, PATIENT, SLOT, Message, has_id, key_of


class Named:
    """Whom one resource names, and by what it can be asked for."""

    def __init__(self, identifier: Callable[[Identifier], int], message: Message) -> None:
        self._identifier = identifier
        self._message = message
        self.named: list[tuple[int, bytes]] = []
        self.carried: list[int] = []
        self.asked: list[int] = []
        self.bare: list[int] = []
        self.copies: list[int] = []

    def read(self, resource: Resource[View]) -> None:
        """All references of a resource and of those it contains. What has no id of its own, or is contained,
        is known by its identifiers, so that whoever has the same one must be at hand."""
        view = resource.view
        is_inner = resource.container is not None
        is_known_by = is_inner or not has_id(view) or view.resource_type in TRIGGER_TYPES
        numbers = [self._identifier(one) for one in view.identifiers if one.system and one.value]
        self.carried += numbers
        if is_known_by:
            self.asked += numbers
        if is_inner and view.resource_type == "Patient" and not numbers:
            self.copies.append(key_of(f"Patient/{view.id}".encode()))  # `SamePerson.copies`
        for text, identifier in _references(view):
            if text:
                self._text(text)
            if identifier is not None and identifier.value:
                self.asked.append(self._identifier(identifier))
        for raw in view.contained:
            try:
                inner = reading.read(bytes(raw), resource.origin, container=resource)
            except InputError:
                continue
            self.read(inner)

    def group(self) -> int:
        """The key of the first patient named, else of whatever is; 0 where nothing is."""
        for what, name in self.named:
            if what == PATIENT:
                return key_of(name)
        for keys in (self.asked, self.bare):
            if keys:
                return keys[0]
        return next((key_of(name) for what, name in self.named if what != SLOT), 0)

    def _text(self, text: str) -> None:
        target = references.parse(text)
        if target is None or target.fragment is not None:
            return
        if target.system and target.value:
            self.asked.append(self._identifier(Identifier(system=target.system, value=target.value)))
        elif target.label:
            self._name(target.type or "", target.label)
        elif target.doubtful and target.id:
            self.bare.append(key_of(f"id|{target.id}".encode()))
        elif target.url is not None:
            self._urn(target.url.lower())
        elif target.id is not None:
            self.bare.append(key_of(f"id|{target.id}".encode()))

    def _name(self, kind: str, name: str) -> None:
        what = KINDS.get(kind.encode())
        if what is not None:
            self.named.append((what, name.encode()))

    def _urn(self, urn: str) -> None:
        """A URN counts within its Bundle; one that leads nowhere there may be another's, or an id."""
        there = self._message.get(urn)
        if there is not None:
            self._name(*there)
            return
        self.asked.append(key_of(urn.encode()))
        self.bare.append(key_of(f"id|{urn.rpartition(':')[2]}".encode()))


def _references(value: Any) -> Iterator[tuple[str | None, Identifier | None]]:
    """Every reference in a view: its text and its identifier."""
    if isinstance(value, tuple):
        for item in value:
            yield from _references(item)
    elif isinstance(value, msgspec.Struct):
        text = getattr(value, "reference", None)
        identifier = getattr(value, "identifier", None)
        is_named = isinstance(identifier, Identifier) and hasattr(value, "reference")
        if isinstance(text, str) or is_named:
            yield (text if isinstance(text, str) else None, identifier if is_named else None)
        for name in _leading(type(value)):
            if inner := getattr(value, name):
                yield from _references(inner)


@cache
def _leading(view: type[msgspec.Struct]) -> tuple[str, ...]:
    """The elements of a view, or of what it is made of, below which references may lie: most have none."""
    fields = cast("inspect.StructType", inspect.type_info(view)).fields
    return tuple(field.name for field in fields if _leads(field.type, ()))


def _leads(element: inspect.Type, within: tuple[type, ...]) -> bool:
    if isinstance(element, inspect.VarTupleType):
        return _leads(element.item_type, within)
    if isinstance(element, inspect.UnionType):
        return any(_leads(each, within) for each in element.types)
    if not isinstance(element, inspect.StructType) or element.cls in within:
        return isinstance(element, inspect.AnyType)
    names = {field.name for field in element.fields}
    return "reference" in names or any(_leads(each.type, (*within, element.cls)) for each in element.fields)
