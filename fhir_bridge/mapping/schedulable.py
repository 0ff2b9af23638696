"""Whether an order is scheduled with the patient: its class by category, code or words (mapping, section 3,
rows 7-8)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache

import msgspec

from fhir_bridge.fhir.datatypes import CodeableConcept, Coding
from fhir_bridge.fhir.resource import Resource
from fhir_bridge.fhir.views import ServiceRequest
from fhir_bridge.mapping.profile import Profile, remembered
from fhir_bridge.mapping.said import said
from fhir_bridge.mapping.terminology import Word

LOINC = "http://loinc.org"
REFERRAL = "referral"
LABORATORY = "laboratory"
ANY = "*"


class OrderClass(msgspec.Struct, frozen=True):
    """The classes of an order (`referral`, `imaging`, `laboratory`, …; empty: nothing tells), and what tells
    them: `by` is ruling, type, category, code or words, `path` the element, `map_row` and `layer` the row of
    the concept map, or the ruling."""

    classes: frozenset[str] = frozenset()
    by: str = "nothing"
    path: str = "code"
    map_row: str | None = None
    layer: str | None = None

    def scheduled(self, profile: Profile) -> bool:
        """Whether it is known to be scheduled with the patient. Words that say both prove nothing."""
        rules = profile.orders
        return bool(self.classes & rules.scheduled) and not self.classes & rules.not_scheduled

    def unscheduled(self, profile: Profile) -> bool:
        """Whether it is known not to be."""
        rules = profile.orders
        says_both = self.by == "words" and bool(self.classes & rules.scheduled)
        return bool(self.classes & rules.not_scheduled) and not says_both


def order_class(order: Resource[ServiceRequest], profile: Profile) -> OrderClass:
    """The class of an order: by the site's ruling, else by category, by code, by words; a ReferralRequest is
    a referral by its type."""
    view = order.view
    return _order_class(view.resource_type, _categories(view), _codes(view), profile)


@remembered
def _order_class(
    resource_type: str,
    categories: tuple[CodeableConcept, ...],
    codes: tuple[CodeableConcept, ...],
    profile: Profile,
) -> OrderClass:
    if ruled := _ruled(categories, "category", profile) or _ruled(codes, "code", profile):
        return ruled
    found = _coded("order-category", categories, "category", profile) or _coded(
        "order-code", codes, "code", profile
    )
    if resource_type == "ReferralRequest" and not (found and found.unscheduled(profile)):
        return OrderClass(frozenset({REFERRAL}), "type", "")
    return (
        found or _worded(categories, "category", profile) or _worded(codes, "code", profile) or OrderClass()
    )


def laboratory_code(order: Resource[ServiceRequest], profile: Profile) -> Word | None:
    """The row that says an order's LOINC code is of a laboratory class, else None. Only LOINC's own system
    counts: a code that merely looks like one of its codes may be anything."""
    return _laboratory_code(_codes(order.view), profile)


@remembered
def _laboratory_code(codes: tuple[CodeableConcept, ...], profile: Profile) -> Word | None:
    for concept in codes:
        for coding in concept.coding:
            if profile.terms.canonical(coding.system or "") != LOINC or ruling(coding, profile):
                continue
            kind = profile.terms.kind("order-code", coding)
            if kind is not None and kind.text == LABORATORY:
                return kind
            if kind is None and LABORATORY in _classes((coding.display, concept.text), profile):
                return Word(LABORATORY, f"words {coding.code}", profile.layer_of("orders.words"))
    return None


def ruling(coding: Coding, profile: Profile) -> tuple[str, str] | None:
    """The key of `orders.rulings` that speaks of a coding, and its class; the most exact one wins."""
    if not profile.orders.rulings or not coding.code:
        return None
    rules = {key: kind for key, kind in profile.orders.rulings.items() if kind is not None}
    system = profile.terms.canonical(coding.system or "")
    for key, pattern, code in _rulings(tuple(rules)):
        if code in (coding.code, ANY) and pattern.fullmatch(system):
            return key, rules[key]
    return None


def unruled_codes(order: Resource[ServiceRequest]) -> str:
    """The codes of an order nothing is known about, `system|code`, for a site to rule on; never its words."""
    concepts = (*_categories(order.view), *_codes(order.view))
    codings = [coding for concept in concepts for coding in concept.coding if coding.code]
    return ", ".join(f"{coding.system or ''}|{coding.code}" for coding in codings) or "no code"


def _categories(view: ServiceRequest) -> tuple[CodeableConcept, ...]:
    listed = view.category if isinstance(view.category, tuple) else (view.category,)
    return (*listed, view.type) if view.type else listed


def _codes(view: ServiceRequest) -> tuple[CodeableConcept, ...]:
    words = view.code.words if view.code else None
    return (words, *view.service_requested) if words else view.service_requested


def _coded(
    map_name: str, concepts: Iterable[CodeableConcept], path: str, profile: Profile
) -> OrderClass | None:
    """The classes the map has for all codings of the concepts; None where it knows none of them."""
    kinds = [
        kind
        for concept in concepts
        for coding in concept.coding
        if (kind := profile.terms.kind(map_name, coding))
    ]
    if not kinds:
        return None
    return OrderClass(frozenset(kind.text for kind in kinds), path, path, kinds[0].row, kinds[0].layer)


def _ruled(concepts: Iterable[CodeableConcept], path: str, profile: Profile) -> OrderClass | None:
    codings = (coding for concept in concepts for coding in concept.coding)
    found = [ruled for coding in codings if (ruled := ruling(coding, profile))]
    if not found:
        return None
    key = found[0][0]
    layer = profile.layer_of(f"orders.rulings.{key}")
    return OrderClass(frozenset(kind for _, kind in found), "ruling", path, f"ruling {key}", layer)


def _worded(concepts: Iterable[CodeableConcept], path: str, profile: Profile) -> OrderClass | None:
    """The classes whose words stand in the concepts' texts and displays; None where none does."""
    classes = frozenset(_classes(_texts(concepts), profile))
    if not classes:
        return None
    return OrderClass(classes, "words", path, layer=profile.layer_of("orders.words"))


