"""What an accounting of disclosures says of a request is what became of it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from fhir_bridge.ledger.people.audit_events import disclosure_event
from fhir_bridge.ledger.people.disclosures import Disclosure
from fhir_bridge.task_api.outcome import OutcomeClass

AT = datetime(2026, 11, 23, 12, tzinfo=UTC)


def told(outcome: str | None) -> Disclosure:
    """A request about Patient/p1 with this outcome."""
    return Disclosure(
        1, "create_task", AT, AT, None, outcome, "code", "ehr", "Patient/p1", None, "k", "Appointment/a", None
    )


@pytest.mark.parametrize("outcome", list(OutcomeClass))
def test_every_outcome_is_told_as_what_it_is(outcome: OutcomeClass) -> None:
    """None is taken for a request of which nobody knows; only an unknown one counts as a serious failure."""
    event = disclosure_event(told(str(outcome)), "http://127.0.0.1:1")
    assert "never settled" not in event.outcomeDesc
    assert (event.outcome == "8") is (outcome is OutcomeClass.UNKNOWN)
    assert (event.outcome == "0") is (outcome is OutcomeClass.ACCEPTED)


def test_a_request_that_nobody_settled_may_have_been_processed() -> None:
    """The worker died: it counts as a disclosure."""
    event = disclosure_event(told(None), "http://127.0.0.1:1")
    assert (event.outcome, "never settled" in event.outcomeDesc) == ("8", True)
