"""`fhir-bridge map`: what FHIR files become, printed; nothing is sent or kept."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from fhir_bridge.app.rules import mapping_run
from fhir_bridge.app.servers import completed
from fhir_bridge.cli import screen
from fhir_bridge.cli.options import fetch_option, files_argument, mapping_options, now_option
from fhir_bridge.mapping.decision import Call, Decision, Reject
from fhir_bridge.mapping.printed import decision_data, request_data


@click.command("map")
@files_argument
@click.option("--format", "form", type=click.Choice(["json", "ndjson", "decisions"]), default="json",
              help="json: the requests as one array. ndjson: a request a line. decisions: a line for every "
                   "trigger, with its decision, reason, request and lineage.")  # fmt: skip
@mapping_options
@fetch_option
@now_option
@click.pass_obj
def map_command(
    config_file: str | None,
    files: tuple[str, ...],
    form: str,
    source: str | None,
    overrides: tuple[tuple[str, str], ...],
    context: tuple[Path, ...],
    fetch: bool,
    now: datetime | None,
) -> int:
    """Print the requests that FHIR files become. Sends nothing.

    A FILE is a resource, a Bundle, NDJSON, or a folder of them; - is standard input. The files of one
    call are read together: what one refers to may stand in another.

    \b
    fhir-bridge map appointment.json patient.json
    fhir-bridge map bundle.json --format decisions | jq 'select(.decision != "call")'
    fhir-bridge map - --set timezone=America/New_York < bundle.json
    """
    run = mapping_run(config_file, source, dict(overrides), now)
    with screen.progress("reading", len(files)) as seen:
        inputs = run.read(files, context, seen)
    if fetch:
        inputs = completed(config_file, run, inputs)
    decisions = run.decide(inputs)
    _print(form, decisions, run.project_id)
    screen.tell_unfinished(files, sending=False)
    screen.tell_problems(inputs.problems)
    screen.tell_gaps(inputs.gaps)
    screen.tell_counts(decisions, inputs)
    return exit_code(inputs.nothing_readable, bool(inputs.problems), decisions)


def exit_code(nothing_readable: bool, problems: bool, decisions: Iterable[Decision]) -> int:
    """0 all well, 1 something needs a person, 4 nothing could be read (intake, section 3)."""
    if nothing_readable:
        return 4
    return 1 if problems or any(isinstance(decision, Reject) for decision in decisions) else 0


def _print(form: str, decisions: Iterable[Decision], project_id: str | None) -> None:
    if form == "decisions":
        _print_lines(decision_data(decision, project_id) for decision in decisions)
        return
    requests = [request_data(decision, project_id) for decision in decisions if isinstance(decision, Call)]
    if form == "ndjson":
        _print_lines(requests)
    else:
        import json

        click.echo(json.dumps(requests, indent=2, ensure_ascii=False))


def _print_lines(objects: Iterable[dict[str, Any]]) -> None:
    import orjson

    for data in objects:
        click.echo(orjson.dumps(data))
