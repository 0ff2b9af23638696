"""How long to wait before a server is asked again: as it says, within bounds, else longer each time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

FIRST, LONGEST = 1.0, 60.0
"""Seconds between two questions to a server that does not say when to come back: the wait doubles."""

Sleep = Callable[[float], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds. `patience`: how long a server may do nothing but fail before we give up; `cap`: how much of a
    Retry-After is believed."""

    first: float = FIRST
    longest: float = LONGEST
    cap: float = 3600.0
    patience: float = 3600.0


@dataclass(slots=True)
class Waits:
    """The waits of one question that is asked again and again."""

    pace: Pace
    sleep: Sleep = asyncio.sleep
    clock: Callable[[], float] = time.monotonic
    _next: float = field(init=False)
    _failing_since: float | None = field(init=False, default=None)
    _failures: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self._next = self.pace.first

    def working(self, said: float | None) -> float:
        """Seconds to wait while the server answers as it should; `said` is its Retry-After.

        Some servers say 0 while an export runs: never less than `first`.
        """
        self._failing_since, self._failures = None, 0
        return self._bounded(said)

    def failed(self, most: int) -> float | None:
        """Seconds to wait after an answer that may not pass; None where it came `most` times in a row."""
        self._failures += 1
        return self.failing(None) if self._failures < most else None

    def failing(self, said: float | None) -> float | None:
        """Seconds to wait after an answer that may pass; None where there was no other for too long."""
        now = self.clock()
        if self._failing_since is None:
            self._failing_since = now
        wait = self._bounded(said)
        return wait if now + wait - self._failing_since <= self.pace.patience else None

    def _bounded(self, said: float | None) -> float:
        if said is not None:
            return min(max(said, self.pace.first), self.pace.cap)
        wait, self._next = self._next, min(self._next * 2, self.pace.longest)
        return wait
