"""`fhir-bridge worker`: sends what is due from the ledger."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import click

from fhir_bridge.app.ledgers import ledger_of
from fhir_bridge.app.rules import loaded_settings
from fhir_bridge.cli.advice import exit_code
from fhir_bridge.cli.stopping import stop_on_signals
from fhir_bridge.cli.working import work
from fhir_bridge.dispatch.dispatcher import DRAIN, Until
from fhir_bridge.ledger.database.direct import let_threads_in
from fhir_bridge.logs import set_up_logs


@click.command()
@click.option("--drain", is_flag=True, help="End when nothing is due within 60 seconds.")
@click.option("--concurrency", type=click.IntRange(min=1), metavar="N",
              help="Requests in flight at once; else dispatch.max_in_flight.")  # fmt: skip
@click.pass_obj
def worker(config_file: str | None, drain: bool, concurrency: int | None) -> int:
    """Send what is due from the ledger, until stopped.

    Patient first, then task; within calling hours; one call at a time to any number. What `serve` took in is
    processed first. SIGTERM or Ctrl-C finishes what is in flight and claims no more. Each hour it clears what
    retention.payloads says is old.
    """
    set_up_logs()
    let_threads_in()
    return asyncio.run(_work(config_file, Until(drained=DRAIN if drain else None), concurrency))


async def _work(config_file: str | None, until: Until, concurrency: int | None) -> int:
    loaded = loaded_settings(config_file)
    loaded.settings.endpoint()
    async with ledger_of(loaded) as ledger:
        with stop_on_signals() as stop:
            await work(loaded, ledger, stop.event, until=until, concurrency=concurrency)
        status = await ledger.status(datetime.now(UTC))
    return exit_code(status) if stop.exit_code is None else stop.exit_code
