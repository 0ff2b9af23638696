"""The words of a CodeableConcept: never a bare code (mapping, section 9)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

import msgspec

from fhir_bridge.fhir.datatypes import CodeableConcept, CodeableReference, Coding
from fhir_bridge.mapping.profile import Profile, remembered
from fhir_bridge.mapping.texts import plain

SNOMED_CT = "http://snomed.info/sct"


class Words(msgspec.Struct, frozen=True):
    """What a concept says: `text`, the `path` of the element it stood in, the map's row and layer if one
    had a say."""

    text: str
    path: str
    map_row: str | None = None
    layer: str | None = None


@remembered
def concept_words(
    concept: CodeableConcept | None, path: str, profile: Profile, map_name: str | None = None
) -> Words | None:
    """The concept's text, else the user-selected or first display, else the map's word, else None.

    `path` is the concept's own FHIRPath; `map_name` the concept map to ask, if any (mapping, section 9).
    """
    if concept is None:
        return None
    if (text := _word(concept.text, concept.coding, profile)) is not None:
        return Words(text, f"{path}.text")
    for index, coding in _displayed(concept.coding):
        if (text := _word(coding.display, (coding,), profile)) is not None:
            return Words(text, f"{path}.coding[{index}].display")
    return mapped_words(concept, path, profile, map_name) if map_name else None


def mapped_words(concept: CodeableConcept, path: str, profile: Profile, map_name: str) -> Words | None:
    """The map's word for the first coding it knows, else None."""
    for index, coding in enumerate(concept.coding):
        if (word := profile.terms.word(map_name, coding)) is not None:
            return Words(word.text, f"{path}.coding[{index}].code", word.row, word.layer)
    return None


@remembered
def first_words(
    concepts: tuple[CodeableConcept, ...], path: str, profile: Profile, map_name: str | None = None
) -> Words | None:
    """The words of the first concept in the list at `path` that has any."""
    found = (concept_words(each, f"{path}[{i}]", profile, map_name) for i, each in enumerate(concepts))
    return next((words for words in found if words is not None), None)


@remembered
def kinds(
    concept: CodeableConcept | None, profile: Profile, map_name: str
) -> tuple[tuple[str, str, str], ...]:
    """The classes the map puts the concept's codings in: (class, row, layer) each."""
    found = (profile.terms.kind(map_name, coding) for coding in (concept.coding if concept else ()))
    return tuple((kind.text, kind.row, kind.layer) for kind in found if kind is not None)


def reference_words(reference: CodeableReference, path: str, profile: Profile) -> Words | None:
    """The words of a CodeableReference's concept, else of what it refers to by display."""
    inner = f"{path}.concept" if reference.concept is not None else path
    if (words := concept_words(reference.words, inner, profile)) is not None:
        return words
    return display_words(reference.target.display if reference.target else None, path, profile)


def display_words(display: str | None, path: str, profile: Profile) -> Words | None:
    """The display of the reference at `path`, if it says anything."""
    text = _word(display, (), profile)
    return Words(text, f"{path}.display") if text else None


def _displayed(codings: tuple[Coding, ...]) -> Iterable[tuple[int, Coding]]:
    """The user-selected coding if it has a display, else all that have one, in order."""
    numbered = [pair for pair in enumerate(codings) if pair[1].display]
    if len(numbered) < 2:
        return numbered
    return sorted(numbered, key=lambda pair: not pair[1].user_selected)


def _word(text: str | None, codings: tuple[Coding, ...], profile: Profile) -> str | None:
    """A text or display as words, without SNOMED's semantic tag; None where it is but a code."""
    if not text or (words := plain(text)) is None or _is_code(words, codings, profile):
        return None
    if words.endswith(")") and any(_is_snomed(coding, text, profile) for coding in codings):
        words = _semantic_tag(profile.concepts.semantic_tags).sub("", words)
    return _spoken(words, profile)


def _spoken(words: str, profile: Profile) -> str | None:
    """The words without endings nobody says, or None where they say nothing, such as "other"."""
    if words.endswith(")"):
        for ending in profile.concepts.dropped_endings:
            words = words.removesuffix(ending).rstrip()
    return None if words.casefold() in profile.concepts.empty_words else words or None


def _is_snomed(coding: Coding, text: str, profile: Profile) -> bool:
    """Whether the text is the display of a SNOMED CT coding."""
    if coding.display is None or coding.display.strip() != text.strip():
        return False
    return profile.terms.canonical(coding.system or "").startswith(SNOMED_CT)


def _is_code(words: str, codings: tuple[Coding, ...], profile: Profile) -> bool:
    """Whether the words are a code: one of known shape, or the coding's own without a small letter."""
    if " " in words:
        return False
    if _has_shape(words, profile.concepts.code_shapes):
        return True
    if not any(words == coding.code for coding in codings):
        return False
    return not any(map(str.islower, words)) or any(map(str.isdigit, words)) or "_" in words


@lru_cache(maxsize=64)
def _semantic_tag(tags: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(rf"\s*\((?:{'|'.join(map(re.escape, tags))})\)$", re.IGNORECASE)


@lru_cache(maxsize=4_096)
def _has_shape(words: str, patterns: tuple[str, ...]) -> bool:
    return any(shape.fullmatch(words) for shape in _shapes(patterns))


@lru_cache(maxsize=64)
def _shapes(patterns: tuple[str, ...]) -> tuple[re.Pattern[str], ...]:
    return tuple(map(re.compile, patterns))
