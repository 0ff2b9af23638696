"""Marks a layer looks for: an extension, by its URL, with one of some values (mapping, section 17)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

from fhir_bridge.fhir.datatypes import CodeableConcept, Extension
from fhir_bridge.mapping.rules import Mark


def marked(extensions: tuple[Extension, ...], marks: tuple[Mark, ...]) -> Mark | None:
    """The first of the marks that stands among the extensions or inside them, else None."""
    return _marked(extensions, marks) if extensions and marks else None


@lru_cache(maxsize=4_096)
def _marked(extensions: tuple[Extension, ...], marks: tuple[Mark, ...]) -> Mark | None:
    found = list(_all(extensions))
    return next((mark for mark in marks if any(_is(extension, mark) for extension in found)), None)


def _all(extensions: Sequence[Extension]) -> Iterator[Extension]:
    for extension in extensions:
        yield extension
        yield from _all(extension.extension)


def _is(extension: Extension, mark: Mark) -> bool:
    if extension.url != mark.url:
        return False
    return not mark.values or any(value.casefold() in mark.values for value in _values(extension))


def _values(extension: Extension) -> Iterator[str]:
    """Every code and text the extension's value holds; true and false for a boolean."""
    if extension.value_boolean is not None:
        yield "true" if extension.value_boolean else "false"
    yield from filter(None, (extension.value_string, extension.value_code, extension.value_uri))
    concept = extension.value_codeable_concept or CodeableConcept()
    yield from filter(None, (concept.text,))
    for coding in (extension.value_coding, *concept.coding):
        if coding is not None:
            yield from filter(None, (coding.code, coding.display))
