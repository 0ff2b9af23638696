"""How often and how many at once a server is asked, and how long we wait when it asks us to (intake)."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from random import Random

RETRIED = frozenset({429, 502, 503, 504})
"""Answers after which a read is asked once more."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one source is asked to bear. `rate` is requests a second (None: no limit), times are seconds.

    `timeout` is for one exchange; `tries` and `patience` bound what a read may cost in all, its waits
    included; of a Retry-After longer than `retry_after_cap` nothing is waited for: the read fails.
    """

    rate: float | None = 10.0
    max_in_flight: int = 8
    timeout: float = 30.0
    connect_timeout: float = 10.0
    tries: int = 4
    patience: float = 60.0
    backoff: float = 0.5
    backoff_cap: float = 8.0
    retry_after_cap: float = 30.0


class Turns:
    """Lets requests through one by one, evenly, and only so many at once."""

    def __init__(self, limits: Limits) -> None:
        self._interval = 1 / limits.rate if limits.rate else 0.0
        self._next = 0.0
        self._places = asyncio.Semaphore(limits.max_in_flight)

    async def __aenter__(self) -> None:
        """Wait for a place and a turn."""
        await self._places.acquire()
        try:
            now = time.monotonic()
            turn = max(self._next, now)
            self._next = turn + self._interval
            await asyncio.sleep(turn - now)
        except BaseException:
            self._places.release()
            raise

    def rest(self, seconds: float) -> None:
        """Nobody's turn comes before these seconds are over: the server asked one of us to wait."""
        self._next = max(self._next, time.monotonic() + seconds)

    async def __aexit__(self, *_error: object) -> None:
        """Give the place back."""
        self._places.release()


def backoff(attempt: int, limits: Limits, rng: Random) -> float:
    """Seconds before the next attempt after `attempt` of them: full jitter, growing."""
    return rng.uniform(0, min(limits.backoff_cap, limits.backoff * 2**attempt))


def retry_after(header: str | None, now: datetime) -> float | None:
    """Seconds that a Retry-After asks for, given as such or as a date (RFC 9110, section 10.2.3); None for
    none or an unreadable one. `now` is aware."""
    if header is None:
        return None
    text = header.strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())
