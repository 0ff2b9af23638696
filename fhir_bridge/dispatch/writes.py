"""The one writer of a worker: what its senders want written is committed together (performance,
group commit).
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from fhir_bridge.ledger.port import Dispatches
from fhir_bridge.ledger.records import Write, Written

AT_ONCE = 128
"""Writes in one commit. With all of them in one, every sender would wait for the same commit and then send at
the same moment; so while one part is committed, the others are at their requests.
"""


class WriteQueue:
    """Collects writes while the last batch is being committed, and commits them as the next one, in order.

    An async context manager: leaving writes what is left. A write whose batch the ledger could not commit
    raises LedgerError from its future, and so does every later one: who cannot write down must not send.
    """

    def __init__(self, ledger: Dispatches) -> None:
        self._ledger = ledger
        self._waiting: list[tuple[Write, asyncio.Future[Written]]] = []
        self._something = asyncio.Event()
        self._closing = False
        self._failure: BaseException | None = None
        self._last: asyncio.Future[Written] | None = None
        self._writer: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._writer = asyncio.create_task(self._write(), name="ledger-writer")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing = True
        self._something.set()
        if self._writer is not None:
            await self._writer

    def put(self, item: Write) -> asyncio.Future[Written]:
        """Queue a write at once; the future is done when its batch is committed."""
        future: asyncio.Future[Written] = asyncio.get_running_loop().create_future()
        if self._failure is not None:
            _fail(future, self._failure)
            return future
        self._waiting.append((item, future))
        self._last = future
        self._something.set()
        return future

    async def flush(self) -> None:
        """Wait until all that was put so far is committed, or could not be."""
        if self._last is not None:
            await asyncio.wait([self._last])

    def raise_failure(self) -> None:
        """Raise what kept the ledger from committing, if anything did."""
        if self._failure is not None:
            raise self._failure

    async def _write(self) -> None:
        while not (self._closing and not self._waiting):
            await self._something.wait()
            self._something.clear()
            while self._waiting:
                batch, self._waiting = self._waiting[:AT_ONCE], self._waiting[AT_ONCE:]
                await self._commit(batch)

    async def _commit(self, batch: list[tuple[Write, asyncio.Future[Written]]]) -> None:
        try:
            written = await self._ledger.write([item for item, _ in batch])
        except Exception as failure:
            self._failure = failure
            for _, future in [*batch, *self._waiting]:
                if not future.done():
                    _fail(future, failure)
            self._waiting.clear()
            return
        for (_, future), answer in zip(batch, written, strict=True):
            if not future.done():
                future.set_result(answer)


def _fail(future: asyncio.Future[Written], failure: BaseException) -> None:
    """A settlement's answer may go unread: its failure is told by the next start, and by leaving."""
    future.set_exception(failure)
    future.exception()
