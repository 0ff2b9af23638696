"""When a person may be phoned: hours of their own local clock, wherever they may be; pure (delivery)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import phonenumbers
from phonenumbers.timezone import time_zones_for_number

from fhir_bridge.settings.calling import CallingHours

MOST_ZONES = 6
"""A number of more zones than these, such as a toll-free one, says nothing about where the person is."""

_HORIZON = 366
_MINUTE = timedelta(minutes=1)


def opening(now: datetime, zones: Iterable[tzinfo], hours: CallingHours) -> datetime | None:
    """The first moment from `now` on (aware UTC, `now` itself where it fits) that is within hours in every
    zone.

    None where there is none within a year, for instance when every day is closed.
    """
    places = tuple(zones)
    moment, last = now, now + timedelta(days=_HORIZON)
    while moment <= last:
        openings = [_next_open(moment, zone, hours) for zone in places]
        if None in openings:
            return None
        latest = max((found for found in openings if found), default=moment)
        if latest == moment:
            return moment.astimezone(UTC)
        moment = latest
    return None


def zones_of(by_address: Iterable[str], phone_number: str, source_zone: tzinfo) -> tuple[tzinfo, ...]:
    """Where the called person may be: by address, else by number (E.164), else the source's zone.

    Unknown, or more than six, is the source's zone.
    """
    return _zones(tuple(by_address) or zones_of_number(phone_number)) or (source_zone,)


@lru_cache(maxsize=1_000)
def _zones(names: tuple[str, ...]) -> tuple[tzinfo, ...]:
    """The zones of these names; none where one is unknown, or they are too many to say anything."""
    known = tuple(zone for zone in map(_zone, names) if zone)
    return known if len(known) == len(names) <= MOST_ZONES else ()


@lru_cache(maxsize=8_192)
def zones_of_number(phone_number: str) -> tuple[str, ...]:
    """The IANA zones a number (E.164) may be in; empty where the plan of its country does not say."""
    try:
        found: tuple[str, ...] = time_zones_for_number(phonenumbers.parse(phone_number))
    except phonenumbers.NumberParseException:
        return ()
    return tuple(zone for zone in found if zone != phonenumbers.timezone.UNKNOWN_TIMEZONE)


@lru_cache(maxsize=1_000)
def _zone(name: str) -> ZoneInfo | None:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        return None


def _next_open(now: datetime, zone: tzinfo, hours: CallingHours) -> datetime | None:
    local = now.astimezone(zone)
    minute = local.hour * 60 + local.minute
    if any(start <= minute < end for start, end in hours.of(local.date())):
        return now
    for days in range(_HORIZON):
        starts = _starts(local.date() + timedelta(days=days), zone, hours)
        if later := [start for start in starts if start >= now]:
            return min(later)
    return None


def _starts(day: date, zone: tzinfo, hours: CallingHours) -> Iterator[datetime]:
    """The instants at which a day's hours begin; one that the clock shows twice begins twice."""
    for start, end in hours.of(day):
        wall = datetime.combine(day, time(start // 60, start % 60))
        for fold in (0, 1):
            instant = wall.replace(tzinfo=zone, fold=fold).astimezone(UTC)
            if instant.astimezone(zone).replace(tzinfo=None, fold=0) == wall:
                yield instant
            elif fold == 0 and (after := _after_gap(wall, instant, zone)):
                minute = after[1].hour * 60 + after[1].minute
                if after[1].date() == day and minute < end:
                    yield after[0]


def _after_gap(wall: datetime, beyond: datetime, zone: tzinfo) -> tuple[datetime, datetime] | None:
    """The first instant after the hour that this night's clock leaves out, with its local time;
    `beyond` lies in it.
    """
    instant = beyond
    while (instant - _MINUTE).astimezone(zone).replace(tzinfo=None) >= wall:
        instant -= _MINUTE
    return instant, instant.astimezone(zone).replace(tzinfo=None)
