"""`fhir-bridge migrate`: a whole export previewed, written down for elsewhere, or sent.

Long because it has many options, and what each goes with is checked beside it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fhir_bridge.app.ledgers import known_do_not_call
from fhir_bridge.app.rules import loaded_settings, run_elsewhere, run_with
from fhir_bridge.cli import screen
from fhir_bridge.cli.look import json_text
from fhir_bridge.cli.options import (
    PathOrAddress,
    json_option,
    mapping_options,
    now_option,
    processes_option,
    work_option,
)
from fhir_bridge.cli.stopping import stopped_at_once
from fhir_bridge.errors import InputError, UsageError
from fhir_bridge.mapping.reasons import REASONS
from fhir_bridge.mapping_run import MappingRun
from fhir_bridge.settings import Loaded
from fhir_bridge.spelling import did_you_mean

if TYPE_CHECKING:
    from fhir_bridge.intake.bulk.pieces import Found
    from fhir_bridge.migration.engine import Engine
    from fhir_bridge.migration.run import Migration, Report, Share

STOPPED = (
    "stopped before anything was sent; run the same command again: what is in the ledger is not done twice"
)

NAMED = 3
"""Errors that are said where nothing can be read."""

FORMS = ("decisions", "ndjson", "arrivals")


class Part(click.ParamType["Share"]):
    """`i/n`: the i-th of n machines' shares."""

    name = "I/N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Share:
        """Raises click's usage error for what is none."""
        from fhir_bridge.migration.run import Share

        number, _, of = str(value).partition("/")
        if not (number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of)):
            self.fail(f"{value!r} is no share; the second of four machines has 2/4", param, ctx)
        return Share(int(number), int(of))


