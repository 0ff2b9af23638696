"""One claimed intent to its end: checked, its patient created, its task created, each attempt
committed first.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from random import Random
from typing import Any

import structlog

from fhir_bridge.dispatch.checks import Rules, check
from fhir_bridge.dispatch.clock import Clock
from fhir_bridge.dispatch.endpoint import Endpoint
from fhir_bridge.dispatch.rate import RateLimit
from fhir_bridge.dispatch.rereading import Rereading
from fhir_bridge.dispatch.retry import next_try
from fhir_bridge.dispatch.sending import Sending
from fhir_bridge.dispatch.unread import Unread
from fhir_bridge.dispatch.writes import WriteQueue
from fhir_bridge.ledger.port import Dispatches
from fhir_bridge.ledger.records import (
    Claimed,
    Defer,
    Park,
    PatientAgain,
    Refusal,
    SettlePatient,
    SettleTask,
    StartPatient,
    StartTask,
    TaskAgain,
    Written,
)
from fhir_bridge.ledger.sending.gate import BREAKER, Breaker, Gate, after
from fhir_bridge.ledger.states import PatientState
from fhir_bridge.task_api.bodies import patient_body, task_body
from fhir_bridge.task_api.outcome import Outcome, OutcomeClass

REQUEST_INVALID = "request-invalid"
PATIENT_BUSY = "patient-being-created"
_SOON = timedelta(seconds=1)
_AGAIN = (OutcomeClass.NOT_PROCESSED, OutcomeClass.KEY_REFUSED)

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Sender:
    """What every sender of a worker shares. `gate` is this worker's view of the destination, newer than the
    row's.

    `poll_every`: how long after sending a task is first read back.
    """

    endpoint: Endpoint
    writes: WriteQueue
    rules: Rules
    project_id: str
    clock: Clock
    rng: Random
    rate: RateLimit
    poll_every: timedelta
    breaker: Breaker = BREAKER
    rereading: Rereading | None = None
    unread: Unread | None = None
    gate: Gate = field(default_factory=Gate)
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    _learnt: asyncio.Future[Written] | None = None
    # Made once: structlog's lazy logger would be put together anew for every task.
    _log: Any = field(default_factory=log.bind)
    _sending: Sending = field(init=False)

    def __post_init__(self) -> None:
        retry = self.rules.dispatch.retry
        self._sending = Sending(self.writes, self.clock, self.rng, retry, self.stop, self._closed_for)

    async def look(self, ledger: Dispatches) -> Gate:
        """Read the destination's row. What our senders learnt counts until the row has it too; whom a person
        pauses meanwhile is held back all the same.
        """
        learnt = self._learnt
        is_kept = learnt is None or learnt.done()
        row = await ledger.gate()
        if is_kept and self._learnt is learnt:
            self.gate = row
        else:
            self.gate = replace(self.gate, paused_sources=row.paused_sources)
        return self.gate

    async def deliver(self, claimed: Claimed) -> None:
        """Send one intent, or give it back with the reason. Raises LedgerError where the ledger
        cannot write.
        """
        looked_at = self.clock()
        if not await self._may_go(claimed):
            return
        patient_id = claimed.patient.api_id
        if claimed.patient.state is not PatientState.CREATED:
            patient_id = await self._create_patient(claimed)
        if patient_id is None:
            return
        # To ask the source, and to create a patient, takes its time: the evening may have come meanwhile.
        if self.clock() - looked_at >= _SOON and await self._held_back(claimed):
            return
        await self._create_task(claimed, patient_id)

    async def _may_go(self, claimed: Claimed) -> bool:
        """Asked before a turn is waited for and after it: a pause or the evening may have come meanwhile."""
        if await self._held_back(claimed):
            return False
        if self.unread and (behind := await self.unread.look(claimed, self.clock())):
            await self.writes.put(behind)
            return False
        if self.rereading and (moved := await self.rereading.look(claimed, self.clock())):
            await self.writes.put(moved)
            return False
        return not (await self.rate.wait() and await self._held_back(claimed))

    async def _held_back(self, claimed: Claimed) -> bool:
        now = self.clock()
        verdict = check(claimed, now, self.rules)
        if verdict is None and (closed := self._closed_for(claimed, now)):
            verdict = Defer(claimed, now, closed, now)
        if verdict is not None:
            await self.writes.put(verdict)
        return verdict is not None

    def _closed_for(self, claimed: Claimed, now: datetime) -> str | None:
        return "paused" if claimed.source in self.gate.paused_sources else self.gate.closed_because(now)

    # -- patient --

    async def _create_patient(self, claimed: Claimed) -> str | None:
        """The new patient's id; None where there is none yet and the intent was given back."""
        try:
            body = patient_body(claimed.patient.request or b"", self.project_id)
        except ValueError as error:
            await self._invalid(claimed, error)
            return None
        now = self.clock()
        start = StartPatient(claimed, now, now + self.rules.dispatch.lease)
        begun = await self.writes.put(start)
        if not begun.done:
            await self._give_back(claimed, begun)
            return None
        key = _idempotency_key("patient", f"{claimed.source}|{claimed.patient.identity}")
        send = partial(self.endpoint.create_patient, body, idempotency_key=key)
        last = await self._sending.run(PatientAgain, start, begun.number, send)
        now, outcome = self.clock(), last.outcome
        due_at = self._again_at(last.number, outcome, now)
        # Not waited for: what is written next is committed with it or after it.
        settled = self.writes.put(SettlePatient(claimed, last.number, outcome, last.started_at, now, due_at))
        self._note("patient", claimed, outcome, settled)
        if due_at is not None:
            await self.writes.put(Defer(claimed, due_at, _waits_for(outcome), now))
        return outcome.id if outcome.kind is OutcomeClass.ACCEPTED else None

    # -- task --

    async def _create_task(self, claimed: Claimed, patient_id: str) -> None:
        try:
            body = task_body(claimed.request, self.project_id, patient_id)
        except ValueError as error:
            await self._invalid(claimed, error)
            return
        dispatch = self.rules.dispatch
        now = self.clock()
        if closed := self._closed_for(claimed, now):
            await self.writes.put(Defer(claimed, now, closed, now))
            return
        interval = timedelta(seconds=1 / dispatch.pace) if dispatch.pace else None
        start = StartTask(claimed, now, now + dispatch.lease, now - dispatch.min_gap, interval)
        begun = await self.writes.put(start)
        if not begun.done:
            await self._give_back(claimed, begun)
            return
        key = _idempotency_key("task", claimed.key)
        send = partial(self.endpoint.create_task, body, idempotency_key=key)
        last = await self._sending.run(TaskAgain, start, begun.number, send)
        now, outcome = self.clock(), last.outcome
        settled = self.writes.put(
            SettleTask(
                claimed,
                last.number,
                outcome,
                last.started_at,
                now,
                due_at=self._again_at(last.number, outcome, now),
                poll_at=now + self.poll_every,
            )
        )
        self._note("task", claimed, outcome, settled)

    def _again_at(self, number: int, outcome: Outcome, now: datetime) -> datetime | None:
        """When to try again; None where the outcome does not say that it may be."""
        if outcome.kind not in _AGAIN:
            return None
        return next_try(number, outcome, now, self.rng, self.rules.dispatch.retry)

    # -- what did not go --

    async def _give_back(self, claimed: Claimed, refused: Written) -> None:
        """Give back an intent whose attempt was not committed; one that is no longer ours is left alone."""
        now = self.clock()
        if refused.refusal in (Refusal.BLOCKED, Refusal.STOPPED):
            await self.writes.put(Park(claimed, refused.refusal, now))
        elif refused.refusal is Refusal.RECENTLY_CALLED and refused.called_at is not None:
            due_at = refused.called_at + self.rules.dispatch.min_gap
            await self.writes.put(Defer(claimed, due_at, Refusal.RECENTLY_CALLED, now))
        elif refused.refusal is Refusal.PACED and refused.turn_at is not None:
            await self.writes.put(Defer(claimed, refused.turn_at, Refusal.PACED, now))
        elif refused.refusal is Refusal.PAUSED:
            await self.writes.put(Defer(claimed, now, Refusal.PAUSED, now))
        else:
            await self.writes.put(Defer(claimed, now + _SOON, PATIENT_BUSY, now))

    async def _invalid(self, claimed: Claimed, error: ValueError) -> None:
        """A request that breaks the contract is ours to mend: it is never sent, and on the work list."""
        log.error("request-invalid", intent=claimed.id, problem=str(error))
        await self.writes.put(Park(claimed, REQUEST_INVALID, self.clock()))

    def _note(self, what: str, claimed: Claimed, outcome: Outcome, settled: asyncio.Future[Written]) -> None:
        """Obey what came back at once, before it is committed, and say it where it is no ordinary answer."""
        now, before = self.clock(), self.gate
        self.gate = after(before, outcome, now, self.breaker)
        if self.gate is not before:
            self._learnt = settled
        if outcome.kind is OutcomeClass.ACCEPTED:
            # With its id: where the ledger cannot keep it any more, the log still says which task it was.
            self._log.info(f"{what}-created", intent=claimed.id, status=outcome.status, id=outcome.id)
        else:
            seen = {"intent": claimed.id, "status": outcome.status, "error": outcome.error}
            self._log.warning(f"{what}-{outcome.kind}", **seen)
        if (closed := self.gate.closed_because(now)) and not before.closed_because(now):
            log.error("destination-held-back", because=closed)


def _waits_for(outcome: Outcome) -> str:
    return "key-refused" if outcome.kind is OutcomeClass.KEY_REFUSED else "retry"


def _idempotency_key(what: str, name: str) -> str:
    """The same for every attempt of one intent or patient; hashed, for a header travels through logs."""
    return hashlib.sha256(f"{what}|{name}".encode()).hexdigest()
