"""What a worker does beside sending: each hour it clears payloads and logs the last attempt, by which a
restored backup is told, each day the head of the audit (delivery, "Operating it").
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from fhir_bridge.dispatch.clock import Clock, utc_now
from fhir_bridge.errors import LedgerError
from fhir_bridge.ledger.records import AuditHead, Cleared

EVERY = timedelta(hours=1)
HEAD_EVERY = timedelta(days=1)

log = structlog.get_logger(__name__)


class Kept(Protocol):
    """What housekeeping asks of a ledger."""

    async def clear_payloads(self, now: datetime, keep: timedelta) -> Cleared:
        """Clear what nothing needs any more."""
        ...

    async def audit_head(self) -> AuditHead | None:
        """The newest row of the audit."""
        ...

    async def last_attempt(self) -> int:
        """The number of the newest attempt."""
        ...


@dataclass(slots=True)
class Housekeeper:
    """Keeps the ledger as the settings have it; several at once do no harm. `keep`: how long payloads are."""

    ledger: Kept
    keep: timedelta
    clock: Clock = utc_now
    _head_at: datetime | None = None

    async def tidy(self) -> Cleared:
        """Once: clear, log the last attempt, and the head of the audit where that is a day ago. Raises
        LedgerError."""
        now = self.clock()
        if last := await self.ledger.last_attempt():
            log.info("last-attempt", number=last)
        if self._head_at is None or now - self._head_at >= HEAD_EVERY:
            if head := await self.ledger.audit_head():
                log.info("audit-head", number=head.number, chain=head.chain)
            self._head_at = now
        cleared = await self.ledger.clear_payloads(now, self.keep)
        if cleared != Cleared():
            log.info(
                "payloads-cleared",
                intents=cleared.intents,
                patients=cleared.patients,
                messages=cleared.messages,
            )
        if cleared.unfinished:
            log.error("payloads-cleared-unfinished", intents=cleared.unfinished)
        return cleared

    async def go_on(self, stop: asyncio.Event) -> None:
        """Tidy now and each hour until stopped."""
        while not stop.is_set():
            # A sender meets a failing ledger too, and ends the run.
            with contextlib.suppress(LedgerError):
                await self.tidy()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), EVERY.total_seconds())


@contextlib.asynccontextmanager
async def keeping_house(housekeeper: Housekeeper) -> AsyncIterator[None]:
    """Tidy each hour, beginning now, while inside; what was begun is finished."""
    stop = asyncio.Event()
    task = asyncio.create_task(housekeeper.go_on(stop), name="housekeeper")
    try:
        yield
    finally:
        stop.set()
        await task
