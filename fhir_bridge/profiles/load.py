"""A source's profile: base, jurisdiction, vendor, site and `--set`, merged, checked (mapping, section 17)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from fhir_bridge import shipped
from fhir_bridge.errors import SettingsError
from fhir_bridge.mapping.profile import Profile, SourceFacts
from fhir_bridge.mapping.rules import Place
from fhir_bridge.mapping.terminology import Terminology
from fhir_bridge.profiles.check import rules_of
from fhir_bridge.profiles.countries import is_country
from fhir_bridge.profiles.layers import Layer, merge, read_shipped, read_site
from fhir_bridge.profiles.maps import MapFolders
from fhir_bridge.profiles.overrides import VENDOR_NAMES, check_names, facts_with, from_texts, rule_tree
from fhir_bridge.profiles.site_rules import site_rules, with_fields_apart
from fhir_bridge.spelling import did_you_mean

SET = "--set"
COUNTRY_FORM = 'write it as ISO 3166-1 alpha-2, like "US" or "GB"'


def load_profile(
    facts: SourceFacts,
    site: Path | None = None,
    overrides: Mapping[str, str] | None = None,
    *,
    source_rules: Mapping[str, Any] | None = None,
    mappings: Traversable | None = None,
) -> Profile:
    """The effective profile of a source, the later layer winning.

    `site` is the site's own YAML; `source_rules` is what `[sources.NAME]` sets; `overrides` are `--set` names
    or dotted keys with their values as texts; `mappings` is another folder of layers than the shipped one.
    `country` and `phone_region` come from the layers where the facts leave them open.
    Raises SettingsError for an unknown jurisdiction, vendor, zone or `--set` name, MappingsError (file, line,
    key) for what is wrong in a layer.
    """
    overrides, source_rules = overrides or {}, source_rules or {}
    in_source = f"[sources.{facts.name}]"
    check_names(overrides, SET)
    check_names(source_rules, in_source)
    facts = facts_with(facts, overrides)
    site = Path(overrides["mappings"]) if overrides.get("mappings") else site
    root = mappings or shipped.mappings()
    settings = (
        Layer(in_source, None, rule_tree(source_rules)),
        Layer(SET, None, rule_tree(from_texts(overrides))),
    )
    layers = (*_layers(facts, site, root), *settings)
    tree, origins = merge([with_fields_apart(layer) for layer in layers])
    rules = rules_of(tree, origins)
    sections = {name: getattr(rules, name) for name in rules.__struct_fields__}
    return Profile(
        source=_placed(facts, rules.place),
        terms=Terminology(MapFolders(tuple(_map_folders(facts, site, root))), rules.systems.aliases),
        site=site_rules(rules, origins),
        layers={key: layer.name for key, layer in origins.items()},
        **sections,
    )


def _placed(facts: SourceFacts, place: Place) -> SourceFacts:
    """The facts with the layers' country and phone region where they leave them open."""
    country = facts.country or place.country or facts.jurisdiction
    return replace(facts, country=country, phone_region=facts.phone_region or place.phone_region or country)


def _layers(facts: SourceFacts, site: Path | None, root: Traversable) -> Iterable[Layer]:
    """The layers that apply, the one that wins last."""
    yield read_shipped("base", root / "base.yaml")
    yield from _jurisdiction(facts.jurisdiction, root / "jurisdictions")
    if facts.vendor is not None:
        yield _vendor(facts.vendor, root / "vendors")
    if site is not None:
        yield read_site("site", site)


def _jurisdiction(country: str, folder: Traversable) -> Iterable[Layer]:
    """The country's layer; one without a layer uses base alone (mapping, section 6)."""
    if not re.fullmatch("[A-Z]{2}", country):
        raise SettingsError(f"jurisdiction {country!r} is no country", hint=COUNTRY_FORM)
    file = folder / f"{country.lower()}.yaml"
    if file.is_file():
        yield read_shipped(f"jurisdiction {country}", file)
    elif not is_country(country):
        raise SettingsError(f"jurisdiction {country!r} is no country", hint=COUNTRY_FORM)


def vendor_in(software: str) -> str | None:
    """The vendor's layer whose name stands, as words, in what a server calls itself; None for none."""
    names = {**{name: name for name in _vendors(shipped.mappings() / "vendors")}, **VENDOR_NAMES}
    said = f" {' '.join(re.findall(r'[a-z]+', software.lower()))} "
    return next((layer for name, layer in names.items() if f" {name.replace('-', ' ')} " in said), None)


def _vendors(folder: Traversable) -> list[str]:
    return sorted(
        other.name.removesuffix(".yaml") for other in folder.iterdir() if other.name.endswith(".yaml")
    )


def _vendor(vendor: str, folder: Traversable) -> Layer:
    file = folder / f"{vendor}.yaml"
    if not re.fullmatch(r"[\w-]+", vendor) or not file.is_file():
        known = _vendors(folder)
        raise SettingsError(
            f"vendor {vendor!r} has no layer{did_you_mean(vendor, known)}",
            hint=f"there are {', '.join(known)}; without one, leave `vendor` out",
        )
    return read_shipped(f"vendor {vendor}", file)


def _map_folders(
    facts: SourceFacts, site: Path | None, root: Traversable
) -> Iterable[tuple[str, Traversable]]:
    """The layers' folders of ConceptMaps, the one that wins first."""
    maps = root / "concept-maps"
    if site is not None:
        yield "site", site.parent / "concept-maps"
    if facts.vendor is not None:
        yield f"vendor {facts.vendor}", maps / "vendors" / facts.vendor
    yield f"jurisdiction {facts.jurisdiction}", maps / "jurisdictions" / facts.jurisdiction.lower()
    yield "base", maps
