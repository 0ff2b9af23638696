"""What is at hand, findable: by Type/id, fullUrl, id, identifier and type; of several versions the newest."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property, lru_cache
from typing import TypeVar, cast

from fhir_bridge.case import editions
from fhir_bridge.case.urns import Named, named_by_urns, with_lasting_texts
from fhir_bridge.errors import InputError
from fhir_bridge.fhir import reading
from fhir_bridge.fhir.references import base_of
from fhir_bridge.fhir.resource import Resource
from fhir_bridge.fhir.strict import says_the_same
from fhir_bridge.fhir.views import View

V = TypeVar("V", bound=View)
Found = tuple[Resource[View], ...]

REPLACES = "http://hl7.org/fhir/5.0/StructureDefinition/extension-Appointment.replaces"
"""R5's Appointment.replaces in an R4 Appointment (https://hl7.org/fhir/R5/versions.html#extensions)."""


@dataclass(frozen=True, slots=True)
class ResolutionRules:
    """What a source's layers say about references.

    `base_urls` are the source's own bases; `patient_systems` the identifier systems that only patients have,
    `*` for a part that carries a tenant; `system_aliases` leads from another name of a system to the one to
    be used; `replaces_extensions` are the extensions by which an Appointment says which one it replaces,
    `replacement_displays` the displays, lower case, of supportingInformation that say so in either direction;
    `service_extensions` are those of a serviceType that refer to the HealthcareService.
    """

    base_urls: frozenset[str] = frozenset()
    patient_systems: frozenset[str] = frozenset()
    system_aliases: Mapping[str, str] = field(default_factory=dict)
    replaces_extensions: frozenset[str] = frozenset({REPLACES})
    replacement_displays: frozenset[str] = frozenset()
    service_extensions: frozenset[str] = frozenset()

    def system(self, system: str | None) -> str | None:
        """The system under the one name that counts."""
        return self.system_aliases.get(system, system) if system else None

    def is_patient_system(self, system: str | None) -> bool:
        """Whether only patients have identifiers of this system."""
        return system is not None and any(
            _any_of(self.patient_systems).fullmatch(name) for name in (system, self.system(system) or "")
        )


@lru_cache(maxsize=64)
def _any_of(systems: frozenset[str]) -> re.Pattern[str]:
    """One pattern for all the systems; `*` stands for a part that carries a tenant."""
    return re.compile("|".join(".*".join(map(re.escape, each.split("*"))) for each in systems) or r"(?!)")


