"""Times in words, for every form that section 8 of the mapping shows and for whatever else comes."""

import re
from datetime import UTC, datetime, time, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_bridge.fhir.dates import Moment, parse
from fhir_bridge.mapping.when import moment_words, weekly_words, window_words
from fhir_bridge.mapping.zones import Clock

NEW_YORK = Clock((), ZoneInfo("America/New_York"))
PARIS = Clock((), ZoneInfo("Europe/Paris"))
LONDON = Clock((), ZoneInfo("Europe/London"))


def window(start: str | None, end: str | None, clock: Clock = NEW_YORK) -> str | None:
    """A window by its FHIR texts, told by a clock."""
    return window_words(*clock.window(parse(start), parse(end)))


def moment(text: str, clock: Clock = NEW_YORK) -> str:
    """A moment by its FHIR text."""
    local = clock.local(parse(text))
    assert local is not None
    return moment_words(local)


@pytest.mark.parametrize(
    ("start", "end", "words"),
    [
        ("2024-12-11", "2024-12-20", "Between Wed 11 Dec 2024 and Fri 20 Dec 2024"),
        (
            "2024-12-10T09:00:00-05:00",
            "2024-12-10T11:00:00-05:00",
            "Tue 10 Dec 2024, 9:00 AM to 11:00 AM (EST)",
        ),
        (None, "2024-12-20", "Until Fri 20 Dec 2024"),
        ("2024-12-11", None, "From Wed 11 Dec 2024"),
        ("2024-12-11", "2024-12-11", "Wed 11 Dec 2024"),
        ("2024-12", "2024-12", "in December 2024"),
        ("2024-12", "2025-01", "Between December 2024 and January 2025"),
        ("2024", None, "From 2024"),
        (
            "2024-12-11T09:00:00-05:00",
            "2024-12-20T17:00:00-05:00",
            "Between Wed 11 Dec 2024, 9:00 AM and Fri 20 Dec 2024, 5:00 PM (EST)",
        ),
        (
            "2024-12-11",
            "2024-12-20T17:00:00-05:00",
            "Between Wed 11 Dec 2024 and Fri 20 Dec 2024, 5:00 PM (EST)",
        ),
        ("2024-12-11", "2024-12-11T17:00:00-05:00", "Wed 11 Dec 2024, until 5:00 PM (EST)"),
        ("2024-12-11T09:00:00-05:00", "2024-12-11", "Wed 11 Dec 2024, from 9:00 AM (EST)"),
    ],
)
def test_windows_read_as_the_page_shows(start: str | None, end: str | None, words: str) -> None:
    """Days, slots, open ends, partial dates and mixtures of them."""
    assert window(start, end) == words


def test_an_open_start_keeps_its_time_and_letters() -> None:
    """The page's Parisian example."""
    assert window("2019-01-04T10:15:00+01:00", None, PARIS) == "From Fri 4 Jan 2019, 10:15 AM (CET)"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("2020-05-08T09:33:27+07:00", "Fri 8 May 2020, 9:33 AM"),
        ("2024-12-10T09:00:59-05:00", "Tue 10 Dec 2024, 9:01 AM (EST)"),
        ("2024-12-10T09:00:58.9-05:00", "Tue 10 Dec 2024, 9:00 AM (EST)"),
        ("2024-12-10T00:00:00-05:00", "Tue 10 Dec 2024"),
        ("2024-12-10T12:00:00-05:00", "Tue 10 Dec 2024, 12:00 PM (EST)"),
        ("2024-12-10T00:30:00-05:00", "Tue 10 Dec 2024, 12:30 AM (EST)"),
        ("2024-12-10T09:00:00", "Tue 10 Dec 2024, 9:00 AM (EST)"),
        ("2024-07-10T13:00:00Z", "Wed 10 Jul 2024, 9:00 AM (EDT)"),
        ("2024-12-10T14:00:00+00:00", "Tue 10 Dec 2024, 9:00 AM (EST)"),
        ("2024-12", "in December 2024"),
        ("2024", "in 2024"),
    ],
)
def test_moments_read_as_the_page_shows(text: str, words: str) -> None:
    """Seconds round up from 59, midnight is a day, a zero offset says nothing, a bare offset has no
    letters."""
    assert moment(text) == words


