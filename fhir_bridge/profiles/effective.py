"""The rules in force, key by key, with the layer that gave each; and where two profiles differ."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from fhir_bridge.mapping.profile import Profile
from fhir_bridge.mapping.rules import Rules


@dataclass(frozen=True, slots=True)
class Effective:
    """A key of the layers, its value as YAML has it, and the layer that gave it ("source" for its facts)."""

    key: str
    value: Any
    layer: str


def effective(profile: Profile) -> list[Effective]:
    """Every key in the order of base.yaml; a mapping is told key by key, a set in order of the alphabet."""
    return [*_facts(profile), *_rules(profile)]


def differences(one: Profile, other: Profile) -> list[tuple[Effective | None, Effective | None]]:
    """The keys whose values differ, in order; None where a profile has not the key."""
    ours = {row.key: row for row in effective(one)}
    theirs = {row.key: row for row in effective(other)}
    pairs = [(ours.get(key), theirs.get(key)) for key in dict.fromkeys((*ours, *theirs))]
    return [pair for pair in pairs if not (pair[0] and pair[1] and pair[0].value == pair[1].value)]


def _facts(profile: Profile) -> Iterator[Effective]:
    source = profile.source
    facts = {
        "jurisdiction": source.jurisdiction,
        "vendor": source.vendor,
        "timezone": source.zone.key,
        "country": source.country,
        "phone_region": source.phone_region,
    }
    yield from (Effective(f"source.{name}", value, "source") for name, value in facts.items())


def _rules(profile: Profile) -> Iterator[Effective]:
    for section in Rules.__struct_fields__:
        rules = getattr(profile, section)
        names = rules if isinstance(rules, dict) else rules.__struct_fields__
        for name in names:
            value = _plain(rules[name] if isinstance(rules, dict) else getattr(rules, name))
            key = f"{section}.{name}"
            if isinstance(value, dict) and value:
                below = ((f"{key}.{inner}", each) for inner, each in value.items())
                yield from (Effective(inner, each, profile.layer_of(inner)) for inner, each in below)
            else:
                yield Effective(key, value, profile.layer_of(key))


def _plain(value: Any) -> Any:
    plain = msgspec.to_builtins(value)
    return sorted(plain) if isinstance(value, frozenset) else plain
