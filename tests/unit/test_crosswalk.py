"""Whether two drafts of a patient under one identity can be the same person's."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fhir_bridge.ledger.arrivals.sameness import fingerprint, is_another

SALT = b"salt" * 16
KNOWN = {"first_name": "Juniper Rae", "last_name": "Sample", "date_of_birth": "1980-01-01"}


def differs(known: bytes, told: bytes) -> bool:
    """Whether they are two people's; the same once the known one is cleared."""
    found = is_another(known, None, told, SALT)
    assert is_another(None, fingerprint(known, SALT), told, SALT) is found
    return found


def draft(**told: Any) -> bytes:
    """The JSON of a draft."""
    return json.dumps({"phone_number": "+12125550101", **KNOWN, **told}).encode()


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"phone_number": "+12125550102"},
        {"last_name": "Married"},
        {"date_of_birth": "1980-10-01"},
        {"first_name": "June"},
        {"first_name": "juniper", "last_name": "Married"},
        {"last_name": "Married", "date_of_birth": None},
    ],
)
def test_one_difference_is_a_correction(told: dict[str, Any]) -> None:
    """A marriage, a date put right, another spelling; what is not known differs in nothing."""
    assert not differs(draft(), draft(**told))


@pytest.mark.parametrize(
    "told",
    [
        {"last_name": "Other", "date_of_birth": "1950-05-05"},
        {"first_name": "Otto", "last_name": "Other"},
        {"first_name": "Pip", "date_of_birth": "2018-05-05"},
        {"first_name": "Otto", "last_name": "Other", "date_of_birth": None},
    ],
)
def test_two_differences_are_another_person(told: dict[str, Any]) -> None:
    """Two of last name, first name and birth date."""
    assert differs(draft(), draft(**told))


def test_of_whom_nothing_is_kept_nobody_is_another() -> None:
    """Such as one whom an import of the crosswalk brought."""
    assert not is_another(None, None, draft(), SALT)


def test_a_fingerprint_shows_nobody() -> None:
    """It is keyed by the ledger's salt: who has a list of names cannot try them."""
    found = fingerprint(draft(), SALT)
    assert not any(part in found for part in ("juniper", "sample", "1980"))
    assert found != fingerprint(draft(), b"other" * 16)
