"""How single settings are written."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import PydanticCustomError

from fhir_bridge.settings.calling import ALL_DAY, calling_hours
from fhir_bridge.settings.values import duration, duration_text, http_url, phone_number, rate, size, zone


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("60s", 60),
        ("4h", 14_400),
        ("30d", 2_592_000),
        ("1h30m", 5_400),
        ("500ms", 0.5),
        (0, 0),
        ("0", 0),
        ("0s", 0),
    ],
)
def test_a_duration_has_a_unit(text: object, seconds: float) -> None:
    """Several units add up."""
    assert duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["4", 4, "4 h", "h", "", "4x", "-4h", "4h!", True, None, "4h 30m", 1.5])
def test_what_is_no_duration_is_refused(text: object) -> None:
    """A bare number may be seconds to one reader and hours to another."""
    with pytest.raises(PydanticCustomError, match="not a duration"):
        duration(text)


@pytest.mark.parametrize("text", ["36501d", "99999999999999999999d", f"{'9' * 400}h"])
def test_a_duration_is_at_most_a_hundred_years(text: str) -> None:
    """No calendar holds more: reckoning with it would end a worker."""
    with pytest.raises(PydanticCustomError, match="too long"):
        duration(text)
    assert duration("36500d") == timedelta(days=36_500)


@given(st.integers(min_value=0, max_value=10**10))
def test_a_duration_is_written_as_it_is_read(milliseconds: int) -> None:
    """`config show` prints what bridge.toml would take."""
    value = timedelta(milliseconds=milliseconds)
    assert duration(duration_text(value)) == value


@pytest.mark.parametrize(
    ("text", "octets"), [("8MiB", 8_388_608), ("100MB", 100_000_000), ("1 GiB", 1_073_741_824), ("5B", 5)]
)
def test_a_size_has_a_unit(text: str, octets: int) -> None:
    """Binary and decimal ones."""
    assert size(text) == octets


@pytest.mark.parametrize("text", ["8", 8, "8 mb", "8iB", "MiB", ""])
def test_what_is_no_size_is_refused(text: object) -> None:
    """Nothing is guessed."""
    with pytest.raises(PydanticCustomError, match="not a size"):
        size(text)


@pytest.mark.parametrize(("text", "a_second"), [("10/s", 10), ("600/min", 10), ("3600/h", 1), ("86400/d", 1)])
def test_a_rate_is_a_number_and_a_period(text: str, a_second: float) -> None:
    """Given as a number a second."""
    assert rate(text) == a_second


@pytest.mark.parametrize("text", ["0/s", "10", 10, "10/week", "-1/s", f"{'9' * 400}/s"])
def test_what_is_no_rate_is_refused(text: object) -> None:
    """No rate at all is written by leaving the key out."""
    with pytest.raises(PydanticCustomError, match="not a rate"):
        rate(text)


@pytest.mark.parametrize(
    "url", ["https://api.example", "http://localhost:8080/fhir", "http://127.0.0.1", "http://[::1]:9/x"]
)
def test_an_address_is_https_or_on_this_machine(url: str) -> None:
    """A slash at the end is dropped."""
    assert http_url(url + "/") == url


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://ehr.example", "plain http"),
        ("http://localhost.evil.example", "plain http"),
        ("http://127.0.0.1.evil.example", "plain http"),
        ("ftp://ehr.example", "not a web address"),
        ("ehr.example/fhir", "not a web address"),
        ("https://?canary", "not a web address"),
        ("https://[::1", "not a web address"),
        ("https://user:pw@ehr.example", "user name"),
    ],
)
def test_what_is_no_safe_address_is_refused(url: str, problem: str) -> None:
    """Patient data never travels in the clear (intake, "Reading from a FHIR server")."""
    with pytest.raises(PydanticCustomError, match=problem) as error:
        http_url(url)
    assert url not in str(error.value)


def test_a_zone_is_an_iana_name() -> None:
    """Letters like EST5 or a path are none."""
    assert str(zone("America/New_York")) == "America/New_York"
    for name in ("America/NewYork", "../zone", ""):
        with pytest.raises(PydanticCustomError, match="none of the IANA"):
            zone(name)


def test_a_pilots_number_is_e164() -> None:
    """Another form would never match a called number."""
    assert phone_number("+15551234567") == "+15551234567"
    for number in ("5551234567", "+0555", "+1 555 123 4567"):
        with pytest.raises(PydanticCustomError, match="not a phone number"):
            phone_number(number)


MONDAY, SATURDAY, SUNDAY = date(2026, 11, 23), date(2026, 11, 28), date(2026, 11, 29)


def test_one_text_is_the_hours_of_every_day() -> None:
    """From is in, to is out, in minutes since midnight."""
    hours = calling_hours("08:00-21:00")
    assert [hours.of(day) for day in (MONDAY, SATURDAY, SUNDAY)] == [((480, 1260),)] * 3
    assert str(hours) == "08:00-21:00"


def test_off_is_any_hour() -> None:
    """For a test endpoint."""
    assert calling_hours("off").of(SUNDAY) == ALL_DAY
    assert str(calling_hours("off")) == "off"


def test_days_have_hours_of_their_own() -> None:
    """A day that is not named has the weekend's, else the weekday's; a holiday Sunday's."""
    hours = calling_hours(
        {
            "weekday": "10:00-13:00, 14:00-24:00",
            "weekend": "10:00-18:00",
            "sunday": "closed",
            "holidays": ["12-25", "2026-11-26"],
        }
    )
    assert hours.of(MONDAY) == ((600, 780), (840, 1440))
    assert hours.of(SATURDAY) == ((600, 1080),)
    assert hours.of(SUNDAY) == ()
    assert hours.of(date(2026, 11, 26)) == hours.of(date(2031, 12, 25)) == ()
    assert hours.of(date(2027, 11, 26)) == hours.weekday
    assert str(hours).startswith("weekday 10:00-13:00, 14:00-24:00, saturday 10:00-18:00, sunday closed")


def test_a_holiday_may_have_hours_and_fall_on_a_leap_day() -> None:
    """TOML's own dates are dates too."""
    hours = calling_hours({"weekday": "08:00-20:00", "holiday": "10:00-12:00", "holidays": ["02-29", MONDAY]})
    assert hours.of(date(2028, 2, 29)) == hours.of(MONDAY) == ((600, 720),)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("8-21", "not hours"),
        ("21:00-08:00", "not hours"),
        ("08:00-08:00", "not hours"),
        ("08:00-24:30", "not hours"),
        ("08:60-21:00", "not hours"),
        ("14:00-20:00, 08:00-12:00", "not hours"),
        ("08:00-14:00, 13:00-20:00", "not hours"),
        ("", "not hours"),
        (8, "not hours"),
        ({"weekday": "off"}, "weekday: not hours"),
        ({"weekend": "08:00-12:00"}, "weekday is missing"),
        ({"weekday": "closed", "friday": "closed"}, "friday is none of"),
        ({"weekday": "08:00-12:00", "holidays": ["Christmas"]}, "holidays: a list of dates"),
        ({"weekday": "08:00-12:00", "holidays": "12-25"}, "holidays: a list of dates"),
        ({"weekday": "08:00-12:00", "holidays": ["02-30"]}, "holidays: a list of dates"),
    ],
)
def test_what_is_no_calling_hours_is_refused(value: object, problem: str) -> None:
    """A night shift written backwards must not ring at night."""
    with pytest.raises(ValueError, match=problem):
        calling_hours(value)
