"""Calling hours as they are written: hours of days, in the called person's own zone (delivery)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from itertools import pairwise

import msgspec

from fhir_bridge.mapping.rules import Calling

Hours = tuple[tuple[int, int], ...]
"""Times of a day people may be called, as (from, to) in minutes since midnight: from is in, to is out."""

ALL_DAY: Hours = ((0, 24 * 60),)
_DAYS = ("weekday", "weekend", "saturday", "sunday", "holiday", "holidays")
_FORM = 'write "08:00-21:00", "10:00-13:00, 14:00-20:00" or, for a day without calls, "closed"'


@dataclass(frozen=True, slots=True)
class CallingHours:
    """The hours of weekdays, Saturdays, Sundays and holidays; a holiday is a date, or a day of every year.

    An hour that does not exist, or exists twice, on a night of a clock change is judged by the local clock.
    """

    weekday: Hours
    saturday: Hours
    sunday: Hours
    holiday: Hours
    holidays: frozenset[date] = field(default=frozenset())
    yearly_holidays: frozenset[tuple[int, int]] = field(default=frozenset())

    def of(self, day: date) -> Hours:
        """The hours of this local day."""
        if day in self.holidays or (day.month, day.day) in self.yearly_holidays:
            return self.holiday
        return {5: self.saturday, 6: self.sunday}.get(day.weekday(), self.weekday)

    @property
    def is_any(self) -> bool:
        """Whether people may be called at any hour, so that it does not matter where they are."""
        return self.weekday == self.saturday == self.sunday == self.holiday == ALL_DAY

    def __str__(self) -> str:
        if self.is_any:
            return "off"
        days = {
            "weekday": self.weekday,
            "saturday": self.saturday,
            "sunday": self.sunday,
            "holiday": self.holiday,
        }
        if len(set(days.values())) == 1:
            return _written(self.weekday)
        return ", ".join(f"{day} {_written(hours)}" for day, hours in days.items())


def calling_hours(value: object) -> CallingHours:
    """From "08:00-21:00", "off" (any hour), or a table of days.

    The table's keys: `weekday`, `weekend`, `saturday`, `sunday`, `holiday` (Saturday and Sunday without
    hours of their own have the weekend's, else the weekday's; a holiday Sunday's) and `holidays` (a list of
    "2026-12-25" or "12-25"). Raises ValueError, whose text names the key and not the value.
    """
    if value == "off":
        return CallingHours(ALL_DAY, ALL_DAY, ALL_DAY, ALL_DAY)
    if not isinstance(value, Mapping):
        hours = _hours(value, "")
        return CallingHours(hours, hours, hours, hours)
    if unknown := sorted(set(value) - set(_DAYS)):
        raise ValueError(f"{unknown[0]} is none of {', '.join(_DAYS)}")
    if "weekday" not in value:
        raise ValueError("weekday is missing")
    days = {day: _hours(text, f"{day}: ") for day, text in value.items() if day != "holidays"}
    weekend = days.get("weekend", days["weekday"])
    saturday, sunday = days.get("saturday", weekend), days.get("sunday", weekend)
    exact, yearly = _holidays(value.get("holidays", ()))
    return CallingHours(days["weekday"], saturday, sunday, days.get("holiday", sunday), exact, yearly)


def hours_of(calling: Calling) -> CallingHours:
    """The hours a profile's layers give. Raises ValueError."""
    days = msgspec.structs.asdict(calling)
    days["sunday"] = days["sunday"] or days["saturday"]
    return calling_hours({day: hours for day, hours in days.items() if hours is not None})


def _hours(value: object, where: str) -> Hours:
    if value == "closed":
        return ()
    parts = value.split(",") if isinstance(value, str) else ()
    found = tuple(_span(part.strip(), where) for part in parts)
    if (
        not found
        or list(found) != sorted(found)
        or any(end > start for (_, end), (start, _) in pairwise(found))
    ):
        raise ValueError(f"{where}not hours: {_FORM}")
    return found


def _span(text: str, where: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d\d):([0-5]\d) ?[-–] ?(\d\d):([0-5]\d)", text)
    start, end = (int(match[1]) * 60 + int(match[2]), int(match[3]) * 60 + int(match[4])) if match else (0, 0)
    if not start < end <= 24 * 60:
        raise ValueError(f"{where}not hours: {_FORM}")
    return start, end


def _holidays(values: object) -> tuple[frozenset[date], frozenset[tuple[int, int]]]:
    exact, yearly = set(), set()
    for value in values if isinstance(values, list | tuple) else ("",):
        try:
            if isinstance(value, str) and re.fullmatch(r"\d\d-\d\d", value):
                day = date.fromisoformat(f"2024-{value}")  # a leap year: 29 February is a day
                yearly.add((day.month, day.day))
            else:
                exact.add(value if isinstance(value, date) else date.fromisoformat(value))
        except (TypeError, ValueError):
            raise ValueError(
                'holidays: a list of dates like "2026-12-25", or "12-25" for every year'
            ) from None
    return frozenset(exact), frozenset(yearly)


def _written(hours: Hours) -> str:
    spans = (f"{start // 60:02}:{start % 60:02}-{end // 60:02}:{end % 60:02}" for start, end in hours)
    return ", ".join(spans) or "closed"
