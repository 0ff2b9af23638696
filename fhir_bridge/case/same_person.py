"""The other records at hand of the person whom a record is about: one may say that the person died, and that
which the trigger names may not know (mapping, section 4)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

from fhir_bridge.case.identity import names_something
from fhir_bridge.case.resolution import Resolver
from fhir_bridge.fhir.datatypes import HumanName, Reference
from fhir_bridge.fhir.misspelt import folded
from fhir_bridge.fhir.resource import Resource
from fhir_bridge.fhir.views import Patient, View

_SAME = frozenset({"refer", "seealso"})
"""Types of a Patient's link to another record of the same person that is in use (FHIR's LinkType)."""


class SamePerson:
    """Finds them over what is at hand."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver

    def copies(self, patient: Resource[Patient]) -> Iterator[Resource[Patient]]:
        """Records of the same id, whichever server they are from; of one that is contained or has no id,
        those that share an identifier, or without any those of the same id and name: an id within another
        resource may be anybody's. Where birth dates or family names contradict, it is somebody else.
        """
        index, view = self._resolver.index, patient.view
        found: list[Resource[View]] = []
        if names_something(view.id) and patient.container is None:
            found += index.labelled(f"Patient/{view.id}")
        elif numbers := [(one.system, one.value) for one in view.identifiers if one.system and one.value]:
            for system, value in numbers:
                found += index.identified(system, value)
        elif names_something(view.id):
            same_id = index.labelled(f"Patient/{view.id}")
            found += (
                one for one in same_id if isinstance(one.view, Patient) and _share_a_name(view, one.view)
            )
        for other in {id(one): one for one in found}.values():
            if other is not patient and isinstance(other.view, Patient) and _may_be_one(view, other.view):
                yield other  # type: ignore[misc]  # its view is a Patient

    def linked(self, patient: Resource[Patient]) -> tuple[Resource[Patient], ...]:
        """Records that are linked with it as of the same person, by either of the two."""
        return tuple(self._linked.get(id(patient), ()))

    @cached_property
    def _linked(self) -> dict[int, list[Resource[Patient]]]:
        found: dict[int, list[Resource[Patient]]] = {}
        with self._resolver.quietly():
            for patient in self._resolver.index.of(Patient):
                for number, link in enumerate(patient.view.link):
                    if folded(link.type or "") in _SAME:
                        path = f"Patient.link[{number}].other"
                        other = self._resolver.follow(
                            patient, path, link.other or Reference(), Patient
                        ).resource
                        if other is not None and other is not patient:
                            found.setdefault(id(patient), []).append(other)
                            found.setdefault(id(other), []).append(patient)
        return found


def _may_be_one(one: Patient, other: Patient) -> bool:
    """Whether nothing says that two records are of two people."""
    if one.birth_date and other.birth_date and one.birth_date.strip() != other.birth_date.strip():
        return False
    here, there = _families(one.name), _families(other.name)
    return not here or not there or not here.isdisjoint(there)


def _share_a_name(one: Patient, other: Patient) -> bool:
    """Whether two records have a family name and a given name in common."""
    return not (
        _families(one.name).isdisjoint(_families(other.name))
        or _given(one.name).isdisjoint(_given(other.name))
    )


def _given(names: tuple[HumanName, ...]) -> set[str]:
    return {given for name in names for part in name.given if (given := folded(part or ""))}


def _families(names: tuple[HumanName, ...]) -> set[str]:
    return {family for name in names if (family := folded(name.family or ""))}
