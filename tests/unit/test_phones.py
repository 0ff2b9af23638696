from collections.abc import Callable
from datetime import datetime

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_bridge.fhir.datatypes import ContactPoint, Extension, Period
from fhir_bridge.mapping.phones import EXTENSION, choose_phone, numbers, parse, read_phone
from fhir_bridge.mapping.profile import Profile


def phone(value: str, use: str | None = None, **more: object) -> ContactPoint:
    """A phone number."""
    return ContactPoint(system="phone", value=value, use=use, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "e164", "extension"),
    [
        ("(646) 555-0101", "+16465550101", None),
        ("tel:+1-646-555-0101", "+16465550101", None),
        ("tel:+1-646-555-0101;ext=42", "+16465550101", "42"),
        ("646.555.0101 ext. 42", "+16465550101", "42"),
        ("646-555-0101 x7", "+16465550101", "7"),
        ("1-800-FLOWERS", "+18003569377", None),
        ("+44 20 7946 0018", "+442079460018", None),
        ("+15555555555", "+15555555555", None),
    ],
)
def test_numbers_as_people_write_them(us: Profile, value: str, e164: str, extension: str | None) -> None:
    """mapping, section 5: URIs, letters, blanks and extensions are normal."""
    found = read_phone(phone(value), 0, None, us)
    assert found is not None
    assert (found.e164, found.extension) == (e164, extension)


@pytest.mark.parametrize(
    "value",
    ["555-0101", "736-5000", "12", "(046) 555-0101", "(646) 155-0101", "646-XXX-XXXX", "646-555-****",
     "${phone}", "TBC", "call him", "646-555-01019999999"],
)  # fmt: skip
def test_numbers_nobody_may_dial(us: Profile, value: str) -> None:
    """Local-only, impossible, refused by the North American rule, masked."""
    assert read_phone(phone(value), 0, None, us) is None


def test_a_number_foreign_to_its_region_is_tried_at_the_sources(us: Profile) -> None:
    """Possible but not valid in Italy, valid in the source's country."""
    found = read_phone(phone("212-736-5000"), 0, "IT", us)
    assert found is not None
    assert found.e164 == "+12127365000"
    assert found.notes == ("phone-region-of-source",)


def test_a_number_that_is_assigned_nowhere_stays_its_own_regions(us: Profile) -> None:
    """That it is possible at the source says nothing of whose it is."""
    found = read_phone(phone("555-555-5555"), 0, "IE", us)
    assert found is not None
    assert (found.e164, found.notes) == ("+3535555555555", ("phone-not-assigned",))


def test_a_number_impossible_in_its_own_region_is_not_tried_elsewhere(us: Profile) -> None:
    """It would be a stranger's."""
    assert read_phone(phone("12127365000123"), 0, "GB", us) is None
    assert read_phone(phone("7946 0018"), 0, "FR", us) is None


def test_a_number_longer_than_e164_is_none(profile_of: Callable[..., Profile]) -> None:
    """German numbers may be; the endpoint takes fifteen digits."""
    german = profile_of("DE", "Europe/Berlin")
    assert read_phone(phone("0123456789012345"), 0, None, german) is None
    assert read_phone(phone("01234567890123"), 0, None, german) is not None


def test_phone_check_valid_refuses_what_is_merely_possible(profile_of: Callable[..., Profile]) -> None:
    """The stricter setting asks for an assigned range."""
    strict = profile_of(phone_check="valid")
    assert read_phone(phone("+15555555555"), 0, None, strict) is None
    assert read_phone(phone("212-736-5000"), 0, None, strict) is not None


def test_an_extension_of_its_own_counts(us: Profile) -> None:
    """The contactpoint-extension."""
    point = phone("212-736-5000", extension=(Extension(url=EXTENSION, value_string="42"),))
    found = read_phone(point, 0, None, us)
    assert found is not None and found.extension == "42"


def test_the_order_of_numbers(us: Profile, now: datetime) -> None:
    """Phone before sms, rank, then mobile, home, none, temp; work last; old ones never, nor those that are
    not surely current: to the end of their last day."""
    points = [
        ContactPoint(system="sms", value="1", use="mobile"),
        phone("2", "work"),
        phone("3", "temp"),
        phone("4"),
        phone("5", "home"),
        phone("6", "mobile"),
        phone("7", "old"),
        phone("8", "home", period=Period(end="2026-01-01")),
        phone("9", "home", period=Period(start="2027-01-01")),
        phone("12", "home", period=Period(end="in spring")),
        phone("13", "home", rank=2, period=Period(end=f"{now:%Y-%m-%d}")),
        ContactPoint(system="sms", value="14", use="mobile", rank=1),
        phone("10", "home", rank=1),
        ContactPoint(system="fax", value="11"),
        ContactPoint(system="email", value="a@example.com"),
        phone("${phone}", "mobile"),
    ]
    assert [point.value for _, point in numbers(points, us, now)] == [
        "10",
        "13",
        "6",
        "5",
        "4",
        "3",
        "2",
        "14",
        "1",
    ]


def test_codes_in_another_case_are_read(us: Profile, now: datetime) -> None:
    """mapping, section 16: `Phone`, `Mobile`."""
    point = ContactPoint(system="Phone", use="Mobile", value="212-736-5000")
    found = choose_phone([point], None, us, now)
    assert found is not None and "code-case" in found.notes


def test_the_first_number_that_can_be_called_is_taken(us: Profile, now: datetime) -> None:
    """A mobile number that is impossible gives way to the home number."""
    found = choose_phone([phone("12", "mobile"), phone("212-736-5000", "home")], None, us, now)
    assert found is not None and found.index == 1


AMERICAN = st.builds(
    lambda country, area, bracketed, first, exchange, second, line: (
        f"{country}{f'({area})' if bracketed else area}{first}{exchange:03}{second}{line:04}"
    ),
    st.sampled_from(["", "+1", "+1 ", "+1-", "1 ", "+44 "]),
    st.one_of(
        st.sampled_from([212, 242, 340, 416, 500, 523, 671, 684, 787, 800, 900]), st.integers(100, 999)
    ),
    st.booleans(),
    st.sampled_from(["", " ", ".", "-", "  "]),
    st.integers(0, 999),
    st.sampled_from(["", " ", ".", "-"]),
    st.integers(0, 9999),
)


@given(AMERICAN, st.sampled_from([None, "US", "CA", "GB", "DE", "AG"]))
def test_american_numbers_are_read_as_the_library_reads_them(value: str, region: str | None) -> None:
    """Read by a pattern of our own or by the library, a number is the same, and as valid."""
    try:
        number = phonenumbers.parse(value, region)
    except phonenumbers.NumberParseException:
        assert parse(value, region) is None
        return
    found = parse(value, region)
    assert found is not None
    assert found.e164 == phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    assert (found.valid, found.extension) == (phonenumbers.is_valid_number(number), None)


@given(
    st.sampled_from(sorted(phonenumbers.SUPPORTED_REGIONS)), st.text("0123456789", min_size=5, max_size=11)
)
def test_a_number_is_as_valid_as_the_library_says(region: str, digits: str) -> None:
    """That its own region is asked first changes no answer."""
    try:
        number = phonenumbers.parse(digits, region)
    except phonenumbers.NumberParseException:
        return
    found = parse(digits, region)
    assert found is not None
    assert found.valid == phonenumbers.is_valid_number(number)
