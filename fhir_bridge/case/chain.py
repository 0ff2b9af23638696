"""Chains: the order and Appointments that are one piece of work, and what names it (mapping, section 2).

Long because a chain is found by what its members say of each other, and all that counts as saying is here.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cached_property
from typing import cast

import msgspec
from msgspec.structs import replace

from fhir_bridge.case.identity import stable_name
from fhir_bridge.case.links import Link
from fhir_bridge.case.patient import Patients
from fhir_bridge.case.resolution import Resolver
from fhir_bridge.case.root import order_root
from fhir_bridge.fhir import dates
from fhir_bridge.fhir.datatypes import Identifier, Reference
from fhir_bridge.fhir.references import parse, type_named
from fhir_bridge.fhir.resource import Resource
from fhir_bridge.fhir.views import (
    TRIGGER_TYPES,
    Appointment,
    DiagnosticReport,
    ServiceRequest,
    Specimen,
    View,
    is_appointment,
    is_order,
)

_ORDER_TYPES = TRIGGER_TYPES - {"Appointment"}
_UNDATED = dates.LATEST


class Chain(msgspec.Struct, frozen=True):
    """One piece of work.

    `root` is its part of the intent's key, `members` the lasting names of all orders and Appointments in it,
    also of those that are only referred to, sorted; `appointments` are the ones at hand, the trigger
    included, oldest first.
    """

    root: str
    members: tuple[str, ...]
    appointments: tuple[Resource[Appointment], ...]
    complete: bool = False


class Chains:
    """Finds the chain of a trigger among what is at hand. The links between Appointments are followed
    once."""

    def __init__(self, resolver: Resolver, patients: Patients) -> None:
        self._resolver = resolver
        self._patients = patients
        self._known: dict[tuple[str, str | None], Chain] = {}

    def of(self, trigger: Resource[View], *, complete: bool = False) -> Chain:
        """The chain a trigger belongs to. Appointments of another patient are not in it, whatever they
        point to."""
        patient = self._patients.of(trigger)
        identity, name = patient.identity if patient else None, stable_name(trigger)
        is_doubtful = patient is not None and patient.link.is_doubtful
        chain = None if is_doubtful else self._known.get((name, identity))
        if chain is None:
            chain = self._alone(trigger, name, identity) or self._find(trigger, name, identity, is_doubtful)
        return replace(chain, complete=True) if complete else chain

    def appointments_of(self, trigger: Resource[View]) -> tuple[Resource[Appointment], ...]:
        """The Appointments of a trigger's chain, as `Chain.appointments`: what the chain is called need not
        be known for that."""
        if not self._is_alone(trigger, stable_name(trigger)):
            return self.of(trigger).appointments
        return (cast("Resource[Appointment]", trigger),) if is_appointment(trigger.view) else ()

    def _is_alone(self, trigger: Resource[View], name: str) -> bool:
        """Whether nothing is linked with a trigger, as with most."""
        return name not in self._edges and self._nodes.get(name) == (trigger,)

    def _alone(self, trigger: Resource[View], name: str, identity: str | None) -> Chain | None:
        """The chain of a trigger that nothing is linked with; None for any other."""
        if not self._is_alone(trigger, name):
            return None
        if is_appointment(trigger.view):
            return Chain(name, (name,), (cast("Resource[Appointment]", trigger),))
        order = cast("Resource[ServiceRequest]", trigger)
        root = order_root(self._resolver, order, identity)
        if not order.view.identifiers:
            return Chain(root, (name,), ())
        numbers = [_of_patient(number, identity) for number in self._numbers([order])]
        return Chain(root, tuple(sorted((name, *numbers))), ())

    def _find(self, trigger: Resource[View], name: str, identity: str | None, is_doubtful: bool) -> Chain:
        """The chain, kept for every member: a series of a thousand visits under one order is walked once.
        Where it is not certain who the trigger's patient is, nobody is a stranger to it."""
        members = self._members(name, None if is_doubtful else identity)
        nodes = [node for label in sorted(members) for node in self._nodes.get(label, ())]
        nodes += [] if trigger in nodes else [trigger]
        appointments = [cast("Resource[Appointment]", n) for n in nodes if is_appointment(n.view)]
        orders = [cast("Resource[ServiceRequest]", n) for n in nodes if is_order(n.view)]
        if len(appointments) > 1:
            appointments.sort(key=_age)
        lasting = _lasting(members) | self._numbers(orders) if orders else _lasting(members)
        names = {_of_patient(name, identity) for name in lasting}
        chain = Chain(self._root(members, orders, appointments), tuple(sorted(names)), tuple(appointments))
        for label in () if is_doubtful else members:
            self._known[label, identity] = chain
        return chain

    def orders_of(self, trigger: Resource[View]) -> tuple[Link[ServiceRequest], ...]:
        """The trigger itself where it is an order; else the orders an Appointment is based on, as it names
        them."""
        if is_order(trigger.view):
            order = cast("Resource[ServiceRequest]", trigger)
            return (Link(trigger, "", Reference(reference=trigger.label), order),)
        appointment = cast("Resource[Appointment]", trigger)
        named = appointment.view.based_on or appointment.view.incoming_referral
        return tuple(self._based_on(appointment)) if named else ()

    def laboratory_evidence(self, order: Resource[ServiceRequest] | None) -> tuple[tuple[str, str], ...]:
        """The label and FHIRPath of what shows an order to be laboratory work: a specimen named, one taken
        for it, or a report based on it (mapping, section 3, row 7)."""
        if order is None:
            return ()
        named = ((order.label, f"{order.view.resource_type}.specimen"),) if order.view.specimen else ()
        return (*named, *self._evidence.get(id(order), ()))

    def _members(self, start: str, identity: str | None) -> set[str]:
        """The labels reached from one over the links of a patient's Appointments."""
        members, waiting = {start}, [start]
        with self._resolver.quietly():
            while waiting:
                for label in self._edges.get(waiting.pop(), ()):
                    if label not in members and not self._is_strangers(label, identity):
                        members.add(label)
                        waiting.append(label)
        return members

    def _numbers(self, orders: list[Resource[ServiceRequest]]) -> set[str]:
        """The identifiers of orders, for an Appointment that comes alone may name its order by one. A number
        that several orders at hand have, or that is a group's, names none of them."""
        return {
            self._patients.naming.identifier_key(number)
            for order in orders
            for number in order.view.identifiers
            if number.system and number.value and not _is_groups(number)
            if len(self._resolver.index.identified(number.system, number.value)) == 1
        }

    def _is_strangers(self, label: str, identity: str | None) -> bool:
        for node in self._nodes.get(label, ()):
            patient = self._patients.of(node)
            if patient is not None and patient.link.is_doubtful:
                continue
            if patient is not None and identity is not None and identity not in self._patients.names_in(node):
                return True
        return False

    def _root(
        self,
        members: set[str],
        orders: list[Resource[ServiceRequest]],
        appointments: list[Resource[Appointment]],
    ) -> str:
        """The oldest order at hand, else an order that is only named, else the oldest Appointment."""
        if orders:
            oldest = orders[0]
            if len(orders) > 1:
                oldest = min(orders, key=lambda order: (_instant(order.view.authored_on), order.label))
            patient = self._patients.of(oldest)
            return order_root(self._resolver, oldest, patient.identity if patient else None)
        named = sorted(_lasting(members & self._named_orders))
        return named[0] if named else stable_name(appointments[0])

    @cached_property
    def _nodes(self) -> dict[str, tuple[Resource[View], ...]]:
        """Orders and Appointments by label, contained ones too; several where no version orders them."""
        nodes: dict[str, tuple[Resource[View], ...]] = {}
        index = self._resolver.index
        found: list[Resource[View]] = []
        for resource in (*index.of(ServiceRequest), *index.of(Appointment)):
            found.append(resource)
            if resource.view.contained:
                inner = index.contained(resource).values()
                found += (one for one in inner if one.view.resource_type in TRIGGER_TYPES)
        for node in found:
            name = stable_name(node)
            nodes[name] = (*nodes[name], node) if name in nodes else (node,)
        return nodes

    @cached_property
    def _edges(self) -> dict[str, set[str]]:
        """Which labels stand next to which in a chain, in both directions."""
        edges: dict[str, set[str]] = {}
        with self._resolver.quietly():
            for label, nodes in self._nodes.items():
                for node in nodes:
                    if is_appointment(node.view):
                        for neighbour in self._neighbours(cast("Resource[Appointment]", node)):
                            edges.setdefault(label, set()).add(neighbour)
                            edges.setdefault(neighbour, set()).add(label)
        return edges

    def _neighbours(self, appointment: Resource[Appointment]) -> Iterator[str]:
        view = appointment.view
        if appointment.container is not None:
            yield stable_name(appointment.container)
        links: list[Link[View]] = []
        if view.based_on or view.incoming_referral:
            links += self._based_on(appointment)
        if view.replaces or view.extension or view.supporting_information:
            links += self._replaces(appointment)
        yield from filter(None, map(self._label, links))

    @cached_property
    def _named_orders(self) -> frozenset[str]:
        """The labels of the orders that Appointments at hand name, at hand or not."""
        appointments = [node for nodes in self._nodes.values() for node in nodes if is_appointment(node.view)]
        with self._resolver.quietly():
            links = [
                link for node in appointments for link in self._based_on(cast("Resource[Appointment]", node))
            ]
        return frozenset(filter(None, map(self._label, links)))

    def _label(self, link: Link[View]) -> str | None:
        if link.resource is not None:
            return stable_name(link.resource)
        target = parse(link.reference.reference)
        if target is not None and self._resolver.may_be_own(target):
            if target.label:
                return target.label
            if target.doubtful and target.id:
                return f"{_meant_in(link.path)}/{target.id}"
        return self._patients.naming.reference_key(link)

    def _based_on(self, appointment: Resource[Appointment]) -> Iterator[Link[ServiceRequest]]:
        """`basedOn` and STU3's `incomingReferral`, as far as nothing says that they lead to something
        else."""
        for element, name in (("based_on", "basedOn"), ("incoming_referral", "incomingReferral")):
            for number, reference in enumerate(getattr(appointment.view, element)):
                path = f"Appointment.{name}[{number}]"
                link = self._resolver.follow(appointment, path, reference, ServiceRequest)
                if link.resource is not None or _may_be_order(reference):
                    yield link

    def _replaces(self, appointment: Resource[Appointment]) -> Iterator[Link[Appointment]]:
        """R5 `replaces`; in R4 the extension for it, or a vendor's own; supportingInformation with a display
        that says so, in whichever direction."""
        for number, reference in enumerate(appointment.view.replaces):
            yield self._resolver.follow(
                appointment, f"Appointment.replaces[{number}]", reference, Appointment
            )
        for number, extension in enumerate(appointment.view.extension):
            if extension.value_reference and extension.url in self._resolver.rules.replaces_extensions:
                path = f"Appointment.extension[{number}].value"
                yield self._resolver.follow(appointment, path, extension.value_reference, Appointment)
        displays = self._resolver.rules.replacement_displays
        for number, reference in enumerate(appointment.view.supporting_information if displays else ()):
            if (reference.display or "").casefold() in displays:
                path = f"Appointment.supportingInformation[{number}]"
                yield self._resolver.follow(appointment, path, reference, Appointment)

    @cached_property
    def _evidence(self) -> dict[int, list[tuple[str, str]]]:
        """Reports and specimens by the order they belong to."""
        found: dict[int, list[tuple[str, str]]] = {}
        with self._resolver.quietly():
            for kind, element, name in (
                (DiagnosticReport, "based_on", "basedOn"),
                (Specimen, "request", "request"),
            ):
                for resource in self._resolver.index.of(kind):
                    for number, reference in enumerate(getattr(resource.view, element)):
                        path = f"{kind.__name__}.{name}[{number}]"
                        link = self._resolver.follow(resource, path, reference, ServiceRequest)
                        found.setdefault(id(link.resource), []).append((resource.label, path))
        return found


