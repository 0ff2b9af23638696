"""`fhir-bridge submit`: maps FHIR files, keeps the decisions, sends what is due, says what became of each."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from fhir_bridge.app.delivery import dispatcher_of
from fhir_bridge.app.ledgers import do_not_call_of, known_do_not_call, ledger_of
from fhir_bridge.app.rules import loaded_settings, run_with
from fhir_bridge.app.servers import fetched
from fhir_bridge.cli import advice, screen
from fhir_bridge.cli.look import print_status
from fhir_bridge.cli.map import exit_code
from fhir_bridge.cli.options import (
    Span,
    fetch_option,
    files_argument,
    json_option,
    mapping_options,
    now_option,
)
from fhir_bridge.cli.stopping import Stop, stop_on_signals
from fhir_bridge.dispatch.dispatcher import Until
from fhir_bridge.intake.files import Inputs
from fhir_bridge.ledger.port import Ledger
from fhir_bridge.ledger.records import Arrival, Broken, Heard, Status
from fhir_bridge.ledger.sources.messages import Unread
from fhir_bridge.logs import set_up_logs
from fhir_bridge.mapping.decision import Call
from fhir_bridge.mapping.gates import Blocked
from fhir_bridge.mapping.printed import instant, request_data
from fhir_bridge.mapping_run import MappingRun
from fhir_bridge.migration.broken import broken_of, unread_in
from fhir_bridge.settings import Loaded


@click.command()
@files_argument
@click.option("--dry-run", is_flag=True, help="Print exactly what would be sent, and keep and send nothing.")
@click.option("--wait", type=Span(), default="60s", show_default=True,
              help="How long to wait until each intent is settled or not due.")  # fmt: skip
@json_option
@mapping_options
@fetch_option
@now_option
@click.pass_obj
def submit(
    config_file: str | None,
    files: tuple[str, ...],
    dry_run: bool,
    wait: timedelta,
    as_json: bool,
    source: str | None,
    overrides: tuple[tuple[str, str], ...],
    context: tuple[Path, ...],
    fetch: bool,
    now: datetime | None,
) -> int:
    """Map FHIR files and send what is due now.

    Every decision is kept in the ledger before anything is sent. What may not be called at this hour, and
    what could not be sent within --wait, stays in the ledger for `fhir-bridge worker`. Running it again sends
    nothing twice.

    \b
    fhir-bridge submit bundle.json --dry-run
    fhir-bridge submit export/*.ndjson --source ehr --json
    """
    if now is not None and not dry_run:
        raise click.UsageError("--now is only for --dry-run: what is sent is decided by the real time")
    loaded = loaded_settings(config_file, secrets=not dry_run)
    if not dry_run:
        loaded.settings.endpoint()
    run = run_with(loaded, source, dict(overrides), now, demand_source=True)
    screen.tell_unfinished(files, sending=not dry_run)
    with screen.progress("reading", len(files)) as seen:
        inputs = run.read(files, context, seen)
    screen.tell_problems(inputs.problems)
    if fetch:
        inputs = asyncio.run(fetched(loaded.settings, run, inputs))
        screen.tell_gaps(inputs.gaps)
    if dry_run:
        blocked = asyncio.run(known_do_not_call(loaded, run.profile.source.name))
        return _preview(run, inputs, as_json, blocked)
    broken = broken_of(run.profile.source.name, unread_in(inputs.problems))
    set_up_logs(logging.ERROR)
    if inputs.nothing_readable:
        if broken:
            asyncio.run(_hold(loaded, broken))
        return 4
    result = asyncio.run(_send(loaded, run, inputs, broken, wait))
    _print(result, as_json)
    return result.exit_code or (1 if inputs.problems else 0)


@dataclass(slots=True)
class Result:
    """What became of this call's intents."""

    accepted: int = 0
    status: Status | None = None
    stop: Stop = field(default_factory=Stop)

    @property
    def exit_code(self) -> int:
        """130 interrupted, 5 the endpoint holds us back, 1 something needs a person, else 0."""
        assert self.status is not None
        return advice.exit_code(self.status) if self.stop.exit_code is None else self.stop.exit_code


async def _hold(loaded: Loaded, broken: Sequence[Broken]) -> None:
    """Of files of which nothing can be read: whom they name is not called."""
    async with ledger_of(loaded) as ledger:
        await _accept(ledger, (), (), broken)


async def _send(
    loaded: Loaded, run: MappingRun, inputs: Inputs, broken: Sequence[Broken], wait: timedelta
) -> Result:
    async with ledger_of(loaded) as ledger, dispatcher_of(loaded.settings, ledger) as dispatcher:
        blocked = await do_not_call_of(ledger, run.profile.source.name)
        arrivals, heard = run.taken(inputs, blocked)
        result = Result(accepted=len(arrivals))
        keys = await _accept(ledger, arrivals, heard, broken)
        with stop_on_signals() as result.stop:
            until = Until(only=keys, at=datetime.now(UTC) + wait)
            await dispatcher.run(result.stop.event, until)
        result.status = await ledger.status(datetime.now(UTC), list(keys))
    return result


async def _accept(
    ledger: Ledger, arrivals: Sequence[Arrival], heard: Sequence[Heard], broken: Sequence[Broken]
) -> list[str]:
    """Takes the decisions in, and what could not be read; the keys of their intents, each once.

    All in one transaction: a worker must not call for an order whose lost appointment is not in yet.
    """
    missed = Unread(broken=broken)
    accepted = await ledger.accept(arrivals, now=datetime.now(UTC), heard=heard, missed=missed)
    screen.tell_held(len(broken))
    return list(dict.fromkeys(each.key for each in accepted))


def _print(result: Result, as_json: bool) -> None:
    status = result.status
    assert status is not None
    if as_json:
        click.echo(
            json.dumps({"accepted": result.accepted, "states": status.states, "reasons": status.reasons})
        )
        return
    click.echo(f"accepted {screen.counted(result.accepted, 'trigger')}")
    print_status(status, Console(highlight=False))
    if waiting := status.states.get("ready"):
        kept = screen.counted(waiting, "intent")
        click.echo(f"{kept} not sent yet, but kept: `fhir-bridge worker` sends what is due", err=True)


def _preview(run: MappingRun, inputs: Inputs, as_json: bool, blocked: Blocked) -> int:
    """Prints every request that would be sent, in their order: the patient's, then the task's."""
    decisions = run.decide(inputs, blocked)
    calls = [_requests(decision, run.project_id) for decision in decisions if isinstance(decision, Call)]
    if as_json:
        click.echo(json.dumps({"would_send": calls}, indent=2, ensure_ascii=False))
    else:
        for call in calls:
            click.echo(click.style(f"{call['trigger']}  intent {call['intent']}", bold=True))
            click.echo("  POST /v1/patient, unless the ledger knows this patient")
            click.echo(json.dumps(call["patient"], indent=2, ensure_ascii=False))
            click.echo("  POST /v1/task, with that patient's id")
            click.echo(json.dumps(call["request"], indent=2, ensure_ascii=False))
    screen.tell_counts(decisions, inputs)
    click.echo("dry run: nothing was kept or sent", err=True)
    return exit_code(inputs.nothing_readable, bool(inputs.problems), decisions)


def _requests(call: Call, project_id: str | None) -> dict[str, Any]:
    return {
        "trigger": call.subject.trigger,
        "intent": call.subject.intent,
        "valid_until": instant(call.valid_until),
        "patient": call.patient.to_wire(project_id=project_id),
        "request": request_data(call, project_id),
    }
