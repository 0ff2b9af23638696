"""`fhir-bridge sources`: what each source told, what it did not, and what to do about it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fhir_bridge.app.ledgers import ledger_of
from fhir_bridge.app.rules import loaded_settings
from fhir_bridge.app.subscribing import source_reports
from fhir_bridge.cli.look import json_text
from fhir_bridge.cli.options import json_option
from fhir_bridge.mapping.printed import instant
from fhir_bridge.subscriptions.report import SourceReport, as_data


@click.command()
@click.option("--source", metavar="NAME", help="Only this source.")
@json_option
@click.pass_obj
def sources(config_file: str | None, source: str | None, as_json: bool) -> int:
    """Show what each source told, what it did not, and what to do about it.

    When it was last heard, how many events it told of and how many are missed, how its subscriptions stand,
    what waits in the inbox, how many versions came after a newer one and were left aside, and until when its
    server was searched for what nobody told. A worker looks after all of this by itself; what it cannot mend
    is marked with !.

    Exit code 1 where something needs a person.
    """

    async def look() -> list[SourceReport]:
        loaded = loaded_settings(config_file, secrets=False)
        if source is not None:
            loaded.settings.source(source)
        async with ledger_of(loaded) as ledger:
            found = await source_reports(loaded, ledger)
        return [each for each in found if source in (None, each.source)]

    found = asyncio.run(look())
    if as_json:
        click.echo(json_text([as_data(each) for each in found]))
    else:
        print_sources(found, Console(highlight=False))
    return 1 if any(each.alarms for each in found) else 0


def print_sources(found: Sequence[SourceReport], console: Console) -> None:
    """A line each, then what to do."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for column in ("source", "last heard", "state"):
        table.add_column(column, overflow="fold")
    for column in ("events", "missed", "waiting", "outdated"):
        table.add_column(column, justify="right")
    table.add_column("searched until", overflow="fold")
    for each in found:
        heard, until = each.known.last_heard_at, each.searched_until
        table.add_row(
            each.source,
            instant(heard) if heard else "never",
            each.state if each.tells else "–",
            str(each.events),
            str(each.missed),
            str(each.lag.received),
            str(each.lag.outdated),
            instant(until) if until else "–",
        )
    console.print(table)
    for each in found:
        print_findings(each, console)


def print_findings(told: SourceReport, console: Console) -> None:
    """What is to be said of a source, alarms marked."""
    for finding in told.findings:
        about = f" {finding.subscription}" if finding.subscription else ""
        mark, style = ("!", "bold red") if finding.alarm else ("·", "")
        console.print(Text(f"{mark} {told.source}{about}: {finding.code}: {finding.says}", style))
        console.print(Text(f"    → {finding.advice}"))