@pytest.mark.parametrize(
    ("start", "end", "words"),
    [
        (
            "2024-12-11T00:00:00-05:00",
            "2024-12-20T23:59:59-05:00",
            "Between Wed 11 Dec 2024 and Fri 20 Dec 2024",
        ),
        (
            "2024-12-11T00:00:00-05:00",
            "2024-12-21T00:00:00-05:00",
            "Between Wed 11 Dec 2024 and Fri 20 Dec 2024",
        ),
        ("2024-12-11T00:00:00-05:00", "2024-12-11T23:59:00-05:00", "Wed 11 Dec 2024"),
        (None, "2024-12-20T23:59:59-05:00", "Until Fri 20 Dec 2024"),
        ("2024-12-11T09:00:00-05:00", "9999-12-31T23:59:59Z", "From Wed 11 Dec 2024, 9:00 AM (EST)"),
        ("0001-01-01T00:00:00Z", "2024-12-20", "Until Fri 20 Dec 2024"),
    ],
)
def test_whole_days_are_told_as_days(start: str | None, end: str, words: str) -> None:
    """Midnights are the edges of days, and the ends of time no limit."""
    assert window(start, end) == words


def test_the_hour_that_comes_twice_keeps_both_letters() -> None:
    """On the night of the change in autumn 1:30 comes twice."""
    words = window("2026-11-01T05:30:00Z", "2026-11-01T06:30:00Z")
    assert words == "Sun 1 Nov 2026, 1:30 AM (EDT) to 1:30 AM (EST)"


def test_the_hour_that_is_missing_is_jumped() -> None:
    """On the night of the change in spring 2 o'clock does not come."""
    assert (
        window("2027-03-14T06:30:00Z", "2027-03-14T07:30:00Z")
        == "Sun 14 Mar 2027, 1:30 AM (EST) to 3:30 AM (EDT)"
    )


def test_a_zero_offset_is_local_time_where_the_source_is_at_zero() -> None:
    """London is at zero in winter and not in summer."""
    assert moment("2024-12-10T09:00:00Z", LONDON) == "Tue 10 Dec 2024, 9:00 AM (GMT)"
    assert moment("2024-07-10T09:00:00Z", LONDON) == "Wed 10 Jul 2024, 10:00 AM (BST)"


def test_ends_with_different_bare_offsets_are_told_on_one_wall() -> None:
    """No window ends before it begins because its ends were written in different zones."""
    words = window("2024-12-10T09:00:00+05:00", "2024-12-10T00:30:00-05:00")
    assert words == "Tue 10 Dec 2024, 9:00 AM to 10:30 AM"


def test_the_place_of_care_goes_before_the_offset() -> None:
    """Chicago's patients are told Chicago's time, whatever the server writes."""
    chicago = Clock((ZoneInfo("America/Chicago"),), ZoneInfo("America/New_York"))
    assert moment("2026-12-08T10:00:00-05:00", chicago) == "Tue 8 Dec 2026, 9:00 AM (CST)"


def test_places_that_disagree_tell_no_zone() -> None:
    """Arizona and the Navajo Nation agree in winter only."""
    arizona = Clock((ZoneInfo("America/Phoenix"), ZoneInfo("America/Denver")), ZoneInfo("America/New_York"))
    assert moment("2026-12-08T17:00:00Z", arizona) == "Tue 8 Dec 2026, 10:00 AM (MST)"
    assert moment("2026-07-08T17:00:00Z", arizona) == "Wed 8 Jul 2026, 1:00 PM (EDT)"


