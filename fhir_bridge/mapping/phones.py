"""Phone numbers: which is tried first, and which is good enough to be called (mapping, section 5)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache

import msgspec
import phonenumbers
from phonenumbers import NumberParseException, PhoneNumber, PhoneNumberFormat, ValidationResult

from fhir_bridge.fhir.datatypes import ContactPoint
from fhir_bridge.mapping.periods import surely_current
from fhir_bridge.mapping.profile import Profile
from fhir_bridge.mapping.said import code, said

EXTENSION = "http://hl7.org/fhir/StructureDefinition/contactpoint-extension"
"""https://hl7.org/fhir/extensions/StructureDefinition-contactpoint-extension.html"""

NORTH_AMERICA = 1
"""The country code whose area codes and exchanges never begin with 0 or 1 (North American Numbering Plan)."""

LONGEST_E164 = len("+") + 15
"""ITU-T E.164: at most fifteen digits, the country code among them."""

_MASKED = re.compile(r"[xX]{2}|\*|_{2}|\?")
"""Inside a number these stand for hidden digits; the library would read the letters as keys of a telephone.
"""

_TEN_DIGITS = re.compile(
    r"(?:(?P<country>\+1)[ .-]?)?(?:\((?P<bracketed>[2-9]\d\d)\)|(?P<area>[2-9]\d\d))[ .-]?"
    r"(?P<exchange>\d{3})[ .-]?(?P<line>\d{4})",
    re.ASCII,
)
"""Ten digits whose area begins as an area does, with or without the country's code."""


class Phone(msgspec.Struct, frozen=True):
    """A number that can be called: E.164, its extension if any, its index in the list, and codes of what is
    odd."""

    e164: str
    extension: str | None
    index: int
    notes: tuple[str, ...] = ()


class Parsed(msgspec.Struct, frozen=True):
    """What the library makes of a text in one region."""

    e164: str
    extension: str | None
    possible: bool
    valid: bool
    refused: bool


def numbers(
    telecom: Sequence[ContactPoint], profile: Profile, now: datetime
) -> list[tuple[int, ContactPoint]]:
    """The phone numbers somebody may be called at now, the one to try first in front, each with its index:
    phones before sms, then by rank, then mobile, home, none, temp, work; old and not current ones dropped."""
    return list(_numbers(tuple(telecom), profile, now))


@lru_cache(maxsize=512)
def _numbers(
    telecom: tuple[ContactPoint, ...], profile: Profile, now: datetime
) -> tuple[tuple[int, ContactPoint], ...]:
    rules = profile.phones
    kept = [
        (index, point)
        for index, point in enumerate(telecom)
        if code(point.system) in rules.systems
        and (code(point.use) or "") in rules.uses
        and said(point.value) is not None
        and surely_current(point.period, now, profile.source.zone)
    ]
    if len(kept) > 1:
        kept.sort(key=lambda pair: _order(pair[1], profile))
    return tuple(kept)


def choose_phone(
    telecom: Sequence[ContactPoint], region: str | None, profile: Profile, now: datetime
) -> Phone | None:
    """The first number that can be called, or None. `region` is the person's country (alpha-2) by their
    address; None: the source's."""
    found = (read_phone(point, index, region, profile) for index, point in numbers(telecom, profile, now))
    return next((phone for phone in found if phone is not None), None)


@lru_cache(maxsize=4_096)
def read_phone(point: ContactPoint, index: int, region: str | None, profile: Profile) -> Phone | None:
    """One number as it would be called, or None where it is no possible number (mapping, section 5).

    A number that is possible but not valid, or that the North American rule refuses, is read in the source's
    region if it is valid there. One that is impossible in its own region is not tried elsewhere: it would be
    a stranger's.
    """
    home = profile.source.phone_region
    value = said(point.value)
    own = None if value is None else parse(value, region or home)
    if own is None or not own.possible:
        return None
    chosen = own
    notes: tuple[str, ...] = ()
    if not own.valid or own.refused:
        elsewhere = parse(value or "", home) if region not in (None, home) else None
        if elsewhere is not None and elsewhere.valid and not elsewhere.refused:
            chosen, notes = elsewhere, ("phone-region-of-source",)
    if chosen.refused or (profile.phones.phone_check == "valid" and not chosen.valid):
        return None
    if not chosen.valid:
        notes = ("phone-not-assigned",)
    if (point.system, point.use or "") != (code(point.system), (code(point.use) or "")):
        notes = (*notes, "code-case")
    return Phone(chosen.e164, chosen.extension or _extension(point), index, notes)


@lru_cache(maxsize=1_024)
def parse(value: str, region: str | None) -> Parsed | None:
    """What the library makes of a text, None where it is no number at all; each is read once, for it takes
    the library 40 µs."""
    if _MASKED.search(value):
        return None
    try:
        number = _north_american(value, region) or phonenumbers.parse(value, region)
    except NumberParseException:
        return None
    e164 = phonenumbers.format_number(number, PhoneNumberFormat.E164)
    return Parsed(
        e164=e164,
        extension=number.extension or None,
        # Not is_possible_number(): it takes numbers without area code, which nobody can call from elsewhere.
        # German numbers may be longer than E.164 allows, and the endpoint takes.
        possible=len(e164) <= LONGEST_E164
        and phonenumbers.is_possible_number_with_reason(number) == ValidationResult.IS_POSSIBLE,
        valid=_is_valid(number, region),
        refused=_refused_in_north_america(number),
    )


def _north_american(value: str, region: str | None) -> PhoneNumber | None:
    """What the library reads in ten digits as Americans write them, at a tenth of its price; None where a
    text has any other form or may be another country's."""
    plain = _TEN_DIGITS.fullmatch(value)
    if plain is None or not (plain["country"] or region == "US"):
        return None
    digits = f"{plain['area'] or plain['bracketed']}{plain['exchange']}{plain['line']}"
    return PhoneNumber(country_code=NORTH_AMERICA, national_number=int(digits))


def _is_valid(number: PhoneNumber, region: str | None) -> bool:
    """Whether the number is in a range that is assigned: mostly one of the region, which is asked first
    because looking through all that share its country code takes twice as long."""
    if region is not None and phonenumbers.is_valid_number_for_region(number, region):
        return True
    return bool(phonenumbers.is_valid_number(number))


def _refused_in_north_america(number: PhoneNumber) -> bool:
    if number.country_code != NORTH_AMERICA:
        return False
    digits = phonenumbers.national_significant_number(number)
    return digits[:1] in ("0", "1") or digits[3:4] in ("0", "1")


def _order(point: ContactPoint, profile: Profile) -> tuple[int, int, int]:
    rules = profile.phones
    unranked = 1_000_000
    return (
        rules.systems.index(code(point.system) or ""),
        point.rank if point.rank is not None else unranked,
        rules.uses.index(code(point.use) or ""),
    )


def _extension(point: ContactPoint) -> str | None:
    return next((said(each.value_string) for each in point.extension if each.url == EXTENSION), None)
