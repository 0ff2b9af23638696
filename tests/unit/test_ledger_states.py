"""The states of an intent: the manual's figure, the table of transitions and the database's CHECK are one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from sqlalchemy import CheckConstraint

from fhir_bridge.ledger.database.tables import intents
from fhir_bridge.ledger.sending.settling import STATE_AFTER
from fhir_bridge.ledger.states import (
    DECIDED_AGAIN,
    OUT_OF_HAND,
    TRANSITIONS,
    UNDECIDED,
    State,
    figure,
    starts_of,
)
from fhir_bridge.task_api.outcome import OutcomeClass

MANUAL = Path(__file__).parents[2] / "docs" / "delivery.md"


def test_the_manuals_figure_is_the_table() -> None:
    """Whoever changes one must change the other."""
    found = re.search(r"```mermaid\n(.*?)\n```", MANUAL.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    assert found[1] == figure()


def test_the_database_knows_exactly_these_states() -> None:
    """The CHECK lists the enum's words."""
    checks = [
        c for c in intents.constraints if isinstance(c, CheckConstraint) and "state IN" in str(c.sqltext)
    ]
    (check,) = checks
    assert set(re.findall(r"'(\w+)'", str(check.sqltext))) == {state.value for state in State}


def test_every_state_is_reached_and_explained() -> None:
    """No state is an island, and the manual has a row for each."""
    manual = MANUAL.read_text(encoding="utf-8")
    for state in State:
        assert any(transition.end is state for transition in TRANSITIONS)
        assert f"| `{state}` |" in manual


def test_what_may_have_been_sent_never_becomes_ready_but_by_an_operator_or_proof() -> None:
    """The only ways back to ready are a certain non-delivery, and a person."""
    ways = {(t.start, t.cause) for t in TRANSITIONS if t.end is State.READY and t.start}
    assert ways == {
        (State.SENDING, "certainly not processed, or our key refused"),
        (State.CANCELLED, "operator"),
        (State.IN_DOUBT, "operator says resend"),
    }
    assert not UNDECIDED & (OUT_OF_HAND | {State.DONE, State.CANCELLED})
    assert DECIDED_AGAIN <= UNDECIDED


@pytest.mark.parametrize("kind", OutcomeClass)
def test_every_outcome_takes_an_arrow_of_the_figure(kind: OutcomeClass) -> None:
    """Whatever comes back, the settlement is a transition from sending."""
    assert any(t.start is State.SENDING and t.end is STATE_AFTER[kind] for t in TRANSITIONS)


def test_an_arrow_that_is_not_in_the_figure_has_no_starts() -> None:
    """A statement cannot invent a transition."""
    with pytest.raises(KeyError):
        starts_of(State.READY, "because")
