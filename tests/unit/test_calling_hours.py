"""When a person may be phoned, on both sides of a clock change and in several zones at once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_bridge.dispatch.calling_hours import opening, zones_of
from fhir_bridge.settings import calling_hours

NEW_YORK, LONDON, CHICAGO, LORD_HOWE = map(
    ZoneInfo, ("America/New_York", "Europe/London", "America/Chicago", "Australia/Lord_Howe")
)
DAY = calling_hours("08:00-21:00")


def at(text: str) -> datetime:
    """An instant in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("now", "zone", "expected"),
    [
        ("2026-11-23T15:00", NEW_YORK, "2026-11-23T15:00"),  # 10:00
        ("2026-11-23T13:00", NEW_YORK, "2026-11-23T13:00"),  # 08:00 is within
        ("2026-11-23T13:00:30", NEW_YORK, "2026-11-23T13:00:30"),
        ("2026-11-23T12:59", NEW_YORK, "2026-11-23T13:00"),
        ("2026-11-24T01:59:59", NEW_YORK, "2026-11-24T01:59:59"),
        ("2026-11-24T02:00", NEW_YORK, "2026-11-24T13:00"),  # 21:00 is not
        # Autumn: clocks went back on Sunday 1 November 2026, the morning comes an hour later in UTC.
        ("2026-11-01T03:00", NEW_YORK, "2026-11-01T13:00"),
        ("2026-10-31T03:00", NEW_YORK, "2026-10-31T12:00"),
        # Spring: Sunday 8 March 2026.
        ("2026-03-08T03:00", NEW_YORK, "2026-03-08T12:00"),
        ("2026-03-07T03:00", NEW_YORK, "2026-03-07T13:00"),
        ("2026-03-29T00:30", LONDON, "2026-03-29T07:00"),
        ("2026-10-25T00:30", LONDON, "2026-10-25T08:00"),
        # Lord Howe moves by half an hour: on 4 October 2026 from +10:30 to +11.
        ("2026-10-03T14:00", LORD_HOWE, "2026-10-03T21:00"),
        ("2026-10-02T14:00", LORD_HOWE, "2026-10-02T21:30"),
    ],
)
def test_the_opening_is_eight_on_the_local_clock(now: str, zone: ZoneInfo, expected: str) -> None:
    """Also on the nights on which the clock changes."""
    assert opening(at(now), [zone], DAY) == at(expected)


@pytest.mark.parametrize(
    ("now", "hours", "expected"),
    [
        # 02:30 does not exist on 8 March 2026: the first moment after the gap is 03:00 EDT.
        ("2026-03-08T06:00", "02:30-05:00", "2026-03-08T07:00"),
        # Hours that lie wholly in the gap fall out that night.
        ("2026-03-08T06:00", "02:15-02:45", "2026-03-09T06:15"),
        # 01:30 comes twice on 1 November 2026: after the first hour is over, it comes again.
        ("2026-11-01T05:00", "01:30-01:45", "2026-11-01T05:30"),
        ("2026-11-01T05:50", "01:30-01:45", "2026-11-01T06:30"),
    ],
)
def test_an_hour_that_is_missing_or_comes_twice(now: str, hours: str, expected: str) -> None:
    """It is judged by what the clock on the wall shows."""
    assert opening(at(now), [NEW_YORK], calling_hours(hours)) == at(expected)


def test_all_possible_zones_must_agree() -> None:
    """At eight in New York it is seven in Chicago; at half past eight there it is late here."""
    assert opening(at("2026-11-23T13:00"), [NEW_YORK, CHICAGO], DAY) == at("2026-11-23T14:00")
    assert opening(at("2026-11-24T02:30"), [NEW_YORK, CHICAGO], DAY) == at("2026-11-24T14:00")


def test_weekends_and_holidays_have_hours_of_their_own() -> None:
    """From Friday evening over a closed weekend and a holiday on Monday to Tuesday."""
    hours = calling_hours({"weekday": "08:00-21:00", "weekend": "closed", "holidays": ["2026-11-23"]})
    assert opening(at("2026-11-21T03:00"), [NEW_YORK], hours) == at("2026-11-24T13:00")


def test_no_hours_at_all_never_open() -> None:
    """Neither where every day is closed, nor where two zones never agree."""
    assert opening(at("2026-11-23T15:00"), [NEW_YORK], calling_hours("closed")) is None
    far = ZoneInfo("Asia/Tokyo")
    assert opening(at("2026-11-23T15:00"), [NEW_YORK, far], calling_hours("09:00-10:00")) is None


def test_off_is_any_hour() -> None:
    """The middle of the night is as good as noon."""
    assert opening(at("2026-11-23T05:00"), [NEW_YORK], calling_hours("off")) == at("2026-11-23T05:00")


zones = st.lists(
    st.sampled_from([NEW_YORK, LONDON, CHICAGO, LORD_HOWE, ZoneInfo("Asia/Kolkata")]), min_size=1, max_size=3
)
instants = st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31)).map(
    lambda moment: moment.replace(tzinfo=UTC)
)


@given(instants, zones)
def test_the_opening_is_within_hours_in_every_zone(now: datetime, places: list[ZoneInfo]) -> None:
    """And not before now; a moment that fits is its own opening."""
    hours = calling_hours("06:00-22:30")
    found = opening(now, places, hours)
    if found is None:
        return
    assert found >= now
    for zone in places:
        local = found.astimezone(zone)
        assert 6 * 60 <= local.hour * 60 + local.minute < 22 * 60 + 30
    assert opening(found, places, hours) == found


@given(instants, zones)
def test_nothing_earlier_would_have_done(now: datetime, places: list[ZoneInfo]) -> None:
    """Every minute from now to the opening is outside of hours somewhere."""
    hours = calling_hours("06:00-22:30")
    found = opening(now, places, hours)
    if found is None:
        return
    minute = now
    while minute < found:
        local = [minute.astimezone(zone) for zone in places]
        assert any(not 6 * 60 <= t.hour * 60 + t.minute < 22 * 60 + 30 for t in local)
        minute += timedelta(minutes=1)


SIX_ZONES = tuple(f"America/{name}" for name in ("Chicago", "Denver", "Phoenix", "Boise", "Adak", "Nome"))


@pytest.mark.parametrize(
    ("by_address", "number", "expected"),
    [
        (("America/Chicago",), "+12125550101", ("America/Chicago",)),
        ((), "+12125550101", ("America/New_York",)),
        ((), "+442079460123", ("Europe/London",)),
        ((), "+18005550100", ("UTC",)),  # toll-free: the whole of North America
        ((), "+9999999", ("UTC",)),
        (("No/Such_Zone",), "+12125550101", ("UTC",)),
        (("America/Chicago", "No/Such_Zone"), "+12125550101", ("UTC",)),
        (SIX_ZONES, "+12125550101", SIX_ZONES),
        ((*SIX_ZONES, "Asia/Tokyo"), "+12125550101", ("UTC",)),
    ],
)
def test_where_the_called_person_is(
    by_address: tuple[str, ...], number: str, expected: tuple[str, ...]
) -> None:
    """By address, else by number; unknown, or too many, is the source's zone."""
    assert tuple(map(str, zones_of(by_address, number, ZoneInfo("UTC")))) == expected
