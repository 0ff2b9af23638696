"""A whole transaction in a thread of its own: there each statement is a matter of microseconds.

Through aiosqlite every statement goes to another thread and back several times, through asyncio every answer
of PostgreSQL waits its turn, and each time the event loop may be busy with other senders; that took longer
than the statements. The functions that make up a transaction stay the same: what they await here has its
answer at once.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any, TypeVar, cast

from sqlalchemy import Engine
from sqlalchemy.ext.asyncio import AsyncConnection

from fhir_bridge.ledger.database.asking import Asking

Answer = TypeVar("Answer")
Body = Callable[[AsyncConnection], Coroutine[Any, Any, Answer]]


class DirectTransactions:
    """Runs transactions one after the other; `told` turns the database's errors into the ledger's."""

    def __init__(self, engine: Engine, told: Callable[[], AbstractContextManager[None]]) -> None:
        self._engine = engine
        self._told = told
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ledger")

    async def run(self, body: Body[Answer], options: dict[str, Any]) -> Answer:
        """What `body` gives, once it is committed; nothing is written where it raises."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._run, body, options)

    def _run(self, body: Body[Answer], options: dict[str, Any]) -> Answer:
        with self._told(), self._engine.connect() as connection:
            connection.execution_options(**options)
            with connection.begin(), Asking(connection) as asking:
                return _without_waiting(body(cast(AsyncConnection, asking)))

    def close(self) -> None:
        """Finish what is under way and close the connection."""
        self._thread.shutdown()
        self._engine.dispose()


def _without_waiting(body: Coroutine[Any, Any, Answer]) -> Answer:
    try:
        body.send(None)
    except StopIteration as done:
        return cast(Answer, done.value)
    body.close()
    raise RuntimeError("a transaction in the ledger's thread cannot wait for the event loop")


def let_threads_in() -> None:
    """Ask the event loop for the interpreter after half a millisecond, not five: the ledger's thread has to
    have it back after each call into the database, and senders wait for what it commits."""
    sys.setswitchinterval(0.0005)
