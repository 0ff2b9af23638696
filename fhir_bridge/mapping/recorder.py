"""What a decision remembers: where each field came from, and what is odd in the data. Never a value."""

from __future__ import annotations

from itertools import starmap

from fhir_bridge.fhir.resource import Resource
from fhir_bridge.fhir.views import View
from fhir_bridge.mapping.decision import Lineage, Note, Source

Element = tuple[Resource[View] | str, str]
"""A resource, or its label where only that is known, and the FHIRPath of one of its elements:
`name[0].family`."""


class Recorder:
    """Lineage and notes of one decision, in the order they came (mapping, sections 1 and 18)."""

    __slots__ = ("_labels", "_lineage", "_notes")

    def __init__(self) -> None:
        self._lineage: list[Lineage] = []
        self._labels: dict[int, tuple[str, str]] = {}
        self._notes: dict[Note, None] = {}

    def take(
        self, field: str, rule: str, *elements: Element, map_row: str | None = None, layer: str | None = None
    ) -> None:
        """Remember that `field` of the request was made from `elements` by `rule`.

        `field` is a path in the request: `task`, `task_data.referral.npi`, `patient.address`.
        `map_row` and `layer` name the concept map's row, or the layer's setting, that had a say.
        """
        sources = tuple(starmap(self._source, elements))
        self._lineage.append(Lineage(field, sources, rule, map_row, layer))

    def retake(self, field: str, rule: str, *elements: Element, map_row: str, layer: str) -> None:
        """Remember this of `field` instead of what was taken for it before."""
        before = [entry.field for entry in self._lineage]
        place = before.index(field) if field in before else len(before)
        self.take(field, rule, *elements, map_row=map_row, layer=layer)
        taken = self._lineage.pop()
        self._lineage = [entry for entry in self._lineage if entry.field != field]
        self._lineage.insert(place, taken)

    def note(self, code: str, resource: Resource[View], path: str = "") -> None:
        """Remember something a person should know of an element: a stable code. Said once, however often it
        is seen."""
        self._notes[Note(code, resource.label, fhirpath(resource.view.resource_type, path))] = None

    def note_key(self, code: str, resource: Resource[View], key: str) -> None:
        """The same of a resource and a key of the layers, for instance an override that fails over it."""
        self._notes[Note(code, resource.label, key)] = None

    @property
    def lineage(self) -> tuple[Lineage, ...]:
        """Everything taken so far."""
        return tuple(self._lineage)

    @property
    def notes(self) -> tuple[Note, ...]:
        """Everything noted so far."""
        return tuple(self._notes)

    def _source(self, holder: Resource[View] | str, path: str) -> Source:
        if isinstance(holder, str):
            return Source(holder, fhirpath(holder.partition("/")[0], path))
        known = self._labels.get(id(holder))
        if known is None:
            known = holder.versioned_label, holder.view.resource_type
            self._labels[id(holder)] = known
        return Source(known[0], fhirpath(known[1], path))


def fhirpath(resource_type: str, path: str) -> str:
    """The element's path with its resource's type in front: `Patient.name[0].family`; the type alone for the
    whole resource. A path that has the type already, as those of references do, stays."""
    if not path:
        return resource_type
    return path if path.startswith(f"{resource_type}.") else f"{resource_type}.{path}"
