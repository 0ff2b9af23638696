"""ConceptMaps, read from their layers when a map is first asked for (mapping, section 17).

Both shapes are read: R4's `equivalence` and R5's `relationship` and `noMap` (https://hl7.org/fhir/conceptmap.html).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources.abc import Traversable

import msgspec

from fhir_bridge.errors import MappingsError
from fhir_bridge.mapping.terminology import Group, Row


class _Element(msgspec.Struct, rename="camel"):
    pass


class Target(_Element):
    """What a code means."""

    code: str | None = None
    display: str | None = None
    equivalence: str | None = None
    relationship: str | None = None

    @property
    def maps(self) -> bool:
        """Whether it says anything: neither "unmatched", "disjoint" (R4) nor "not-related-to" (R5)."""
        return not {self.equivalence, self.relationship} & {"unmatched", "disjoint", "not-related-to"}


class MapElement(_Element):
    """A code and its targets."""

    code: str
    target: tuple[Target, ...] = ()
    no_map: bool = False


class MapGroup(_Element):
    """The codes of one system; `*` in `source` stands for a part that carries a tenant."""

    element: tuple[MapElement, ...]
    source: str = ""
    unmapped: msgspec.Raw | None = None


class ConceptMap(_Element, tag_field="resourceType", tag="ConceptMap"):
    """A FHIR ConceptMap as far as the bridge reads it."""

    group: tuple[MapGroup, ...]


@dataclass(frozen=True, slots=True)
class MapFolders:
    """The folders that may hold maps, with their layers' names; the one that wins comes first."""

    folders: tuple[tuple[str, Traversable], ...]

    def __call__(self, name: str) -> tuple[Group, ...]:
        """The groups of `NAME.json` in each folder that has one, exact systems before patterns.

        Raises MappingsError where no folder has one, or one cannot be read.
        """
        found = [(layer, folder / f"{name}.json") for layer, folder in self.folders]
        groups = [group for layer, file in found if file.is_file() for group in _groups(layer, file)]
        if not groups:
            raise MappingsError(f"no layer has a ConceptMap {name}.json")
        return tuple(groups)


def _groups(layer: str, file: Traversable) -> list[Group]:
    concept_map = _read(file)
    if any(group.unmapped is not None for group in concept_map.group):
        raise MappingsError(f"{file}: group.unmapped is not read: a code without a row has no word")
    groups = [Group(group.source, layer, _rows(group)) for group in concept_map.group]
    return sorted(groups, key=lambda group: "*" in group.system)


def _rows(group: MapGroup) -> Iterator[Row]:
    for element in group.element:
        target = next((target for target in element.target if target.maps), Target())
        if element.no_map:
            target = Target()
        yield Row(element.code, target.code, target.display)


def _read(file: Traversable) -> ConceptMap:
    raw = file.read_bytes()
    try:
        return msgspec.json.decode(raw, type=ConceptMap)
    except msgspec.ValidationError as error:
        raise MappingsError(f"{file}: not a ConceptMap: {error}") from error
    except msgspec.DecodeError as error:
        raise MappingsError(f"{file}: not JSON: {error}") from error
