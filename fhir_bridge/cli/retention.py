"""`fhir-bridge retention`: clears what is no longer needed, now instead of within the hour."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import click

from fhir_bridge.app.ledgers import ledger_of
from fhir_bridge.app.rules import loaded_settings
from fhir_bridge.cli.screen import counted
from fhir_bridge.ledger.records import Cleared
from fhir_bridge.settings.values import duration_text


@click.group()
def retention() -> None:
    """Clear patient data that is no longer needed.

    A worker does it each hour. Keys and states stay: nobody is called twice because their data was cleared.
    """


@retention.command()
@click.pass_obj
def run(config_file: str | None) -> int:
    """Clear messages, requests and answers that are older than retention.payloads, now.

    What is done, skipped, rejected, refused or cancelled is cleared that long after its last change; all else
    after four times that, and goes on the work list.

    Exit code 1 where something was cleared that nobody had settled.
    """
    loaded = loaded_settings(config_file, secrets=False)
    keep = loaded.settings.retention.payloads

    async def clear() -> Cleared:
        async with ledger_of(loaded) as ledger:
            return await ledger.clear_payloads(datetime.now(UTC), keep)

    cleared = asyncio.run(clear())
    click.echo(
        f"older than {duration_text(keep)}: {counted(cleared.intents, 'intent')}, "
        f"{counted(cleared.patients, 'patient')}, {counted(cleared.messages, 'message')} cleared"
    )
    if cleared.unfinished:
        click.echo(f"  → {cleared.unfinished} of them nobody had settled: see `worklist`", err=True)
    return 1 if cleared.unfinished else 0
