"""`fhir-bridge status` and `worklist`: what the ledger holds, and what waits for a person."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import click
import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fhir_bridge.app.ledgers import ledger_of
from fhir_bridge.app.rules import loaded_settings
from fhir_bridge.app.subscribing import source_reports
from fhir_bridge.cli.advice import (
    BROKEN_STEP,
    MESSAGE_STEP,
    NEXT_STEP,
    PATIENT_STEP,
    WAITS,
    exit_code,
    holding,
    meaning,
    meaning_of_message,
    remedy,
)
from fhir_bridge.cli.options import json_option, selection_options
from fhir_bridge.cli.screen import counted
from fhir_bridge.ledger.records import Selection, Status, WorkItem
from fhir_bridge.mapping.printed import instant
from fhir_bridge.subscriptions.findings import Finding
from fhir_bridge.subscriptions.report import SourceReport


@click.command()
@json_option
@click.pass_obj
def status(config_file: str | None, as_json: bool) -> int:
    """Count what the ledger holds, and say what waits and why.

    Sources that fell silent, or did not tell everything, are named too.

    Exit code 1 where something waits for a person, 5 where the endpoint is out of reach or refuses our key.
    """
    loaded = loaded_settings(config_file, secrets=False)

    async def look() -> tuple[Status, list[SourceReport]]:
        async with ledger_of(loaded) as ledger:
            return await ledger.status(datetime.now(UTC)), await source_reports(loaded, ledger)

    found, sources = asyncio.run(look())
    alarms = {each.source: each.alarms for each in sources if each.alarms}
    if as_json:
        told = {name: [finding.code for finding in findings] for name, findings in alarms.items()}
        click.echo(json_text({**asdict(found), "sources": told}))
    else:
        print_status(found, Console(highlight=False))
        print_alarms(alarms, Console(highlight=False))
    return exit_code(found) or (1 if alarms else 0)


def print_alarms(alarms: Mapping[str, Sequence[Finding]], console: Console) -> None:
    """What is wrong with sources, and where to read what to do."""
    if alarms:
        console.print(Text("sources that need somebody: `fhir-bridge sources` says what to do", "bold"))
    for source, findings in alarms.items():
        for finding in findings:
            console.print(Text(f"  {source}  {finding.code}: {finding.says}"))


def print_status(found: Status, console: Console) -> None:
    """The counts for people, and what to do next."""
    print_states(found, console)
    by_number = sorted(found.reasons.items(), key=lambda each: -each[1])
    _print_counts("by reason", [(code, count, meaning(code)) for code, count in by_number], console)
    patients = [(state, count, PATIENT_STEP.get(state)) for state, count in found.patients.items()]
    _print_counts("patients that are not created yet", patients, console)
    _print_counts("alarms", [(code, count, meaning(code)) for code, count in found.alarms.items()], console)
    messages = [(state, count, _MESSAGES.get(state)) for state, count in found.inbox.items()]
    _print_counts("messages not processed", messages, console)
    aside = [(source, count, "`show` of a trigger says which") for source, count in found.outdated.items()]
    _print_counts("versions left aside, for a newer one was known", aside, console)
    if found.oldest_due:
        console.print(f"oldest due since {instant(found.oldest_due)}")
    elif found.next_due:
        console.print(f"next due at {instant(found.next_due)}")
    if because := found.destination["held_back_because"]:
        console.print(Text(f"everything is held back: {meaning(because) or because}", "bold red"))
    for source in filter(None, found.destination["paused_sources"]):  # an empty one stands for everything
        console.print(Text(f"source {source} is held back: {meaning('paused')}", "bold red"))


_MESSAGES = {
    "received": "a worker, or `serve`, processes them",
    "failed": "`worklist` says why",
}


def print_states(found: Status, console: Console) -> None:
    """How many intents stand where, and what a person does about them."""
    states = [(state, count, NEXT_STEP.get(state)) for state, count in found.states.items()]
    _print_counts(counted(sum(found.states.values()), "intent"), states, console, empty=True)


def print_waiting(found: Status, console: Console) -> None:
    """Why some of what is ready is not sent yet."""
    waiting = [(code, count, WAITS[code]) for code, count in found.reasons.items() if code in WAITS]
    _print_counts("waiting", waiting, console)


def _print_counts(
    title: str, rows: Sequence[tuple[str, int, str | None]], console: Console, *, empty: bool = False
) -> None:
    """A line each, its advice beside it and broken there: readable on a narrow terminal."""
    if not rows and not empty:
        return
    console.print(Text(title, "bold"))
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(overflow="fold")
    for name, count, advice in rows:
        table.add_row(f"  {name}", str(count), f"→ {advice}" if advice else "")
    console.print(table)


_KINDS = ("intent", "patient", "message")


@click.command()
@selection_options
@click.option(
    "--limit",
    type=click.IntRange(1, 1_000_000),
    default=50,
    show_default=True,
    help="At most so many of each kind.",
)
@json_option
@click.pass_obj
def worklist(config_file: str | None, selection: Selection, limit: int, as_json: bool) -> None:
    """List what waits for a person, longest waiting first.

    Rejected (the data won't do), refused (by the endpoint), in doubt (an answer was lost: somebody may have
    been phoned), parked (given up), patients whose creation is in doubt or refused, messages that failed,
    parts of files that nobody can read.
    """

    async def look() -> list[WorkItem]:
        async with ledger_of(loaded_settings(config_file, secrets=False)) as ledger:
            return await ledger.worklist(selection, limit + 1)

    found = asyncio.run(look())
    items = [item for kind in _KINDS for item in [each for each in found if each.kind == kind][:limit]]
    if len(items) < len(found):
        click.echo("there is more: --limit N shows it, --reason or --source a part", err=True)
    if as_json:
        click.echo(json_text([asdict(item) for item in items]))
        return
    console = Console(highlight=False)
    if not items:
        filtered = selection != Selection()
        console.print("nothing that fits waits for a person" if filtered else "nothing waits for a person")
    for item in items:
        _print_item(item, console)
    for state in {item.state: None for item in items if item.kind == "intent" and item.state in NEXT_STEP}:
        click.echo(f"{state}: {NEXT_STEP[state]}", err=True)


def _print_item(item: WorkItem, console: Console) -> None:
    """One thing that waits: keys stay whole, to be copied, however long they are."""
    head = Text.assemble((item.state, "bold"), f"  {item.reason or ''}  since {instant(item.since)}")
    console.print(head, soft_wrap=True)
    if item.kind == "patient":
        told: list[str | None] = [f"patient {item.source}/{item.key}", f"→ {PATIENT_STEP[item.state]}"]
    elif item.place is not None:
        told = [f"message {item.key} of {item.source}: {item.place}", f"→ {BROKEN_STEP}",
                holding(item.holds, is_of_file=True)]  # fmt: skip
    elif item.kind == "message":
        about = f" about {item.trigger}" if item.trigger else ""
        told = [f"message {item.key} of {item.source}{about}",
                f"→ {meaning_of_message(item.reason or '')}; then {MESSAGE_STEP}",
                holding(item.holds)]  # fmt: skip
    else:
        said = meaning(item.reason or "")
        told = [f"{item.trigger}  intent {item.key}", item.expression and f"look at {item.expression}",
                said and f"→ {said}{remedy(item.reason or '')}"]  # fmt: skip
    for line in filter(None, told):
        console.print(Text(f"  {line}"), soft_wrap=True)


def json_text(value: Any) -> str:
    """Indented JSON; instants in UTC to the second."""
    # Column names are a subclass of str.
    options = orjson.OPT_INDENT_2 | orjson.OPT_UTC_Z | orjson.OPT_OMIT_MICROSECONDS | orjson.OPT_NON_STR_KEYS
    return orjson.dumps(value, option=options).decode()
