"""What a reference leads to: a link, a party with what hangs on it, a participant of an appointment."""

from __future__ import annotations

from typing import Generic, TypeVar

import msgspec

from fhir_bridge.fhir.datatypes import Reference
from fhir_bridge.fhir.resource import Resource
from fhir_bridge.fhir.views import (
    AppointmentParticipant,
    HealthcareService,
    Location,
    Organization,
    Practitioner,
    PractitionerRole,
    View,
)

V = TypeVar("V", bound=View, covariant=True)

MISSPELT = "reference-misspelt"
"""The note of a reference whose type is none of FHIR's: it is taken for the one that it is most like."""


class Link(msgspec.Struct, Generic[V], frozen=True):
    """A reference followed: who refers, by which element, to what. `resource` is None where it is not at
    hand.

    `notes` are codes such as `reference-unresolved` or `reference-untyped` (mapping, section 15).
    """

    holder: Resource[View]
    path: str
    reference: Reference
    resource: Resource[V] | None
    notes: tuple[str, ...] = ()

    @property
    def is_doubtful(self) -> bool:
        """Whether it is not certain whom or what the reference means: enough to keep somebody from being
        called, and never to call them."""
        return MISSPELT in self.notes


class Party(msgspec.Struct, frozen=True):
    """Somebody who asks, performs or takes part: a practitioner, their role, or an organization, with what
    hangs on it.

    `link` is the reference as it stands (its resource may be somebody else: a Patient who asks for
    themselves). A role brings its practitioner, organization, locations and services; a bare practitioner
    brings the one role at hand that is theirs, if there is exactly one active.
    """

    link: Link[View]
    practitioner: Resource[Practitioner] | None = None
    role: Resource[PractitionerRole] | None = None
    organization: Resource[Organization] | None = None
    locations: tuple[Resource[Location], ...] = ()
    services: tuple[Resource[HealthcareService], ...] = ()


class Participant(msgspec.Struct, frozen=True):
    """One `participant` of an Appointment: its view, its place in the list, and whom or what its actor is.

    `party` is set for practitioners, roles, organizations and actors nobody knows the type of; `location` and
    `service` for those types. A patient or related person has none of the three.
    """

    view: AppointmentParticipant
    index: int
    party: Party | None = None
    location: Link[Location] | None = None
    service: Link[HealthcareService] | None = None