class Index:
    """Resources by every name they have. `shared` is looked in where this one has nothing (directory
    resources). `bases` are those of all fullUrls where this holds only a part of what is at hand."""

    def __init__(
        self,
        resources: Iterable[Resource[View]],
        rules: ResolutionRules,
        shared: Index | None = None,
        bases: frozenset[str] | None = None,
    ) -> None:
        self.rules = rules
        self._shared = shared
        self._all_bases = bases
        self._first: dict[str, Resource[View]] = {}
        self._several: dict[str, list[Resource[View]]] = {}
        self._urls: dict[str, list[Resource[View]]] = {}
        self._contained: dict[int, dict[str, Resource[View]]] = {}
        self._newest: dict[str, Found] = {}
        for resource in with_lasting_texts(resources, shared.named if shared else None):
            name = _name(resource)
            first = self._first.setdefault(name, resource)
            if first is not resource:
                self._several.setdefault(name, [first]).append(resource)
            if resource.full_url:
                self._urls.setdefault(_normal(resource.full_url), []).append(resource)

    @cached_property
    def current(self) -> Found:
        """The newest version of each resource, in the order they were first seen; several of one where no
        version orders them."""
        if not self._several:
            return tuple(self._first.values())
        return tuple(found for name in self._first for found in self._current(name))

    def of(self, kind: type[V]) -> tuple[Resource[V], ...]:
        """The current resources of one view."""
        return cast("tuple[Resource[V], ...]", self._by_view.get(kind, ()))

    def labelled(self, label: str) -> Found:
        """The current resource under `Type/id`: none, one, or several where no version orders them."""
        found = self._current(label)
        return found if found or self._shared is None else self._shared.labelled(label)

    def same(self, resource: Resource[View]) -> Found:
        """The current resource that this one is a version of, or several; itself where it was never added."""
        if not self._several:
            return (self._first.get(_name(resource), resource),)
        return self._current(_name(resource)) or (resource,)

    def holds(self, resource: Resource[View]) -> bool:
        """Whether this very reading is the current one here."""
        return resource in self._current(_name(resource))

    def contents(self, resource: Resource[View]) -> Found:
        """The several contents that share its name and that no version orders; else empty."""
        found = self.same(resource) if self._several else ()
        return found if len(found) > 1 else ()

    def versions(self, label: str) -> Found:
        """Every version at hand under `Type/id`."""
        found = tuple(self._several.get(label, ())) or self._current(label)
        return found if found or self._shared is None else self._shared.versions(label)

    def superseded(self) -> Counter[str]:
        """How many are left aside for a newer version, by type (`editions.superseded`)."""
        return editions.superseded(one for versions in self._several.values() for one in versions)

    def at_url(self, url: str, holder: Resource[View]) -> Found:
        """The current resources of that fullUrl; where it stands in several messages, those that it means in
        the holder's own, if it does there: a URN counts within its Bundle."""
        named = self._named_so(_normal(url))
        if len(named) > 1:
            place = (holder.origin.file, holder.origin.line)
            near = [(at, one) for at, one in named if (one.origin.file, one.origin.line) == place]
            named = near or named
        return tuple({id(now): now for at, one in named for now in at.same(one)}.values())

    def _named_so(self, url: str) -> list[tuple[Index, Resource[View]]]:
        own = [(self, one) for one in self._urls.get(url, ())]
        return own if self._shared is None else own + self._shared._named_so(url)

    def with_id(self, id_: str) -> Found:
        """The current resources of that id, whatever their type."""
        own = tuple(self._by_id.get(id_, ()))
        return own if self._shared is None else own + self._shared.with_id(id_)

    def identified(self, system: str | None, value: str) -> Found:
        """The current resources that carry an identifier, the system under any of its names."""
        own = tuple(self._by_identifier.get((self.rules.system(system), value), ()))
        return own if self._shared is None else own + self._shared.identified(system, value)

    def contained(self, root: Resource[View]) -> Mapping[str, Resource[View]]:
        """The resources contained in one, by id. What cannot be read among them is left out, and what shares
        an id with other contents."""
        if not root.view.contained:
            return {}
        known = self._contained.get(id(root))
        found = _contained(root) if known is None else known
        if found:  # what is kept holds the root: without that its id may be another's
            self._contained[id(root)] = found
        return found

    @cached_property
    def named(self) -> Named:
        """What is called by a URN in its message."""
        return named_by_urns(one for versions in self._urls.values() for one in versions)

    @cached_property
    def bases(self) -> frozenset[str]:
        """The bases of the source: as configured, else those of the fullUrls at hand."""
        if self.rules.base_urls:
            return frozenset(url.rstrip("/") for url in self.rules.base_urls)
        if self._all_bases is not None:
            return self._all_bases
        own = {base for base in map(base, self.current) if base is not None}
        return frozenset(own if self._shared is None else own | self._shared.bases)

    def _current(self, name: str) -> Found:
        if name not in self._several:
            alone = self._first.get(name)
            return () if alone is None else (alone,)
        found = self._newest.get(name)
        if found is None:
            found = self._newest[name] = editions.newest(self._several[name])
        return found

    @cached_property
    def _by_view(self) -> dict[type[View], Found]:
        lists: dict[type[View], list[Resource[View]]] = {}
        for resource in self.current:
            for kind in _kinds(type(resource.view)):
                lists.setdefault(kind, []).append(resource)
        return {kind: tuple(found) for kind, found in lists.items()}

    @cached_property
    def _by_id(self) -> dict[str, list[Resource[View]]]:
        lists: dict[str, list[Resource[View]]] = {}
        for resource in self.current:
            if resource.view.id:
                lists.setdefault(resource.view.id, []).append(resource)
        return lists

    @cached_property
    def _by_identifier(self) -> dict[tuple[str | None, str], list[Resource[View]]]:
        lists: dict[tuple[str | None, str], list[Resource[View]]] = {}
        for resource in self.current:
            keys = {(self.rules.system(one.system), one.value) for one in resource.view.identifiers}
            for system, value in keys:
                if system and value:
                    lists.setdefault((system, value), []).append(resource)
        return lists


@cache
def _kinds(view: type[View]) -> tuple[type[View], ...]:
    """A view and what it is a kind of: a ReferralRequest is a ServiceRequest."""
    return tuple(kind for kind in view.__mro__ if issubclass(kind, View) and kind is not View)


def base(resource: Resource[View]) -> str | None:
    """The server base the resource's fullUrl shows, if it shows one."""
    return base_of(resource.full_url, resource.view.resource_type, resource.view.id)


def _name(resource: Resource[View]) -> str:
    """Under what versions of one resource are gathered: Type/id, else a name that lasts."""
    view = resource.view
    return f"{view.resource_type}/{view.id}" if view.id else _nameless(resource)


def _nameless(resource: Resource[View]) -> str:
    """A fullUrl on a server; else the contents, for a URN means something else in the next message."""
    url = resource.full_url
    return url if url is not None and url.startswith("http") else resource.raw.hex()


def _normal(url: str) -> str:
    """A fullUrl as compared: without a version, URNs in small letters."""
    url = url.strip().partition("/_history/")[0]
    return url.lower() if url[:4].lower() == "urn:" else url


def _contained(root: Resource[View]) -> dict[str, Resource[View]]:
    found: dict[str, Resource[View]] = {}
    unclear: set[str] = set()
    for raw in root.view.contained:
        try:
            resource = reading.read(bytes(raw), root.origin, container=root)
        except InputError:
            continue
        if resource.view.id:
            id_ = resource.view.id.removeprefix("#")
            first = found.setdefault(id_, resource)
            if not says_the_same(first.view, resource.view):
                unclear.add(id_)
    return {id_: one for id_, one in found.items() if id_ not in unclear}
