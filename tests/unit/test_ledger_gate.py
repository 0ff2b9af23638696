"""Breaker, stop and pause as pure functions of what came back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from fhir_bridge.ledger.sending.gate import Breaker, Gate, after, after_probe
from fhir_bridge.task_api.outcome import Outcome, OutcomeClass

NOW = datetime(2026, 11, 23, 15, tzinfo=UTC)
LOST = Outcome(OutcomeClass.UNKNOWN, error="read-failed")
NO_CONNECTION = Outcome(OutcomeClass.NOT_PROCESSED, error="connect-failed")
CREATED = Outcome(OutcomeClass.ACCEPTED, 201, id="x")
ALIVE = Outcome(OutcomeClass.ACCEPTED, 404)
REFUSED = Outcome(OutcomeClass.REFUSED, 400, "http-400")
BAD_KEY = Outcome(OutcomeClass.KEY_REFUSED, 401, "http-401")


def after_all(*outcomes: Outcome) -> Gate:
    """The gate after these outcomes, one after the other."""
    gate = Gate()
    for outcome in outcomes:
        gate = after(gate, outcome, NOW)
    return gate


def test_ten_failures_in_a_row_open_the_breaker() -> None:
    """Lost answers and connections that never came to be count alike; nine are not ten."""
    assert after_all(*[LOST, NO_CONNECTION] * 4, LOST).closed_because(NOW) is None
    opened = after_all(*[LOST, NO_CONNECTION] * 5)
    assert opened.closed_because(NOW) == "breaker-open"
    assert opened.open_until == NOW + timedelta(seconds=30)


def test_any_usable_answer_begins_the_count_anew() -> None:
    """A refusal is an answer too."""
    for answer in (CREATED, REFUSED):
        assert after_all(*[LOST] * 9, answer, *[LOST] * 9).closed_because(NOW) is None


def test_the_breaker_stays_open_until_a_probe_says_otherwise() -> None:
    """Time alone sends no task: first a question is asked, and while it is asked nobody else asks."""
    gate, later = after_all(*[LOST] * 10), NOW + timedelta(seconds=30)
    assert not gate.probe_due(later - timedelta(seconds=1))
    assert gate.probe_due(later)
    assert gate.closed_because(later) == "breaker-open"
    assert not gate.probed(later).probe_due(later)
    assert after_probe(gate, LOST, later).open_until == later + timedelta(seconds=30)
    assert after_probe(gate, ALIVE, later).closed_because(later) is None


def test_a_refused_key_stops_until_it_is_taken() -> None:
    """Asked each minute; an endpoint that is alive but still refuses changes nothing."""
    gate = after_all(CREATED, BAD_KEY)
    assert gate.closed_because(NOW) == "key-refused"
    assert not gate.probe_due(NOW + timedelta(seconds=59))
    minute = NOW + timedelta(minutes=1)
    assert gate.probe_due(minute)
    assert after_probe(gate, BAD_KEY, minute).closed_because(minute) == "key-refused"
    assert after_probe(gate, LOST, minute).closed_because(minute) == "key-refused"
    assert after_probe(gate, ALIVE, minute).closed_because(minute) is None


def test_a_429_pauses_for_as_long_as_it_says() -> None:
    """The longest pause asked for counts."""
    long = Outcome(OutcomeClass.NOT_PROCESSED, 429, "http-429", retry_after=120)
    short = Outcome(OutcomeClass.NOT_PROCESSED, 429, "http-429", retry_after=1)
    gate = after_all(long, short)
    assert gate.closed_because(NOW + timedelta(seconds=119)) == "endpoint-busy"
    assert gate.closed_because(NOW + timedelta(seconds=120)) is None


def test_a_person_closes_it_for_good() -> None:
    """A pause of everything has no end of its own; one of a source closes nothing for the others."""
    everything = Gate(paused_sources=frozenset({""}))
    assert (everything.closed_because(NOW), everything.opens_at(NOW)) == ("paused", None)
    assert Gate(paused_sources=frozenset({"ehr"})).closed_because(NOW) is None


def test_the_site_chooses_how_patient_the_breaker_is() -> None:
    """Three failures, for five seconds."""
    breaker = Breaker(3, timedelta(seconds=5))
    gate = Gate()
    for _ in range(3):
        gate = after(gate, LOST, NOW, breaker)
    assert gate.opens_at(NOW) == NOW + timedelta(seconds=5)
