"""Takes messages out of the inbox, has them understood, and writes down what became of each.

A message may be processed twice, when its processor is killed between the two commits: it is folded into the
same intent, so nothing comes of it the second time. Two processors never take in what comes of one message:
its lease is renewed while somebody is at it, and who lost it all the same, for the machine stood still, is
refused.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Protocol
from uuid import uuid4

import structlog

from fhir_bridge.errors import LedgerError
from fhir_bridge.faults import location
from fhir_bridge.ledger.port import Intakes
from fhir_bridge.ledger.sources.messages import (
    Held,
    Message,
    MessageState,
    Settled,
    Take,
    TakenOverError,
    Unread,
)
from fhir_bridge.mapping.gates import Blocked
from fhir_bridge.processing import reasons, unread
from fhir_bridge.processing.source import ProcessedSource
from fhir_bridge.processing.understanding import Understood, understand

logger = structlog.get_logger(__name__)

BATCH = 64
BATCH_BYTES = 16 * 2**20
MOST_TRIES = 5
"""Of a message whose processor ended each time: it may be what ends it."""

GIVE_UP_AFTER = timedelta(hours=24)
"""How long a source that does not answer is asked for what a message names; then a person must look."""

FIRST_WAIT = timedelta(seconds=5)
LONGEST_WAIT = timedelta(minutes=5)
PATIENCE = timedelta(minutes=10)
"""How long one message may take, whatever it names: its source's others wait for it."""

LEDGER_WAIT = 2.0
"""Seconds until a ledger that failed is tried again."""


_EVER = datetime.max.replace(tzinfo=UTC)


class Inbox(Intakes, Protocol):
    """What processing asks of the ledger."""

    async def take_messages(self, asked: Take) -> list[Message]:
        """Lease the oldest due messages, in their order; none of a source that another processor is at."""
        ...

    async def settle_messages(self, token: str, settled: Sequence[Settled], now: datetime) -> int:
        """Write down what became of messages that this token still holds."""
        ...

    async def renew_messages(self, token: str, until: datetime) -> int:
        """Hold what was taken and not settled until then."""
        ...

    async def release_messages(self, token: str) -> int:
        """Give back what was taken and not settled."""
        ...


class BlockedOf(Protocol):
    """The do-not-call list of a source, as it is now."""

    async def __call__(self, source: str, /) -> Blocked: ...


