"""References followed, in memory (mapping, section 15)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from fhir_bridge.case.index import Found, Index, base
from fhir_bridge.case.links import MISSPELT, Link
from fhir_bridge.case.wanted import Wanted
from fhir_bridge.fhir import references
from fhir_bridge.fhir.datatypes import Reference
from fhir_bridge.fhir.references import Target
from fhir_bridge.fhir.resource import Resource
from fhir_bridge.fhir.views import Appointment, Patient, ServiceRequest, View

V = TypeVar("V", bound=View)

UNRESOLVED = "reference-unresolved"
AMBIGUOUS = "reference-ambiguous"
UNTYPED = "reference-untyped"
OTHER_TYPE = "reference-other-type"
OTHER_VERSION = "reference-other-version"

_ALWAYS_CURRENT = (Patient, Appointment, ServiceRequest)
"""Whether somebody may be called is judged by what holds now, whatever version a reference names."""


_IN_CHAINS = (Appointment, ServiceRequest)
"""What is joined by Type/id where nobody knows the source's base: taken apart, it would be two calls. People
are not: the record must be the one that is meant."""


_LedTo = tuple[Any, tuple[str, ...]]
"""What a reference leads to, a resource of the kind asked for or None; and notes."""


class Resolver:
    """Follows references over an index. Each answer is a Link; none raises. `wanted` is told of what is
    missing."""

    def __init__(self, index: Index, wanted: Wanted | None = None) -> None:
        self.index = index
        self.rules = index.rules
        self._known: dict[tuple[str, type[View]], _LedTo] = {}
        self._wanted = wanted
        self._quiet = False

    @contextmanager
    def quietly(self) -> Iterator[None]:
        """Within, what is missing is missing: everything at hand is gone through, and most of it is no part
        of the case."""
        before, self._quiet = self._quiet, True
        try:
            yield
        finally:
            self._quiet = before

    def follow(self, holder: Resource[View], path: str, reference: Reference, kind: type[V]) -> Link[V]:
        """Where a reference of `holder` at `path` leads, if that is at hand and of that kind.

        Notes: `reference-unresolved`, `reference-ambiguous` (several at hand answer to it),
        `reference-other-type`, `reference-misspelt` (its type is none of FHIR's), and of a resource found:
        `reference-untyped` (by a bare id), `reference-other-version`.
        """
        text = reference.reference
        if text is None or reference.identifier is not None or self._wanted is not None:
            found, notes = self._led_to(holder, reference, kind)
        elif (known := self._known.get((text, kind))) is not None:
            found, notes = known
        else:
            found, notes = self._led_to(holder, reference, kind)
            if self.leads_alike(reference):
                self._known[text, kind] = found, notes
        return Link(holder, path, reference, found, notes)

    def leads_alike(self, reference: Reference) -> bool:
        """Whether a reference leads to the same from wherever it stands: `Type/id` alone, of which nothing or
        one thing is at hand. So thousands of references to a few people and places are followed once."""
        if reference.identifier is not None:
            return False
        target = references.parse(reference.reference)
        if target is None or target.url is not None or target.fragment is not None:
            return False
        label = target.label
        return label is not None and len(self.index.labelled(label)) < 2

    def candidates(self, link: Link[View]) -> Found:
        """Everything at hand that answers to the text of a link's reference."""
        target = references.parse(link.reference.reference)
        return self._literal(link.holder, target)[0] if target else ()

    def may_be_own(self, target: Target) -> bool:
        """Whether a reference is to the source's own server: a relative one, one on its base, and any where
        nothing at hand says what that is, for a source is one hospital."""
        return target.base is None or not self.index.bases or target.base in self.index.bases

    def _led_to(self, holder: Resource[View], reference: Reference, kind: type[View]) -> _LedTo:
        found, note = self._find(holder, reference, kind)
        if found is not None and not isinstance(found.view, kind):
            found, note = None, OTHER_TYPE
        notes = (note,) if note else ()
        if references.is_doubtful(reference.reference, reference.type):
            notes = (*notes, MISSPELT)
        return found, notes

    def _find(
        self, holder: Resource[View], reference: Reference, kind: type[View]
    ) -> tuple[Resource[View] | None, str | None]:
        target = references.parse(reference.reference)
        note = UNRESOLVED
        if target is not None:
            found, untyped = self._literal(holder, target)
            if target.doubtful and target.type is None:
                found = tuple(one for one in found if isinstance(one.view, kind))
            if not found and issubclass(kind, _IN_CHAINS) and target.label and self.may_be_own(target):
                found = self.index.labelled(target.label)
            if len(found) == 1:
                return self._of_version(found[0], target, untyped)
            note = AMBIGUOUS if found else UNRESOLVED
        found = self._identified(reference, target, kind)
        if len(found) == 1:
            return found[0], None
        if target is not None and not found and note is UNRESOLVED and self._wanted and not self._quiet:
            self._wanted.miss(holder, target, kind, issubclass(kind, _ALWAYS_CURRENT))
        return None, AMBIGUOUS if found else note

    def _literal(self, holder: Resource[View], target: Target) -> tuple[Found, bool]:
        """What the text of the reference names, and whether only a bare id led there."""
        if target.fragment is not None:
            root = holder.container or holder
            inner = self.index.contained(root).get(target.fragment) if target.fragment else root
            return ((inner,) if inner else ()), False
        found = self.index.at_url(target.url, holder) if target.url else ()
        if not found and (label := target.label):
            found = self._labelled(holder, target, label)
        if found or target.type:
            return found, False
        if target.doubtful:
            return (self.index.with_id(target.id or "") if self.may_be_own(target) else ()), False
        return self.index.with_id(target.id or (target.url or "").rpartition(":")[2]), True

    def _labelled(self, holder: Resource[View], target: Target, label: str) -> Found:
        """By Type/id: an absolute reference only where its base is the source's own."""
        found = self.index.labelled(label)
        if target.base is not None:
            own = target.base in self.index.bases
            bases = self.index.rules.base_urls
            return tuple(one for one in found if own and (base(one) in (None, target.base) or bases))
        if len(found) > 1:
            home = base(holder.container or holder)
            return tuple(one for one in found if home is not None and base(one) == home) or found
        return found

    def _of_version(
        self, found: Resource[View], target: Target, untyped: bool
    ) -> tuple[Resource[View], str | None]:
        if target.version is None or target.version == found.version:
            return found, UNTYPED if untyped else None
        if not isinstance(found.view, _ALWAYS_CURRENT):
            for version in self.index.versions(target.label or ""):
                if version.version == target.version:
                    return version, None
        return found, OTHER_VERSION

    def _identified(self, reference: Reference, target: Target | None, kind: type[View]) -> Found:
        """By logical identifier: of the type the reference names, else of the kind asked for."""
        system, value = (target.system, target.value) if target else (None, None)
        if reference.identifier is not None:
            system, value = reference.identifier.system, reference.identifier.value
        if not system or not value:
            return ()
        type_ = references.type_named(reference.type) or (target.type if target else None)
        found = self.index.identified(system, value)
        return tuple(
            one for one in found if isinstance(one.view, kind) and type_ in (None, one.view.resource_type)
        )
