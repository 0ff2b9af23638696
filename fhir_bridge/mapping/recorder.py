"""What a decision remembers: where each field came from, and what is odd in the data. Never a value."""

from __future__ import annotations

from fhir_bridge.fhir.resource import Resource
from fhir_bridge.fhir.views import View
from fhir_bridge.mapping.decision import Lineage, Note, Source

Element = tuple[Resource[View] | str, str]
"""A resource, or its label where only that is known, and the FHIRPath of one of its elements:
`name[0].family`."""

_Taken = tuple[str, str, tuple[Element, ...], str | None, str | None]
"""One entry of the lineage before its elements are named: field, rule, elements, map row, layer."""


class Recorder:
    """Lineage and notes of one decision, in the order they came (mapping, sections 1 and 18)."""

    __slots__ = ("_notes", "_taken", "keeps_lineage")

    def __init__(self, *, lineage: bool = True) -> None:
        """`lineage`: whether it is kept, which costs a tenth of a call."""
        self.keeps_lineage = lineage
        self._taken: list[_Taken] = []
        self._notes: dict[Note, None] = {}

    def take(
        self, field: str, rule: str, *elements: Element, map_row: str | None = None, layer: str | None = None
    ) -> None:
        """Remember that `field` of the request was made from `elements` by `rule`.

        `field` is a path in the request: `task`, `task_data.referral.npi`, `patient.address`.
        `map_row` and `layer` name the concept map's row, or the layer's setting, that had a say.
        """
        if self.keeps_lineage:
            self._taken.append((field, rule, elements, map_row, layer))

    def retake(self, field: str, rule: str, *elements: Element, map_row: str, layer: str) -> None:
        """Remember this of `field` instead of what was taken for it before."""
        if not self.keeps_lineage:
            return
        before = [taken[0] for taken in self._taken]
        place = before.index(field) if field in before else len(before)
        self._taken = [taken for taken in self._taken if taken[0] != field]
        self._taken.insert(place, (field, rule, elements, map_row, layer))

    def note(self, code: str, resource: Resource[View], path: str = "") -> None:
        """Remember something a person should know of an element: a stable code. Said once, however often it
        is seen."""
        self._notes[Note(code, resource.label, fhirpath(resource.view.resource_type, path))] = None

    def note_key(self, code: str, resource: Resource[View], key: str) -> None:
        """The same of a resource and a key of the layers, for instance an override that fails over it."""
        self._notes[Note(code, resource.label, key)] = None

    def apart(self) -> Recorder:
        """Another one of the same kind, with nothing in it."""
        return Recorder(lineage=self.keeps_lineage)

    def add(self, other: Recorder) -> None:
        """Remember all that another one does."""
        self._taken += other._taken
        self._notes |= other._notes

    @property
    def lineage(self) -> tuple[Lineage, ...]:
        """Everything taken so far. Most of it speaks of the same few resources: each is named once."""
        if not self._taken:
            return ()
        named = _Names()
        return tuple(
            [
                Lineage(field, tuple([_source(each, named) for each in elements]), rule, map_row, layer)
                for field, rule, elements, map_row, layer in self._taken
            ]
        )

    @property
    def notes(self) -> tuple[Note, ...]:
        """Everything noted so far."""
        return tuple(self._notes)


class _Names(dict[Resource[View] | str, tuple[str, str, str]]):
    """By who holds elements: what they are called in lineage, their type, and what paths in them begin with;
    each worked out when it is first met."""

    def __missing__(self, holder: Resource[View] | str) -> tuple[str, str, str]:
        if isinstance(holder, str):
            label, type_ = holder, holder.partition("/")[0]
        else:
            label, type_ = holder.versioned_label, holder.view.resource_type
        found = self[holder] = label, type_, f"{type_}."
        return found


def _source(element: Element, named: _Names) -> Source:
    """The element as lineage has it: its path as `fhirpath` says it, which names no element in capitals."""
    holder, path = element
    label, type_, before = named[holder]
    return Source(label, fhirpath(type_, path) if path < "a" else before + path)


def fhirpath(resource_type: str, path: str) -> str:
    """The element's path with its resource's type in front: `Patient.name[0].family`; the type alone for the
    whole resource. A path that has the type already, as those of references do, stays."""
    if not path:
        return resource_type
    return path if path.startswith(f"{resource_type}.") else f"{resource_type}.{path}"
