"""What every view has, and the lists that many of them read."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from fhir_bridge.fhir.datatypes import CodeableConcept, Datatype, Extension, Identifier, Meta, Reference

References = tuple[Reference, ...]
Concepts = tuple[CodeableConcept, ...]


class View(Datatype, frozen=True, kw_only=True, tag=True, tag_field="resourceType"):
    """What every resource has; a view has the name of its resourceType, by which the decoder picks it.
    `contained` stays raw until a reference asks for it."""

    resource_type: ClassVar[str]
    """The resourceType."""

    id: str | None = None
    meta: Meta | None = None
    language: str | None = None
    contained: tuple[msgspec.Raw, ...] = ()
    extension: tuple[Extension, ...] = ()
    identifier: tuple[Identifier, ...] | Identifier = ()

    def __init_subclass__(cls) -> None:
        if "resource_type" not in cls.__annotations__:
            cls.resource_type = cls.__name__

    @property
    def identifiers(self) -> tuple[Identifier, ...]:
        """All identifiers, whether the version allows one or many."""
        return self.identifier if isinstance(self.identifier, tuple) else (self.identifier,)


class Other(View, frozen=True, kw_only=True, tag=False):
    """A resource of a type that has no view of its own."""

    resource_type: str  # type: ignore[misc]
