"""Who asks, performs and takes part, with the role, organization and places that hang on them."""

from __future__ import annotations

from typing import TypeVar, cast

from msgspec.structs import replace

from fhir_bridge.case.links import Link, Participant, Party
from fhir_bridge.case.resolution import Resolver
from fhir_bridge.case.wanted import Wanted
from fhir_bridge.fhir import references
from fhir_bridge.fhir.datatypes import Reference
from fhir_bridge.fhir.resource import Resource
from fhir_bridge.fhir.views import (
    Appointment,
    AppointmentParticipant,
    HealthcareService,
    Location,
    Organization,
    Patient,
    Practitioner,
    PractitionerRole,
    ServiceRequest,
    View,
)

V = TypeVar("V", bound=View)

_NO_PARTY = ("Patient", "RelatedPerson", "Location", "HealthcareService", "Device", "Group")


class Parties:
    """Makes a Party of a reference; roles by practitioner are found once. `shared` has more roles (a
    directory); `wanted` is told whose role is not at hand."""

    def __init__(
        self, resolver: Resolver, shared: Parties | None = None, wanted: Wanted | None = None
    ) -> None:
        self._wanted = wanted
        self._resolver = resolver
        self._shared = shared
        self._roles: dict[int, list[Resource[PractitionerRole]]] | None = None
        self._known: dict[int, Party] = {}

    def party(self, holder: Resource[View], path: str, reference: Reference) -> Party:
        """Who a reference leads to. Only `link` is set where it leads to nobody at hand, or to a patient."""
        return self._led_to(self._resolver.follow(holder, path, reference, View))

    def _led_to(self, link: Link[View]) -> Party:
        """The party with everything that hangs on it, worked out once: many appointments are with the same
        few people."""
        found = link.resource
        if found is None:
            return Party(link)
        known = self._known.get(id(found))
        if known is None:
            known = self._known[id(found)] = self._of(link, found)
        return Party(
            link, known.practitioner, known.role, known.organization, known.locations, known.services
        )

    def _of(self, link: Link[View], found: Resource[View]) -> Party:
        if isinstance(found.view, Organization):
            return Party(link, organization=cast("Resource[Organization]", found))
        if isinstance(found.view, PractitionerRole):
            return self._of_role(link, cast("Resource[PractitionerRole]", found))
        if isinstance(found.view, Practitioner):
            return self._of_practitioner(link, cast("Resource[Practitioner]", found))
        return Party(link)

    def requester(self, order: Resource[ServiceRequest]) -> Party | None:
        """Who asked for an order; None where it names nobody. STU3 puts them under `requester.agent`."""
        requester = order.view.requester
        if requester is None:
            return None
        path = f"{order.view.resource_type}.requester" + (".agent" if requester.agent else "")
        return self.party(order, path, requester.target)

    def performers(self, order: Resource[ServiceRequest]) -> tuple[Party, ...]:
        """Who is to perform an order: `performer`, and a ReferralRequest's `recipient`."""
        kind, view = order.view.resource_type, order.view
        if not isinstance(view.performer, tuple):
            return (self.party(order, f"{kind}.performer", view.performer),)
        named = [(f"{kind}.performer[{n}]", reference) for n, reference in enumerate(view.performer)]
        named += [(f"{kind}.recipient[{n}]", reference) for n, reference in enumerate(view.recipient)]
        return tuple(self.party(order, path, reference) for path, reference in named)

    def primary_care(self, patient: Resource[Patient]) -> tuple[Party, ...]:
        """A patient's `generalPractitioner`s."""
        named = enumerate(patient.view.general_practitioner)
        return tuple(self.party(patient, f"Patient.generalPractitioner[{n}]", one) for n, one in named)

    def participants(self, appointment: Resource[Appointment]) -> tuple[Participant, ...]:
        """An Appointment's participants, in order."""
        return tuple(
            self._participant(appointment, number, view)
            for number, view in enumerate(appointment.view.participant)
        )

    def _participant(
        self, appointment: Resource[Appointment], number: int, view: AppointmentParticipant
    ) -> Participant:
        if view.actor is None:
            return Participant(view, number)
        path = f"Appointment.participant[{number}].actor"
        link = self._resolver.follow(appointment, path, view.actor, View)
        kind = link.resource.view.resource_type if link.resource else _type_named(view.actor)
        if kind == "Location":
            return Participant(view, number, location=cast("Link[Location]", link))
        if kind == "HealthcareService":
            return Participant(view, number, service=cast("Link[HealthcareService]", link))
        if kind in _NO_PARTY:
            return Participant(view, number)
        return Participant(view, number, party=self._led_to(link))

    def _of_role(self, link: Link[View], role: Resource[PractitionerRole]) -> Party:
        """A role with everything it names."""
        view = role.view
        return Party(
            link,
            self._follow(role, "practitioner", view.practitioner, Practitioner),
            role,
            self._follow(role, "organization", view.organization, Organization),
            self._all(role, "location", view.location, Location),
            self._all(role, "healthcareService", view.healthcare_service, HealthcareService),
        )

    def _of_practitioner(self, link: Link[View], practitioner: Resource[Practitioner]) -> Party:
        """A practitioner, with their role where exactly one active is at hand."""
        known = self._roles_of(practitioner)
        if self._wanted is not None and not known and practitioner.container is None:
            self._wanted.roles[practitioner.label] = None
        roles = [role for role in known if role.view.active is not False]
        if len(roles) != 1:
            return Party(link, practitioner)
        return replace(self._of_role(link, roles[0]), practitioner=practitioner)

    def _roles_of(self, practitioner: Resource[Practitioner]) -> list[Resource[PractitionerRole]]:
        if self._roles is None:
            self._roles = {}
            with self._resolver.quietly():
                for role in self._resolver.index.of(PractitionerRole):
                    found = self._follow(role, "practitioner", role.view.practitioner, Practitioner)
                    self._roles.setdefault(id(found), []).append(role)
        own = self._roles.get(id(practitioner), [])
        return own if self._shared is None else own + self._shared._roles_of(practitioner)

    def _follow(
        self, role: Resource[PractitionerRole], element: str, reference: Reference | None, kind: type[V]
    ) -> Resource[V] | None:
        if reference is None:
            return None
        return self._resolver.follow(role, f"PractitionerRole.{element}", reference, kind).resource

    def _all(
        self,
        role: Resource[PractitionerRole],
        element: str,
        named: tuple[Reference, ...],
        kind: type[V],
    ) -> tuple[Resource[V], ...]:
        found = (self._follow(role, f"{element}[{n}]", reference, kind) for n, reference in enumerate(named))
        return tuple(one for one in found if one is not None)


def _type_named(reference: Reference) -> str | None:
    target = references.parse(reference.reference)
    return (target.type if target else None) or references.type_named(reference.type)