def test_zones_without_letters_get_no_bracket() -> None:
    """The zone database writes +07 where a zone has no letters."""
    assert moment("2026-12-08T02:00:00Z", Clock((), ZoneInfo("Asia/Bangkok"))) == "Tue 8 Dec 2026, 9:00 AM"


@pytest.mark.parametrize(
    ("days", "parts", "times", "lasting", "words"),
    [
        ([0, 2], ["mornings"], [], None, "Mondays and Wednesdays, mornings"),
        ([0, 1, 2, 3, 4], [], [time(14)], timedelta(hours=3), "Weekdays between 2 PM and 5 PM"),
        ([4, 3, 2, 1, 0, 0], [], [], None, "Weekdays"),
        ([5, 6], [], [time(9, 30)], None, "Weekends at 9:30 AM"),
        ([0, 2, 4], [], [], None, "Mondays, Wednesdays and Fridays"),
        ([], ["afternoons"], [], None, "Afternoons"),
        ([], [], [time(9), time(14)], None, "At 9 AM and 2 PM"),
        (range(7), [], [], None, "Daily"),
        ([], [], [], None, None),
    ],
)
def test_weeks_read_as_the_page_shows(
    days: list[int], parts: list[str], times: list[time], lasting: timedelta | None, words: str | None
) -> None:
    """Days of the week, parts of the day, times and how long they last."""
    assert weekly_words(days, parts, times, lasting) == words


ZONES = [
    "America/New_York", "Europe/London", "Asia/Kolkata", "Australia/Lord_Howe", "Pacific/Apia", "UTC",
    "Asia/Bangkok",
]  # fmt: skip
offsets = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
instants = st.datetimes(datetime(1970, 1, 2), datetime(2090, 1, 1))
moments = st.one_of(
    st.builds(lambda value, zone: Moment("time", value.replace(tzinfo=zone)), instants, offsets),
    st.builds(lambda value: Moment("time", value), instants),
    st.builds(
        lambda value: Moment("day", value.replace(hour=0, minute=0, second=0, microsecond=0)), instants
    ),
    st.builds(lambda value: Moment("month", datetime(value.year, value.month, 1)), instants),
    st.builds(lambda value: Moment("year", datetime(value.year, 1, 1)), instants),
)
clocks = st.builds(
    lambda places, source: Clock(tuple(map(ZoneInfo, places)), ZoneInfo(source)),
    st.lists(st.sampled_from(ZONES), max_size=2),
    st.sampled_from(ZONES),
)


@given(moments, moments, clocks)
def test_any_two_moments_in_any_zone_have_words(one: Moment, other: Moment, clock: Clock) -> None:
    """Never empty, no double blank, no None, no lonely bracket."""
    first, last = sorted((one, other), key=lambda each: each.instant(clock.source))
    for words in (
        window_words(*clock.window(first, last)),
        window_words(*clock.window(first, None)),
        window_words(*clock.window(None, last)),
    ):
        assert words
        assert "  " not in words and "None" not in words and "()" not in words
        assert words == words.strip(" ,")


SPOKEN = re.compile(r"\w{3} (\d+ \w{3} \d{4}), (\d+:\d\d [AP]M)(?: \([A-Z]+\))?")


@given(instants, st.sampled_from(ZONES))
def test_the_local_time_can_be_read_back(value: datetime, zone: str) -> None:
    """What is said is the wall clock of the zone, to the minute."""
    clock = Clock((), ZoneInfo(zone))
    instant = value.replace(tzinfo=UTC)
    wall = instant.astimezone(clock.source).replace(tzinfo=None)
    rounded = wall.replace(second=0, microsecond=0) + timedelta(minutes=wall.second >= 59)
    local = clock.local(Moment("time", instant))
    assert local is not None
    if rounded.time() == time(0):
        assert moment_words(local).endswith(str(rounded.year))
        return
    match = SPOKEN.fullmatch(moment_words(local))
    assert match is not None
    assert datetime.strptime(f"{match[1]} {match[2]}", "%d %b %Y %I:%M %p") == rounded
