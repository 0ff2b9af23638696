"""How far a migration is, in each of its stages: a bar on a terminal, elsewhere a line now and then."""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Callable
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

EVERY = 30.0
"""Seconds between two lines where there is no terminal."""

WINDOW = 180.0
"""Seconds that the rate is of, and so the time to go: what an earlier run had done, or a night without calls,
counts no longer than that."""

_UNITS = (("GB", 1e9), ("MB", 1e6), ("kB", 1e3))


class Stage:
    """What is done of one stage, and how soon it may all be done. `clock` gives seconds."""

    def __init__(
        self, title: str, total: int, *, is_bytes: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.title, self.total, self.done = title, total, 0
        self.waits_for = ""
        self._is_bytes, self._clock = is_bytes, clock
        self._passed = deque([(clock(), 0)])

    def tick(self) -> None:
        """Remembers how far it is now, once a second at most."""
        now = self._clock()
        if now - self._passed[-1][0] >= 1:
            self._passed.append((now, self.done))
        while len(self._passed) > 1 and now - self._passed[0][0] > WINDOW:
            self._passed.popleft()

    def __str__(self) -> str:
        """`42 %, 25.7 of 61.4 MB, 5.2 MB/s, 0:00:07 left`; or what it waits for, where it does."""
        percent = 100 * self.done // self.total if self.total else 100
        parts = [f"{percent} %", self._of_all(), *self._ahead()]
        return ", ".join(parts)

    def _of_all(self) -> str:
        if not self._is_bytes:
            return f"{self.done:,} of {self.total:,}"
        unit, size = next((pair for pair in _UNITS if self.total >= pair[1]), ("bytes", 1))
        digits = 0 if size == 1 else 1
        return f"{self.done / size:,.{digits}f} of {self.total / size:,.{digits}f} {unit}"

    def _ahead(self) -> list[str]:
        if self.waits_for:
            return [self.waits_for]
        since, done = self._passed[0]
        passed = self._clock() - since
        if self.done <= done or passed <= 0:
            return []
        rate = (self.done - done) / passed
        left = timedelta(seconds=round((self.total - self.done) / rate))
        return [self._rate(rate), f"{left} left"]

    def _rate(self, rate: float) -> str:
        if not self._is_bytes:
            return f"{rate:,.0f}/s" if rate >= 10 else f"{rate * 60:,.0f}/min"
        unit, size = next((pair for pair in _UNITS if rate >= pair[1]), ("bytes", 1))
        return f"{rate / size:,.1f} {unit}/s"


class Bars:
    """One stage after another, all on standard error."""

    def __init__(self) -> None:
        self._bars: Progress | None = None
        self._task: TaskID | None = None
        self._stage: Stage | None = None
        self._told_at = time.monotonic()
        self._is_told = False

    def __enter__(self) -> Bars:
        if sys.stderr.isatty() and os.environ.get("TERM") not in ("dumb", "unknown"):
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn
            from rich.table import Column

            # Refreshed by us: its own thread would be there when processes are forked.
            whole = Column(no_wrap=True)
            self._bars = Progress(
                TextColumn("{task.description}", table_column=whole),
                BarColumn(bar_width=None),
                TextColumn("{task.fields[told]}", table_column=whole),
                console=Console(stderr=True, highlight=False),
                transient=True,
                auto_refresh=False,
                expand=True,
            )
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._end()
        if self._bars is not None:
            self._bars.stop()

    def begin(self, title: str, total: int, *, is_bytes: bool = False) -> None:
        """A stage of so many steps, or bytes."""
        self._end()
        self._stage = Stage(title, total, is_bytes=is_bytes)
        if self._bars is not None:
            if self._task is not None:
                self._bars.remove_task(self._task)
            self._task = self._bars.add_task(title, total=total, told=str(self._stage))
            self._bars.refresh()

    def advance(self, steps: int) -> None:
        """So many are done."""
        if self._stage is not None:
            self._stage.done += steps

    def stand(self, done: int, total: int, waits_for: str = "") -> None:
        """So many are done of all, of which there may be more by now; and what it waits for, if anything."""
        if self._stage is not None:
            self._stage.done, self._stage.total, self._stage.waits_for = done, total, waits_for

    def tick(self) -> None:
        """Time passed."""
        if self._stage is None:
            return
        self._stage.tick()
        if self._bars is not None and self._task is not None:
            stage = self._stage
            self._bars.update(self._task, completed=stage.done, total=stage.total, told=str(stage))
            self._bars.refresh()
        elif self._bars is None and time.monotonic() - self._told_at > EVERY:
            self._tell()

    def _end(self) -> None:
        """The last that is seen of a stage: all of it, also in a log that has told how far it was."""
        self.tick()
        if self._is_told:
            self._tell()
        self._is_told = False

    def _tell(self) -> None:
        self._told_at, self._is_told = time.monotonic(), True
        click.echo(f"{self._stage.title if self._stage else ''}: {self._stage}", err=True)
