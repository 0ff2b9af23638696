"""Bars for a migration's stages, on a terminal; elsewhere a line for each stage that takes long."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

EVERY = 30.0
"""Seconds between two lines where there is no terminal."""


class Bars:
    """The progress of one stage after another, with rate and time to go, all on standard error."""

    def __init__(self) -> None:
        self._bars: Progress | None = None
        self._task: TaskID | None = None
        self._title = ""
        self._total = self._done = 0
        self._told = time.monotonic()

    def __enter__(self) -> Bars:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
            from rich.progress import TransferSpeedColumn as Speed

            # Refreshed by us: its own thread would be there when processes are forked.
            columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), Speed())
            self._bars = Progress(
                *columns,
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
                auto_refresh=False,
            )
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def begin(self, title: str, total: int, *, is_bytes: bool = False) -> None:
        """A stage of so many steps, or bytes."""
        self._title, self._total, self._done = title, total, 0
        if self._bars is not None:
            if self._task is not None:
                self._bars.remove_task(self._task)
            self._task = self._bars.add_task(title, total=total)
            self._bars.refresh()

    def advance(self, steps: int) -> None:
        """So many are done."""
        self._done += steps
        if self._bars is not None and self._task is not None:
            self._bars.update(self._task, advance=steps)

    def tick(self) -> None:
        """Time passed."""
        if self._bars is not None:
            self._bars.refresh()
        elif time.monotonic() - self._told > EVERY:
            self._told = time.monotonic()
            click.echo(f"{self._title}: {100 * self._done // max(self._total, 1)} %", err=True)
