"""`migrate --send`: what was decided goes into the ledger, then to the endpoint, at the pace."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import click
from rich.console import Console

from fhir_bridge.app.delivery import dispatcher_of
from fhir_bridge.app.ledgers import ledger_of
from fhir_bridge.cli import advice, screen
from fhir_bridge.cli.look import json_text, print_status
from fhir_bridge.cli.migrate_progress import Bars
from fhir_bridge.cli.migrate_report import mend_first
from fhir_bridge.cli.stopping import INTERRUPTED, stop_on_signals
from fhir_bridge.dispatch.dispatcher import Dispatcher, Until
from fhir_bridge.ledger.port import Ledger
from fhir_bridge.migration.engine import ThisMachine
from fhir_bridge.migration.loading import Loading
from fhir_bridge.migration.run import Migration
from fhir_bridge.settings import Loaded

EVERY = 2.0
"""Seconds between two looks at how much is sent."""

SOON = timedelta(minutes=5)
"""A call that is due later than this is said to be waited for; sooner, the rate says enough."""

ALL = timedelta(days=366)


def confirmed(data: dict[str, Any]) -> bool:
    """Whether somebody at a terminal says yes; where there is none nobody is asked."""
    if not sys.stdin.isatty():
        return True
    calls = screen.counted(data["calls"], "call")
    if data["errors_about_nobody_knows_whom"]:
        click.echo(mend_first(data), err=True)
    errors = f" ({screen.counted(data['errors'], 'error')}: see above)" if data["errors"] else ""
    return click.confirm(
        f"Keep all decisions in the ledger and make {calls}, but for those made already{errors}?", err=True
    )


async def load(loaded: Loaded, migration: Migration, engine: ThisMachine) -> int:
    """Takes all decisions into the ledger, before one call is made; gives how many there were."""
    broken = migration.broken()
    async with ledger_of(loaded) as ledger:
        with Bars() as bars:
            loading = Loading(ledger, bars)
            await loading.files(engine.lines(), broken, migration.gone())
    screen.tell_held(len(broken))
    engine.forget()
    return loading.accepted


async def send(
    loaded: Loaded, pace: float | None, accepted: int, data: dict[str, Any], *, as_json: bool
) -> int:
    """Sends, until nothing waits any more or somebody stops it; gives the exit code."""
    settings = loaded.settings
    if pace is not None:
        paced = settings.dispatch.model_copy(update={"pace": pace})
        settings = settings.model_copy(update={"dispatch": paced})
    with stop_on_signals() as stop:
        async with ledger_of(loaded) as ledger:
            async with dispatcher_of(settings, ledger) as dispatcher:
                await _dispatch(ledger, dispatcher, stop.event)
            status = await ledger.status(datetime.now(UTC))
    if as_json:
        told = {"accepted": accepted, "states": status.states, "reasons": status.reasons}
        click.echo(json_text({**data, **told}))
    else:
        print_status(status, Console(highlight=False))
    if stop.event.is_set():
        click.echo("what waits goes on with the same command, or with `fhir-bridge worker`", err=True)
        return INTERRUPTED
    return advice.exit_code(status)


async def _dispatch(ledger: Ledger, dispatcher: Dispatcher, stop: asyncio.Event) -> None:
    """Sends all that is ready, whatever day its turn comes, however long it is paused, until a stop."""
    with Bars() as bars:
        watch = _Watch(ledger, bars, await ledger.waiting())
        bars.begin("sending", watch.waiting)
        watching = asyncio.create_task(watch.go_on())
        try:
            await dispatcher.run(stop, Until(drained=ALL))
            while not stop.is_set() and await watch.is_paused():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), EVERY)
                await dispatcher.run(stop, Until(drained=ALL))
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        await watch.look()


@dataclass(slots=True)
class _Watch:
    """How many of those that waited, or came to wait meanwhile, wait no more."""

    ledger: Ledger
    bars: Bars
    waiting: int
    done: int = 0

    async def go_on(self) -> None:
        """Look again and again."""
        while True:
            await self.look()
            await asyncio.sleep(EVERY)

    async def look(self) -> None:
        """Once."""
        before, self.waiting = self.waiting, await self.ledger.waiting()
        self.done += max(before - self.waiting, 0)
        self.bars.stand(self.done, self.done + self.waiting, await self._waits_for(datetime.now(UTC)))
        self.bars.tick()

    async def is_paused(self) -> bool:
        """Whether only a pause, of all or of a source, keeps what waits."""
        return bool((await self.ledger.gate()).paused_sources) and await self.ledger.waiting() > 0

    async def _waits_for(self, now: datetime) -> str:
        """What holds all of it back for a while; nothing, where calls are due."""
        gate, due = await self.ledger.gate(), await self.ledger.next_due()
        if why := gate.closed_because(now) or ("paused" if due is None and gate.paused_sources else None):
            return f"held back: {why}"
        if due is None or due <= now + SOON:
            return ""
        return f"next call {due:%Y-%m-%d %H:%M} UTC"