class Pace(click.ParamType[float]):
    """Calls in a time, as in bridge.toml: `200/h`."""

    name = "RATE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Raises click's usage error for what is none."""
        from fhir_bridge.settings.values import rate

        try:
            return rate(value)
        except ValueError:
            self.fail(f'{value!r} is no rate; write it like 200/h, "10/min" or 2000/d', param, ctx)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was asked for on the command line, besides what every command that maps takes."""

    out: str | None
    form: str
    engine: str
    master: str | None
    samples: int
    only: str | None
    share: Share
    processes: int
    errors: Path
    max_errors: int | None
    work: Path | None
    send: bool
    yes: bool
    as_json: bool
    pace: float | None


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option(
    "--send", is_flag=True, help="Keep the decisions in the ledger and send what is due, until all is sent."
)
@click.option("--yes", is_flag=True, help="With --send on a terminal: do not ask before the first call.")
@click.option("--out", metavar="FILE", help="Write every decision to FILE; no ledger is needed.")
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMS),
    default="decisions",
    show_default=True,
    help="What --out writes. decisions: a line for each trigger, as `map` prints it. ndjson: the "
    "requests. arrivals: records for `ledger load` on another machine.",
)
@click.option(
    "--pace", type=Pace(), metavar="RATE", help="Calls in a time, for instance 200/h; else dispatch.pace."
)
@click.option(
    "--sample",
    "samples",
    type=click.IntRange(0, 1000),
    default=3,
    show_default=True,
    metavar="N",
    help="Show N of the requests.",
)
@click.option(
    "--only", metavar="WHICH", help="Show and write only these decisions: call, skip, reject, or a reason."
)
@click.option(
    "--part",
    "share",
    type=Part(),
    default="1/1",
    show_default=True,
    help="This machine's share of several: 2/4 is the second of four.",
)
@click.option(
    "--engine",
    type=click.Choice(["local", "spark"]),
    default="local",
    show_default=True,
    help="spark: on a cluster of Apache Spark (the extra `cluster`), for an export larger than a machine. "
    "PATHs must lie where every machine finds them; --out is a folder of part files, Parquet where its name "
    "ends in .parquet.",
)
@click.option(
    "--master",
    metavar="URL",
    help="Of Spark: local[4], spark://host:7077, yarn, ...; else as Spark is set up here.",
)
@processes_option
@click.option(
    "--errors",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    default=Path("migrate-errors.ndjson"),
    show_default=True,
    help="Where what could not be read is listed, if anything.",
)
@click.option("--max-errors", type=click.IntRange(min=0), metavar="N", help="Stop at more errors than these.")
@work_option
@json_option
@partial(mapping_options, context_type=PathOrAddress())
@now_option
@click.pass_obj
def migrate(
    config_file: str | None,
    /,
    paths: tuple[str, ...],
    source: str | None,
    overrides: tuple[tuple[str, str], ...],
    context: tuple[str, ...],
    now: datetime | None,
    share: Share,
    processes: int | None,
    **options: Any,
) -> int:  # fmt: skip
    """Preview a whole export; with --send, keep and send it.

    A PATH is a folder, .ndjson, .ndjson.gz, .json, .zip, or an address such as s3://bucket/folder/ (with the
    extra `objects`). Files may have any names, types and order. Nothing is kept or sent without --send:
    what is printed is how many would be called, skipped and rejected and why, when they would be called, and
    what is wrong with the data. Interrupted or killed, run it again: nothing is sent twice.
    Exit code 1: something was rejected or could not be read.

    \b
    fhir-bridge migrate export/
    fhir-bridge migrate export/ --out decisions.ndjson --only patient-unresolved
    fhir-bridge migrate export/ --source ehr --send --pace 200/h
    """
    from fhir_bridge.intake.bulk.workers import cores

    wanted = Wanted(share=share, processes=processes or cores(), **options)
    _check(paths, wanted, now)
    loaded = loaded_settings(config_file, secrets=wanted.send)
    if wanted.send:
        loaded.settings.endpoint()
    run = run_with(loaded, source, dict(overrides), now, demand_source=wanted.send)
    screen.tell_unfinished(paths, sending=wanted.send)
    recipe = run_elsewhere(loaded, source, dict(overrides), run.now)
    if wanted.engine == "spark":
        paths = tuple(found_by_all(path) for path in paths)
        wanted = replace(wanted, out=wanted.out and found_by_all(wanted.out))
        context = tuple(found_by_all(path) for path in context)
    with stopped_at_once(STOPPED):
        return _migrate(loaded, run, recipe, paths, context, wanted)


def found_by_all(path: str) -> str:
    """A PATH as a process elsewhere finds it, whatever folder it works in."""
    return path if "://" in path else str(Path(path).absolute())


def _check(paths: tuple[str, ...], wanted: Wanted, now: datetime | None) -> None:
    if "-" in paths:
        raise click.UsageError("standard input can be read only once: write it into a file, and name that")
    if now is not None and wanted.send:
        raise click.UsageError("--now is only for a preview: what is sent is decided by the real time")
    if wanted.send and (wanted.only or wanted.out):
        raise click.UsageError("--send keeps every decision: --only and --out are for a preview")
    if wanted.engine == "spark" and wanted.send:
        raise click.UsageError(
            "Spark's tasks never send: use --out FOLDER --format arrivals, then `ledger load FOLDER`"
        )
    if wanted.master and wanted.engine != "spark":
        raise click.UsageError("--master is for --engine spark")
    if wanted.out and wanted.engine == "local" and Path(wanted.out).is_dir():
        raise click.BadParameter(f"{wanted.out!r} is a folder", param_hint="--out")
    for option, file in (("--out", wanted.out), ("--errors", wanted.errors)):
        if file is not None and "://" not in str(file) and not Path(file).absolute().parent.is_dir():
            raise click.BadParameter(f"{str(file)!r}: there is no such folder", param_hint=option)
    if wanted.only and wanted.form == "arrivals" and wanted.out:
        raise click.UsageError("--format arrivals is all that the ledger must hear: leave --only out")
    if wanted.only not in (None, "call", "skip", "reject", *REASONS):
        meant = did_you_mean(wanted.only or "", ("call", "skip", "reject", *REASONS))
        raise click.BadParameter(
            f"{wanted.only!r}{meant} is no reason; docs/reasons.md lists them", param_hint="--only"
        )


def _migrate(
    loaded: Loaded,
    run: MappingRun,
    recipe: Callable[[], MappingRun],
    paths: tuple[str, ...],
    context: tuple[str, ...],
    wanted: Wanted,
) -> int:
    from fhir_bridge.cli.migrate_progress import Bars
    from fhir_bridge.cli.migrate_report import print_next, print_report, report_data
    from fhir_bridge.intake.bulk.pieces import find
    from fhir_bridge.migration.run import Migration

    blocked = asyncio.run(known_do_not_call(loaded, run.profile.source.name))
    found = find(paths, context)
    _demand_apart(found, wanted)
    with _engine(run, found, wanted, recipe) as engine:
        form = "arrivals" if wanted.send else wanted.form if wanted.out else None
        with Bars() as bars:
            migration = Migration(
                run, found, engine, bars, wanted.share, form,  # type: ignore[arg-type]
                wanted.only, wanted.samples, wanted.max_errors,
            )  # fmt: skip
            try:
                report = migration.decide(blocked)
                if wanted.out is not None:
                    migration.write(wanted.out)
            finally:
                _tell_errors(migration.report, wanted.errors)
        if report.nothing_readable:
            for error in report.errors[:NAMED]:
                click.echo(f"unreadable: {error['file']}: {error['reason']}", err=True)
            if wanted.send and migration.broken():
                _load(loaded, migration)
            return InputError.category.value.exit_code
        data = report_data(report, loaded, run, wanted.pace)
        if not wanted.as_json:
            print_report(data)
        if not wanted.send:
            if wanted.as_json:
                click.echo(json_text(data))
            else:
                print_next(data)
            if wanted.out is not None:
                click.echo(f"wrote {screen.counted(report.written, 'line')} to {wanted.out}", err=True)
            return _exit_code(report)
        return _send(loaded, migration, wanted, data)


def _demand_apart(found: Found, wanted: Wanted) -> None:
    """Raise BadParameter where what is to be written would take the place of what is to be read."""
    read = {Path(path).resolve() for path in {piece.path for piece in found.pieces}}
    for option, file in (("--out", wanted.out), ("--errors", wanted.errors)):
        if file is not None and Path(file).resolve() in read:
            raise click.BadParameter(
                f"{str(file)!r} is among the files that are read: name another, or move it out of their "
                "folder",
                param_hint=option,
            )


@contextmanager
def _engine(
    run: MappingRun, found: Found, wanted: Wanted, recipe: Callable[[], MappingRun]
) -> Iterator[Engine]:
    """What the migration runs on; `recipe` makes the run anew, on another machine."""
    from fhir_bridge.intake.bulk import scratch
    from fhir_bridge.migration.engine import ThisMachine

    if wanted.engine == "spark":
        from fhir_bridge.cluster.session import session

        with session(wanted.master) as spark:
            # Only where Spark is installed: it brings pyarrow.
            from fhir_bridge.cluster.engine import OnSpark

            yield OnSpark(spark, recipe)
        return
    name = scratch.fingerprint(
        [version("fhir-bridge"), wanted.share, *found.pieces, run.profile.systems.aliases]
    )
    with scratch.folder(wanted.work, name) as folder:
        yield ThisMachine(folder, wanted.processes)


def _send(loaded: Loaded, migration: Migration, wanted: Wanted, data: dict[str, Any]) -> int:
    from fhir_bridge.cli.migrate_send import confirmed, send

    if not wanted.yes and not confirmed(data):
        click.echo("nothing was kept or sent", err=True)
        return 0
    accepted = _load(loaded, migration)
    # From here on a stop is waited for, not thrown into the middle of something: only now is it said.
    click.echo(f"took {screen.counted(accepted, 'decision')} into the ledger", err=True)
    try:
        return asyncio.run(send(loaded, wanted.pace, accepted, data, as_json=wanted.as_json))
    except KeyboardInterrupt:  # the second: the first has it finish what is in flight
        click.echo(
            "stopped at once: what was on its way is in doubt; `fhir-bridge worklist` lists it", err=True
        )
        raise click.Abort from None


def _load(loaded: Loaded, migration: Migration) -> int:
    """Takes all that was decided, and all that could not be read, into the ledger; gives how many decisions
    that were."""
    from fhir_bridge.cli.migrate_send import load
    from fhir_bridge.logs import set_up_logs
    from fhir_bridge.migration.engine import ThisMachine

    set_up_logs(logging.ERROR)
    engine = migration.engine
    assert isinstance(engine, ThisMachine)
    return asyncio.run(load(loaded, migration, engine))


def _tell_errors(report: Report, path: Path) -> None:
    """Lists what could not be read, in a file that no earlier run's errors stay in; /dev/null stays."""
    from fhir_bridge.migration.run import error_lines

    try:
        if path.is_file():
            path.unlink()
        if report.errors:
            path.write_bytes(error_lines(report.errors))
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written: {error.strerror}", hint="name another file with --errors"
        ) from None
    if report.errors:
        what = screen.counted(len(report.errors), "error")
        click.echo(f"{what}: what could not be read is listed in {path}", err=True)


def _exit_code(report: Report) -> int:
    rejected = any(outcome.startswith("reject") for outcome in report.tally.decisions)
    return 1 if rejected or report.errors else 0
