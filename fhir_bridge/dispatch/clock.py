"""What time it is: the machine's clock, or one that started elsewhere and ticks as fast (for
the demonstration).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

Clock = Callable[[], datetime]
"""Gives aware UTC."""


def utc_now() -> datetime:
    """The machine's clock, aware UTC."""
    return datetime.now(UTC)


def started_at(moment: datetime) -> Clock:
    """A clock that shows `moment` (aware) now and goes on from there: what waits a second still comes due."""
    start, base = time.monotonic(), moment.astimezone(UTC)
    return lambda: base + timedelta(seconds=time.monotonic() - start)
