"""The short names a run or a source may set: `--set phone_check=valid`, or a key of `[sources.NAME]`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from typing import Any
from zoneinfo import ZoneInfo

from fhir_bridge.errors import SettingsError
from fhir_bridge.mapping.profile import SourceFacts

RULE_NAMES: Mapping[str, str] = {
    "age_of_majority": "people.age_of_majority",
    "consent": "gates.consent",
    "incomplete_address": "addresses.incomplete_address",
    "max_age": "triggers.max_age_days",
    "phone_check": "phones.phone_check",
    "reschedule_within": "triggers.reschedule_within_days",
}
"""Short name → key of the layers."""

FACT_NAMES = ("jurisdiction", "timezone", "vendor")
"""Short names that are facts of the source."""


def check_names(names: Mapping[str, str]) -> None:
    """Raises SettingsError for a short name there is none of, listing those there are.

    A dotted name is a key of the layers and is checked with them.
    """
    known = sorted((*RULE_NAMES, *FACT_NAMES))
    for name in names:
        if name in known or "." in name:
            continue
        nearest = get_close_matches(name, known, n=1)
        guess = f" (did you mean {nearest[0]}?)" if nearest else ""
        raise SettingsError(
            f"--set {name}: there is no such setting{guess}",
            hint=f"there are {', '.join(known)}, and every key of the layers, such as triggers.max_age_days",
        )


def facts_with(facts: SourceFacts, overrides: Mapping[str, str]) -> SourceFacts:
    """The source's facts with those the overrides set. Raises SettingsError for a zone there is none of."""
    if jurisdiction := overrides.get("jurisdiction"):
        facts = replace(facts, jurisdiction=jurisdiction)
    if vendor := overrides.get("vendor"):
        facts = replace(facts, vendor=vendor)
    if timezone := overrides.get("timezone"):
        facts = replace(facts, zone=zone(timezone))
    return facts


def zone(name: str) -> ZoneInfo:
    """The IANA zone of this name. Raises SettingsError."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise SettingsError(
            f"timezone {name!r} is none of the IANA time zones", hint='write it like "America/New_York"'
        ) from error


def rule_tree(overrides: Mapping[str, str]) -> dict[str, Any]:
    """The overrides of rules as a layer: `{"max_age": "90d"}` gives `{"triggers": {"max_age_days": 90}}`."""
    tree: dict[str, Any] = {}
    for name, text in overrides.items():
        if name in FACT_NAMES:
            continue
        *sections, key = RULE_NAMES.get(name, name).split(".")
        inner = tree
        for section in sections:
            inner = inner.setdefault(section, {})
        inner[key] = _value(text, days=key.endswith("_days"))
    return tree


def _value(text: str, *, days: bool) -> object:
    """A value as YAML reads it; for a number of days also "30d"."""
    import yaml12

    if days and (match := re.fullmatch(r"(\d+)d", text)):
        return int(match[1])
    try:
        return yaml12.parse_yaml(text)
    except ValueError:
        return text
