"""The Slots, services and places of care that a trigger names, as far as they are at hand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from fhir_bridge.case.links import Participant
from fhir_bridge.case.resolution import Resolver
from fhir_bridge.fhir.datatypes import Reference
from fhir_bridge.fhir.resource import Resource
from fhir_bridge.fhir.views import (
    HealthcareService,
    Location,
    Schedule,
    ServiceRequest,
    Slot,
    View,
    is_appointment,
)

V = TypeVar("V", bound=View)


def slots(resolver: Resolver, trigger: Resource[View]) -> tuple[Resource[Slot], ...]:
    """The Slots an Appointment names."""
    if not is_appointment(trigger.view):
        return ()
    return _all(resolver, trigger, "Appointment.slot", trigger.view.slot, Slot)


def services(
    resolver: Resolver,
    trigger: Resource[View],
    participants: Iterable[Participant],
    at_slots: Iterable[Resource[Slot]],
) -> tuple[Resource[HealthcareService], ...]:
    """The services of an Appointment: its participants, R5 `serviceType` or a vendor's extension of it, the
    actors of its Slots' Schedules."""
    found = [one.service.resource for one in participants if one.service and one.service.resource]
    if is_appointment(trigger.view):
        named = [concept.target for concept in trigger.view.service_type if concept.target is not None]
        found += _all(resolver, trigger, "Appointment.serviceType", named, HealthcareService)
        if urls := resolver.rules.service_extensions:
            extensions = [each for concept in trigger.view.service_type for each in concept.extension]
            named = [each.value_reference for each in extensions if each.url in urls and each.value_reference]
            found += _all(resolver, trigger, "Appointment.serviceType.extension", named, HealthcareService)
    for slot in at_slots:
        if slot.view.schedule is None:
            continue
        schedule = resolver.follow(slot, "Slot.schedule", slot.view.schedule, Schedule).resource
        if schedule is not None:
            found += _all(resolver, schedule, "Schedule.actor", schedule.view.actor, HealthcareService)
    return _once(found)


def locations(
    resolver: Resolver,
    order: Resource[ServiceRequest] | None,
    participants: Iterable[Participant],
    at_services: Iterable[Resource[HealthcareService]],
) -> tuple[Resource[Location], ...]:
    """The places of care: an Appointment's participants, the order's (R5 `location`), then the services'."""
    found = [one.location.resource for one in participants if one.location and one.location.resource]
    if order is not None:
        kind, view = order.view.resource_type, order.view
        found += _all(resolver, order, f"{kind}.locationReference", view.location_reference, Location)
        named = [concept.target for concept in view.location if concept.target is not None]
        found += _all(resolver, order, f"{kind}.location", named, Location)
    for service in at_services:
        found += _all(resolver, service, "HealthcareService.location", service.view.location, Location)
    return _once(found)


def _all(
    resolver: Resolver, holder: Resource[View], path: str, named: Sequence[Reference], kind: type[V]
) -> tuple[Resource[V], ...]:
    if not named:
        return ()
    links = [resolver.follow(holder, f"{path}[{n}]", one, kind) for n, one in enumerate(named)]
    return tuple([link.resource for link in links if link.resource is not None])


def _once(found: Iterable[Resource[V]]) -> tuple[Resource[V], ...]:
    return tuple(dict.fromkeys(found))
