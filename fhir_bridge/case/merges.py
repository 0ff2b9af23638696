"""Which record counts for which: merges followed, told by either of the two (mapping, section 4)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

from fhir_bridge.case.links import Link
from fhir_bridge.case.naming import Naming
from fhir_bridge.case.resolution import Resolver
from fhir_bridge.case.subjects import may_be_patient
from fhir_bridge.fhir.datatypes import Reference
from fhir_bridge.fhir.misspelt import folded
from fhir_bridge.fhir.resource import Resource
from fhir_bridge.fhir.views import Patient

_NO_REPLACEMENT = frozenset({"replaces", "refer", "seealso"})
"""The types of a link by which the record is still in use (FHIR's LinkType). By any other, and by one that
nobody can read, it may have been merged."""


class Merges:
    """Follows them over what is at hand."""

    def __init__(self, resolver: Resolver, naming: Naming) -> None:
        self._resolver = resolver
        self._naming = naming

    def are_told_of(self, patient: Resource[Patient]) -> bool:
        """Whether anything says that another record took the place of this one."""
        return bool(patient.view.link) or id(patient) in self._replacing

    def survivor(self, patient: Resource[Patient]) -> Resource[Patient] | None:
        """The record that counts for this one, itself where none took its place; None where a merge cannot be
        followed."""
        found, whole = self.followed(patient)
        return found if whole else None

    def names_into(self, patient: Resource[Patient]) -> tuple[str, ...]:
        """The identities of the records whose place this one took."""
        return tuple(self._merged_into.get(id(patient), ()))

    def followed(self, patient: Resource[Patient]) -> tuple[Resource[Patient], bool]:
        """The record that took the place of this one, step by step, and whether every step could be
        followed."""
        seen = {id(patient)}
        while self.are_told_of(patient):
            told = (None if link.is_doubtful else link.resource for link in self._replaced_by(patient))
            following = {id(other): other for other in told}
            following |= {id(other): other for other in self._replacing.get(id(patient), ())}
            if not following:
                return patient, True
            found = next(iter(following.values()))
            if len(following) > 1 or found is None or id(found) in seen:
                return patient, False
            patient = found
            seen.add(id(patient))
        return patient, True

    def _replaced_by(self, patient: Resource[Patient]) -> Iterator[Link[Patient]]:
        for number, link in enumerate(patient.view.link):
            if folded(link.type or "") not in _NO_REPLACEMENT:
                path = f"Patient.link[{number}].other"
                yield self._resolver.follow(patient, path, link.other or Reference(), Patient)

    @cached_property
    def _replacing(self) -> dict[int, list[Resource[Patient] | None]]:
        """The records that say of another that they took its place; None for one that may mean another."""
        found: dict[int, list[Resource[Patient] | None]] = {}
        with self._resolver.quietly():
            for patient in self._resolver.index.of(Patient):
                for number, link in enumerate(patient.view.link):
                    if folded(link.type or "") == "replaces" and link.other is not None:
                        path = f"Patient.link[{number}].other"
                        named = self._resolver.follow(patient, path, link.other, Patient)
                        if (other := named.resource) is not None and other is not patient:
                            by = None if named.is_doubtful else patient
                            found.setdefault(id(other), []).append(by)
        return found

    @cached_property
    def _merged_into(self) -> dict[int, list[str]]:
        """The identities of the records that others took the place of, told by either of the two."""
        names: dict[int, list[str]] = {}
        with self._resolver.quietly():
            for patient in self._resolver.index.of(Patient):
                if patient.view.link:
                    self._add_merged(patient, names)
        return names

    def _add_merged(self, patient: Resource[Patient], names: dict[int, list[str]]) -> None:
        """What one record says of merges, in either direction."""
        survivor = self.survivor(patient)
        if survivor is not None and survivor is not patient:
            names.setdefault(id(survivor), []).append(self._naming.own(patient))
        for number, link in enumerate(patient.view.link):
            if folded(link.type or "") == "replaces" and link.other is not None:
                path = f"Patient.link[{number}].other"
                other: Link[Patient] = self._resolver.follow(patient, path, link.other, Patient)
                if may_be_patient(other):
                    names.setdefault(id(patient), []).append(self._naming.identity(other, other.resource))
