"""The words of time, in English whatever the machine speaks (mapping, section 8)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime, time, timedelta

from fhir_bridge.mapping.zones import Local

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
WEEKDAYS = ("Mondays", "Tuesdays", "Wednesdays", "Thursdays", "Fridays", "Saturdays", "Sundays")
MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
    "November", "December",
)  # fmt: skip
MIDNIGHT = time(0, 0)
LAST_MINUTE = time(23, 59)


def moment_words(moment: Local) -> str:
    """`Tue 10 Dec 2024, 9:00 AM (EST)`, `Tue 10 Dec 2024` for a date or midnight, `in December 2024`."""
    if moment.precision in ("year", "month"):
        return f"in {_span(moment)}"
    if _is_midnight(moment):
        return day_words(moment.wall)
    return _point(moment) + _bracket(moment)


def window_words(start: Local | None, end: Local | None) -> str | None:
    """A window in words, None where neither end is known. `start` is not after `end`: the caller sees to it.

    Midnight at either end is the edge of a day, so whole days are told as days.
    """
    if start is None or end is None:
        return _open_window(start, end)
    first, last = (start, end) if start == end else (_from_day(start), _through_day(end))
    if _span(first) == _span(last) and first.letters == last.letters:
        return moment_words(first)
    letters = _bracket(first) if first.letters != last.letters else ""
    if first.wall.date() == last.wall.date() and {first.precision, last.precision} <= {"day", "time"}:
        return _within_day(first, last, letters)
    return f"Between {_span(first)}{letters} and {_span(last)}{_bracket(last)}"


def weekly_words(
    days: Iterable[int],
    parts: Sequence[str] = (),
    times: Sequence[time] = (),
    lasting: timedelta | None = None,
) -> str | None:
    """`Mondays and Wednesdays, mornings`; `Weekdays between 2 PM and 5 PM`; None where nothing is said.

    `days` count from Monday = 0, `parts` are words such as "mornings"; each of `times` lasts as long as
    `lasting`, else only its beginning is told.
    """
    named = _days(sorted(set(days)))
    hours = _hours(times, lasting)
    if named and hours and not parts:
        words = f"{named} {hours}"
    else:
        words = ", ".join(part for part in (named, listed(parts), hours) if part)
    return words[:1].upper() + words[1:] or None


def day_words(day: date) -> str:
    """`Tue 10 Dec 2024`."""
    return f"{DAYS[day.weekday()]} {day.day} {MONTHS[day.month - 1][:3]} {day.year}"


def clock_words(wall: datetime | time, *, short: bool = False) -> str:
    """`9:00 AM`; `short` leaves out minutes that are zero: `9 AM`."""
    minutes = "" if short and wall.minute == 0 else f":{wall.minute:02}"
    return f"{wall.hour % 12 or 12}{minutes} {'AM' if wall.hour < 12 else 'PM'}"


def listed(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`; empty for none."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"


def _open_window(start: Local | None, end: Local | None) -> str | None:
    if start is not None:
        first = _from_day(start)
        return f"From {_span(first)}{_bracket(first)}"
    if end is not None:
        last = _through_day(end)
        return f"Until {_span(last)}{_bracket(last)}"
    return None


def _within_day(first: Local, last: Local, letters: str) -> str:
    """A window inside one day, told like a slot; `letters` belong to its beginning."""
    if not first.has_time:
        return f"{day_words(first.wall)}, until {clock_words(last.wall)}{_bracket(last)}"
    if not last.has_time:
        return f"{day_words(first.wall)}, from {clock_words(first.wall)}{_bracket(first)}"
    return f"{_point(first)}{letters} to {clock_words(last.wall)}{_bracket(last)}"


def _span(moment: Local) -> str:
    """The moment without a preposition and without the zone's letters."""
    if moment.precision == "year":
        return str(moment.wall.year)
    if moment.precision == "month":
        return f"{MONTHS[moment.wall.month - 1]} {moment.wall.year}"
    return _point(moment)


def _point(moment: Local) -> str:
    day = day_words(moment.wall)
    return f"{day}, {clock_words(moment.wall)}" if moment.has_time else day


def _bracket(moment: Local) -> str:
    return f" ({moment.letters})" if moment.letters else ""


def _is_midnight(moment: Local) -> bool:
    return moment.has_time and moment.wall.time() == MIDNIGHT


def _from_day(start: Local) -> Local:
    """A start at midnight is that day."""
    return Local("day", start.wall) if _is_midnight(start) else start


def _through_day(end: Local) -> Local:
    """An end at midnight, or in the last minute of a day, is the day that ends then."""
    if _is_midnight(end):
        return Local("day", end.wall - timedelta(days=1))
    if end.has_time and end.wall.time() == LAST_MINUTE:
        return Local("day", end.wall.replace(hour=0, minute=0))
    return end


def _days(days: Sequence[int]) -> str:
    if len(days) == len(WEEKDAYS):
        return "Daily"
    if list(days) == [0, 1, 2, 3, 4]:
        return "Weekdays"
    if list(days) == [5, 6]:
        return "Weekends"
    return listed([WEEKDAYS[day] for day in days])


def _hours(times: Sequence[time], lasting: timedelta | None) -> str:
    """`at 9 AM and 2:30 PM`; with a duration `between 2 PM and 5 PM`."""
    ordered = sorted(set(times))
    if not ordered:
        return ""
    if lasting is None:
        return "at " + listed([clock_words(each, short=True) for each in ordered])
    spans = [(each, (datetime.combine(date.min, each) + lasting).time()) for each in ordered]
    return listed(
        [f"between {clock_words(a, short=True)} and {clock_words(b, short=True)}" for a, b in spans]
    )
