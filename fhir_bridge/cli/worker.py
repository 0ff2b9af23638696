"""`fhir-bridge worker`: sends what is due from the ledger."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime

import click

from fhir_bridge.app.doors import watched
from fhir_bridge.app.ledgers import ledger_of
from fhir_bridge.app.rules import loaded_settings
from fhir_bridge.cli.advice import exit_code
from fhir_bridge.cli.options import Address
from fhir_bridge.cli.stopping import stop_on_signals
from fhir_bridge.cli.working import work
from fhir_bridge.dispatch.dispatcher import DRAIN, Until
from fhir_bridge.http_server.serving import Listening
from fhir_bridge.ledger.database.direct import let_threads_in
from fhir_bridge.logs import set_up_logs


@click.command()
@click.option("--drain", is_flag=True, help="End when nothing is due within 60 seconds.")
@click.option("--concurrency", type=click.IntRange(1, 1_000_000), metavar="N",
              help="Requests in flight at once; else dispatch.max_in_flight.")  # fmt: skip
@click.option("--metrics", type=Address(), metavar="ADDRESS:PORT",
              help="Show /metrics, /healthz and /readyz there; a port alone is this machine's.")  # fmt: skip
@click.pass_obj
def worker(
    config_file: str | None, drain: bool, concurrency: int | None, metrics: tuple[str, int] | None
) -> int:
    """Send what is due from the ledger, until stopped.

    Patient first, then task; within calling hours; one call at a time to any number. What `serve` took in is
    processed first. SIGTERM or Ctrl-C finishes what is in flight and claims no more. Each hour it clears what
    retention.payloads says is old.

    \b
    fhir-bridge worker --metrics 9464               # for a Prometheus on this machine
    fhir-bridge worker --metrics 10.0.0.7:9464      # anybody there may ask: no patient is in it
    """
    set_up_logs()
    let_threads_in()
    at = Listening(*metrics) if metrics else None
    return asyncio.run(_work(config_file, Until(drained=DRAIN if drain else None), concurrency, at))


async def _work(config_file: str | None, until: Until, concurrency: int | None, at: Listening | None) -> int:
    loaded = loaded_settings(config_file)
    loaded.settings.endpoint()
    async with ledger_of(loaded) as ledger:
        with stop_on_signals() as stop:
            async with watched(loaded, ledger, at) as url:
                if url is not None:
                    click.echo(f"watch {url}/healthz, /readyz and /metrics")
                    sys.stdout.flush()
                await work(loaded, ledger, stop.event, until=until, concurrency=concurrency)
        status = await ledger.status(datetime.now(UTC))
    return exit_code(status) if stop.exit_code is None else stop.exit_code
