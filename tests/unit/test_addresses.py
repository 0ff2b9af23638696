from collections.abc import Callable
from datetime import datetime

import pytest

from fhir_bridge.fhir.datatypes import Address, Period
from fhir_bridge.mapping.addresses import complete_address, country_code, ordered_addresses
from fhir_bridge.mapping.profile import Profile

LANGUAGES = ("en", "de", "fr", "es")
FULL = {"line": ("12 Sample St", "", "Apt 4"), "city": "Springfield", "postal_code": "12345"}


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("US", "US"), ("us", "US"), ("USA", "US"), ("U.S.A.", "US"), ("United States", "US"), ("NLD", "NL"),
        ("AUS", "AU"), ("Australia", "AU"), ("Deutschland", "DE"), ("España", "ES"), ("UK", "GB"),
        ("840", "US"), ("United Kingdom", "GB"), ("Can", "CA"), ("Narnia", None), ("XX", None),
    ],
)  # fmt: skip
def test_countries_as_people_write_them(text: str, code: str | None) -> None:
    """Name, alpha-3, numeric or alpha-2; what is none of them is unknown, never guessed."""
    assert country_code(text, LANGUAGES) == code


def test_a_complete_address(us: Profile) -> None:
    """Lines joined, blank ones dropped; a missing country is the source's."""
    found = complete_address(Address(state="NY", **FULL), us)  # type: ignore[arg-type]
    assert found.address is not None
    assert found.address.to_wire() == {
        "street_name": "12 Sample St, Apt 4",
        "city": "Springfield",
        "state": "NY",
        "postal_code": "12345",
        "country_code": "US",
    }


def test_the_district_stands_in_for_the_state_unless_it_is_the_city(us: Profile) -> None:
    """Never the city twice; but New York, New York is a place."""
    district = complete_address(Address(district="Kent", **FULL), us)  # type: ignore[arg-type]
    city_again = complete_address(Address(district="springfield", **FULL), us)  # type: ignore[arg-type]
    namesake = complete_address(Address(state="Springfield", **FULL), us)  # type: ignore[arg-type]
    assert district.address is not None and district.address.state == "Kent"
    assert city_again.missing == ("state",)
    assert namesake.address is not None


def test_what_is_missing_is_named_as_fhir_names_it(us: Profile) -> None:
    """An unreadable country is missing, not the source's; nothing is taken from `text`."""
    found = complete_address(Address(text="12 Sample St, Springfield", country="Narnia"), us)
    assert found.address is None
    assert found.missing == ("line", "city", "state", "postalCode", "country")


@pytest.mark.parametrize("country", ["United States of America", "U.S.A.", "us", None, ""])
def test_a_country_has_many_names(us: Profile, country: str | None) -> None:
    """Also those CLDR does not list; missing is the source's."""
    found = complete_address(Address(state="NY", country=country, **FULL), us)  # type: ignore[arg-type]
    assert found.address is not None and found.address.country_code == "US"


def test_home_counts_first_and_old_never(us: Profile, now: datetime) -> None:
    """mapping, section 6: current home first."""
    addresses = [
        Address(use="old", city="A"),
        Address(use="work", city="B"),
        Address(city="C"),
        Address(use="home", city="D", period=Period(end="2020-01-01")),
        Address(use="home", city="E"),
    ]
    assert [address.city for _, address in ordered_addresses(addresses, us, now)] == ["E", "C", "B"]


def test_a_caller_may_ask_for_work_addresses_only(profile_of: Callable[..., Profile], now: datetime) -> None:
    """A practitioner's home is nobody's business."""
    addresses = [Address(use="home", city="A"), Address(use="work", city="B")]
    assert [i for i, _ in ordered_addresses(addresses, profile_of(), now, ("work",))] == [1]
