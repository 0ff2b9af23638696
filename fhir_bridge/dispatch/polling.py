"""Reading back how the calls went: `sent` becomes `done` when the endpoint says so (delivery,
"Outcomes back").
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta

import structlog

from fhir_bridge.dispatch.clock import Clock
from fhir_bridge.dispatch.endpoint import Endpoint
from fhir_bridge.ledger.port import Dispatches
from fhir_bridge.ledger.records import ReadBack, Sent
from fhir_bridge.task_api.models import Task, TaskStatus

AT_ONCE = 100
IN_FLIGHT = 8

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Poller:
    """Asks the endpoint for each task under way, at most once `every`."""

    ledger: Dispatches
    endpoint: Endpoint
    clock: Clock
    every: timedelta

    async def poll(self) -> int:
        """Read back the tasks that are due to be; gives how many are done. Raises LedgerError."""
        now = self.clock()
        sent = await self.ledger.take_polls(now, now + self.every, AT_ONCE)
        if not sent:
            return 0
        room = asyncio.Semaphore(IN_FLIGHT)
        answers = await asyncio.gather(*(self._read(item, room) for item in sent))
        read = [answer for answer in answers if answer is not None]
        await self.ledger.record_polls(read, self.clock())
        return sum(item.final for item in read)

    async def _read(self, sent: Sent, room: asyncio.Semaphore) -> ReadBack | None:
        async with room:
            task = await self.endpoint.get_task(sent.task_id)
        if not isinstance(task, Task):
            log.warning("task-not-read-back", intent=sent.id, status=task.status, error=task.error)
            return None
        final = isinstance(task.status, TaskStatus) and task.status.is_final
        return ReadBack(sent, str(task.status), task.task_outcome, final)
