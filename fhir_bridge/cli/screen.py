"""What people see besides the result: problems, counts and progress, all on standard error."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import click

from fhir_bridge.errors import InputError, UsageError
from fhir_bridge.intake.files import Inputs, unfinished_exports
from fhir_bridge.mapping.conformance import PREFIX
from fhir_bridge.mapping.decision import Decision
from fhir_bridge.mapping.printed import kind
from fhir_bridge.mapping_run import superseded_in

PROGRESS_FROM = 20
"""Files: fewer are read before a bar could be seen."""

NAMES_SHOWN = 3
"""Files without a trigger that are named; the others are counted."""


@contextmanager
def progress(title: str, total: int) -> Iterator[Callable[[str], None]]:
    """A bar with rate and time to go on a terminal, for work that is long enough; else nothing."""
    if total < PROGRESS_FROM or not sys.stderr.isatty():
        yield lambda _name: None
        return
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=total)
        yield lambda _name: bar.advance(task)


def counted(number: int, what: str) -> str:
    """`1 intent`, `2,000 intents`."""
    return f"{number} {what}" if number == 1 else f"{number:,} {what}s"


def tell_problems(problems: Iterable[InputError]) -> None:
    """One line for each part that could not be read, and what to do about it."""
    for problem in problems:
        hint = f" ({problem.hint})" if problem.hint else ""
        click.echo(f"unreadable: {problem}{hint}", err=True)


def tell_held(count: int) -> None:
    """That so many texts which cannot be read may hold calls, and where to look."""
    if count:
        click.echo(
            f"{counted(count, 'broken part')} may speak against calls: those of whom they name wait until "
            "they are mended or settled; `fhir-bridge worklist` lists them",
            err=True,
        )


def tell_gaps(gaps: Iterable[str]) -> None:
    """One line for each thing that could not be fetched, or not as it was first asked for."""
    for gap in gaps:
        click.echo(f"fetching: {gap}", err=True)


def tell_unfinished(files: Iterable[str], *, sending: bool) -> None:
    """Which FILEs are of an export that is not whole. Raises UsageError where they would be acted on: the
    appointment that makes a call needless may be in the file that is missing."""
    for folder in unfinished_exports(files):
        what = f"{folder} holds an export that is not finished"
        hint = "`fhir-bridge export SOURCE --to FOLDER --resume` goes on with it"
        if sending:
            raise UsageError(f"{what}: nothing is sent", code="export-unfinished", hint=hint)
        click.echo(f"{what}: what is said here may change ({hint})", err=True)


def tell_counts(decisions: Sequence[Decision], inputs: Inputs) -> None:
    """How many triggers became what, what does not conform in them, and which FILEs had none."""
    counts = Counter(outcome(decision) for decision in decisions)
    parts = [f"{name} {number}" for name, number in sorted(counts.items())]
    click.echo(f"triggers: {sum(counts.values())}" + (f" ({', '.join(parts)})" if parts else ""), err=True)
    tell_superseded(superseded_in(inputs))
    tell_conformance(decisions)
    tell_without_trigger(inputs)


def tell_superseded(counts: Counter[str]) -> None:
    """How many versions were left aside for a newer one, by type."""
    if counts:
        click.echo(f"older versions left aside: {superseded_text(counts)}", err=True)


def superseded_text(counts: Mapping[str, int]) -> str:
    """`3 (Appointment 2, Patient 1)`."""
    kinds = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
    return f"{sum(counts.values()):,} ({kinds})"


def tell_conformance(decisions: Sequence[Decision]) -> None:
    """What a check against the standard found in the triggers and their patients, by kind."""
    faults = [[note.code for note in each.notes if note.code.startswith(PREFIX)] for each in decisions]
    counts = Counter(code for codes in faults for code in codes)
    if counts:
        kinds = ", ".join(f"{code} {number}" for code, number in counts.most_common())
        click.echo(f"not conformant: {sum(map(bool, faults))} of {len(faults)} ({kinds})", err=True)


def tell_without_trigger(inputs: Inputs) -> None:
    """Which FILEs hold nothing to decide on (mapping, section 3, row 1), and which were not unpacked."""
    if inputs.packed:
        files = counted(inputs.packed.total(), "file")
        ends = ", ".join(inputs.packed)
        click.echo(f"not read: {files} ending in {ends}; unpack them, or use `fhir-bridge migrate`", err=True)
    if inputs.without_trigger:
        names = ", ".join(inputs.without_trigger[:NAMES_SHOWN])
        more = len(inputs.without_trigger) - NAMES_SHOWN
        names += f" and {more} more" if more > 0 else ""
        click.echo(
            f"no-trigger: {len(inputs.without_trigger)} without Appointment or order: {names}", err=True
        )


def outcome(decision: Decision) -> str:
    """`call`, or `skip reason`, `reject reason`."""
    reason = getattr(decision, "reason", None)
    return kind(decision) if reason is None else f"{kind(decision)} {reason}"
