"""How much of a span of time lay within clinic hours."""

from __future__ import annotations

from datetime import datetime, timedelta, tzinfo

from fhir_bridge.settings.calling import CallingHours, calling_hours

USUAL = calling_hours({"weekday": "08:00-18:00", "weekend": "closed"})
"""Where the settings say nothing."""

FURTHEST = timedelta(days=30)
"""A longer silence is long enough."""


def open_between(start: datetime, end: datetime, hours: CallingHours, zone: tzinfo) -> timedelta:
    """The clinic hours between two aware instants, in the zone's own days; of FURTHEST at most."""
    start = max(start, end - FURTHEST).astimezone(zone)
    last, day, total = end.astimezone(zone), start.date(), timedelta()
    while day <= last.date():
        midnight = datetime(day.year, day.month, day.day, tzinfo=zone)
        for opens, closes in hours.of(day):
            begin = max(start, midnight + timedelta(minutes=opens))
            finish = min(last, midnight + timedelta(minutes=closes))
            total += max(finish - begin, timedelta())
        day += timedelta(days=1)
    return total
