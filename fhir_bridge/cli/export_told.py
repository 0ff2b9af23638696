"""What is seen of an export: a bar on a terminal, a line now and then elsewhere, and what became of it."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from fhir_bridge.cli.screen import counted
from fhir_bridge.intake.export.folder import MANIFEST, ExportFolder
from fhir_bridge.intake.export.report import Report
from fhir_bridge.intake.export.watching import Watching

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

EVERY = 30.0
"""Seconds between two lines where there is no terminal."""

NAMES_SHOWN = 5


class Lines(Watching):
    """For a log: what matters at once, how far it is every half minute."""

    def __init__(self) -> None:
        self.total = self.done = self.size = 0
        self._last, self._what = time.monotonic(), "files"
        self._progress: str | None = None

    def said(self, text: str) -> None:
        """See Watching."""
        click.echo(text, err=True)

    def waiting(self, progress: str, seconds: float) -> None:
        """See Watching."""
        if progress != self._progress or self._is_time():
            self._progress, self._last = progress, time.monotonic()
            told = f" ({progress})" if progress else ""
            click.echo(f"the server is at work{told}: asked again in {seconds:.0f} s", err=True)

    def files(self, total: int, done: int) -> None:
        """See Watching."""
        self.total, self.done, self._what = total, done, "files"
        here = f", {done} of them here already" if done else ""
        click.echo(f"{counted(total, 'file')} to fetch{here}", err=True)

    def received(self, number: int) -> None:
        """See Watching."""
        self.size += number
        if self._is_time():
            self._last = time.monotonic()
            click.echo(f"{self.done} of {self.total} {self._what}, {size_text(self.size)}", err=True)

    def file_done(self) -> None:
        """See Watching."""
        self.done += 1

    def searches(self, kinds: str, total: int, done: int) -> None:
        """See Watching."""
        self.total, self.done, self._what = total, done, f"searches and reads of {kinds}"
        here = f", {done} of them made already" if done else ""
        click.echo(f"{kinds}: {counted(total, 'request')} to make{here}", err=True)

    def searched(self, number: int) -> None:
        """See Watching."""
        self.done += number

    def _is_time(self) -> bool:
        return time.monotonic() - self._last > EVERY


class Bar(Watching):
    """For a person: one bar, of what is being done at the moment."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress, self._task, self._size, self._what = progress, task, 0, "files"

    def said(self, text: str) -> None:
        """See Watching."""
        self._progress.console.print(text, markup=False, highlight=False)

    def waiting(self, progress: str, seconds: float) -> None:
        """See Watching."""
        told = f" ({progress})" if progress else ""
        self._show(f"the server is at work{told}, asked again in {seconds:.0f} s")

    def files(self, total: int, done: int) -> None:
        """See Watching."""
        self._progress.update(self._task, total=total, completed=done)
        self._what = "files"
        self._show(self._what)

    def received(self, number: int) -> None:
        """See Watching."""
        self._size += number
        self._show(f"{self._what}, {size_text(self._size)}")

    def file_done(self) -> None:
        """See Watching."""
        self._progress.advance(self._task)

    def searches(self, kinds: str, total: int, done: int) -> None:
        """See Watching."""
        self._progress.update(self._task, total=total, completed=done)
        self._what = f"searches and reads of {kinds}"
        self._show(self._what)

    def searched(self, number: int) -> None:
        """See Watching."""
        self._progress.advance(self._task, number)

    def _show(self, text: str) -> None:
        self._progress.update(self._task, description=text)


@contextmanager
def told_on_terminal() -> Iterator[Watching]:
    """Within, an export is shown on standard error."""
    if not sys.stderr.isatty():
        yield Lines()
        return
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield Bar(progress, progress.add_task("asking the server", total=None))


def told_report(report: Report, folder: ExportFolder, *, as_json: bool) -> None:
    """What became of it: standard output has the figures, standard error what a person must look at."""
    if as_json:
        click.echo(json.dumps(_figures(report, folder), indent=2))
    else:
        for kind, number in sorted(report.resources.items()):
            click.echo(f"{number:>10}  {kind}")
        click.echo(f"{counted(len(report.lines), 'file')}, {size_text(report.size)}, in {folder.path}")
    _tell_problems(report)
    if report.is_whole:
        click.echo(f"complete: {folder.path / MANIFEST}", err=True)


def _tell_problems(report: Report) -> None:
    for name, (said, found) in sorted(report.mismatched.items()):
        click.echo(f"{name}: {found} lines, and the server says {said}, each time it was fetched", err=True)
    for (severity, code), number in sorted(report.issues.items()):
        click.echo(f"the server says: {severity} {code}, {counted(number, 'time')}; see error/", err=True)
    for name, error in sorted(report.failed.items())[:NAMES_SHOWN]:
        click.echo(
            f"not fetched: {error}" if name in str(error) else f"not fetched: {name}: {error}", err=True
        )
    if len(report.failed) > NAMES_SHOWN:
        click.echo(f"not fetched: {len(report.failed) - NAMES_SHOWN} more", err=True)
    if report.failed:
        click.echo("  → the same command tries those again; the others stay", err=True)
    if report.job_left:
        click.echo(
            "the export is still at the server: it would not delete it, or was told to keep it", err=True
        )


def _figures(report: Report, folder: ExportFolder) -> dict[str, object]:
    return {
        "folder": str(folder.path),
        "complete": report.is_whole,
        "resources": dict(sorted(report.resources.items())),
        "files": len(report.lines),
        "bytes": report.size,
        "failed": {name: error.code for name, error in sorted(report.failed.items())},
        "mismatched": {name: list(pair) for name, pair in sorted(report.mismatched.items())},
        "crawled": report.crawled,
        "issues": {f"{severity} {code}": number for (severity, code), number in report.issues.items()},
    }


def size_text(size: int) -> str:
    """Bytes in the unit that people would use."""
    for unit, length in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= length:
            return f"{size / length:.1f} {unit}"
    return f"{size} bytes"
