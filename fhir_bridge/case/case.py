"""A case: one trigger with all it needs, resolved (mapping, section 1). Plain data to the mapping: nothing here does I/O."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Generic, TypeVar

from fhir_bridge.fhir.datatypes import Reference
from fhir_bridge.fhir.resource import Resource
from fhir_bridge.fhir.views import (
    Appointment,
    Consent,
    Coverage,
    Encounter,
    HealthcareService,
    Location,
    Organization,
    Patient,
    Practitioner,
    PractitionerRole,
    RelatedPerson,
    ServiceRequest,
    Slot,
    View,
)

V = TypeVar("V", bound=View)


@dataclass(frozen=True, slots=True)
class Link(Generic[V]):
    """A reference followed: who refers, by which element, to what. `resource` is None where it is not at hand.

    `notes` are codes such as `reference-unresolved` or `reference-untyped` (mapping, section 15).
    """

    holder: Resource[View]
    path: str
    reference: Reference
    resource: Resource[V] | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Party:
    """Somebody who asks, performs or takes part: a practitioner, their role, or an organization, with what hangs on it.

    `link` is the reference as it stands. A role brings its practitioner, organization, locations and services; a bare
    practitioner brings the one role at hand that is theirs, if there is exactly one active.
    """

    link: Link[View]
    practitioner: Resource[Practitioner] | None = None
    role: Resource[PractitionerRole] | None = None
    organization: Resource[Organization] | None = None
    locations: tuple[Resource[Location], ...] = ()
    services: tuple[Resource[HealthcareService], ...] = ()


class Case:
    """See the properties. Each is worked out when first asked for, from what is at hand, and kept."""
