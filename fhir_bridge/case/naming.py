"""What a patient is known by, the same in every message: the person's part of an intent's key (mapping,
sections 2 and 5)."""

from __future__ import annotations

from fhir_bridge.case.identity import digest, names_something, stable_name
from fhir_bridge.case.links import Link
from fhir_bridge.case.resolution import Resolver
from fhir_bridge.fhir import references
from fhir_bridge.fhir.datatypes import Identifier, Reference
from fhir_bridge.fhir.resource import Resource
from fhir_bridge.fhir.views import Patient, View


class Naming:
    """Names patients by what is at hand."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver

    def own(self, patient: Resource[Patient]) -> str:
        """What a record itself is known by."""
        return self.identity(Link(patient, "", Reference(), patient), patient)

    def identity(self, link: Link[View], patient: Resource[View] | None) -> str:
        """Who this is, the same in every message: the record's Type/id, else a patient's identifier, else
        the reference itself. A record that is contained or has no id is known by its identifier, if it has
        one."""
        if patient is not None and names_something(patient.view.id) and patient.container is None:
            return patient.label
        own = patient.view.identifiers if patient is not None else ()
        named = (link.reference.identifier,) if link.reference.identifier else ()
        for identifier in (*own, *named):
            if identifier.value and self._resolver.rules.is_patient_system(identifier.system):
                return self.identifier_key(identifier)
        target = references.parse(link.reference.reference) if patient is None else None
        if target is not None and target.doubtful and target.id and self._resolver.may_be_own(target):
            return f"Patient/{target.id}"
        if patient is not None:
            return next(
                (self.identifier_key(one) for one in own if one.system and one.value), stable_name(patient)
            )
        return self.reference_key(link) or f"{stable_name(link.holder)}#patient"

    def reference_key(self, link: Link[View]) -> str | None:
        """What a reference that leads nowhere at hand is known by: Type/id, URL or identifier; None
        without any."""
        target = references.parse(link.reference.reference)
        if target is not None and target.fragment is not None:
            return f"{stable_name(link.holder.container or link.holder)}#{target.fragment}"
        if target is not None and target.label:
            is_own = target.base is None or target.base in self._resolver.index.bases
            return target.label if is_own else target.url
        if target is not None and target.value:
            return self.identifier_key(Identifier(system=target.system, value=target.value))
        identifier = link.reference.identifier
        if identifier is not None and identifier.value:
            return self.identifier_key(identifier)
        return (target.url or target.id) if target is not None else None

    def identifier_key(self, identifier: Identifier) -> str:
        """What an identifier is known by, its system under the one name that counts; it shows neither."""
        system = self._resolver.rules.system(identifier.system)
        return f"identifier:{digest(system or '', identifier.value or '')}"