def _lasting(names: set[str]) -> set[str]:
    """The names without URNs that lead nowhere: the next message may mean something else by them."""
    return {name for name in names if not name.startswith("urn:")}


def _of_patient(name: str, identity: str | None) -> str:
    """An identifier may be a placeholder that many carry: it names a chain only of its patient."""
    return f"{name} of {identity}" if name.startswith("identifier:") else name


def _is_groups(number: Identifier) -> bool:
    """Whether it is the placer's number of several orders (http://terminology.hl7.org/CodeSystem/v2-0203)."""
    return number.type is not None and any(coding.code == "PGN" for coding in number.type.coding)


def _may_be_order(reference: Reference) -> bool:
    target = parse(reference.reference)
    named = (target.type if target else None) or type_named(reference.type)
    return named is None or named in _ORDER_TYPES


def _meant_in(path: str) -> str:
    """What a reference of an Appointment leads to where its own words do not tell."""
    if ".basedOn" in path:
        return "ServiceRequest"
    return "ReferralRequest" if ".incomingReferral" in path else "Appointment"


def _age(appointment: Resource[Appointment]) -> tuple[datetime, datetime, str]:
    view = appointment.view
    return (_instant(view.created or view.start), _instant(view.start), appointment.label)


def _instant(text: str | None) -> datetime:
    moment = dates.parse(text)
    return _UNDATED if moment is None else moment.instant(UTC)
