"""`fhir-bridge migrate`: a whole export previewed, written down for elsewhere, or sent."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fhir_bridge.app import known_do_not_call, loaded_settings, run_with
from fhir_bridge.cli import screen
from fhir_bridge.cli.look import json_text
from fhir_bridge.cli.options import json_option, mapping_options, now_option
from fhir_bridge.errors import InputError
from fhir_bridge.mapping.reasons import REASONS
from fhir_bridge.mapping_run import MappingRun
from fhir_bridge.settings import Loaded

if TYPE_CHECKING:
    from fhir_bridge.migration.run import Migration, Report, Share

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

    out: Path | None
    form: str
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
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write every decision to FILE; no ledger is needed.",
)
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
@click.option("--processes", type=click.IntRange(min=1), metavar="N", help="Else as many as there are cores.")
@click.option(
    "--errors",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    default=Path("migrate-errors.ndjson"),
    show_default=True,
    help="Where what could not be read is listed, if anything.",
)
@click.option("--max-errors", type=click.IntRange(min=0), metavar="N", help="Stop at more errors than these.")
@click.option(
    "--work",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Where scratch files go, which hold patient data; else a folder of this user's in TMPDIR.",
)
@json_option
@mapping_options
@now_option
@click.pass_obj
def migrate(
    config_file: str | None,
    /,
    paths: tuple[str, ...],
    source: str | None,
    overrides: tuple[tuple[str, str], ...],
    context: tuple[Path, ...],
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

    \b
    fhir-bridge migrate export/
    fhir-bridge migrate export/ --out decisions.ndjson --only patient-unresolved
    fhir-bridge migrate export/ --source ehr --send --pace 200/h
    """
    from fhir_bridge.intake.bulk.workers import cores

    wanted = Wanted(share=share, processes=processes or cores(), **options)
    _check(wanted, now)
    loaded = loaded_settings(config_file, secrets=wanted.send)
    if wanted.send:
        loaded.settings.endpoint()
    run = run_with(loaded, source, dict(overrides), now, demand_source=wanted.send)
    with _terminated_is_interrupted():
        return _migrate(loaded, run, paths, [str(path) for path in context], wanted)


def _check(wanted: Wanted, now: datetime | None) -> None:
    if now is not None and wanted.send:
        raise click.UsageError("--now is only for a preview: what is sent is decided by the real time")
    if wanted.send and (wanted.only or wanted.out):
        raise click.UsageError("--send keeps every decision: --only and --out are for a preview")
    if wanted.only and wanted.form == "arrivals" and wanted.out:
        raise click.UsageError("--format arrivals is all that the ledger must hear: leave --only out")
    if wanted.only not in (None, "call", "skip", "reject", *REASONS):
        raise click.BadParameter(
            f"{wanted.only!r} is no reason; docs/reasons.md lists them", param_hint="--only"
        )


def _migrate(
    loaded: Loaded, run: MappingRun, paths: tuple[str, ...], context: list[str], wanted: Wanted
) -> int:
    from fhir_bridge.cli.migrate_progress import Bars
    from fhir_bridge.cli.migrate_report import print_report, report_data
    from fhir_bridge.intake.bulk import scratch
    from fhir_bridge.intake.bulk.pieces import find
    from fhir_bridge.migration.run import Migration

    blocked = asyncio.run(known_do_not_call(loaded, run.profile.source.name))
    found = find(paths, context)
    name = scratch.fingerprint([version("fhir-bridge"), *found.marks(), run.profile.systems.aliases])
    with scratch.folder(wanted.work, name) as folder:
        form = "arrivals" if wanted.send else wanted.form if wanted.out else None
        with Bars() as bars:
            migration = Migration(
                run, found, folder, bars, wanted.processes, wanted.share, form,  # type: ignore[arg-type]
                wanted.only, wanted.samples, wanted.max_errors,
            )  # fmt: skip
            try:
                report = migration.decide(blocked)
                if wanted.out is not None:
                    migration.write(wanted.out)
            finally:
                _tell_errors(migration.report, wanted.errors)
        if report.nothing_readable:
            return InputError.category.value.exit_code
        data = report_data(report, loaded, run, wanted.pace)
        if not wanted.as_json:
            print_report(data)
        if not wanted.send:
            if wanted.as_json:
                click.echo(json_text(data))
            return _exit_code(report)
        return _send(loaded, migration, wanted, data)


def _send(loaded: Loaded, migration: Migration, wanted: Wanted, data: dict[str, Any]) -> int:
    from fhir_bridge.cli.migrate_send import confirmed, send
    from fhir_bridge.logs import set_up_logs

    if not wanted.yes and not confirmed(data):
        click.echo("nothing was kept or sent", err=True)
        return 0
    set_up_logs(logging.ERROR)
    return asyncio.run(send(loaded, migration, wanted.pace, data, as_json=wanted.as_json))


def _tell_errors(report: Report, path: Path) -> None:
    """Lists what could not be read, in a file that no earlier run's errors stay in."""
    from fhir_bridge.migration.run import error_lines

    path.unlink(missing_ok=True)
    if report.errors:
        path.write_bytes(error_lines(report.errors))
        what = screen.counted(len(report.errors), "error")
        click.echo(f"{what}: what could not be read is listed in {path}", err=True)


def _exit_code(report: Report) -> int:
    rejected = any(outcome.startswith("reject") for outcome in report.tally.decisions)
    return 1 if rejected or report.errors else 0


@contextmanager
def _terminated_is_interrupted() -> Iterator[None]:
    """SIGTERM ends a migration as Ctrl-C does: at once, with its processes, exit code 130."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
