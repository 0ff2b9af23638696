"""References that name one patient by their text and another by their identifier (mapping, section 15)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import cast

from fhir_bridge.case.links import Link
from fhir_bridge.case.merges import Merges
from fhir_bridge.case.resolution import Resolver
from fhir_bridge.case.same_person import SamePerson
from fhir_bridge.fhir.datatypes import Identifier
from fhir_bridge.fhir.resource import Resource
from fhir_bridge.fhir.views import Patient, View

_SEPARATORS = re.compile(r"[\s\-./]+")


class Contradictions:
    """Finds them over what is at hand."""

    def __init__(self, resolver: Resolver, merges: Merges, same_person: SamePerson) -> None:
        self._resolver = resolver
        self._merges = merges
        self._same_person = same_person

    def is_one(self, link: Link[View], patient: Resource[Patient]) -> bool:
        """Whether the identifier beside the reference that led to this patient contradicts it: it is
        another's, or the patient has another of the same system and not that one."""
        identifier = link.reference.identifier
        if identifier is None or not (identifier.system and identifier.value):
            return False
        if any(self.others(link, patient)):
            return True
        system = self._resolver.rules.system(identifier.system)
        own = {
            _compared(one)
            for one in patient.view.identifiers
            if self._resolver.rules.system(one.system) == system
        }
        return bool(own - {""}) and _compared(identifier) not in own

    def others(self, link: Link[View], patient: Resource[Patient]) -> Iterator[Resource[Patient]]:
        """The patients at hand whom the identifier names, where none of them is, or may be, this one."""
        identifier = link.reference.identifier
        if identifier is None or not (identifier.system and identifier.value):
            return
        found = self._resolver.index.identified(identifier.system, identifier.value)
        named = [cast("Resource[Patient]", one) for one in found if isinstance(one.view, Patient)]
        if not any(self._is_same(one, patient) for one in named):
            yield from named

    def _is_same(self, one: Resource[Patient], other: Resource[Patient]) -> bool:
        survivors = (self._merges.followed(each)[0] for each in (one, other))
        return (
            one.label == other.label
            or len(set(map(id, survivors))) == 1
            or any(each is other for each in self._same_person.linked(one))
        )


def _compared(identifier: Identifier) -> str:
    """A number as it is compared: without what only makes it easier to read."""
    return _SEPARATORS.sub("", identifier.value or "").casefold()
