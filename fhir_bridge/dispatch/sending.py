"""One request whose attempt is committed: sent, and under an idempotency key again until it is settled."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from random import Random

from fhir_bridge.dispatch.clock import Clock
from fhir_bridge.dispatch.retry import next_try
from fhir_bridge.dispatch.writes import WriteQueue
from fhir_bridge.ledger.records import Claimed, PatientAgain, StartPatient, StartTask, TaskAgain
from fhir_bridge.settings.tables import RetrySettings
from fhir_bridge.task_api.outcome import Outcome, OutcomeClass

OVERSLEPT = Outcome(OutcomeClass.NOT_PROCESSED, error="overslept")
"""This worker stood still from the commit of the attempt until its lease was over, suspended or waiting for
the ledger: others take the request for lost by now, and somebody may have it sent again. So it is not sent.
"""


@dataclass(slots=True)
class Exchange:
    """The last request that was sent, of perhaps several under one key."""

    number: int
    started_at: datetime
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Sending:
    """What sending asks for. `closed` says why the destination takes nothing of this intent now; once `stop`
    is set nothing is sent again."""

    writes: WriteQueue
    clock: Clock
    rng: Random
    retry: RetrySettings
    stop: asyncio.Event
    closed: Callable[[Claimed, datetime], str | None]

    async def run(
        self,
        again: type[PatientAgain | TaskAgain],
        start: StartPatient | StartTask,
        number: int,
        send: Callable[[], Awaitable[Outcome]],
    ) -> Exchange:
        """Send what was committed as attempt `number`, unless this worker slept over its lease."""
        last = Exchange(number, self.clock(), OVERSLEPT)
        if last.started_at < start.lease_until:
            last.outcome = await send()
            await self._repeat(again, start, last, send)
        return last

    async def _repeat(
        self,
        again: type[PatientAgain | TaskAgain],
        start: StartPatient | StartTask,
        last: Exchange,
        send: Callable[[], Awaitable[Outcome]],
    ) -> None:
        """Where nobody knows what became of it and the endpoint honours our key: send the same again under
        it, each time with its attempt committed, until it is accepted, the lease is over, or something speaks
        against it. Unknown stays unknown otherwise: a refusal of the second says nothing of the first.
        """
        claimed, count = start.claimed, 0
        while last.outcome.repeatable:
            now, count = self.clock(), count + 1
            at = next_try(count, last.outcome, now, self.rng, self.retry)
            if at >= start.lease_until or await self._stopped_within(at - now):
                return
            now = self.clock()
            if self.closed(claimed, now) or now >= start.lease_until:
                return
            before = (last.number, last.outcome, last.started_at, now, start.lease_until)
            begun = await self.writes.put(again(claimed, *before))
            started_at = self.clock()
            if not begun.done or started_at >= start.lease_until:
                last.number = begun.number or last.number
                return
            outcome = await send()
            is_open = outcome.repeatable or outcome.kind is OutcomeClass.NOT_PROCESSED
            if outcome.kind is not OutcomeClass.ACCEPTED:
                outcome = replace(outcome, kind=OutcomeClass.UNKNOWN, repeatable=is_open)
            last.number, last.started_at, last.outcome = begun.number, started_at, outcome

    async def _stopped_within(self, wait: timedelta) -> bool:
        """Whether this worker is to end within that time: it does not wait for what may be lost."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.stop.wait(), wait.total_seconds())
        return self.stop.is_set()
