"""National Provider Identifiers, checked but never repaired (mapping, section 11)."""

from __future__ import annotations

from collections.abc import Container
from functools import lru_cache

import msgspec
from stdnum import luhn

from fhir_bridge.fhir.datatypes import Identifier
from fhir_bridge.mapping.said import said

NPI_PREFIX = "80840"
"""What NPIs are prefixed with before the check digit: health applications, United States (45 CFR 162.406)."""

NPI_DIGITS = 10


class Npi(msgspec.Struct, frozen=True):
    """The first valid NPI of a list, if any: its digits and place; and the places of those that fail."""

    number: str | None
    index: int | None
    failing: tuple[int, ...]


@lru_cache(maxsize=4_096)
def find_npi(identifiers: tuple[Identifier, ...], systems: frozenset[str]) -> Npi:
    """The first valid NPI among identifiers of one of `systems`, or of type NPI: other countries use that
    type for
    numbers of their own, so by type alone only ten digits are called a failing one."""
    failing: list[int] = []
    for index, identifier in enumerate(identifiers):
        value = said(identifier.value)
        if value is None or not _is_npi(identifier, systems):
            continue
        if is_valid_npi(value):
            return Npi(value, index, tuple(failing))
        if identifier.system in systems or len(value) == NPI_DIGITS:
            failing.append(index)
    return Npi(None, None, tuple(failing))


def is_valid_npi(number: str) -> bool:
    """Ten digits, the first 1 or 2, and the check digit right (Luhn over 80840 and the number)."""
    shaped = len(number) == NPI_DIGITS and number.isascii() and number.isdigit() and number[0] in "12"
    return shaped and bool(luhn.is_valid(NPI_PREFIX + number))


def _is_npi(identifier: Identifier, systems: Container[str]) -> bool:
    if identifier.use == "old":
        return False
    if identifier.system is not None and identifier.system.rstrip("/") in systems:
        return True
    return identifier.type is not None and any(coding.code == "NPI" for coding in identifier.type.coding)
