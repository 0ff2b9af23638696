"""Who the patient of a resource is, merges followed (mapping, sections 4 and 5)."""

from __future__ import annotations

from typing import TypeVar, cast

import msgspec

from fhir_bridge.case.contradictions import Contradictions
from fhir_bridge.case.identity import names_something
from fhir_bridge.case.links import Link
from fhir_bridge.case.merges import Merges
from fhir_bridge.case.naming import Naming
from fhir_bridge.case.resolution import Resolver
from fhir_bridge.case.same_person import SamePerson
from fhir_bridge.case.subjects import Subjects, element_of, may_be_patient
from fhir_bridge.fhir import references
from fhir_bridge.fhir.datatypes import Reference
from fhir_bridge.fhir.resource import Resource
from fhir_bridge.fhir.views import Appointment, Consent, Patient, ServiceRequest, View

V = TypeVar("V", bound=View)

MERGE_FOLLOWED = "patient-merge-followed"
SEVERAL = "patients-several"


class CasePatient(msgspec.Struct, frozen=True):
    """The patient of a resource: how it is named, the record (None if not at hand), and who that is for a
    key; where `link` is doubtful, that is whom it may mean. `contradicted`: the identifier beside the
    reference is another patient's; `others` are those of them that are at hand, as for a key."""

    link: Link[View]
    patient: Resource[Patient] | None
    merge_broken: bool
    identity: str
    notes: tuple[str, ...] = ()
    contradicted: bool = False
    others: tuple[str, ...] = ()


_STOPPING = (Consent, Appointment, ServiceRequest)
"""What may keep somebody from being called: it does so also where it is not certain whom it is about."""

_Person = tuple[Resource[Patient], bool, str, tuple[str, ...]]
"""Whom a reference to a record means: the record that counts, whether a merge could not be followed, the
identity, and notes."""


