"""How far long work is: what is told of it, and what processes have read of their files by now."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from mmap import mmap
from typing import Protocol

EVERY = 0.1
"""Seconds between two looks, where the process that reads is the one that tells of it."""


class Progress(Protocol):
    """What is told of long work."""

    def begin(self, title: str, total: int, *, is_bytes: bool = False) -> None:
        """A stage of so many steps, or bytes."""

    def advance(self, steps: int) -> None:
        """So many are done."""

    def tick(self) -> None:
        """Time passed."""


class Untold:
    """Progress that nobody is told of."""

    def begin(self, title: str, total: int, *, is_bytes: bool = False) -> None:
        """See Progress."""

    def advance(self, steps: int) -> None:
        """See Progress."""

    def tick(self) -> None:
        """See Progress."""


class Reading:
    """How many bytes of each batch were read. Forks of the process that made it count in memory that it
    shares with them, so that a bar moves while one large gzip is read.

    `sizes` are the bytes of each batch; what is counted beyond them, as where a line runs on, is not told.
    """

    def __init__(self, sizes: Sequence[int], progress: Progress) -> None:
        self._sizes = sizes
        self._counts = memoryview(mmap(-1, 8 * max(len(sizes), 1))).cast("Q")
        self._progress = progress
        self._told = 0
        self._maker = os.getpid()
        self._looked_at = time.monotonic()

    def counter(self, batch: int) -> Callable[[int], None]:
        """What is to be told of each few bytes that were read of a batch."""
        counts, is_here = self._counts, None

        def count(size: int) -> None:
            nonlocal is_here
            counts[batch] += size
            is_here = os.getpid() == self._maker if is_here is None else is_here
            if is_here and time.monotonic() - self._looked_at >= EVERY:
                self.tick()

        return count

    def done(self, batch: int) -> None:
        """All of a batch was read, by this run or by one that was killed."""
        self._counts[batch] = self._sizes[batch]

    def tick(self) -> None:
        """Tells what was read since it was last told."""
        self._looked_at = time.monotonic()
        read = sum(map(min, self._counts, self._sizes))
        self._progress.advance(read - self._told)
        self._told = read
        self._progress.tick()
