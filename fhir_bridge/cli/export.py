"""`fhir-bridge export`: what a FHIR server holds, as a folder of NDJSON that `migrate` and `map` read."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fhir_bridge.app.rules import loaded_settings, profile_of
from fhir_bridge.app.servers import fhir_server_of
from fhir_bridge.cli.options import Instant, json_option
from fhir_bridge.cli.stopping import INTERRUPTED, cancelled_by_signals
from fhir_bridge.errors import FhirServerError, SettingsError, UsageError

if TYPE_CHECKING:
    from fhir_bridge.fhir_client.server import FhirServer
    from fhir_bridge.intake.export.crawl_plan import CrawlRules
    from fhir_bridge.intake.export.folder import ExportFolder
    from fhir_bridge.intake.export.request import ExportRequest
    from fhir_bridge.intake.export.run import Manner
    from fhir_bridge.intake.export.state import State
    from fhir_bridge.settings import Source


@dataclass(frozen=True, slots=True)
class Options:
    """The command line, but for SOURCE."""

    to: Path
    group: str | None
    patient: bool
    system: bool
    types: tuple[str, ...]
    since: datetime | None
    since_last: bool
    type_filters: tuple[str, ...]
    crawl: bool
    patients: Path | None
    resume: bool
    cancel: bool
    keep_job: bool
    dry_run: bool
    as_json: bool


@click.command()
@click.argument("source")
@click.option("--to", type=click.Path(file_okay=False, path_type=Path), required=True, metavar="FOLDER",
              help="A new or an empty folder, or one in which an export was begun.")  # fmt: skip
@click.option("--group", metavar="ID", help="Export the patients of this Group: all that many servers can.")
@click.option("--patient", is_flag=True, help="Export what belongs to patients, of all of them.")
@click.option("--system", is_flag=True, help="Export whatever there is: so without the two before.")
@click.option("--type", "types", multiple=True, metavar="TYPE",
              help="Only this type. Repeatable; else all that we read and the server has.")  # fmt: skip
@click.option("--since", type=Instant(), help="Only what changed after this instant, with its zone.")
@click.option("--since-last", is_flag=True,
              help="Only what changed since the newest export in a folder beside FOLDER.")  # fmt: skip
@click.option("--type-filter", "type_filters", multiple=True, metavar="TYPE?SEARCH",
              help="Of a type only this: 'ServiceRequest?status=active'. Repeatable.")  # fmt: skip
@click.option("--crawl", is_flag=True, help="Search, politely, for what the server does not export.")
@click.option("--patients", metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="Whom --crawl searches for: ids, a line each, or Patients as NDJSON.")  # fmt: skip
@click.option("--resume", is_flag=True, help="Go on with what was begun in FOLDER, whatever it was.")
@click.option("--cancel", is_flag=True, help="End what was begun in FOLDER, at the server too; remove it.")
@click.option("--keep-job", is_flag=True, help="Leave the export at the server when all is fetched.")
@click.option("--dry-run", is_flag=True, help="Print the request that would begin it, and begin nothing.")
@json_option
@click.pass_obj
def export(config_file: str | None, /, source: str, **options: Any) -> int:
    """Fetch what a FHIR server exports, into a folder of NDJSON files.

    By Bulk Data Access: the server is asked for an export, then how far it is, then for its files. Stop it
    whenever you like: the same command goes on. FOLDER holds a manifest.json when all of it is there.

    \b
        fhir-bridge export ehr --group all-patients --to exports/first
        fhir-bridge export ehr --group all-patients --to exports/monday --since-last
        fhir-bridge migrate exports
    """
    chosen = Options(**options)
    _check(chosen)
    return asyncio.run(_export(config_file, source, chosen))


def _check(options: Options) -> None:
    """Raises UsageError for what cannot be asked for together."""
    exclusive = (
        {"--group": options.group, "--patient": options.patient, "--system": options.system},
        {"--since": options.since, "--since-last": options.since_last},
        {"--resume": options.resume, "--cancel": options.cancel, "--dry-run": options.dry_run},
    )
    if options.patients and not options.crawl:
        raise UsageError("--patients says whom --crawl searches for", hint="add --crawl, or --group")
    for alternatives in exclusive:
        given = [name for name, value in alternatives.items() if value]
        if len(given) > 1:
            raise UsageError(f"{given[0]} and {given[1]} exclude each other")


async def _export(config_file: str | None, name: str, options: Options) -> int:
    settings = loaded_settings(config_file).settings
    source = settings.source(name)
    server = fhir_server_of(settings, name)
    if server is None:
        raise SettingsError(
            f"sources.{name}: there is no FHIR server to read from",
            code="no-fhir-server",
            hint=f"set base_url in [sources.{name}], and how we show who we are in [sources.{name}.client]",
        )
    with cancelled_by_signals() as stop:
        try:
            async with server:
                return await _with_server(server, source, options)
        except asyncio.CancelledError:
            if not stop.event.is_set():
                raise
    click.echo("stopped: what is here stays, and so does the export at the server", err=True)
    click.echo("  → the same command goes on with it; --cancel ends it", err=True)
    return INTERRUPTED


async def _with_server(server: FhirServer, source: Source, options: Options) -> int:
    from fhir_bridge.intake.export.beginning import fresh, going_on, unfinished
    from fhir_bridge.intake.export.folder import ExportFolder

    folder = ExportFolder(options.to)
    begun = None if options.dry_run else unfinished(folder)
    if options.cancel or options.resume:
        if begun is None:
            raise UsageError(f"no export was begun in {options.to}", code="export-none")
        if options.cancel:
            with folder.alone():
                return await _cancel(server, folder, begun, source)
        return await _run(server, folder, begun, source, options)
    if (options.since or options.since_last) and not profile_of(source, {}).exports.takes_since:
        raise UsageError(
            f"the export of {source.settings.vendor} knows no _since: it is always of everything",
            hint="leave --since and --since-last out",
        )
    request = await _request(server, folder, source, options, begun)
    if options.dry_run:
        return _print_request(request, source, options)
    if begun is not None:
        state = going_on(begun, source.name, request, since_last=options.since_last)
    else:
        state = fresh(source.name, request)
    state.crawl = state.crawl or options.crawl
    return await _run(server, folder, state, source, options)


async def _request(
    server: FhirServer, folder: ExportFolder, source: Source, options: Options, begun: State | None
) -> ExportRequest:
    """What is asked for: by the command line, else by the settings, else by what was begun."""
    import msgspec

    from fhir_bridge.intake.export import request as asked
    from fhir_bridge.intake.export.asking import types_read
    from fhir_bridge.intake.export.beginning import last_time

    own = source.settings.export
    group = options.group or (own.group if not (options.patient or options.system) else None)
    scope = asked.group_scope(group) if group else asked.PATIENT if options.patient else asked.SYSTEM
    types = asked.checked_types(options.types or own.types)
    if not types:
        types = begun.request.types if begun is not None else await types_read(server)
    request = asked.ExportRequest(
        base_url=server.base_url,
        scope=scope,
        types=types,
        since=asked.instant(options.since) if options.since else None,
        type_filters=asked.checked_filters(options.type_filters, types),
        output_format=own.output_format,
    )
    if options.since_last and begun is None:
        return msgspec.structs.replace(request, since=last_time(folder, source.name, request))
    return request


def _take_over(patients: Path, folder: ExportFolder) -> None:
    """A list of patients, unless a crawl has begun with one."""
    from fhir_bridge.intake.export import crawl_patients

    if crawl_patients.kept(folder) is None:
        crawl_patients.keep(folder, crawl_patients.listed(patients))


def _print_request(request: ExportRequest, source: Source, options: Options) -> int:
    from fhir_bridge.intake.export.asking import told, told_searches
    from fhir_bridge.intake.export.beginning import fresh

    state = fresh(source.name, request)
    rules = _rules(source, state)
    if options.crawl:
        state.crawled = tuple(kind for kind in request.types if kind in rules.lacks)
    click.echo(told(state.exported, post=source.settings.export.kick_off == "POST"))
    if options.crawl:
        click.echo(told_searches(request, rules, state.crawled or ()))
    click.echo("dry run: nothing was begun", err=True)
    return 0


async def _cancel(server: FhirServer, folder: ExportFolder, state: State, source: Source) -> int:
    from fhir_bridge.intake.export.job import Job
    from fhir_bridge.intake.export.run import ended
    from fhir_bridge.intake.export.watching import Watching

    done = await ended(Job(server, _manner(source, keep_job=False).pace, Watching()), state)
    folder.remove()
    click.echo(f"what was begun in {folder.path} is removed", err=True)
    if not done:
        click.echo("the export at the server could not be deleted: it expires there by itself", err=True)
    return 0 if done else 1


async def _run(
    server: FhirServer, folder: ExportFolder, state: State, source: Source, options: Options
) -> int:
    from fhir_bridge.cli.export_told import told_on_terminal, told_report
    from fhir_bridge.intake.export.run import Run

    manner = _manner(source, keep_job=options.keep_job)
    with folder.alone(), told_on_terminal() as watching:
        if options.patients:
            _take_over(options.patients, folder)
        try:
            report = await Run(server, folder, state, manner, watching, _rules(source, state)).run()
        except FhirServerError:
            if state.holds_something:
                watching.said("what is here stays: the same command goes on where it stopped")
            raise
    told_report(report, folder, as_json=options.as_json)
    return 1 if report.needs_a_person else 0


def _manner(source: Source, *, keep_job: bool) -> Manner:
    """How the settings would have the server dealt with."""
    from fhir_bridge.intake.export.run import Manner
    from fhir_bridge.intake.export.waiting import FIRST, LONGEST, Pace

    own = source.settings.export
    cap = own.retry_after_cap.total_seconds()
    pace = Pace(min(FIRST, cap), min(LONGEST, cap), cap, own.patience.total_seconds())
    return Manner(own.at_once, own.kick_off == "POST", keep_job, pace)


def _rules(source: Source, state: State) -> CrawlRules:
    """What the source's searches take, by its layers, around the moment at which the export was begun."""
    from fhir_bridge.intake.export.crawl_plan import CrawlRules

    profile = profile_of(source, {})
    known = profile.exports
    begun = datetime.fromisoformat(state.begun)
    filters: dict[str, list[str]] = {}
    for text in state.request.type_filters:
        kind, _, search = text.partition("?")
        filters.setdefault(kind, []).append(search)
    return CrawlRules(
        by_patient=known.by_patient,
        by_date=known.by_date,
        window=(begun - timedelta(days=known.days_back), begun + timedelta(days=known.days_ahead)),
        lacks=frozenset(known.lacks),
        patients=known.patients,
        roles=known.roles,
        changed_query=known.changed,
        changed=state.request.since,
        always=profile.searches.always,
        filters=filters,
    )
