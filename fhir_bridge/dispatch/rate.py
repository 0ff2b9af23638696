"""No more than so many requests a second, for one worker (delivery, "Before a byte is sent", 6)."""

from __future__ import annotations

import asyncio
import time


class RateLimit:
    """Lets requests through one by one, evenly; `per_second` None lets all through."""

    def __init__(self, per_second: float | None) -> None:
        self._interval = 1 / per_second if per_second else 0.0
        self._next = 0.0

    async def wait(self) -> bool:
        """Return when it is this request's turn; False where none had to be waited for."""
        if not self._interval:
            return False
        now = time.monotonic()
        self._next = max(self._next, now) + self._interval
        await asyncio.sleep(self._next - self._interval - now)
        return True
