"""`migrate --send`: what was decided goes into the ledger, then to the endpoint, at the pace."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import click
from rich.console import Console

from fhir_bridge.app.delivery import dispatcher_of
from fhir_bridge.app.ledgers import ledger_of
from fhir_bridge.cli import advice, screen
from fhir_bridge.cli.look import json_text, print_status
from fhir_bridge.cli.migrate_progress import Bars
from fhir_bridge.cli.stopping import INTERRUPTED, stop_on_signals
from fhir_bridge.dispatch.dispatcher import Dispatcher, Until
from fhir_bridge.ledger.port import Ledger
from fhir_bridge.migration.engine import ThisMachine
from fhir_bridge.migration.loading import Loading
from fhir_bridge.migration.run import Migration
from fhir_bridge.settings import Loaded

EVERY = 2.0
"""Seconds between two looks at how much is sent."""

ALL = timedelta(days=366)


def confirmed(data: dict[str, Any]) -> bool:
    """Whether somebody at a terminal says yes; where there is none nobody is asked."""
    if not sys.stdin.isatty():
        return True
    calls = screen.counted(data["calls"], "call")
    errors = f" ({screen.counted(data['errors'], 'error')}: see above)" if data["errors"] else ""
    return click.confirm(f"Keep all decisions in the ledger and make {calls}{errors}?", err=True)


async def send(
    loaded: Loaded,
    migration: Migration,
    engine: ThisMachine,
    pace: float | None,
    data: dict[str, Any],
    *,
    as_json: bool,
) -> int:
    """Loads and sends, until nothing waits any more or somebody stops it; gives the exit code."""
    settings = loaded.settings
    if pace is not None:
        paced = settings.dispatch.model_copy(update={"pace": pace})
        settings = settings.model_copy(update={"dispatch": paced})
    async with ledger_of(loaded) as ledger:
        with Bars() as bars:
            loading = Loading(ledger, bars)
            await loading.files(engine.lines(), migration.gone())
        engine.forget()
        click.echo(f"kept {screen.counted(loading.accepted, 'decision')} in the ledger", err=True)
        async with dispatcher_of(settings, ledger) as dispatcher:
            stopped = await _dispatch(ledger, dispatcher)
        status = await ledger.status(datetime.now(UTC))
    if as_json:
        told = {"accepted": loading.accepted, "states": status.states, "reasons": status.reasons}
        click.echo(json_text({**data, **told}))
    else:
        print_status(status, Console(highlight=False))
    if stopped:
        click.echo("what waits goes on with the same command, or with `fhir-bridge worker`", err=True)
        return INTERRUPTED
    return advice.exit_code(status)


async def _dispatch(ledger: Ledger, dispatcher: Dispatcher) -> bool:
    """Sends all that is ready, whatever day its turn comes; whether somebody stopped it."""
    with stop_on_signals() as stop, Bars() as bars:
        watching = asyncio.create_task(_watch(ledger, bars))
        try:
            await dispatcher.run(stop.event, Until(drained=ALL))
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
    return stop.event.is_set()


async def _watch(ledger: Ledger, bars: Bars) -> None:
    """How many of those that are ready now were sent."""
    waiting: int | None = None
    while True:
        states = (await ledger.status(datetime.now(UTC))).states
        ready = states.get("ready", 0) + states.get("sending", 0)
        if waiting is None:
            bars.begin("sending", ready)
        else:
            bars.advance(max(waiting - ready, 0))
        waiting = ready
        bars.tick()
        await asyncio.sleep(EVERY)