@dataclass(slots=True)
class Processor:
    """Processes messages of these sources. `wake` is set when something came; without it the inbox is looked
    into each `poll`. After `lease` of silence its messages are taken up by another."""

    ledger: Inbox
    sources: Mapping[str, ProcessedSource]
    blocked_of: BlockedOf
    clock: Callable[[], datetime]
    poll: timedelta = timedelta(seconds=1)
    lease: timedelta = timedelta(minutes=2)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    token: str = field(default_factory=lambda: uuid4().hex)
    _until: datetime = _EVER

    async def run(self, stop: asyncio.Event) -> None:
        """Until stopped: what is being processed is finished, what was only taken is given back."""
        while not stop.is_set():
            self.wake.clear()
            try:
                worked = await self.step(stop)
            except LedgerError as error:
                logger.error("inbox-not-processed", error=error.code)
                await _wait(stop, LEDGER_WAIT)
                continue
            except Exception as error:  # a fault of ours must not leave the inbox to itself
                logger.error("inbox-fault", fault=location(error))
                await _wait(stop, LEDGER_WAIT)
                continue
            if not worked and not stop.is_set():
                await self._idle(stop)

    async def drain(self, stop: asyncio.Event) -> None:
        """Until nothing is due or it is stopped. Raises LedgerError."""
        while not stop.is_set() and await self.step(stop):
            pass

    async def step(self, stop: asyncio.Event) -> int:
        """Process the next messages that are due; gives how many there were. Raises LedgerError."""
        now = self.clock()
        taken = await self.ledger.take_messages(Take(self.token, now, now + self.lease, BATCH, BATCH_BYTES))
        # No further message is begun after that: other processors may have time for them.
        self._until = now + self.lease / 2
        if taken:
            async with self._holding():
                for name, messages in groupby(sorted(taken, key=lambda m: m.source), key=lambda m: m.source):
                    if stop.is_set() or self.clock() >= self._until:
                        break
                    await self._process(name, list(messages))
        return len(taken)

    @contextlib.asynccontextmanager
    async def _holding(self) -> AsyncIterator[None]:
        """While messages are worked on, their lease is renewed; at the end the rest is given back."""
        done = asyncio.Event()
        renewing = asyncio.create_task(self._renew(done))
        try:
            yield
        except TakenOverError:
            logger.warning("messages-taken-over")
        finally:
            done.set()
            await renewing
            with contextlib.suppress(LedgerError):
                await self.ledger.release_messages(self.token)

    async def _renew(self, done: asyncio.Event) -> None:
        while not done.is_set():
            await _wait(done, self.lease.total_seconds() / 4)
            if not done.is_set():
                # Where that fails, another may take them, and what is made of them here is refused.
                with contextlib.suppress(LedgerError):
                    await self.ledger.renew_messages(self.token, self.clock() + self.lease)

    async def _process(self, name: str, messages: Sequence[Message]) -> None:
        """The messages of one source, in their order. Where a processor ended over them before, each by
        itself: one of them may be what ended it, and only the first has been at it every time."""
        source = self.sources.get(name)
        if source is None:
            await self._fail(name, messages, reasons.NO_SUCH_SOURCE)
        elif any(map(_was_dropped, messages)):
            if messages[0].tries > MOST_TRIES and _was_dropped(messages[0]):
                await self._fail(name, messages[:1], reasons.GIVEN_UP)
                messages = messages[1:]
            for message in messages:
                if self.clock() < self._until:
                    await self._process_together(source, [message])
        else:
            await self._process_together(source, messages)

    async def _fail(self, name: str, messages: Sequence[Message], reason: str) -> None:
        """Nothing of these could be used: whoever they may be about is not called before somebody looks."""
        held = Held(self.token, [each.id for each in messages])
        missed = Unread([one for each in messages for one in unread.whole(each)])
        if missed:
            await self.ledger.accept((), now=self.clock(), missed=missed, held=held)
        await self._settle(name, [Settled(each.id, MessageState.FAILED, reason) for each in messages])

    async def _process_together(self, source: ProcessedSource, messages: Sequence[Message]) -> None:
        """All understood, then taken in in one transaction, then settled; what the ledger refuses of one
        takes nothing else along. Where that takes long, the later ones are left for the next batch."""
        blocked = await self.blocked_of(source.name)
        understood: list[Understood] = []
        for each in messages:
            if understood and self.clock() >= self._until:
                break
            understood.append(await self._understood(each, source, blocked))
        messages = messages[: len(understood)]
        try:
            await self._take_in(source, messages, understood)
        except LedgerError as error:
            if error.code != "ledger-refused":
                raise
            if len(messages) > 1:
                for message in messages:
                    await self._process_together(source, [message])
                return
            await self._fail(source.name, messages, error.code)
            return
        await _note(source, messages, understood)
        pairs = zip(messages, understood, strict=True)
        await self._settle(source.name, [self._settled(message, told) for message, told in pairs])

    async def _understood(self, message: Message, source: ProcessedSource, blocked: Blocked) -> Understood:
        try:
            async with asyncio.timeout(PATIENCE.total_seconds()):
                return await understand(message, source, blocked, self.clock())
        except LedgerError:
            raise
        except TimeoutError:
            return Understood(failure=reasons.SOURCE_UNREACHABLE, again=True, unread=unread.whole(message))
        except Exception as error:
            logger.error("message-fault", message=message.id, source=message.source, fault=location(error))
            return Understood(failure=reasons.FAULT, unread=unread.whole(message))

    async def _take_in(
        self, source: ProcessedSource, messages: Sequence[Message], understood: Sequence[Understood]
    ) -> None:
        held = Held(self.token, [each.id for each in messages])
        pairs = zip(messages, understood, strict=True)
        failed = [
            told for message, told in pairs if self._settled(message, told).state is MessageState.FAILED
        ]
        missed = Unread(
            [one for each in failed for one in each.unread],
            [(each.source, each.id) for each in messages if each.is_late],
        )
        arrivals = [arrival for each in understood for arrival in each.arrivals]
        heard = [statement for each in understood for statement in each.heard]
        if arrivals or heard or missed:
            now = self.clock()
            await self.ledger.accept(
                arrivals, now=now, hold=source.hold, heard=heard, held=held, missed=missed
            )

    def _settled(self, message: Message, understood: Understood) -> Settled:
        now = self.clock()
        if understood.failure is None:
            return Settled(message.id, MessageState.PROCESSED)
        if understood.again and now - message.received_at < GIVE_UP_AFTER:
            return Settled(message.id, MessageState.RECEIVED, understood.failure, now + wait(message.tries))
        return Settled(message.id, MessageState.FAILED, understood.failure)

    async def _settle(self, name: str, settled: Sequence[Settled]) -> None:
        await self.ledger.settle_messages(self.token, settled, self.clock())
        counts: dict[str, int] = {}
        for each in settled:
            key = f"{each.state}: {each.error}" if each.error else str(each.state)
            counts[key] = counts.get(key, 0) + 1
        logger.info("messages-processed", source=name, counts=counts)

    async def _idle(self, stop: asyncio.Event) -> None:
        """Until something came, the next look is due, or it is stopped."""
        waits = [asyncio.ensure_future(self.wake.wait()), asyncio.ensure_future(stop.wait())]
        try:
            await asyncio.wait(waits, timeout=self.poll.total_seconds(), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waits:
                each.cancel()


async def _note(
    source: ProcessedSource, messages: Sequence[Message], understood: Sequence[Understood]
) -> None:
    """Have it noted what the messages say of the source's subscriptions, all in one go."""
    pairs = zip(messages, understood, strict=True)
    told = [(each.notification, message.received_at) for message, each in pairs if each.notification]
    if source.hears is not None and told:
        await source.hears.heard(told)


def _was_dropped(message: Message) -> bool:
    """Whether somebody took it before and neither settled it nor gave it back."""
    return message.tries > 1 and message.error is None


def wait(tries: int) -> timedelta:
    """How long a source is left alone after it did not answer so many times: doubled each time, at most
    LONGEST_WAIT."""
    return min(LONGEST_WAIT, FIRST_WAIT * (1 << min(max(tries - 1, 0), 10)))


async def _wait(stop: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()
