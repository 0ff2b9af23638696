"""Whether two drafts of a patient under one identity can be the same person's."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fhir_bridge.ledger.crosswalk import is_another

KNOWN = {"first_name": "Juniper Rae", "last_name": "Sample", "date_of_birth": "1980-01-01"}


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
    assert not is_another(draft(), draft(**told))


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
    assert is_another(draft(), draft(**told))


def test_a_draft_that_retention_cleared_tells_nothing() -> None:
    """Nor one that an import of the crosswalk never had."""
    assert not is_another(None, draft())
