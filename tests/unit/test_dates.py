from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_bridge.fhir.dates import LATEST, MENDED, Moment, is_day, parse

NEW_YORK = ZoneInfo("America/New_York")


def read(text: str) -> Moment:
    """The moment of a text that is one."""
    moment = parse(text)
    assert moment is not None
    return moment


@pytest.mark.parametrize(
    ("text", "precision"),
    [("2024", "year"), ("2024-12", "month"), ("2024-12-10", "day"), ("2024-12-10T09:00:00Z", "time")],
)
def test_keeps_the_precision_that_was_written(text: str, precision: str) -> None:
    """A month is not its first day."""
    assert read(text).precision == precision
    assert read(text).noted == ()


@pytest.mark.parametrize(
    "text",
    [
        "2024-12-10 09:00:00-05:00",
        "2024-12-10T09:00:00-05",
        "2024-12-10T09:00:00-0500",
        "2024-12-10T09:00-05:00",
        "2024-12-10t09:00:00-05:00",
        "2024-12-10T09:00:00,0-05:00",
        "2024-12-10T09:00:00.-05:00",
        "2024-12-10T09:00:00:00-05:00",
        "2024-12-10T09:00:00.0000000000-05:00",
        " 2024-12-10T09:00:00-05:00 ",
    ],
)
def test_mends_sloppy_times_and_says_so(text: str) -> None:
    """What real systems write for one instant is that instant, noted."""
    assert read(text).instant(UTC) == datetime(2024, 12, 10, 14, tzinfo=UTC)
    assert read(text).noted == (MENDED,)


@pytest.mark.parametrize(
    "text",
    [
        "2024-13-01",
        "2023-02-29",
        "2024-12-10T25:00:00Z",
        "2024-12-10T09:60:00Z",
        "2024-12-10T24:00:01Z",
        "2021-11-11T12:011:30+00:00",
        "2024-12-10T09:00:00+15:00",
        "12/10/2024",
        "20241210",
        "0000",
        "tomorrow",
        "",
        None,
    ],
)
def test_reads_no_date_into_what_is_none(text: str | None) -> None:
    """A date that cannot be read, or could be read two ways, is nothing."""
    assert parse(text) is None


def test_a_time_without_offset_is_local_time_of_the_zone_given() -> None:
    """Nine o'clock in New York is 14:00 UTC in winter and 13:00 in summer."""
    assert read("2024-12-10T09:00:00").instant(NEW_YORK) == datetime(2024, 12, 10, 14, tzinfo=UTC)
    assert read("2024-07-10T09:00:00").instant(NEW_YORK) == datetime(2024, 7, 10, 13, tzinfo=UTC)
    assert read("2024-12-10T09:00:00").offset is None


def test_an_offset_that_was_written_wins_over_the_zone() -> None:
    """The zone counts only where no offset was written."""
    moment = read("2024-12-10T09:00:00+01:00")
    assert moment.offset == timedelta(hours=1)
    assert moment.instant(NEW_YORK) == datetime(2024, 12, 10, 8, tzinfo=UTC)
    assert moment.local(NEW_YORK).hour == 3


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("2024-12-10", datetime(2024, 12, 11, 5, tzinfo=UTC)),
        ("2024-12", datetime(2025, 1, 1, 5, tzinfo=UTC)),
        ("2024-01", datetime(2024, 2, 1, 5, tzinfo=UTC)),
        ("2024", datetime(2025, 1, 1, 5, tzinfo=UTC)),
        ("2024-12-10T09:00:00Z", datetime(2024, 12, 10, 9, tzinfo=UTC)),
    ],
)
def test_a_partial_date_as_an_end_covers_the_whole_of_it(text: str, end: datetime) -> None:
    """A window that ends on the tenth is open until midnight of the place."""
    assert read(text).end_instant(NEW_YORK) == end


def test_a_day_of_a_clock_change_has_its_own_length() -> None:
    """The tenth of March 2024 had 23 hours in New York."""
    day = read("2024-03-10")
    assert day.end_instant(NEW_YORK) - day.instant(NEW_YORK) == timedelta(hours=23)


def test_leap_second_and_midnight_as_24_belong_to_what_follows() -> None:
    """FHIR allows :60, and 24:00 has one meaning only."""
    assert read("2016-12-31T23:59:60Z").instant(UTC) == datetime(2017, 1, 1, tzinfo=UTC)
    assert read("2024-12-10T24:00:00Z").instant(UTC) == datetime(2024, 12, 11, tzinfo=UTC)


def test_for_ever_stays_far_away() -> None:
    """9999-12-31 is a common end that never comes, in any zone."""
    for text in ("9999", "9999-12", "9999-12-31", "9999-12-31T23:59:59-12:00"):
        assert read(text).end_instant(NEW_YORK) == LATEST
        assert read(text).local(ZoneInfo("Asia/Tokyo")) >= read("9999-01-01").local(ZoneInfo("Asia/Tokyo"))


def test_only_a_full_date_is_a_day() -> None:
    """A birth date must be full to be of use."""
    assert is_day("1980-02-29")
    assert not is_day("1980")
    assert not is_day("1980-02-29T00:00:00Z")


@given(st.text(max_size=40))
def test_never_raises(text: str) -> None:
    """Any text is a moment or nothing, and a moment has both ends."""
    moment = parse(text)
    if moment is not None:
        assert moment.instant(NEW_YORK) <= moment.end_instant(NEW_YORK)


@given(st.datetimes(min_value=datetime(1900, 1, 1), max_value=datetime(2200, 1, 1), timezones=st.just(UTC)))
def test_reads_back_every_instant_python_writes(value: datetime) -> None:
    """isoformat and parse are inverse."""
    moment = read(value.isoformat())
    assert moment.instant(NEW_YORK) == value
    assert moment.date == value.date() != date.min
