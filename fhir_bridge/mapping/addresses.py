"""Postal addresses: which one counts, its country, and whether it is complete (mapping, section 6)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache

import msgspec
import phonenumbers

from fhir_bridge.fhir import datatypes
from fhir_bridge.mapping.periods import current
from fhir_bridge.mapping.profile import Profile
from fhir_bridge.mapping.said import code, said
from fhir_bridge.task_api.models import Address


class Addressed(msgspec.Struct, frozen=True):
    """An address as the endpoint wants it, all five parts or None; `missing` are FHIR's names of what it
    lacks."""

    address: Address | None
    missing: tuple[str, ...] = ()


def ordered_addresses(
    addresses: Sequence[datatypes.Address],
    profile: Profile,
    now: datetime,
    uses: tuple[str, ...] | None = None,
) -> list[tuple[int, datatypes.Address]]:
    """The current addresses with their indices, the one that counts in front: home first (mapping, section
    6).

    `uses` (default: the layers' `addresses.uses`) says which uses count, in order; "" is an address without a
    use.
    """
    order = profile.addresses.uses if uses is None else uses
    kept = [
        (index, address)
        for index, address in enumerate(addresses)
        if (code(address.use) or "") in order and current(address.period, now, profile.source.zone)
    ]
    return sorted(kept, key=lambda pair: order.index(code(pair[1].use) or "")) if len(kept) > 1 else kept


@lru_cache(maxsize=4_096)
def complete_address(address: datatypes.Address, profile: Profile) -> Addressed:
    """The address for the endpoint: lines joined by ", ", the state or else the district, never the city
    twice; a missing country is the source's, one that cannot be read is missing (mapping, section 6). Nothing
    comes from `text`: which word of it is the city would be a guess."""
    city = said(address.city)
    district = said(address.district)
    if district is not None and city is not None and district.casefold() == city.casefold():
        district = None
    parts = {
        "line": ", ".join(words for line in address.line if (words := said(line))) or None,
        "city": city,
        "state": said(address.state) or district,
        "postalCode": said(address.postal_code),
        "country": address_country(address, profile) if said(address.country) else profile.source.country,
    }
    missing = tuple(name for name, value in parts.items() if value is None)
    if missing:
        return Addressed(None, missing)
    street, city, state, postal_code, country = (value or "" for value in parts.values())
    return Addressed(
        Address(street_name=street, city=city, state=state, postal_code=postal_code, country_code=country)
    )


def address_country(address: datatypes.Address | None, profile: Profile) -> str | None:
    """The alpha-2 code of the country the address names; None where it names none, or none that is known."""
    return None if address is None or address.country is None else _country(address.country, profile)


@lru_cache(maxsize=4_096)
def _country(text: str, profile: Profile) -> str | None:
    country = said(text)
    if country is None:
        return None
    rules = profile.addresses
    return rules.country_names.get(country.casefold()) or country_code(country, rules.country_languages)


@lru_cache(maxsize=4_096)
def country_code(text: str, languages: tuple[str, ...]) -> str | None:
    """The alpha-2 code of a country written as alpha-2, alpha-3, number or name in one of `languages`."""
    region = text.strip().upper()
    if region in phonenumbers.SUPPORTED_REGIONS:
        return region
    return _country_names(languages).get(_folded(text))


@lru_cache(maxsize=16)
def _country_names(languages: tuple[str, ...]) -> dict[str, str]:
    """Country names, alpha-3 and numeric codes → alpha-2, from CLDR. Built when the first name is met, for
    babel takes 60 ms to load and most addresses carry a code."""
    from babel.core import Locale, get_global

    names: dict[str, str] = {}
    for language in reversed(languages):
        territories = Locale.parse(language).territories
        names |= {_folded(name): code for code, name in territories.items() if len(code) == 2}
    aliases = get_global("territory_aliases")
    names |= {_folded(alias): codes[0] for alias, codes in aliases.items() if len(codes) == 1}
    return names


def _folded(text: str) -> str:
    """A name without case, stops and blanks, so that "U.S.A." is "usa"."""
    return "".join(letter for letter in text.casefold() if letter.isalnum())
