"""The one writer of the inbox: what many requests brought is committed together (performance, group
commit)."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Protocol, Self

from fhir_bridge.ledger.sources.messages import Received

AT_ONCE = 256
"""Messages in one commit."""

ANSWER_WITHIN = 2.0
"""Seconds a commit may take before its senders are told to come again: athenahealth waits no longer."""

LOOKED_AT = 0.1
"""How often it is looked whose time is over, in seconds: one clock for all of them."""

MOST_BYTES = 32 * 2**20
"""Of bodies in one commit, but for one that is larger by itself."""


class Inbox(Protocol):
    """What is asked of the ledger."""

    async def receive(self, batch: Sequence[Received]) -> list[bool]:
        """Keep messages; one answer each, False where it is a delivery that is kept already."""
        ...


class InboxWriter:
    """Collects messages while the last batch is being committed, and commits them as the next one, in order.

    An async context manager: leaving commits what is left. A batch that cannot be committed raises the
    ledger's error for each of its messages; the next one is tried all the same.
    """

    def __init__(self, inbox: Inbox, kept: Callable[[int], None] = lambda count: None) -> None:
        self._inbox = inbox
        self._kept = kept
        self._waiting: list[tuple[Received, asyncio.Future[bool]]] = []
        self._unanswered: deque[tuple[float, asyncio.Future[bool]]] = deque()
        self._something = asyncio.Event()
        self._closing = False
        self._writer: asyncio.Task[None] | None = None
        self._watch: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._writer = asyncio.create_task(self._write(), name="inbox-writer")
        self._watch = asyncio.create_task(self._give_up_late(), name="inbox-writer-clock")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing = True
        self._something.set()
        if self._writer is not None and self._watch is not None:
            await self._writer
            self._watch.cancel()

    def put(self, message: Received) -> asyncio.Future[bool]:
        """Queue a message; the future is done when it is committed: True, or False where this delivery is
        kept already. Or it raises LedgerError, or TimeoutError after ANSWER_WITHIN: then it may not be kept,
        and is to be sent again."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[bool] = loop.create_future()
        self._unanswered.append((loop.time() + ANSWER_WITHIN, future))
        self._waiting.append((message, future))
        self._something.set()
        return future

    async def _write(self) -> None:
        while not (self._closing and not self._waiting):
            await self._something.wait()
            self._something.clear()
            while self._waiting:
                await self._commit(self._next_batch())

    async def _give_up_late(self) -> None:
        """Tell those who wait too long."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(LOOKED_AT)
            while self._unanswered and (
                self._unanswered[0][1].done() or self._unanswered[0][0] <= loop.time()
            ):
                _, future = self._unanswered.popleft()
                _fail(future, TimeoutError())

    def _next_batch(self) -> list[tuple[Received, asyncio.Future[bool]]]:
        size = count = 0
        for message, _ in self._waiting[:AT_ONCE]:
            size += len(message.body)
            if count and size > MOST_BYTES:
                break
            count += 1
        batch, self._waiting = self._waiting[:count], self._waiting[count:]
        return batch

    async def _commit(self, batch: list[tuple[Received, asyncio.Future[bool]]]) -> None:
        try:
            answers = await self._inbox.receive([message for message, _ in batch])
        except Exception as failure:
            for _, future in batch:
                _fail(future, failure)
            return
        for (_, future), is_new in zip(batch, answers, strict=True):
            if not future.done():
                future.set_result(is_new)
        self._kept(sum(answers))


def _fail(future: asyncio.Future[bool], failure: Exception) -> None:
    if not future.done():
        future.set_exception(failure)
        future.exception()  # a sender that went away does not ask how it ended: asyncio need not complain
