"""What a person is told of a reason says what happened and what to do, and never the wrong thing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fhir_bridge.cli.advice import meaning

DELIVERY = Path(__file__).parents[2] / "docs" / "delivery.md"


def reasons_of_the_manual() -> set[str]:
    """The codes of the two tables of reasons in docs/delivery.md."""
    sections = DELIVERY.read_text().split("\n## ")
    tables = [section for section in sections if section.startswith("Reasons while")]
    rows = re.findall(r"^\| ((?:`[a-z-]+`(?:, )?)+) \|", "\n".join(tables), re.MULTILINE)
    return {code for row in rows for code in re.findall(r"[a-z-]+", row)}


def test_the_manual_has_tables_of_reasons() -> None:
    """Else the next test proves nothing."""
    assert {"hold", "calling-hours", "retries-used-up", "request-invalid"} <= reasons_of_the_manual()


@pytest.mark.parametrize(
    "reason",
    sorted(
        reasons_of_the_manual()
        | {"lease-ran-out", "revoked-after-send", "patient-changed-after-send", "also-sent"}
    ),
)
def test_every_reason_of_delivery_is_put_in_words(reason: str) -> None:
    """`status` and `worklist` leave nobody alone with a code."""
    assert meaning(reason)


def test_a_request_that_never_left_is_not_said_to_have() -> None:
    """It is a fault of ours, and nobody need ask the vendor whether somebody was phoned."""
    assert "not sent" in (meaning("request-invalid") or "")
    assert "may have been processed" in (meaning("request-failed") or "")
