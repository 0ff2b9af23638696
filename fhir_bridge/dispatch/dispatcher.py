"""A worker: claims what is due, keeps its senders busy, obeys what holds the destination back (delivery)."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random

import structlog

from fhir_bridge.dispatch.checks import Rules
from fhir_bridge.dispatch.clock import Clock, utc_now
from fhir_bridge.dispatch.endpoint import Endpoint
from fhir_bridge.dispatch.polling import Poller
from fhir_bridge.dispatch.rate import RateLimit
from fhir_bridge.dispatch.rereading import Rereading
from fhir_bridge.dispatch.sender import Sender
from fhir_bridge.dispatch.unread import Unread
from fhir_bridge.dispatch.writes import WriteQueue
from fhir_bridge.errors import LedgerError
from fhir_bridge.ledger.port import Dispatches
from fhir_bridge.ledger.records import Claimed
from fhir_bridge.ledger.sending.claims import Claim
from fhir_bridge.ledger.sending.gate import BREAKER, Breaker, Gate, after_probe

DRAIN = timedelta(seconds=60)
"""`worker --drain` ends when nothing is due within this (intake, section 3)."""

IDLE = 0.5
"""Seconds between two looks at an idle ledger; also how soon a pause, a stop or a resume is obeyed."""

_RESCUE_EVERY = timedelta(seconds=5)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Until:
    """When a run ends by itself. `only`: the keys of the intents it is about, None for all.

    `drained`: when none of them is due within this from now; `at`: at this moment (aware UTC), or earlier
    when none of them is due before it. With neither it runs until it is stopped.
    """

    only: Collection[str] | None = None
    drained: timedelta | None = None
    at: datetime | None = None

    def horizon(self, now: datetime) -> datetime | None:
        """The moment up to which it waits for what is not due yet; None: it waits for ever."""
        if self.at is not None:
            return self.at
        return None if self.drained is None else now + self.drained


FOR_EVER = Until()


@dataclass(slots=True)
class Dispatcher:
    """Sends what is due from the ledger to the endpoint.

    `project_id` goes into every request; `rules` say what may be sent when; `poll_every`: how often a task
    under way is read back; `rereading` asks a source that is a FHIR server once more. `clock` and `rng` are
    given, so that a test or a demonstration can have its own.
    """

    ledger: Dispatches
    endpoint: Endpoint
    rules: Rules
    project_id: str
    clock: Clock = utc_now
    rng: Random = field(default_factory=Random)
    breaker: Breaker = BREAKER
    poll_every: timedelta = timedelta(minutes=1)
    rereading: Rereading | None = None

    async def run(self, stop: asyncio.Event, until: Until = FOR_EVER) -> None:
        """Work until stopped or done: then what is in flight is finished, and what was only claimed given
        back.

        Raises LedgerError where the ledger fails: what was being sent is in doubt when its lease runs out.
        """
        async with WriteQueue(self.ledger) as writes:
            sender = Sender(
                self.endpoint,
                writes,
                self.rules,
                self.project_id,
                self.clock,
                self.rng,
                RateLimit(self.rules.dispatch.rate),
                self.poll_every,
                self.breaker,
                self.rereading,
                Unread(self.ledger, self.rereading.readers if self.rereading else ()),
                stop=stop,
            )
            await _Run(self, sender, stop, until).work()
        writes.raise_failure()

    async def poll(self) -> int:
        """Read back every task that is due to be; gives how many were done."""
        return await Poller(self.ledger, self.endpoint, self.clock, self.poll_every).poll()


class _Run:
    """One run of a dispatcher: what it claimed, what is in flight, and why it ends."""

    def __init__(self, dispatcher: Dispatcher, sender: Sender, stop: asyncio.Event, until: Until) -> None:
        self._dispatcher = dispatcher
        self._ledger, self._clock = dispatcher.ledger, dispatcher.clock
        self._sender = sender
        self._stop = stop
        self._until = until
        self._token = secrets.token_hex(16)
        self._most = dispatcher.rules.dispatch.max_in_flight
        self._claimed: deque[Claimed] = deque()
        self._in_flight: set[asyncio.Task[None]] = set()
        self._low = asyncio.Event()
        self._dry = False
        self._rescued_at: datetime | None = None
        self._looked = False
        self._failure: BaseException | None = None

    async def work(self) -> None:
        polling = asyncio.create_task(self._poll(), name="poller")
        try:
            while not self._stop.is_set() and self._failure is None and not await self._turn():
                pass
        finally:
            polling.cancel()
            self._claimed.clear()
            while self._in_flight:
                await asyncio.wait(self._in_flight)
            await asyncio.gather(polling, return_exceptions=True)
        if self._failure is not None:
            raise self._failure
        await self._ledger.release(self._token)

    async def _turn(self) -> bool:
        """Look at the ledger once, and claim; True when there is nothing left that this run waits for."""
        now = self._clock()
        await self._rescue(now)
        gate = await self._sender.look(self._ledger)
        # Who starts a run after our key was refused may have corrected it: ask now, not at the next minute.
        starts_stopped = gate.stopped_at is not None and not self._looked
        self._looked = True
        if starts_stopped or gate.probe_due(now, self._dispatcher.breaker):
            await self._probe(at_once=starts_stopped)
            return False
        closed = gate.closed_because(now) is not None
        if not closed and await self._claim(now):
            return False
        if self._in_flight or self._claimed:
            await self._wait(IDLE / 5 if self._dry else IDLE)
            return self._until.at is not None and self._clock() >= self._until.at
        return await self._wait_for_due(gate)

    async def _claim(self, now: datetime) -> bool:
        """Lease as much again as can be in flight, so that a sender never waits for a claim; where nobody
        sends yet, no more than to begin with.
        """
        self._low.clear()
        wanted = 2 * self._most - len(self._in_flight) - len(self._claimed)
        if wanted < self._most // 2:
            return False
        if not self._in_flight:
            wanted = max(self._most // 2, 1)
        lease_until = now + self._dispatcher.rules.dispatch.lease
        found = await self._ledger.claim(Claim(self._token, now, lease_until, wanted, self._until.only))
        # Where there was less than asked for, more may come, but it is not worth a look for each that lands.
        self._dry = len(found) < wanted
        self._claimed.extend(found)
        self._launch()
        return bool(found)

    def _launch(self) -> None:
        while self._claimed and len(self._in_flight) < self._most:
            task = asyncio.create_task(self._sender.deliver(self._claimed.popleft()))
            self._in_flight.add(task)
            task.add_done_callback(self._landed)

    def _landed(self, task: asyncio.Task[None]) -> None:
        self._in_flight.discard(task)
        if (failure := task.exception()) is not None:
            self._failure = self._failure or failure
        elif not self._stop.is_set() and self._failure is None:
            self._launch()
        if not self._in_flight or (not self._dry and len(self._claimed) <= self._most // 2):
            self._low.set()

    async def _wait_for_due(self, gate: Gate) -> bool:
        # A settlement that is still being committed may make its intent due again.
        await self._sender.writes.flush()
        now = self._clock()
        horizon = self._until.horizon(now)
        due = await self._ledger.next_due(self._until.only)
        opens = gate.opens_at(now)
        if horizon is not None and (
            due is None or due > horizon or now >= horizon or opens is None or opens > horizon
        ):
            return True
        soon = IDLE if due is None or due <= now else min(IDLE, (due - now).total_seconds())
        await self._wait(max(soon, 0.01))
        return False

    async def _wait(self, seconds: float) -> None:
        """Until there is room for more, somebody stops us, or the time is over."""
        waits = [asyncio.create_task(event.wait()) for event in (self._low, self._stop)]
        try:
            await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for waiting in waits:
                waiting.cancel()
        self._low.clear()

    async def _rescue(self, now: datetime) -> None:
        if self._rescued_at is not None and now - self._rescued_at < _RESCUE_EVERY:
            return
        self._rescued_at = now
        if lost := await self._ledger.rescue(now):
            log.error("in-doubt-after-lease", count=lost)

    async def _probe(self, *, at_once: bool = False) -> None:
        """Ask whether the endpoint is alive and takes our key; only one worker at a time does."""
        breaker, mine = self._dispatcher.breaker, False

        def reserve(gate: Gate) -> Gate:
            nonlocal mine
            mine = at_once or gate.probe_due(self._clock(), breaker)
            return gate.probed(self._clock(), breaker) if mine else gate

        await self._ledger.change_gate(reserve)
        if not mine:
            return
        outcome = await self._dispatcher.endpoint.probe()
        now = self._clock()
        gate = await self._ledger.change_gate(lambda gate: after_probe(gate, outcome, now, breaker))
        closed = gate.closed_because(now)
        log.warning("destination-probed", status=outcome.status, error=outcome.error, held_back=closed)

    async def _poll(self) -> None:
        dispatcher = self._dispatcher
        poller = Poller(self._ledger, dispatcher.endpoint, self._clock, dispatcher.poll_every)
        while True:
            await asyncio.sleep(min(dispatcher.poll_every.total_seconds(), IDLE * 4))
            with contextlib.suppress(LedgerError):  # a sender meets it too, and ends the run
                await poller.poll()
