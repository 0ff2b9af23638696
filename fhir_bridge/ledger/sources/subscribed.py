"""What sources told and what they did not: the statements behind `Watching` (intake, section 1)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, fields, replace
from datetime import datetime
from typing import Any

from sqlalchemy import and_, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from fhir_bridge.ledger.database.locks import Lock, hold
from fhir_bridge.ledger.database.tables import gaps, subscriptions, sweeps, triggers, watches
from fhir_bridge.ledger.database.upserts import upsert
from fhir_bridge.ledger.sources.watched import SWEEP, Gap, Known, Sweep, Watch, Watched

_GAP = [field.name for field in fields(Gap)]
_SWEEP = [field.name for field in fields(Sweep)]
_AT_ONCE = 5_000
"""Values in one IN list: SQLite takes 32,766 parameters."""


async def watched(connection: AsyncConnection, source: str | None = None) -> list[Watched]:
    """The subscriptions of a source, or of all, each with its open gaps."""
    wanted, missed = select(subscriptions), select(gaps).where(gaps.c.closed_by.is_(None))
    if source is not None:
        wanted, missed = wanted.where(subscriptions.c.source == source), missed.where(gaps.c.source == source)
    of: dict[tuple[str, str], list[Gap]] = {}
    for row in await connection.execute(missed.order_by(gaps.c.first)):
        of.setdefault((row.source, row.subscription), []).append(_gap(row))
    rows = await connection.execute(wanted.order_by(subscriptions.c.source, subscriptions.c.subscription))
    return [_watched(row, of.get((row.source, row.subscription), ())) for row in rows]


async def change(
    connection: AsyncConnection, source: str, subscription: str, of: Callable[[Watched], Watched]
) -> Watched:
    """Change one by a pure function of what it is; one that is not known yet begins as unknown."""
    await hold(connection, Lock.NUMBERS, source)
    place = and_(subscriptions.c.source == source, subscriptions.c.subscription == subscription)
    row = (await connection.execute(select(subscriptions).where(place))).one_or_none()
    there = and_(gaps.c.source == source, gaps.c.subscription == subscription, gaps.c.closed_by.is_(None))
    missed = [_gap(gap) for gap in await connection.execute(select(gaps).where(there).order_by(gaps.c.first))]
    before = Watched(source, subscription) if row is None else _watched(row, missed)
    after = of(before)
    if row is None or replace(after, gaps=()) != replace(before, gaps=()):
        values = {name: value for name, value in asdict(after).items() if name != "gaps"}
        await connection.execute(upsert(connection, subscriptions), values)
    await _write_gaps(connection, after, set(missed))
    return after


async def _write_gaps(connection: AsyncConnection, after: Watched, before: Collection[Gap]) -> None:
    place = {"source": after.source, "subscription": after.subscription}
    for gap in after.gaps:
        values = {name: value for name, value in asdict(gap).items() if name != "id"}
        if gap.id is None:
            await connection.execute(insert(gaps).values(**place, **values))
        elif gap not in before:
            still_open = gaps.c.closed_by.is_(None)
            await connection.execute(update(gaps).where(gaps.c.id == gap.id, still_open).values(**values))


def _gap(row: Any) -> Gap:
    return Gap(**{name: getattr(row, name) for name in _GAP})


def _watched(row: Any, missed: Sequence[Gap]) -> Watched:
    return Watched(**row._mapping, gaps=tuple(missed))


async def sweeps_of(connection: AsyncConnection, source: str | None = None) -> list[Sweep]:
    """How far a source, or each, was searched, by type."""
    statement = select(sweeps).order_by(sweeps.c.source, sweeps.c.criteria)
    if source is not None:
        statement = statement.where(sweeps.c.source == source)
    return [
        Sweep(**{name: getattr(row, name) for name in _SWEEP}) for row in await connection.execute(statement)
    ]


async def record_sweep(connection: AsyncConnection, sweep: Sweep) -> None:
    """Keep how far a type was searched."""
    await connection.execute(upsert(connection, sweeps), asdict(sweep))


async def swept(connection: AsyncConnection, source: str, began_at: datetime, now: datetime) -> int:
    """A search of all types that began at `began_at` is done: what was missed before is at hand, and who
    asked before is answered. Gives how many gaps that closes.
    """
    await hold(connection, Lock.NUMBERS, source)
    missed = and_(gaps.c.source == source, gaps.c.closed_by.is_(None), gaps.c.opened_at <= began_at)
    closed = await connection.execute(update(gaps).where(missed).values(closed_at=now, closed_by=SWEEP))
    answered = and_(watches.c.source == source, watches.c.asked_at <= began_at)
    await connection.execute(update(watches).where(answered).values(asked_at=None))
    return closed.rowcount


async def ask(connection: AsyncConnection, source: str, now: datetime) -> None:
    """Somebody wants the source searched; however many ask, it is one search."""
    await _know(connection, source)
    nobody_asked = and_(watches.c.source == source, watches.c.asked_at.is_(None))
    await connection.execute(update(watches).where(nobody_asked).values(asked_at=now))


async def take_turn(
    connection: AsyncConnection, source: str, token: str, now: datetime, until: datetime
) -> Watch | None:
    """The watch over a source, if nobody else has it at `now`; renewed where `token` has it already."""
    await _know(connection, source)
    free = or_(watches.c.lease_token.is_(None), watches.c.lease_until <= now, watches.c.lease_token == token)
    statement = (
        update(watches)
        .where(watches.c.source == source, free)
        .values(lease_token=token, lease_until=until)
        .returning(watches.c.asked_at, watches.c.fetched_at, watches.c.began_at)
    )
    row = (await connection.execute(statement)).one_or_none()
    if row is None:
        return None
    if row.began_at is None:
        await connection.execute(update(watches).where(watches.c.source == source).values(began_at=now))
    return Watch(source, row.asked_at, row.fetched_at, row.began_at or now)


async def known(connection: AsyncConnection, source: str) -> Known:
    """All of a source."""
    row = (await connection.execute(select(watches).where(watches.c.source == source))).one_or_none()
    watch = Watch(source) if row is None else Watch(source, row.asked_at, row.fetched_at, row.began_at)
    return Known(watch, tuple(await watched(connection, source)), tuple(await sweeps_of(connection, source)))


async def end_turn(connection: AsyncConnection, source: str, token: str, fetched_at: datetime | None) -> None:
    """Give the watch back; `fetched_at`, when a search was made in this turn."""
    values: dict[str, Any] = {"lease_token": None, "lease_until": None}
    if fetched_at is not None:
        values["fetched_at"] = fetched_at
    ours = and_(watches.c.source == source, watches.c.lease_token == token)
    await connection.execute(update(watches).where(ours).values(**values))


async def _know(connection: AsyncConnection, source: str) -> None:
    found = await connection.execute(select(watches.c.source).where(watches.c.source == source))
    if found.one_or_none() is None:
        await hold(connection, Lock.NUMBERS, source)
        found = await connection.execute(select(watches.c.source).where(watches.c.source == source))
        if found.one_or_none() is None:
            await connection.execute(insert(watches).values(source=source))


async def known_versions(
    connection: AsyncConnection, source: str, labels: Sequence[str]
) -> dict[str, tuple[str | None, datetime | None]]:
    """The version and moment that each of these triggers was last decided from."""
    found: dict[str, tuple[str | None, datetime | None]] = {}
    for start in range(0, len(labels), _AT_ONCE):
        part = labels[start : start + _AT_ONCE]
        statement = select(triggers.c.trigger, triggers.c.version_id, triggers.c.last_updated).where(
            triggers.c.source == source, triggers.c.trigger.in_(part)
        )
        found |= {
            row.trigger: (row.version_id, row.last_updated) for row in await connection.execute(statement)
        }
    return found
