"""Which clock on the wall a time is told by (mapping, section 8)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, timedelta, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

import msgspec

from fhir_bridge.case.case import Case
from fhir_bridge.fhir.datatypes import Address, Extension
from fhir_bridge.fhir.dates import Moment, Precision
from fhir_bridge.fhir.resource import Resource
from fhir_bridge.fhir.views import Appointment, Location, is_appointment
from fhir_bridge.mapping.addresses import address_country
from fhir_bridge.mapping.profile import Profile
from fhir_bridge.mapping.said import said

FOR_EVER, SINCE_EVER = 9000, 1
"""The years beyond which a date stands for no limit: 9999-12-31, and .NET's 0001-01-01."""


class Local(msgspec.Struct, frozen=True):
    """A moment as a clock on the wall shows it.

    `wall` is naive and to the minute, seconds of 59 and more rounded up; `letters` are the zone's (EST), or
    None where they are not known. For a date only its day, month or year counts.
    """

    precision: Precision
    wall: datetime
    letters: str | None = None

    @property
    def has_time(self) -> bool:
        """Whether the clock counts."""
        return self.precision == "time"


class Clock(msgspec.Struct, frozen=True):
    """The clock times are told by: `places` are the zones the place of care may be in (one by the timezone
    extension), `source` is the source's zone."""

    places: tuple[ZoneInfo, ...]
    source: ZoneInfo

    def zone(self, moment: Moment) -> tzinfo:
        """The zone to tell this moment in: the place's if its zones agree then, else the moment's own offset
        if not zero, else the source's. Zero says nothing: systems write every time so."""
        places = self.places
        if len(places) == 1:
            return places[0]
        if places and (place := _agreed(places, moment.instant(self.source))) is not None:
            return place
        return (moment.value.tzinfo if moment.offset else None) or self.source

    def local(self, moment: Moment | None, zone: tzinfo | None = None) -> Local | None:
        """The moment on the wall of `zone` (default: the one it is told in); None where there is none, or
        it only
        stands for "no limit"."""
        if moment is None or not SINCE_EVER < moment.value.year < FOR_EVER:
            return None
        if not moment.has_time:
            return Local(moment.precision, moment.value)
        zone = zone or self.zone(moment)
        # Through UTC where no zone was written: so a time that the change of clocks jumped is told as it was.
        instant = moment.value if moment.value.tzinfo else moment.instant(self.source)
        aware = instant.astimezone(zone)
        return Local("time", _to_the_minute(aware.replace(tzinfo=None)), self._letters(aware, zone))

    def day(self, moment: Moment) -> date | None:
        """The calendar day `local` shows, if it is a whole one: a year or a month is none."""
        if not SINCE_EVER < moment.value.year < FOR_EVER or moment.precision in ("year", "month"):
            return None
        if not moment.has_time:
            return moment.value.date()
        instant = moment.value if moment.value.tzinfo else moment.instant(self.source)
        wall = instant.astimezone(self.zone(moment))
        return (_to_the_minute(wall.replace(tzinfo=None)) if wall.second >= 59 else wall).date()

    def window(self, start: Moment | None, end: Moment | None) -> tuple[Local | None, Local | None]:
        """Both ends on one wall: where only bare offsets are known and they differ, the start's counts."""
        first, last = self.local(start), self.local(end)
        if start and end and first and last and first.letters is None and last.has_time:
            bare = start.value.tzinfo if start.offset else None
            return first, self.local(end, bare) if bare and not self.places else last
        return first, last

    def _letters(self, aware: datetime, zone: tzinfo) -> str | None:
        """Letters only from a zone that has this very offset then: a bare offset has many zones."""
        letters = aware.tzname()
        if not isinstance(zone, ZoneInfo):
            named = aware.astimezone(self.source)
            letters = named.tzname() if named.utcoffset() == aware.utcoffset() else None
        return letters if letters and letters.isalpha() else None


def stated_zone(extensions: Iterable[Extension], profile: Profile) -> ZoneInfo | None:
    """The IANA zone an extension states, by the layers' list of such extensions; None where none does."""
    for extension in extensions:
        if extension.url in profile.zones.extensions:
            name = said(extension.value_code or extension.value_string)
            if name is not None and (zone := zone_named(name)) is not None:
                return zone
    return None


def place_zones(places: Iterable[Resource[Location]], profile: Profile) -> tuple[ZoneInfo, ...]:
    """The zones of the first place that has any: by extension on it, else by its address."""
    for place in places:
        if (zone := stated_zone(place.view.extension, profile)) is not None:
            return (zone,)
        if zones := address_zones(place.view.address, profile):
            return zones
    return ()


def address_zones(address: Address | None, profile: Profile) -> tuple[ZoneInfo, ...]:
    """The zones an address may be in: those of its state where the layers list states, else of its country.

    A missing country is the source's. In a country whose states are listed, a state that is not has several.
    """
    return () if address is None else _address_zones(address, profile)


@lru_cache(maxsize=4_096)
def _address_zones(address: Address, profile: Profile) -> tuple[ZoneInfo, ...]:
    if (stated := stated_zone(address.extension, profile)) is not None:
        return (stated,)
    home = profile.source.country
    country = address_country(address, profile) or (None if said(address.country) else home)
    if country == home and profile.zones.by_state:
        return _zones(profile.zones.by_state.get((said(address.state) or "").upper(), ()))
    return country_zones(country) if country else ()


@lru_cache(maxsize=512)
def country_zones(country: str) -> tuple[ZoneInfo, ...]:
    """Every zone of a country by its alpha-2 code (CLDR's table)."""
    from babel.core import get_global

    return _zones(tuple(get_global("territory_zones").get(country, ())))


@lru_cache(maxsize=1_024)
def zone_named(name: str) -> ZoneInfo | None:
    """The IANA zone of this name; None where there is none."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return None


@lru_cache(maxsize=1_024)
def _zones(names: tuple[str, ...]) -> tuple[ZoneInfo, ...]:
    return tuple(zone for name in names if (zone := zone_named(name)) is not None)


def _agreed(zones: tuple[ZoneInfo, ...], instant: datetime) -> ZoneInfo | None:
    """The first of the zones where all show the same time at this instant; else None."""
    first = zones[0]
    if len(zones) > 1:
        offset = instant.astimezone(first).utcoffset()
        if any(instant.astimezone(zone).utcoffset() != offset for zone in zones[1:]):
            return None
    return first


def _to_the_minute(wall: datetime) -> datetime:
    whole = wall.replace(second=0, microsecond=0)
    return whole + timedelta(minutes=1) if wall.second >= 59 else whole


def clock_of(case: Case, profile: Profile) -> Clock:
    """The clock the case's times are told by: what the trigger states, else where the care takes place."""
    view = case.trigger.view
    stated = stated_zone(view.extension, profile) if view.extension else None
    if stated is None and is_appointment(view):
        stated = _appointment_zone(view, profile)
    places = (stated,) if stated else place_zones(case.locations, profile)
    return Clock(places, profile.source.zone)


def _appointment_zone(view: Appointment, profile: Profile) -> ZoneInfo | None:
    """The zone stated on the start, or by R5's recurrence."""
    if view.start_element and (zone := stated_zone(view.start_element.extension, profile)):
        return zone
    if not view.recurrence_template:
        return None
    codes = (
        coding.code for each in view.recurrence_template if each.timezone for coding in each.timezone.coding
    )
    return next((zone for code in codes if code and (zone := zone_named(code))), None)
