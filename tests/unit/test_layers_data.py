"""Every layer that ships loads, says no key twice, and is explained in base.yaml."""

from __future__ import annotations

import re
from importlib.resources.abc import Traversable
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from ruamel.yaml import YAML

from fhir_bridge import shipped
from fhir_bridge.mapping.profile import Profile, SourceFacts
from fhir_bridge.mapping.rules import Rules
from fhir_bridge.profiles.layers import read_shipped, read_site
from fhir_bridge.profiles.load import load_profile
from fhir_bridge.settings.calling import hours_of

ROOT = shipped.mappings()


def layers(folder: str) -> list[Traversable]:
    """The layers of a folder."""
    return sorted((file for file in (ROOT / folder).iterdir() if file.name.endswith(".yaml")), key=str)


ALL = [ROOT / "base.yaml", *layers("jurisdictions"), *layers("vendors")]
COUNTRIES = [file.name.removesuffix(".yaml").upper() for file in layers("jurisdictions")]


def profile(jurisdiction: str) -> Profile:
    """A source's in that country."""
    return load_profile(SourceFacts(jurisdiction=jurisdiction))


@pytest.mark.parametrize("file", ALL, ids=lambda file: file.name)
def test_both_parsers_read_a_layer_alike(file: Traversable) -> None:
    """The fast one lets a key stand twice and may differ in a corner of YAML; the exact one does not."""
    assert read_shipped("layer", file).tree == read_site("layer", file).tree


@pytest.mark.parametrize("country", COUNTRIES)
def test_every_jurisdiction_gives_a_profile(country: str) -> None:
    """Its country, its phone region, and hours that can be read."""
    from phonenumbers import SUPPORTED_REGIONS

    loaded = profile(country)
    assert loaded.source.country == country
    assert loaded.source.phone_region in SUPPORTED_REGIONS
    hours = hours_of(loaded.calling)
    assert hours.weekday and all(start >= 480 and end <= 1290 for start, end in hours.weekday)
    assert loaded.layer_of("place.country") == f"jurisdiction {country}"


@pytest.mark.parametrize("file", layers("vendors"), ids=lambda file: file.name)
def test_every_vendor_gives_a_profile(file: Traversable) -> None:
    """In any jurisdiction."""
    vendor = file.name.removesuffix(".yaml")
    for country in ("US", "GB", "IS"):
        assert load_profile(SourceFacts(jurisdiction=country, vendor=vendor)).source.vendor == vendor


@pytest.mark.parametrize("country", COUNTRIES)
def test_every_zone_of_a_state_exists(country: str) -> None:
    """And every state is in capitals, as it is looked for."""
    for state, zones in profile(country).zones.by_state.items():
        assert state == state.upper()
        assert zones and all(ZoneInfo(zone) for zone in zones)


def test_the_united_states_are_complete() -> None:
    """50 states, the district and five territories, by code and by name; each code and name agree."""
    by_state = profile("US").zones.by_state
    codes = [state for state in by_state if len(state) == 2]
    assert len(codes) == 56
    assert len(by_state) == 112
    assert by_state["TX"] == by_state["TEXAS"] == ("America/Chicago", "America/Denver")
    assert by_state["PR"] == ("America/Puerto_Rico",)


@pytest.mark.parametrize("country", COUNTRIES)
def test_every_zone_tzdata_gives_a_country_with_states_is_in_one(country: str) -> None:
    """A zone that is missing would let a call be timed by a neighbour's clock.

    Zones that have shown the same time as another of the state since 1970 may be left out: their names say
    nothing more.
    """
    by_state = profile(country).zones.by_state
    if not by_state:
        return
    from datetime import UTC, datetime

    from babel.core import get_global

    now_and_later = [datetime(2026, month, 1, 12, tzinfo=UTC) for month in range(1, 13)]

    def clock(zone: str) -> tuple[Any, ...]:
        return tuple(moment.astimezone(ZoneInfo(zone)).utcoffset() for moment in now_and_later)

    listed = {clock(zone) for zones in by_state.values() for zone in zones}
    assert {clock(zone) for zone in get_global("territory_zones")[country]} <= listed


@pytest.mark.parametrize("country", COUNTRIES)
def test_patient_systems_are_the_names_aliases_lead_to(country: str) -> None:
    """An alias that is itself listed, or leads on, would never be found."""
    systems = profile(country).systems
    assert not set(systems.patient) & set(systems.aliases)
    exact = {alias: name for alias, name in systems.aliases.items() if not alias.endswith("*")}
    assert not set(exact.values()) & set(exact)


def test_base_gives_every_key_and_explains_it() -> None:
    """A comment stands above each key, or above the group of keys it opens."""
    text = (ROOT / "base.yaml").read_text(encoding="utf-8")
    tree = YAML(typ="safe", pure=True).load(text)
    lines = text.splitlines()
    for section in msgspec.structs.fields(Rules):
        assert explained(lines, section.name, 0), f"{section.name} is not explained"
        if not hasattr(section.type, "__struct_fields__"):
            continue  # `overrides`, whose keys are the request's
        for field in msgspec.structs.fields(section.type):
            assert field.name in tree[section.name], f"base.yaml has no {section.name}.{field.name}"
    assert set(tree) == {section.name for section in msgspec.structs.fields(Rules)}


def test_every_key_of_base_is_explained() -> None:
    """By the comment above it or above the keys it stands among without a blank line."""
    lines = (ROOT / "base.yaml").read_text(encoding="utf-8").splitlines()
    section = ""
    for number, line in enumerate(lines):
        if match := re.match(r"(\w+):", line):
            section = match[1]
        if match := re.match(r"  (\w+):", line):
            assert comment_above(lines, number), f"{section}.{match[1]} is not explained"


def explained(lines: list[str], key: str, indent: int) -> bool:
    """Whether a comment stands above a key."""
    number = next(n for n, line in enumerate(lines) if re.match(rf"{' ' * indent}{key}:", line))
    return comment_above(lines, number)


def comment_above(lines: list[str], number: int) -> bool:
    """Whether, going up over keys of the same depth, a comment comes before a blank line or the section."""
    depth = len(lines[number]) - len(lines[number].lstrip())
    for line in reversed(lines[:number]):
        if line.strip().startswith("#"):
            return True
        if not line.strip() or len(line) - len(line.lstrip()) < depth:
            return False
    return False
