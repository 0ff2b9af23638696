"""Which language the patient speaks, and whether an interpreter is needed (mapping, section 13)."""

from __future__ import annotations

from functools import lru_cache

from fhir_bridge.fhir.datatypes import CodeableConcept, Extension
from fhir_bridge.fhir.resource import Resource
from fhir_bridge.fhir.views import Communication, Patient
from fhir_bridge.mapping.concepts import concept_words
from fhir_bridge.mapping.profile import Profile, remembered


def language_spoken(patient: Resource[Patient], profile: Profile) -> tuple[str, str] | None:
    """The language in English words, with its FHIRPath: the preferred one, else the only one; None where it
    is one of
    the voice agent's own, or nothing says."""
    return _language_spoken(patient.view.communication, profile) if patient.view.communication else None


@remembered
def _language_spoken(communications: tuple[Communication, ...], profile: Profile) -> tuple[str, str] | None:
    listed = list(enumerate(communications))
    preferred = [pair for pair in listed if pair[1].preferred]
    chosen = preferred[:1] or (listed if len(listed) == 1 else [])
    for index, communication in chosen:
        if (name := _language(communication, profile)) is not None:
            return name, f"communication[{index}].language"
    return None


def interpreter_needed(patient: Resource[Patient], profile: Profile) -> str | None:
    """The FHIRPath of the extension that says an interpreter is needed; None where none does."""
    urls = profile.context.interpreter_extensions
    if path := _needed(patient.view.extension, urls, profile):
        return path
    for index, communication in enumerate(patient.view.communication):
        if path := _needed(communication.extension, urls, profile):
            return f"communication[{index}].{path}"
    return None


def _language(communication: Communication, profile: Profile) -> str | None:
    """The name CLDR has for the code, for displays come in every language; else the concept's words."""
    concept = communication.language
    if concept is None:
        return None
    own = profile.context.own_languages
    for coding in concept.coding:
        code = (coding.code or "").strip().replace("_", "-")
        if code.split("-")[0].casefold() in own:
            return None
        if name := language_name(code):
            return None if name.casefold() in _names(own) else name
    words = concept_words(concept, "language", profile)
    if words is None or words.text.split()[0].rstrip("(,;").casefold() in _names(own):
        return None
    return words.text


@lru_cache(maxsize=1_024)
def language_name(code: str) -> str | None:
    """The English name of a BCP 47 or ISO 639 code: es, es-MX and spa are Spanish; None where CLDR has
    none."""
    primary = code.split("-")[0].lower()
    if not (primary.isascii() and primary.isalpha() and 2 <= len(primary) <= 3):
        return None
    from babel.core import Locale, get_global

    alias = get_global("language_aliases").get(primary, primary)
    name = Locale("en").languages.get(alias)
    return str(name) if name else None


@lru_cache(maxsize=64)
def _names(codes: frozenset[str]) -> frozenset[str]:
    return frozenset(name.casefold() for code in codes if (name := language_name(code)))


@remembered
def _needed(extensions: tuple[Extension, ...], urls: tuple[str, ...], profile: Profile) -> str | None:
    """The path of the first of these extensions, wherever it is nested, that says yes."""
    for extension in extensions:
        path = f"extension('{extension.url}')"
        if extension.url in urls and _says_yes(extension, profile):
            return f"{path}.value"
        if inner := _needed(extension.extension, urls, profile):
            return f"{path}.{inner}"
    return None


def _says_yes(extension: Extension, profile: Profile) -> bool:
    if extension.value_boolean is not None:
        return extension.value_boolean
    concept = extension.value_codeable_concept or CodeableConcept()
    codings = (*concept.coding, *((extension.value_coding,) if extension.value_coding else ()))
    kinds = (profile.terms.kind("interpreter-required", coding) for coding in codings)
    return any(kind is not None and kind.text == "required" for kind in kinds)
