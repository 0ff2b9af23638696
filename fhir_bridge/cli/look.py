"""`fhir-bridge status` and `worklist`: what the ledger holds, and what waits for a person."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import click
import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fhir_bridge.app import ledger_of, loaded_settings
from fhir_bridge.cli.advice import NEXT_STEP, WAITING, needs_a_person
from fhir_bridge.cli.options import json_option, selection_options
from fhir_bridge.ledger.records import Selection, Status, WorkItem
from fhir_bridge.mapping.printed import instant


@click.command()
@json_option
@click.pass_obj
def status(config_file: str | None, as_json: bool) -> int:
    """Count what the ledger holds, by state and reason; say what is due and what waits for a person.

    Exit code 1 where something waits for a person.
    """

    async def look() -> Status:
        async with ledger_of(loaded_settings(config_file, secrets=False)) as ledger:
            return await ledger.status(datetime.now(UTC))

    found = asyncio.run(look())
    if as_json:
        click.echo(json_text(asdict(found)))
    else:
        print_status(found, Console(highlight=False))
    return 1 if needs_a_person(found.states) or found.alarms else 0


def print_status(found: Status, console: Console) -> None:
    """The counts for people, and what to do next."""
    print_states(found, console)
    if found.reasons:
        console.print(Text("by reason", "bold"))
        for reason, count in sorted(found.reasons.items(), key=lambda each: -each[1]):
            advice = f"  → {WAITING[reason]}" if reason in WAITING else ""
            console.print(Text(f"  {reason:<24} {count:>8}{advice}"), soft_wrap=True)
    for title, counts in (("patients", found.patients), ("inbox", found.inbox), ("alarms", found.alarms)):
        if counts:
            told = ", ".join(f"{name} {count}" for name, count in counts.items())
            console.print(Text(f"{title}: {told}", "yellow"))
    if found.oldest_due:
        console.print(f"oldest due since {instant(found.oldest_due)}")
    elif found.next_due:
        console.print(f"next due at {instant(found.next_due)}")
    if because := found.destination["held_back_because"]:
        told = WAITING.get(because, because)
        console.print(Text(f"everything is held back: {told}", "bold red"), soft_wrap=True)


def print_states(found: Status, console: Console) -> None:
    """How many intents stand where, and what a person does about them."""
    total = sum(found.states.values())
    console.print(Text(f"{total} intents", "bold"))
    for state, count in found.states.items():
        advice = f"  → {NEXT_STEP[state]}" if state in NEXT_STEP else ""
        console.print(Text(f"  {state:<24} {count:>8}{advice}"), soft_wrap=True)


@click.command()
@selection_options
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="At most so many.")
@json_option
@click.pass_obj
def worklist(config_file: str | None, selection: Selection, limit: int, as_json: bool) -> None:
    """List what waits for a person, longest waiting first.

    Rejected (the data won't do), refused (by the endpoint), in doubt (an answer was lost: somebody may have
    been phoned), parked (given up), and patients whose creation is in doubt or refused.
    """

    async def look() -> list[WorkItem]:
        async with ledger_of(loaded_settings(config_file, secrets=False)) as ledger:
            return await ledger.worklist(selection, limit)

    items = asyncio.run(look())
    if as_json:
        click.echo(json_text([asdict(item) for item in items]))
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for column in ("since", "state", "reason", "what", "look at"):
        table.add_column(column, overflow="fold")
    for item in items:
        what = item.key if item.kind == "intent" else f"patient {item.source} {item.key}"
        table.add_row(instant(item.since), item.state, item.reason or "", what, item.expression or "")
    Console(highlight=False).print(table if items else "nothing waits for a person")
    for state in {item.state: None for item in items}:
        if state in NEXT_STEP:
            click.echo(f"{state}: {NEXT_STEP[state]}", err=True)


def json_text(value: Any) -> str:
    """Indented JSON; instants in UTC to the second."""
    # Column names are a subclass of str.
    options = orjson.OPT_INDENT_2 | orjson.OPT_UTC_Z | orjson.OPT_OMIT_MICROSECONDS | orjson.OPT_NON_STR_KEYS
    return orjson.dumps(value, option=options).decode()
