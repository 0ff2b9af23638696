"""FHIR's date, dateTime and instant, with the precision they were written in and sloppy forms mended.

https://hl7.org/fhir/R4/datatypes.html#dateTime; what is mended: mapping, section 8.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from typing import Literal

import msgspec

Precision = Literal["year", "month", "day", "time"]

EARLIEST = datetime(1, 1, 2, tzinfo=UTC)
LATEST = datetime(9999, 12, 30, tzinfo=UTC)
"""Where instants saturate: `9999-12-31` is a common "for ever" and must survive a change of zone."""

MENDED = "date-mended"

_SHAPE = re.compile(
    r"(?P<year>\d{4})(?:-(?P<month>\d\d)(?:-(?P<day>\d\d)"
    r"(?:(?P<t>[Tt]| +)(?P<hour>\d\d):(?P<minute>\d\d)(?::(?P<second>\d\d)(?P<fraction>[.,:]\d*)?)?"
    r" *(?P<offset>[Zz]|[+-]\d\d(?::?\d\d)?)?)?)?)?",
    re.ASCII,
)
_STRICT_TAIL = re.compile(r"T\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)?", re.ASCII)

_PLAIN = re.compile(
    r"\d{4}-\d\d-\d\d"
    r"(T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,9})?(?:Z|[+-](?:0\d|1[0-4]):[0-5]\d)?)?",
    re.ASCII,
)
"""FHIR's own form, as nearly all have it: the standard library reads it faster. Without 24:00, leap seconds
and offsets that no place on Earth has."""


class Moment(msgspec.Struct, frozen=True):
    """A point or span of time as it was written.

    `value` is the first instant of it: aware where an offset was written, else naive, which is local time of
    the source (mapping, section 8). `noted` holds `date-mended` where the text was not FHIR's form.
    """

    precision: Precision
    value: datetime
    noted: tuple[str, ...] = ()

    @property
    def date(self) -> date:
        """The calendar day as written (its first day where only a year or month is known)."""
        return self.value.date()

    @property
    def has_time(self) -> bool:
        """Whether a time of day was written."""
        return self.precision == "time"

    @property
    def offset(self) -> timedelta | None:
        """The offset from UTC that was written, or None."""
        return self.value.utcoffset()

    def instant(self, zone: tzinfo) -> datetime:
        """The first instant, aware UTC. `zone` counts only where no offset was written."""
        return _utc(self.value, zone)

    def end_instant(self, zone: tzinfo) -> datetime:
        """The instant after which it is over, aware UTC: a day, month or year covers the whole of it, so
        this is the first instant of the next one in `zone`; a time of day is its own end."""
        if self.precision == "time":
            return _utc(self.value, zone)
        try:
            return _utc(_next(self.value, self.precision), zone)
        except (OverflowError, ValueError):
            return LATEST

    def local(self, zone: tzinfo) -> datetime:
        """The first instant as aware local time of `zone`. A date without a time is that date in `zone`."""
        return self.instant(zone).astimezone(zone)


@lru_cache(maxsize=8_192)
def parse(text: str | None) -> Moment | None:
    """Read a FHIR date, dateTime or instant; None where there is none or it cannot be read (the caller notes
    `date-unreadable`).

    Read and noted as `date-mended`: blanks around it, a blank for the T, a small t or z, no seconds, an
    offset without minutes or colon, a fraction that is empty, too long or after a comma or colon, and 24:00.
    """
    if not text:
        return None
    if (plain := _PLAIN.fullmatch(text)) is not None:
        try:
            return Moment("time" if plain[1] else "day", datetime.fromisoformat(text))
        except ValueError:
            return None
    match = _SHAPE.fullmatch(text.strip())
    if match is None:
        return None
    try:
        return _moment(match, text)
    except (ValueError, OverflowError):
        return None


def is_day(text: str | None) -> bool:
    """Whether the text is a full date without a time, as `birthDate` must be to be of use."""
    moment = parse(text)
    return moment is not None and moment.precision == "day"


def _moment(match: re.Match[str], text: str) -> Moment:
    """The moment a match speaks of. Raises ValueError or OverflowError where there is no such day or time."""
    part = match.groupdict()
    first = datetime(int(part["year"]), int(part["month"] or 1), int(part["day"] or 1))
    if part["hour"] is None:
        precision: Precision = "day" if part["day"] else "month" if part["month"] else "year"
        return Moment(precision, first, () if text == match.group() else (MENDED,))
    value = first + _time_of_day(part)
    if part["offset"]:
        value = value.replace(tzinfo=_offset(part["offset"]))
    strict = text == match.group() and _STRICT_TAIL.fullmatch(text, 10) and part["hour"] != "24"
    return Moment("time", value, () if strict else (MENDED,))


def _time_of_day(part: dict[str, str | None]) -> timedelta:
    """The time since midnight. 24:00:00 and a leap second belong to what follows them."""
    hour, minute, second = (int(part[name] or 0) for name in ("hour", "minute", "second"))
    digits = (part["fraction"] or "")[1:7].ljust(6, "0")
    since = timedelta(hours=hour, minutes=minute, seconds=second, microseconds=int(digits))
    if minute > 59 or second > 60 or hour > 24 or (hour == 24 and since > timedelta(days=1)):
        raise ValueError("no such time of day")
    return since


def _offset(text: str) -> timezone:
    """The zone of `Z`, `+02`, `+0200` or `+02:00`. Raises ValueError beyond 14 hours, which no place on
    Earth has."""
    if text in "Zz":
        return UTC
    hours, minutes = int(text[1:3]), int(text[-2:] if len(text) > 3 else 0)
    if hours > 14 or minutes > 59:
        raise ValueError("no such offset")
    offset = timedelta(hours=hours, minutes=minutes)
    return timezone(-offset if text[0] == "-" else offset)


def _next(value: datetime, precision: Precision) -> datetime:
    """The first instant of the following day, month or year."""
    if precision == "day":
        return value + timedelta(days=1)
    if precision == "year":
        return value.replace(year=value.year + 1)
    return (value + timedelta(days=31)).replace(day=1)


def _utc(value: datetime, zone: tzinfo) -> datetime:
    """Aware UTC, held between EARLIEST and LATEST."""
    aware = value if value.tzinfo else value.replace(tzinfo=zone)
    if 1 < value.year < 9999:
        return aware.astimezone(UTC)
    try:
        return min(max(aware.astimezone(UTC), EARLIEST), LATEST)
    except OverflowError:
        return EARLIEST if value.year == 1 else LATEST
