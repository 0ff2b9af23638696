"""National Provider Identifiers are checked and never repaired."""

import pytest

from fhir_bridge.fhir.datatypes import CodeableConcept, Coding, Identifier
from fhir_bridge.mapping.npi import find_npi, is_valid_npi

US_NPI = "http://hl7.org/fhir/sid/us-npi"
TYPE_NPI = CodeableConcept(coding=(Coding(code="NPI"),))


@pytest.mark.parametrize(
    ("number", "valid"),
    [
        ("1234567893", True),
        ("1234567890", False),
        ("0987654321", False),
        ("9941339108", False),
        ("123456789", False),
        ("12345678930", False),
        ("１２３４５６７８９３", False),
    ],
)
def test_the_check_digit_decides(number: str, valid: bool) -> None:
    """Ten ASCII digits, the first 1 or 2, Luhn over 80840 and the number."""
    assert is_valid_npi(number) is valid


def test_the_first_valid_one_counts_and_failing_ones_are_told() -> None:
    """Other systems are not looked at."""
    found = find_npi(
        (
            Identifier(system="http://other.example", value="1234567893"),
            Identifier(system=US_NPI, value="1234567890"),
            Identifier(system=US_NPI, value="1234567893"),
        ),
        frozenset({US_NPI}),
    )
    assert (found.number, found.index, found.failing) == ("1234567893", 2, (1,))


def test_another_countrys_number_of_type_npi_is_no_failing_one() -> None:
    """Australia's HPI-I has this type and sixteen digits."""
    found = find_npi(
        (Identifier(system="http://hpii.example", type=TYPE_NPI, value="8003619900015717"),),
        frozenset({US_NPI}),
    )
    assert (found.number, found.failing) == (None, ())


def test_an_npi_by_type_counts() -> None:
    """Many systems say what it is by its type alone."""
    assert (
        find_npi((Identifier(type=TYPE_NPI, value="1234567893"),), frozenset({US_NPI})).number == "1234567893"
    )
