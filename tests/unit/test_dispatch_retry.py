"""When to try again, when to give up, and how many go in a second."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from fhir_bridge.dispatch.rate import RateLimit
from fhir_bridge.dispatch.retry import is_used_up, next_try
from fhir_bridge.settings.tables import RetrySettings
from fhir_bridge.task_api.outcome import Outcome, OutcomeClass

NOW = datetime(2026, 11, 23, 15, tzinfo=UTC)
RETRY = RetrySettings()
BUSY = Outcome(OutcomeClass.NOT_PROCESSED, 408, "http-408")

attempts = st.integers(1, 10_000)
seeds = st.integers()


@given(attempts, seeds)
def test_the_wait_is_within_full_jitter(attempt: int, seed: int) -> None:
    """From nothing to base doubled for each attempt, never over the cap."""
    wait = next_try(attempt, BUSY, NOW, Random(seed), RETRY) - NOW
    assert timedelta(0) <= wait <= min(RETRY.cap, RETRY.base * 2 ** min(attempt - 1, 30))


@given(attempts, seeds)
def test_the_same_chance_gives_the_same_wait(attempt: int, seed: int) -> None:
    """Pure: nothing but its arguments decides."""
    assert next_try(attempt, BUSY, NOW, Random(seed), RETRY) == next_try(
        attempt, BUSY, NOW, Random(seed), RETRY
    )


@given(attempts, seeds, st.floats(0, 1e6))
def test_retry_after_wins_up_to_its_cap(attempt: int, seed: int, seconds: float) -> None:
    """The endpoint knows best, but not for longer than an hour."""
    outcome = Outcome(OutcomeClass.NOT_PROCESSED, 429, "http-429", retry_after=seconds)
    expected = NOW + min(timedelta(seconds=seconds), RETRY.retry_after_cap)
    assert next_try(attempt, outcome, NOW, Random(seed), RETRY) == expected


def test_waits_are_spread() -> None:
    """A thousand intents that failed together do not come back together."""
    waits = {next_try(6, BUSY, NOW, Random(seed), RETRY) for seed in range(1000)}
    assert len(waits) == 1000


def test_a_refused_key_is_no_fault_of_the_intent() -> None:
    """It waits for the destination, not for itself."""
    refused = Outcome(OutcomeClass.KEY_REFUSED, 401, "http-401")
    assert next_try(5, refused, NOW, Random(0), RETRY) == NOW


@given(st.timedeltas(timedelta(0), timedelta(days=3)))
def test_the_deadline_counts_from_the_first_attempt(since: timedelta) -> None:
    """A day, whatever happened in it; without an attempt there is none."""
    assert is_used_up(NOW - since, NOW, RETRY) == (since >= RETRY.deadline)
    assert not is_used_up(None, NOW, RETRY)


async def test_no_more_requests_go_than_the_rate_allows() -> None:
    """Evenly, however many ask at once; what did not go while nobody asked is not made up for."""
    rate = RateLimit(200)
    for _ in range(2):
        begun = time.monotonic()
        await asyncio.gather(*(rate.wait() for _ in range(6)))
        assert time.monotonic() - begun >= 5 / 200
        await asyncio.sleep(0.05)


async def test_without_a_rate_nobody_waits() -> None:
    """And nobody need look again at what may have come meanwhile."""
    assert await RateLimit(None).wait() is False
    assert await RateLimit(1000).wait() is True
