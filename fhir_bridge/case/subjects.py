"""The references by which a resource names its patient, the surest first (mapping, section 5)."""

from __future__ import annotations

from functools import lru_cache
from typing import cast

from fhir_bridge.case.links import Link
from fhir_bridge.case.resolution import OTHER_TYPE, Resolver
from fhir_bridge.fhir import references
from fhir_bridge.fhir.datatypes import Reference
from fhir_bridge.fhir.resource import Resource
from fhir_bridge.fhir.views import Appointment, Patient, View, is_appointment

_ELEMENTS = ("subject", "patient", "beneficiary")
"""Where resources other than Appointments name their patient, DSTU2 to R5."""


class Subjects:
    """Finds them over what is at hand."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver

    def named(self, resource: Resource[View]) -> list[Link[View]]:
        """The references that name a patient, the surest first."""
        if is_appointment(resource.view):
            return self._of_appointment(resource, resource.view)
        element, reference = element_of(resource.view)
        if reference is None:
            return []
        link = self.link(resource, f"{resource.view.resource_type}.{element}", reference)
        return [link] if may_be_patient(link) else []

    def _of_appointment(self, appointment: Resource[View], view: Appointment) -> list[Link[View]]:
        """Participants that are patients by reference or type, then by identifier, then by SBJ; R5 `subject`.

        Where a group has several, the one that SBJ or `subject` singles out comes first, also where its type
        is misspelt. Where nobody is a patient for sure, a reference that leads nowhere and does not say to
        what, or whose type is like none, may be to one: that is no slot offer.
        """
        sure: list[Link[View]] = []
        subjects: list[Link[View]] = []
        unknown: list[Link[View]] = []
        for number, participant in enumerate(view.participant):
            actor = participant.actor
            if actor is None or _is_somebody_else(actor):
                continue
            link = self.link(appointment, f"Appointment.participant[{number}].actor", actor)
            is_subject = bool(participant.type) and any(
                code.code == "SBJ" for concept in participant.type for code in concept.coding
            )
            is_like_none = link.is_doubtful and _type_of(link) is None
            is_one = is_subject and may_be_patient(link) if is_like_none else self._is_patient(link)
            if is_one:
                sure.insert(0 if is_subject else len(sure), link)
            elif is_subject and may_be_patient(link):
                subjects.append(link)
            elif (actor.reference or link.resource) and may_be_patient(link):
                unknown.append(link)
        if view.subject is not None:
            link = self.link(appointment, "Appointment.subject", view.subject)
            if may_be_patient(link):
                sure = _first(sure, link)
        return sure or subjects or unknown[:1]

    def link(self, holder: Resource[View], path: str, reference: Reference) -> Link[View]:
        """Where a reference leads, if to a patient."""
        return self._resolver.follow(holder, path, reference, Patient)

    def _is_patient(self, link: Link[View]) -> bool:
        """Whether the reference is to a patient: by what it leads to, its own words, or the identifier's
        system."""
        if link.resource is not None:
            return True
        named = _type_of(link)
        if named is not None:
            return named == "Patient"
        identifier = link.reference.identifier
        return identifier is not None and self._resolver.rules.is_patient_system(identifier.system)


def element_of(view: View) -> tuple[str, Reference | None]:
    """The element in which anything but an Appointment names its patient, and what stands in it."""
    for element in () if is_appointment(view) else _ELEMENTS:
        reference = getattr(view, element, None)
        if reference is not None:
            return element, cast("Reference", reference)
    return "", None


def _is_somebody_else(actor: Reference) -> bool:
    """Whether a reference is to a Practitioner, a place or the like by nothing but its text, so that it need
    not be followed to know that it leads to no patient."""
    return actor.identifier is None and actor.type is None and _is_somebody_elses(actor.reference)


@lru_cache(maxsize=8_192)
def _is_somebody_elses(text: str | None) -> bool:
    target = references.parse(text)
    return target is not None and target.url is None and target.type not in (None, "Patient")


def _type_of(link: Link[View]) -> str | None:
    return _type_named(link.reference.reference, link.reference.type)


@lru_cache(maxsize=8_192)
def _type_named(text: str | None, type_: str | None) -> str | None:
    """The type that a reference names by its text or `type`."""
    target = references.parse(text)
    return (target.type if target else None) or references.type_named(type_)


def _first(links: list[Link[View]], subject: Link[View]) -> list[Link[View]]:
    """The links with the one first that leads where the subject does; the subject itself where none does."""
    same = [link for link in links if link.resource is subject.resource and subject.resource is not None]
    same = same or [link for link in links if link.reference.reference == subject.reference.reference]
    chosen = same[0] if same else subject
    return [chosen, *(link for link in links if link is not chosen)]


def may_be_patient(link: Link[View]) -> bool:
    """Whether nothing says that the reference is to something else than a patient."""
    named = _type_of(link)
    return (named is None or named == "Patient") and OTHER_TYPE not in link.notes
