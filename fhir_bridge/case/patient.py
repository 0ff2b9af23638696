"""Who the patient of a resource is, merges followed (mapping, sections 4 and 5)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import TypeVar, cast

import msgspec

from fhir_bridge.case.identity import digest, names_something, stable_name
from fhir_bridge.case.links import Link
from fhir_bridge.case.resolution import OTHER_TYPE, Resolver
from fhir_bridge.fhir import references
from fhir_bridge.fhir.datatypes import Identifier, Reference
from fhir_bridge.fhir.misspelt import folded
from fhir_bridge.fhir.resource import Resource
from fhir_bridge.fhir.views import Appointment, Consent, Patient, View

V = TypeVar("V", bound=View)

MERGE_FOLLOWED = "patient-merge-followed"
SEVERAL = "patients-several"

_NO_REPLACEMENT = frozenset({"replaces", "refer", "seealso"})
"""The types of a link by which the record is still in use (FHIR's LinkType). By any other, and by one that
nobody can read, it may have been merged."""

_ELEMENTS = ("subject", "patient", "beneficiary")
"""Where resources other than Appointments name their patient, DSTU2 to R5."""


class CasePatient(msgspec.Struct, frozen=True):
    """The patient of a resource: how it is named, the record (None if not at hand), and who that is for a
    key."""

    link: Link[View]
    patient: Resource[Patient] | None
    merge_broken: bool
    identity: str
    notes: tuple[str, ...] = ()


class Patients:
    """Finds the patient of a resource, and the resources of a patient; both once."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self._of: dict[int, CasePatient] = {}
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
            _, reference = _element(resource.view)
            text = reference.reference if reference is not None and reference.identifier is None else None
            known = by_text.get(text) if text is not None else None
            if known is None:
                known = [lists.setdefault(name, []) for name in dict.fromkeys(self._names_for(resource))]
                if reference is not None and text is not None and self._resolver.leads_alike(reference):
                    by_text[text] = known
            for one in known:
                one.append(resource)
        return lists

    def _names_for(self, resource: Resource[View]) -> Iterator[str]:
        """Under whom a resource is found. A Consent also by Type/id, whatever server it names: that somebody
        is wrongly kept from being called can be mended. An Appointment too where nobody knows the source's
        own base, as chains are joined."""
        patient = self.of(resource)
        if patient is None:
            return
        yield patient.identity
        if patient.patient is None and isinstance(resource.view, Consent | Appointment):
            target = references.parse(patient.link.reference.reference)
            is_meant = isinstance(resource.view, Consent) or (target and self._resolver.may_be_own(target))
            if target is not None and target.label and is_meant:
                yield target.label

    def survivor(self, patient: Resource[Patient]) -> Resource[Patient] | None:
        """The record that counts for this one, itself where none took its place; None where a merge cannot be
        followed."""
        found, whole = self._merged(patient)
        return found if whole else None

    def names_of(self, patient: Resource[Patient]) -> tuple[str, ...]:
        """Every identity of a patient: the record's own, first, and those of the records merged into it."""
        return tuple(dict.fromkeys((self._own_identity(patient), *self._merged_into.get(id(patient), ()))))

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
                other = self._link(patient, f"Patient.link[{number}].other", one.other or Reference())
                if one.other is not None and self._may_be(other):
                    found.append(self._identity(other, other.resource))
        for identifier in patient.view.identifiers:
            is_patients = self._resolver.rules.is_patient_system(identifier.system)
            if identifier.value and (is_patients or (identifier.system and not label)):
                found.append(self.identifier_key(identifier))
        return tuple(dict.fromkeys(found))

    def names_in(self, resource: Resource[View]) -> tuple[str, ...]:
        """Every identity of the patient that the resource is about; none where it names none."""
        found = self.of(resource)
        if found is None:
            return ()
        merged = self.names_of(found.patient) if found.patient is not None else ()
        return tuple(dict.fromkeys((*self._names_for(resource), *merged)))

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
            names.setdefault(id(survivor), []).append(self._own_identity(patient))
        for number, link in enumerate(patient.view.link):
            if folded(link.type or "") == "replaces" and link.other is not None:
                path = f"Patient.link[{number}].other"
                other = self._link(patient, path, link.other)
                if self._may_be(other):
                    names.setdefault(id(patient), []).append(self._identity(other, other.resource))

    def _own_identity(self, patient: Resource[Patient]) -> str:
        return self._identity(Link(patient, "", Reference(), patient), patient)

    def _find(self, resource: Resource[View]) -> CasePatient | None:
        links = self._named(resource)
        if not links:
            return None
        link = links[0]
        several = len(links) > 1 and len({self._identity(each, each.resource) for each in links}) > 1
        notes = (*link.notes, SEVERAL) if several else link.notes
        if link.resource is None:
            return CasePatient(link, None, False, self._identity(link, None), notes)
        patient = cast("Resource[Patient]", link.resource)
        if not patient.view.link and id(patient) not in self._replacing:
            return CasePatient(link, patient, False, self._identity(link, patient), notes)
        patient, whole = self._merged(patient)
        if patient is not link.resource:
            notes = (*notes, MERGE_FOLLOWED)
        return CasePatient(link, patient, not whole, self._identity(link, patient), notes)

    def _named(self, resource: Resource[View]) -> list[Link[View]]:
        """The references that name a patient, the surest first."""
        if isinstance(resource.view, Appointment):
            return self._of_appointment(cast("Resource[Appointment]", resource))
        element, reference = _element(resource.view)
        if reference is None:
            return []
        link = self._link(resource, f"{resource.view.resource_type}.{element}", reference)
        return [link] if self._may_be(link) else []

    def _of_appointment(self, appointment: Resource[Appointment]) -> list[Link[View]]:
        """Participants that are patients by reference or type, then by identifier, then by SBJ; R5 `subject`.

        Where a group has several, the one that SBJ or `subject` singles out comes first. Where nobody is a
        patient for sure, a reference that leads nowhere and does not say to what may be to one: that is no
        slot offer.
        """
        sure: list[Link[View]] = []
        subjects: list[Link[View]] = []
        unknown: list[Link[View]] = []
        for number, participant in enumerate(appointment.view.participant):
            if participant.actor is None or _is_somebody_else(participant.actor):
                continue
            link = self._link(appointment, f"Appointment.participant[{number}].actor", participant.actor)
            is_subject = bool(participant.type) and any(
                code.code == "SBJ" for concept in participant.type for code in concept.coding
            )
            if self._is_patient(link):
                sure.insert(0 if is_subject else len(sure), link)
            elif is_subject and self._may_be(link):
                subjects.append(link)
            elif participant.actor.reference and self._may_be(link):
                unknown.append(link)
        if appointment.view.subject is not None:
            link = self._link(appointment, "Appointment.subject", appointment.view.subject)
            if self._may_be(link):
                sure = _first(sure, link)
        return sure or subjects or unknown[:1]

    def _link(self, holder: Resource[View], path: str, reference: Reference) -> Link[View]:
        return cast("Link[View]", self._resolver.follow(holder, path, reference, Patient))

    def _is_patient(self, link: Link[View]) -> bool:
        """Whether the reference is to a patient: by what it leads to, its own words, or the identifier's
        system."""
        if link.resource is not None:
            return True
        named = _type_named(link.reference)
        if named is not None:
            return named == "Patient"
        identifier = link.reference.identifier
        return identifier is not None and self._resolver.rules.is_patient_system(identifier.system)

    def _may_be(self, link: Link[View]) -> bool:
        """Whether nothing says that the reference is to something else than a patient."""
        return _type_named(link.reference) in (None, "Patient") and OTHER_TYPE not in link.notes

    def _merged(self, patient: Resource[Patient]) -> tuple[Resource[Patient], bool]:
        """The record that took the place of this one, step by step, and whether every step could be
        followed."""
        seen = {id(patient)}
        while patient.view.link or id(patient) in self._replacing:
            following = {id(link.resource): link.resource for link in self._replaced_by(patient)}
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
    def _replacing(self) -> dict[int, list[Resource[Patient]]]:
        """The records that say of another that they took its place."""
        found: dict[int, list[Resource[Patient]]] = {}
        with self._resolver.quietly():
            for patient in self._resolver.index.of(Patient):
                for number, link in enumerate(patient.view.link):
                    if folded(link.type or "") == "replaces" and link.other is not None:
                        path = f"Patient.link[{number}].other"
                        other = self._resolver.follow(patient, path, link.other, Patient).resource
                        if other is not None and other is not patient:
                            found.setdefault(id(other), []).append(patient)
        return found

    def _identity(self, link: Link[View], patient: Resource[View] | None) -> str:
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


def _element(view: View) -> tuple[str, Reference | None]:
    """The element in which anything but an Appointment names its patient, and what stands in it."""
    for element in () if isinstance(view, Appointment) else _ELEMENTS:
        reference = getattr(view, element, None)
        if isinstance(reference, Reference):
            return element, reference
    return "", None


def _is_somebody_else(actor: Reference) -> bool:
    """Whether a reference is to a Practitioner, a place or the like by nothing but its text, so that it need
    not be followed to know that it leads to no patient."""
    if actor.identifier is not None or actor.type is not None:
        return False
    target = references.parse(actor.reference)
    return target is not None and target.url is None and target.type not in (None, "Patient")


def _type_named(reference: Reference) -> str | None:
    """The type a reference names by its text or `type`."""
    target = references.parse(reference.reference)
    return (target.type if target else None) or references.type_named(reference.type)


def _first(links: list[Link[View]], subject: Link[View]) -> list[Link[View]]:
    """The links with the one first that leads where the subject does; the subject itself where none does."""
    same = [link for link in links if link.resource is subject.resource and subject.resource is not None]
    same = same or [link for link in links if link.reference.reference == subject.reference.reference]
    chosen = same[0] if same else subject
    return [chosen, *(link for link in links if link is not chosen)]
