"""Pacing: no more tasks an hour than the site can answer for, from all workers together (delivery, "Before a
byte is sent").

The destination's row says when the next task may go. What comes too early is given back with a later
`due_at`: its turn, were all before it to go. That is a guess, so nobody is put off by more than MOST_AHEAD:
an intent that is cancelled, or may not be called at its turn, leaves no hole that nobody fills.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from fhir_bridge.ledger.database.tables import destination, intents
from fhir_bridge.ledger.records import Refusal, StartTask, Written
from fhir_bridge.ledger.states import State

MOST_AHEAD = timedelta(minutes=10)

CREDIT = timedelta(seconds=1)
"""A worker commits in batches: what could have gone in the last second may go now."""


@dataclass(frozen=True, slots=True)
class Paced:
    """Who may go now and who waits. `next_at` is when the first of those who wait could go."""

    going: Sequence[StartTask]
    waiting: Sequence[StartTask] = ()
    next_at: datetime | None = None
    interval: timedelta = timedelta()
    ahead: int = 0

    def refusals(self) -> dict[int, Written]:
        """What those who wait are told, by intent: the time of their turn."""
        return {start.claimed.id: self._refusal(start, place) for place, start in enumerate(self.waiting)}

    def _refusal(self, start: StartTask, place: int) -> Written:
        assert self.next_at is not None
        first = self.next_at + len(self.going) * self.interval
        turn_at = min(first + (self.ahead + place) * self.interval, start.at + MOST_AHEAD)
        return Written(done=False, refusal=Refusal.PACED, turn_at=turn_at)


async def go_ahead(connection: AsyncConnection, starts: Sequence[StartTask]) -> Paced:
    """Who of them the pace lets through; the destination's row is locked until the commit."""
    interval = max((start.interval for start in starts if start.interval), default=None)
    if interval is None:
        return Paced(starts)
    row = (await connection.execute(select(destination.c.next_task_at).with_for_update())).one()
    now = max(start.at for start in starts)
    next_at = max(row.next_task_at or now, now - CREDIT)
    free = max((now - next_at) // interval + 1, 0)
    if free >= len(starts):
        return Paced(starts, (), next_at, interval)
    return Paced(starts[:free], starts[free:], next_at, interval, await _ahead(connection, now))


async def took(connection: AsyncConnection, paced: Paced, count: int) -> None:
    """So many really go: the next may so much later."""
    if paced.next_at is not None and count:
        later = paced.next_at + count * paced.interval
        await connection.execute(update(destination).values(next_task_at=later))


async def _ahead(connection: AsyncConnection, now: datetime) -> int:
    """How many wait for their turn already."""
    statement = select(func.count()).where(
        intents.c.reason == Refusal.PACED, intents.c.state == State.READY, intents.c.due_at > now
    )
    return int((await connection.execute(statement)).scalar_one())
