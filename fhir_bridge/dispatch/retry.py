"""When to try again: full-jitter exponential backoff, unless the endpoint says when; pure (delivery)."""

from __future__ import annotations

from datetime import datetime, timedelta
from random import Random

from fhir_bridge.settings.tables import RetrySettings
from fhir_bridge.task_api.outcome import Outcome, OutcomeClass

_MOST_DOUBLINGS = 40


def next_try(attempt: int, outcome: Outcome, now: datetime, rng: Random, retry: RetrySettings) -> datetime:
    """The earliest moment (aware UTC) of the next attempt after the `attempt`th (from 1) was not processed.

    `Retry-After` wins, up to its cap. Where our key was refused the destination stops as a whole, so the
    intent itself waits for nothing.
    """
    if outcome.kind is OutcomeClass.KEY_REFUSED:
        return now
    if outcome.retry_after is not None:
        return now + min(timedelta(seconds=outcome.retry_after), retry.retry_after_cap)
    # Doubled no further than makes a difference: 2**1000 seconds is no timedelta.
    ceiling = min(retry.cap, retry.base * 2 ** min(max(attempt - 1, 0), _MOST_DOUBLINGS))
    return now + timedelta(seconds=rng.uniform(0, ceiling.total_seconds()))


def is_used_up(first_attempt_at: datetime | None, now: datetime, retry: RetrySettings) -> bool:
    """Whether the deadline since the first attempt has passed."""
    return first_attempt_at is not None and now - first_attempt_at >= retry.deadline
