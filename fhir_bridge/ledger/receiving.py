"""The inbox, as methods of the ledger."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncConnection

from fhir_bridge.ledger.arrivals import decided, intake
from fhir_bridge.ledger.arrivals.batch import Intake
from fhir_bridge.ledger.database.collisions import done_again
from fhir_bridge.ledger.database.direct import Answer, Body
from fhir_bridge.ledger.records import Act
from fhir_bridge.ledger.sources import chosen, inbox
from fhir_bridge.ledger.sources.messages import (
    Decided,
    InboxLag,
    Message,
    MessageSelection,
    Received,
    Settled,
    Take,
    Unread,
)

ROWS_AT_ONCE = 50
"""Messages read at once where nobody processes them: each may be as large as `serve.max_body`."""


class Transactions(Protocol):
    """What these methods need of the ledger."""

    _salt: bytes

    def _reading(self) -> AbstractAsyncContextManager[AsyncConnection]: ...

    def _writing(self) -> AbstractAsyncContextManager[AsyncConnection]: ...

    async def _in_inbox(self, body: Body[Answer], *, is_one_statement: bool = False) -> Answer: ...

    async def _in_line(self, body: Body[Answer]) -> Answer: ...

    def _acting(
        self, act: Act, action: str, subject: str
    ) -> AbstractAsyncContextManager[AsyncConnection]: ...


class Receiving:
    """Mixed into the ledger; each method is one transaction unless it says otherwise."""

    @done_again
    async def receive(self: Transactions, batch: Sequence[Received]) -> list[bool]:
        """Keep messages; one answer each, False where it is a delivery that is kept already. Their senders
        may be answered when this returns."""
        return await self._in_inbox(
            lambda connection: inbox.store(connection, batch, self._salt),
            is_one_statement=inbox.asks_nothing(batch),
        )

    @done_again
    async def take_messages(self: Transactions, asked: Take) -> list[Message]:
        """Lease the oldest due messages, in their order; none of a source that another processor is at."""
        return await self._in_line(lambda connection: inbox.take(connection, asked))

    @done_again
    async def settle_messages(
        self: Transactions, token: str, settled: Sequence[Settled], now: datetime
    ) -> int:
        """Write down what became of messages that this token still holds; gives how many it did."""
        return await self._in_inbox(lambda connection: inbox.settle(connection, token, settled, now))

    @done_again
    async def renew_messages(self: Transactions, token: str, until: datetime) -> int:
        """Hold what was taken under this token, and not settled, until then; gives how many."""
        return await self._in_inbox(lambda connection: inbox.renew(connection, token, until))

    @done_again
    async def release_messages(self: Transactions, token: str) -> int:
        """Give back what was taken under this token and not settled."""
        return await self._in_inbox(lambda connection: inbox.release(connection, token))

    async def demand_writable(self: Transactions) -> None:
        """Raise LedgerError where nothing can be committed: a row is written as it is."""
        await self._in_line(inbox.touch)

    async def inbox_lag(self: Transactions, source: str | None = None) -> InboxLag:
        """How many messages wait, since when, and how many failed, of a source or of all."""
        async with self._reading() as connection:
            return await inbox.lag(connection, source)

    async def is_unread(self: Transactions, source: str, before: datetime) -> bool:
        """Whether a message of the source that came before waits to be processed for the first time."""
        async with self._reading() as connection:
            return await inbox.is_unread(connection, source, before)

    async def next_message_due(self: Transactions) -> datetime | None:
        """When the next message may be processed; None when none waits."""
        async with self._reading() as connection:
            return await inbox.next_due(connection)

    @done_again
    async def retry_messages(self: Transactions, selection: MessageSelection, act: Act) -> int:
        """Have failed messages processed again; gives how many."""
        async with self._acting(act, "retry-messages", _told(selection)) as connection:
            return await chosen.retry(connection, selection, act.at)

    @done_again
    async def settle_failed(self: Transactions, selection: MessageSelection, act: Act) -> int:
        """Messages that failed are settled: somebody has seen to what they said. The calls that they held go
        on by what else is known; gives how many."""
        async with self._acting(act, "settle-messages", _told(selection)) as connection:
            settled = await chosen.settle_failed(connection, selection, act.at)
            taken = Intake(act.at, act.at)
            await intake.accept(connection, (), taken, self._salt, missed=Unread(anew=settled))
            return len(settled)

    async def decided(self: Transactions, source: str, names: Collection[str]) -> dict[str, Decided]:
        """What was last decided on each of these triggers that is known."""
        async with self._reading() as connection:
            return await decided.decided(connection, source, names)

    async def messages(self: Transactions, selection: MessageSelection) -> AsyncIterator[Message]:
        """Messages in their order, with PHI; read in parts."""
        after = 0
        while True:
            async with self._reading() as connection:
                rows = await chosen.read(connection, selection, after, ROWS_AT_ONCE)
            for row in rows:
                yield row
            if len(rows) < ROWS_AT_ONCE:
                return
            after = rows[-1].id


def _told(selection: MessageSelection) -> str:
    names = ("id", "source", "state", "error", "since", "until")
    given = {name: value for name in names if (value := getattr(selection, name)) is not None}
    return " ".join(f"{name}={value}" for name, value in given.items()) or "all"