def _texts(concepts: Iterable[CodeableConcept]) -> Iterator[str | None]:
    for concept in concepts:
        yield concept.text
        yield from (coding.display for coding in concept.coding)


def _classes(texts: Iterable[str | None], profile: Profile) -> set[str]:
    rules = profile.orders
    finder = _finder(tuple(rules.words.items()), tuple(rules.endings.items()))
    names, pattern = finder
    spoken = [words for text in texts if (words := said(text))]
    return {names[match.lastgroup or ""] for words in spoken for match in pattern.finditer(words.casefold())}


@lru_cache(maxsize=16)
def _rulings(keys: tuple[str, ...]) -> tuple[tuple[str, re.Pattern[str], str], ...]:
    """The keys with their systems' patterns and their codes: exact codes first, then exact systems."""
    parted = [(key, *key.rsplit("|", 1)) for key in keys]
    parted.sort(key=lambda part: (part[2] == ANY, ANY in part[1]))
    return tuple(
        (key, re.compile(".*".join(map(re.escape, system.split(ANY)))), code) for key, system, code in parted
    )


@lru_cache(maxsize=16)
def _finder(
    words: tuple[tuple[str, tuple[str, ...]], ...], endings: tuple[tuple[str, tuple[str, ...]], ...]
) -> tuple[dict[str, str], re.Pattern[str]]:
    """One pattern for all words and endings, and the class each of its groups stands for."""
    names: dict[str, str] = {}
    parts: list[str] = []
    for before, table in (("", words), (r"\w+", endings)):
        for name, listed in table:
            group = f"g{len(names)}"
            names[group] = name
            longest_first = sorted(listed, key=len, reverse=True)
            parts.append(f"(?P<{group}>{before}(?:{'|'.join(map(re.escape, longest_first))}))")
    return names, re.compile(rf"(?<!\w)(?:{'|'.join(parts)})(?!\w)")
