"""Everything at hand for a case, in memory, with all that is worked out from it worked out once."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from functools import cached_property
from typing import Any, TypeVar, cast

from fhir_bridge.case import editions
from fhir_bridge.case.chain import Chains
from fhir_bridge.case.index import Index, ResolutionRules
from fhir_bridge.case.links import Link
from fhir_bridge.case.parties import Parties
from fhir_bridge.case.patient import Patients
from fhir_bridge.case.resolution import Resolver
from fhir_bridge.case.same_person import SamePerson
from fhir_bridge.case.unread import NOTHING_UNREAD, Unread
from fhir_bridge.case.wanted import Wanted
from fhir_bridge.fhir.datatypes import Reference
from fhir_bridge.fhir.resource import Resource
from fhir_bridge.fhir.views import Encounter, ServiceRequest, View

V = TypeVar("V", bound=View)


class AtHand:
    """The resources of one call, message or partition.

    `shared` is looked in for what this one does not have: a directory of practitioners, organizations and
    places that many partitions use. `bases` are the source's where only a partition's fullUrls are here.
    `wanted` is told what was asked for and is not here. `unread` is what could not be read. `answers` are for
    whoever works something out of these resources that will be asked for again; they go when these go.
    """

    def __init__(
        self,
        resources: Iterable[Resource[View]],
        rules: ResolutionRules | None = None,
        shared: AtHand | None = None,
        wanted: Wanted | None = None,
        bases: frozenset[str] | None = None,
        unread: Unread = NOTHING_UNREAD,
    ) -> None:
        self._shared = shared
        index = shared.index if shared else None
        self.index: Index = Index(resources, rules or ResolutionRules(), index, bases)
        self.wanted = wanted
        self.unread = unread
        self.answers: dict[Hashable, Any] = {}
        self.resolver = Resolver(self.index, wanted)
        self.same_person = SamePerson(self.resolver)
        self.patients = Patients(self.resolver, self.same_person)
        self.chains = Chains(self.resolver, self.patients)
        self.parties: Parties = Parties(self.resolver, shared.parties if shared else None, wanted)

    def follow(self, holder: Resource[View], path: str, reference: Reference, kind: type[V]) -> Link[V]:
        """Where a reference of `holder` at `path` leads (mapping, section 15); see `Resolver.follow`."""
        return self.resolver.follow(holder, path, reference, kind)

    def answers_about(self, resource: Resource[View]) -> dict[Hashable, Any]:
        """The answers that last as long as this resource does: the directory's, where it is one of those."""
        if self._shared is not None and self._shared.index.holds(resource):
            return self._shared.answers
        return self.answers

    def of_patient(self, kind: type[V], identity: str | None) -> tuple[Resource[V], ...]:
        """The current resources of one view that are about a patient; `identity` as in
        `Case.patient_identity`."""
        if self.wanted is not None and identity is not None:
            self.wanted.of_patients[kind, identity] = None
        return self.patients.resources_of(kind, identity)

    def ordered_in(self, encounter: Resource[Encounter]) -> tuple[Resource[ServiceRequest], ...]:
        """The orders placed in an encounter."""
        return tuple(self._orders_by_encounter.get(id(encounter), ()))

    def places_of(self, resource: Resource[View]) -> tuple[str, ...]:
        """Where the contents stand that share a resource's name and that no version orders; empty for one."""
        found = self.index.contents(resource)
        return tuple(str(one.origin) for one in found) if found else ()

    def places_named(self, link: Link[View]) -> tuple[str, ...]:
        """The same for what a link leads to, or would lead to if it were not several."""
        found = self.resolver.candidates(link)
        return tuple(str(one.origin) for one in found) if len(found) > 1 else ()

    def versions_disagree(self, resource: Resource[View] | None, link: Link[View] | None) -> bool:
        """Whether several contents of a resource, or of what a link leads to, are left because versionId and
        lastUpdated say the opposite of each other."""
        several = (
            self.index.same(resource) if resource else (),
            self.resolver.candidates(link) if link else (),
        )
        return any(map(editions.disagree, several))

    @cached_property
    def _orders_by_encounter(self) -> dict[int, list[Resource[ServiceRequest]]]:
        found: dict[int, list[Resource[ServiceRequest]]] = {}
        with self.resolver.quietly():
            for order in self.index.of(ServiceRequest):
                for element in ("encounter", "context"):
                    reference = cast("Reference | None", getattr(order.view, element))
                    if reference is not None:
                        path = f"{order.view.resource_type}.{element}"
                        encounter = self.follow(order, path, reference, Encounter).resource
                        found.setdefault(id(encounter), []).append(order)
        return found
