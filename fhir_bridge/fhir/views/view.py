"""What every view has, and the lists that many of them read."""

from __future__ import annotations

import msgspec

from fhir_bridge.fhir.datatypes import CodeableConcept, Datatype, Extension, Identifier, Meta, Reference

References = tuple[Reference, ...]
Concepts = tuple[CodeableConcept, ...]


class View(Datatype, frozen=True, kw_only=True):
    """What every resource has. `contained` stays raw until a reference asks for it."""

    resource_type: str
    id: str | None = None
    meta: Meta | None = None
    language: str | None = None
    contained: tuple[msgspec.Raw, ...] = ()
    extension: tuple[Extension, ...] = ()
    identifier: tuple[Identifier, ...] | Identifier = ()

    @property
    def identifiers(self) -> tuple[Identifier, ...]:
        """All identifiers, whether the version allows one or many."""
        return (self.identifier,) if isinstance(self.identifier, Identifier) else self.identifier
