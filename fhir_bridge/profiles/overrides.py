"""The short names a run or a source may set: `--set phone_check=valid`, or a key of `[sources.NAME]`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any
from zoneinfo import ZoneInfo

from fhir_bridge.errors import SettingsError
from fhir_bridge.mapping.profile import SourceFacts
from fhir_bridge.mapping.rules import Rules
from fhir_bridge.spelling import did_you_mean

RULE_NAMES: Mapping[str, str] = {
    "age_of_majority": "people.age_of_majority",
    "consent": "gates.consent",
    "incomplete_address": "addresses.incomplete_address",
    "max_age": "triggers.max_age_days",
    "phone_check": "phones.phone_check",
    "reschedule_within": "triggers.reschedule_within_days",
}
"""Short name → key of the layers."""

FACT_NAMES = ("jurisdiction", "mappings", "timezone", "vendor")
"""Short names that are facts of the source; `mappings` is its own layer's file."""

VENDOR_NAMES: Mapping[str, str] = {
    "athenaflow": "athenapractice",
    "centricity": "athenapractice",
    "cerner": "oracle-health",
}
"""Former or other name of a vendor's product → the name of its layer."""


def check_names(names: Iterable[str], where: str) -> None:
    """Raises SettingsError for a short name there is none of, listing those there are.

    A dotted name, or a section's, is a key of the layers and is checked with them. `where` opens the error.
    """
    known = sorted((*RULE_NAMES, *FACT_NAMES))
    for name in names:
        if name in known or "." in name or name in Rules.__struct_fields__:
            continue
        raise SettingsError(
            f"{where} {name}: there is no such setting{did_you_mean(name, known)}",
            hint=f"there are {', '.join(known)}, and every key of the layers, such as triggers.max_age_days",
        )


def facts_with(facts: SourceFacts, overrides: Mapping[str, str]) -> SourceFacts:
    """The source's facts with those the overrides set, the vendor by its layer's name. Raises SettingsError
    for a zone there is none of."""
    if jurisdiction := overrides.get("jurisdiction"):
        facts = replace(facts, jurisdiction=jurisdiction)
    if vendor := overrides.get("vendor"):
        facts = replace(facts, vendor=vendor)
    if timezone := overrides.get("timezone"):
        facts = replace(facts, zone=zone(timezone))
    return replace(facts, vendor=facts.vendor and VENDOR_NAMES.get(facts.vendor, facts.vendor))


def zone(name: str) -> ZoneInfo:
    """The IANA zone of this name. Raises SettingsError."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise SettingsError(
            f"timezone {name!r} is none of the IANA time zones", hint='write it like "America/New_York"'
        ) from error


def rule_tree(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The overrides of rules as a layer: `{"max_age": "90d"}` gives `{"triggers": {"max_age_days": 90}}`.

    A section's name may hold a table of its keys.
    """
    tree: dict[str, Any] = {}
    for name, value in overrides.items():
        if name in FACT_NAMES:
            continue
        *sections, key = RULE_NAMES.get(name, name).split(".")
        inner = tree
        for section in sections:
            inner = inner.setdefault(section, {})
        days = re.fullmatch(r"(\d+)d", value) if key.endswith("_days") and isinstance(value, str) else None
        inner[key] = int(days[1]) if days else value
    return tree


def from_texts(overrides: Mapping[str, str]) -> dict[str, Any]:
    """The values of `--set key=value` as YAML reads them, or as they stand where they are none."""
    return {name: _value(text) for name, text in overrides.items()}


def _value(text: str) -> object:
    import yaml12

    try:
        return yaml12.parse_yaml(text)
    except ValueError:
        return text
