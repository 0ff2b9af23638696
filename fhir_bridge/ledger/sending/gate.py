"""What holds every request to the destination back: breaker, stop and pause; pure (delivery)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from fhir_bridge.task_api.outcome import Outcome, OutcomeClass

DEFAULT_PAUSE = timedelta(seconds=30)
"""After a 429 that does not say for how long."""


@dataclass(frozen=True, slots=True)
class Breaker:
    """Requests in a row without a usable answer that open it, for how long, and how often a
    stop is probed.
    """

    failures: int = 10
    open_for: timedelta = timedelta(seconds=30)
    probe_every: timedelta = timedelta(minutes=1)


BREAKER = Breaker()


@dataclass(frozen=True, slots=True)
class Gate:
    """The destination's row. Instants are aware UTC; `paused_sources` holds "" where a person paused all of
    them.
    """

    failures: int = 0
    open_until: datetime | None = None
    paused_until: datetime | None = None
    stopped_at: datetime | None = None
    stopped_by: str | None = None
    probed_at: datetime | None = None
    paused_sources: frozenset[str] = frozenset()

    def closed_because(self, now: datetime) -> str | None:
        """Why nothing at all may be sent at `now`; None when something may."""
        if "" in self.paused_sources:
            return "paused"
        if self.stopped_at is not None:
            return "key-refused"
        if self.open_until is not None:
            return "breaker-open"
        if self.paused_until is not None and now < self.paused_until:
            return "endpoint-busy"
        return None

    def probe_due(self, now: datetime, breaker: Breaker = BREAKER) -> bool:
        """Whether it is time to ask if the endpoint is alive, and takes our key, again."""
        if self.stopped_at is not None:
            return now - (self.probed_at or self.stopped_at) >= breaker.probe_every
        return self.open_until is not None and now >= self.open_until

    def opens_at(self, now: datetime) -> datetime | None:
        """When it is worth looking again: `now` where it is open; None where a person, or our
        key, must mend it.
        """
        if "" in self.paused_sources or self.stopped_at is not None:
            return None
        return max(now, self.open_until or now, self.paused_until or now)

    def probed(self, now: datetime, breaker: Breaker = BREAKER) -> Gate:
        """The gate while one worker asks, so that no other does."""
        reopened = now + breaker.open_for if self.open_until is not None else None
        return replace(self, open_until=reopened, probed_at=now)


def after(gate: Gate, outcome: Outcome, now: datetime, breaker: Breaker = BREAKER) -> Gate:
    """The gate after one more outcome of a POST."""
    if outcome.kind is OutcomeClass.KEY_REFUSED:
        return replace(gate, failures=0, stopped_at=gate.stopped_at or now, stopped_by=outcome.error)
    if outcome.pauses_destination:
        wait = DEFAULT_PAUSE if outcome.retry_after is None else timedelta(seconds=outcome.retry_after)
        return replace(gate, failures=0, paused_until=max(gate.paused_until or now, now + wait))
    if _is_failure(outcome):
        failures = gate.failures + 1
        opens = failures >= breaker.failures and gate.open_until is None
        return replace(
            gate, failures=failures, open_until=now + breaker.open_for if opens else gate.open_until
        )
    return gate if gate.failures == 0 else replace(gate, failures=0)


def after_probe(gate: Gate, outcome: Outcome, now: datetime, breaker: Breaker = BREAKER) -> Gate:
    """The gate after the probe: wide open when the endpoint is alive and takes our key."""
    if outcome.kind is OutcomeClass.ACCEPTED:
        return replace(gate, failures=0, open_until=None, stopped_at=None, stopped_by=None, probed_at=now)
    if outcome.kind is OutcomeClass.KEY_REFUSED:
        stopped_by = outcome.error
        return replace(
            gate, open_until=None, stopped_at=gate.stopped_at or now, stopped_by=stopped_by, probed_at=now
        )
    return gate.probed(now, breaker)


def _is_failure(outcome: Outcome) -> bool:
    """An outcome we know nothing of, or a connection that never came to be."""
    return outcome.kind is OutcomeClass.UNKNOWN or outcome.status is None
