"""What was told and what was missed, as methods of the ledger: subscriptions, gaps, sweeps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncConnection

from fhir_bridge.ledger.database.collisions import done_again
from fhir_bridge.ledger.database.direct import Answer, Body
from fhir_bridge.ledger.sources import subscribed
from fhir_bridge.ledger.sources.watched import Known, Sweep, Watch, Watched


class Transactions(Protocol):
    """What these methods need of the ledger."""

    def _reading(self) -> AbstractAsyncContextManager[AsyncConnection]: ...

    def _writing(self) -> AbstractAsyncContextManager[AsyncConnection]: ...

    async def _in_line(self, body: Body[Answer]) -> Answer: ...


class Watching:
    """Mixed into the ledger; each method is one transaction. All instants are aware UTC."""

    async def watched(self: Transactions, source: str | None = None) -> list[Watched]:
        """The subscriptions of a source, or of all, each with its open gaps."""
        async with self._reading() as connection:
            return await subscribed.watched(connection, source)

    async def known(self: Transactions, source: str) -> Known:
        """All that is known of what a source told and did not tell."""
        async with self._reading() as connection:
            return await subscribed.known(connection, source)

    @done_again
    async def change_watched(
        self: Transactions, source: str, subscription: str, of: Callable[[Watched], Watched]
    ) -> Watched:
        """Change a subscription and its gaps by a pure function of what they are; gives what they became."""
        return await self._in_line(lambda c: subscribed.change(c, source, subscription, of))

    async def sweeps(self: Transactions, source: str | None = None) -> list[Sweep]:
        """How far a source, or each, was searched for what changed."""
        async with self._reading() as connection:
            return await subscribed.sweeps_of(connection, source)

    @done_again
    async def record_sweep(self: Transactions, sweep: Sweep) -> None:
        """Keep how far a type was searched."""
        async with self._writing() as connection:
            await subscribed.record_sweep(connection, sweep)

    @done_again
    async def swept(self: Transactions, source: str, began_at: datetime, now: datetime) -> int:
        """A search of all types, begun at `began_at`, is done: closes the gaps of before, and answers who
        asked before. Gives how many gaps that were.
        """
        async with self._writing() as connection:
            return await subscribed.swept(connection, source, began_at, now)

    @done_again
    async def ask_sweep(self: Transactions, source: str, now: datetime) -> None:
        """Have the source searched soon; however many ask, it is one search."""
        async with self._writing() as connection:
            await subscribed.ask(connection, source, now)

    @done_again
    async def take_turn(
        self: Transactions, source: str, token: str, now: datetime, until: datetime
    ) -> Watch | None:
        """Watch over a source until then, alone; None where another does."""
        async with self._writing() as connection:
            return await subscribed.take_turn(connection, source, token, now, until)

    @done_again
    async def end_turn(
        self: Transactions, source: str, token: str, fetched_at: datetime | None = None
    ) -> None:
        """Give the watch back; `fetched_at`, when a search was made in this turn."""
        async with self._writing() as connection:
            await subscribed.end_turn(connection, source, token, fetched_at)

    async def known_versions(
        self: Transactions, source: str, labels: Sequence[str]
    ) -> dict[str, tuple[str | None, datetime | None]]:
        """The version and moment that each of these triggers (`Type/id`) was last decided from."""
        async with self._reading() as connection:
            return await subscribed.known_versions(connection, source, labels)
