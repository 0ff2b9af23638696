"""What a worker does besides sending, wherever it runs: the inbox, sources watched, the house kept."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import structlog

from fhir_bridge.app.delivery import dispatcher_of
from fhir_bridge.app.doors import processor_of
from fhir_bridge.app.servers import fhir_servers
from fhir_bridge.app.subscribing import watchers_of
from fhir_bridge.dispatch.dispatcher import Dispatcher, Until
from fhir_bridge.dispatch.housekeeping import Housekeeper, keeping_house
from fhir_bridge.errors import LedgerError
from fhir_bridge.ledger.store import SqlLedger
from fhir_bridge.settings import Loaded
from fhir_bridge.subscriptions.watcher import watching

logger = structlog.get_logger(__name__)

AGAIN = timedelta(seconds=5)
"""How soon sending begins anew after the ledger failed, where a server must stay up."""


async def work(
    loaded: Loaded,
    ledger: SqlLedger,
    stop: asyncio.Event,
    *,
    until: Until | None = None,
    concurrency: int | None = None,
    wake: asyncio.Event | None = None,
    stays_up: bool = False,
) -> None:
    """Process the inbox and send what is due, until stopped or as `until` says. `wake`: set when messages
    came. With `stays_up` a ledger that fails is tried again, else LedgerError is raised."""
    async with (
        fhir_servers(loaded.settings) as servers,
        dispatcher_of(loaded.settings, ledger, concurrency=concurrency, servers=servers) as dispatcher,
        keeping_house(Housekeeper(ledger, loaded.settings.retention.payloads)),
        watching(watchers_of(loaded.settings, ledger, servers)),
    ):
        processor = processor_of(loaded, ledger, servers)
        processor.wake = wake or processor.wake
        if until is not None and until.drained is not None:
            await processor.drain(stop)
        ended = asyncio.Event()
        processing = asyncio.create_task(processor.run(ended), name="inbox-processor")
        try:
            await _send(dispatcher, stop, until or Until(), stays_up)
        finally:
            ended.set()
            await processing


async def _send(dispatcher: Dispatcher, stop: asyncio.Event, until: Until, stays_up: bool) -> None:
    while True:
        try:
            await dispatcher.run(stop, until)
        except LedgerError as error:
            if not stays_up or stop.is_set():
                raise
            logger.error("sending-stopped", error=error.code)
            await asyncio.sleep(AGAIN.total_seconds())
        else:
            return