class Patients:
    """Finds the patient of a resource, and the resources of a patient; both once."""

    def __init__(self, resolver: Resolver, same_person: SamePerson) -> None:
        self._resolver = resolver
        self.naming = Naming(resolver)
        self.merges = Merges(resolver, self.naming)
        self._contradictions = Contradictions(resolver, self.merges, same_person)
        self._subjects = Subjects(resolver)
        self._of: dict[int, CasePatient] = {}
        self._persons: dict[int, _Person] = {}
        self._resources: dict[type[View], dict[str, list[Resource[View]]]] = {}

    def of(self, resource: Resource[View]) -> CasePatient | None:
        """The patient the resource is about; None where it names none."""
        found = self._of.get(id(resource))
        # Where none is found nothing is kept: without a hold on the resource its id may be another's
        # as soon as it is gone.
        if found is None and (found := self._find(resource)) is not None:
            self._of[id(resource)] = found
        return found

    def resources_of(self, kind: type[V], identity: str | None) -> tuple[Resource[V], ...]:
        """The current resources of one view that are about that patient, in the order they were read."""
        if identity is None:
            return ()
        if kind not in self._resources:
            with self._resolver.quietly():
                self._resources[kind] = self._by_patient(kind)
        return cast("tuple[Resource[V], ...]", tuple(self._resources[kind].get(identity, ())))

    def _by_patient(self, kind: type[View]) -> dict[str, list[Resource[View]]]:
        """The current resources of one view by the identities of their patients. What says `Patient/p1` in
        the same words means the same person: it is asked once for all of them."""
        lists: dict[str, list[Resource[View]]] = {}
        by_text: dict[str, list[list[Resource[View]]]] = {}
        for resource in self._resolver.index.of(kind):
            _, reference = element_of(resource.view)
            text = reference.reference if reference is not None and reference.identifier is None else None
            known = by_text.get(text) if text is not None else None
            if known is None:
                known = [lists.setdefault(name, []) for name in self._names_for(resource)]
                if reference is not None and text is not None and self._resolver.leads_alike(reference):
                    by_text[text] = known
            for one in known:
                one.append(resource)
        return lists

    def _names_for(self, resource: Resource[View]) -> tuple[str, ...]:
        """Under whom a resource is found. A Consent also by Type/id, whatever server it names, by an id
        alone, and under whom else its identifier names: that somebody is wrongly kept from being called can
        be mended. An Appointment too where nobody knows the source's own base, as chains are joined. What
        only tells of somebody, such as an Encounter, is found under nobody where it is not certain whom."""
        patient = self.of(resource)
        if patient is None:
            return ()
        if patient.link.is_doubtful and not isinstance(resource.view, _STOPPING):
            return ()
        if patient.patient is not None and not patient.others:
            return (patient.identity,)
        names = [patient.identity]
        if isinstance(resource.view, Consent):
            names += patient.others
        if patient.patient is None and isinstance(resource.view, Consent | Appointment):
            target = references.parse(patient.link.reference.reference)
            is_meant = isinstance(resource.view, Consent) or (target and self._resolver.may_be_own(target))
            if target is not None and target.id and is_meant:
                names.append(target.label or f"Patient/{target.id}")
        return tuple(dict.fromkeys(names))

    def names_of(self, patient: Resource[Patient]) -> tuple[str, ...]:
        """Every identity of a patient: the record's own, first, and those of the records merged into it."""
        return tuple(dict.fromkeys((self.naming.own(patient), *self.merges.names_into(patient))))

    def numbers_of(self, resource: Resource[View]) -> tuple[str, ...]:
        """What a patient, or whom a resource is about, is known by where their record is copied into another
        resource: identifiers that only patients have."""
        found = resource if isinstance(resource.view, Patient) else None
        if found is None and (about := self.of(resource)) is not None:
            found = about.patient
        is_patients = self._resolver.rules.is_patient_system
        own = found.view.identifiers if found is not None else ()
        return tuple(self.naming.identifier_key(one) for one in own if one.value and is_patients(one.system))

    def same_as(self, patient: Resource[Patient]) -> tuple[str, ...]:
        """Every identity of the person by what the record itself says: its own, those it links to, whatever
        the link is for, and its identifiers, where it is linked or known by no more than them. Empty for a
        record that nothing but its own id is known of, as nearly every one is.
        """
        label = names_something(patient.view.id) and patient.container is None
        if label and not patient.view.link:
            return ()
        found = [*self.names_of(patient)]
        with self._resolver.quietly():
            for number, one in enumerate(patient.view.link):
                path = f"Patient.link[{number}].other"
                other = self._subjects.link(patient, path, one.other or Reference())
                if one.other is not None and may_be_patient(other):
                    found.append(self.naming.identity(other, other.resource))
        for identifier in patient.view.identifiers:
            is_patients = self._resolver.rules.is_patient_system(identifier.system)
            if identifier.value and (is_patients or (identifier.system and not label)):
                found.append(self.naming.identifier_key(identifier))
        return tuple(dict.fromkeys(found))

    def names_in(self, resource: Resource[View]) -> tuple[str, ...]:
        """Every identity of the patient that the resource is about; none where it names none."""
        found = self.of(resource)
        if found is None:
            return ()
        merged = self.names_of(found.patient) if found.patient is not None else ()
        return tuple(dict.fromkeys((*self._names_for(resource), *merged)))

    def _find(self, resource: Resource[View]) -> CasePatient | None:
        links = self._subjects.named(resource)
        if not links:
            return None
        link = links[0]
        several = len(links) > 1 and len({self.naming.identity(each, each.resource) for each in links}) > 1
        notes = (*link.notes, SEVERAL) if several else link.notes
        if link.resource is None:
            return CasePatient(link, None, False, self.naming.identity(link, None), notes)
        named = cast("Resource[Patient]", link.resource)
        patient, merge_broken, identity, merged = self._person(link, named)
        notes = (*notes, *merged) if merged else notes
        contradicted = False
        others: tuple[str, ...] = ()
        if link.reference.identifier is not None:
            contradicted = self._contradictions.is_one(link, named)
            others = tuple(map(self.naming.own, self._contradictions.others(link, named)))
        return CasePatient(link, patient, merge_broken, identity, notes, contradicted, others)

    def _person(self, link: Link[View], named: Resource[Patient]) -> _Person:
        """Whom a link that leads to a record means; worked out once for a record that has a name of its
        own."""
        known = self._persons.get(id(named))
        if known is not None:
            return known
        patient, whole = self.merges.followed(named) if self.merges.are_told_of(named) else (named, True)
        merged = () if patient is named else (MERGE_FOLLOWED,)
        found = patient, not whole, self.naming.identity(link, patient), merged
        if patient.container is None and names_something(patient.view.id):
            self._persons[id(named)] = found
        return found
