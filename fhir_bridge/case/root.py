"""What names a chain, the same in every message: its part of the intent's key (mapping, section 2)."""

from __future__ import annotations

from functools import lru_cache

from fhir_bridge.case.identity import digest, stable_name
from fhir_bridge.case.resolution import Resolver
from fhir_bridge.fhir import dates, references
from fhir_bridge.fhir.datatypes import CodeableConcept, Identifier, Reference
from fhir_bridge.fhir.resource import Resource
from fhir_bridge.fhir.views import ServiceRequest, View


def order_root(resolver: Resolver, order: Resource[ServiceRequest], patient: str | None) -> str:
    """`ServiceRequest~<16 hex>` of what the order says where patient, code, requester and day of authoredOn
    are all known, so that the same order placed twice is one intent; else the order's own name.

    The time asked for, the specialty and the details that qualify the code are part of it: orders that differ
    in these are two pieces of work.
    """
    view = order.view
    code = _concepts((view.code.words,) if view.code and view.code.words else view.service_requested)
    requester = _requester(resolver, order)
    authored = dates.parse(view.authored_on or view.date)
    if not (patient and code and requester and authored):
        return stable_name(order)
    sites = view.body_site if isinstance(view.body_site, tuple) else (view.body_site,)
    details = [concept for detail in view.order_detail for concept in detail.concepts]
    told_apart = _concepts((*details, *sites, view.specialty, view.performer_type))
    structure = (_named(view.body_structure) or "",) if view.body_structure else ()
    parts = (patient, code, requester, authored.date.isoformat(), told_apart, *structure, _occurrence(view))
    return f"ServiceRequest~{digest(*parts)}"


def _requester(resolver: Resolver, order: Resource[ServiceRequest]) -> str | None:
    """Who asks, by whatever stays the same from message to message."""
    if order.view.requester is None:
        return None
    reference = order.view.requester.target
    found = resolver.follow(order, f"{order.view.resource_type}.requester", reference, View).resource
    if found is not None and found.view.id and found.container is None:
        return found.label
    own = found.view.identifiers if found is not None else ()
    for identifier in (*own, *((reference.identifier,) if reference.identifier else ())):
        if identifier.value:
            return _identifier(identifier)
    return _named(reference)


def _named(reference: Reference) -> str | None:
    target = references.parse(reference.reference)
    if target is not None and (target.label or target.doubtful):
        return target.label or reference.reference
    return reference.display.casefold() if reference.display else None


@lru_cache(maxsize=4_096)
def _concepts(concepts: tuple[CodeableConcept | None, ...]) -> str:
    """Codes where there are any, else words; in an order that does not hang on the message's."""
    said = set()
    for concept in concepts:
        if concept is None:
            continue
        codes = {f"{coding.system or ''}#{coding.code}" for coding in concept.coding if coding.code}
        said |= codes or ({" ".join(concept.text.casefold().split())} if concept.text else set())
    return ",".join(sorted(said))


def _occurrence(view: ServiceRequest) -> str:
    period, timing = view.occurrence_period, view.occurrence_timing
    bounds = (period.start or "", period.end or "") if period else ()
    return ";".join((view.occurrence_date_time or "", *bounds, repr(timing) if timing else ""))


def _identifier(identifier: Identifier) -> str:
    return digest(identifier.system or "", identifier.value or "")
