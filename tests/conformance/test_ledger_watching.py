"""What sources told and did not tell is kept alike on every database (intake, section 1)."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from fhir_bridge.intake.subscription_status import NotificationType
from fhir_bridge.ledger.sources.watched import EVENTS, SWEEP, Gap, Sweep, Watched
from fhir_bridge.ledger.store import SqlLedger
from fhir_bridge.subscriptions.numbering import Told, count

MINUTE = timedelta(minutes=1)
SUBSCRIPTION = "Subscription/1"


async def hear(ledger: SqlLedger, now: datetime, *numbers: int, query: bool = False) -> Watched:
    """One message with these event numbers."""

    def heard(known: Watched) -> Watched:
        if known.last_event_number is None:
            known = replace(known, last_event_number=0)
        kind = NotificationType.QUERY_EVENT if query else NotificationType.EVENT
        return count(known, Told(kind, numbers), "global", now).watched

    return await ledger.change_watched("ehr", SUBSCRIPTION, heard)


async def open_gaps(ledger: SqlLedger) -> list[tuple[int, int]]:
    """What is missed."""
    return [(gap.first, gap.last) for each in await ledger.watched("ehr") for gap in each.gaps]


async def test_what_is_known_of_a_subscription_stays(ledger: SqlLedger, monday: datetime) -> None:
    """Every column, as it was given."""
    told = Watched(
        "ehr", SUBSCRIPTION, "active", "http://example.org/topic", "r5", "Appointment?",
        "https://bridge.example/fhir/ehr", True, 600, monday + MINUTE, 7, monday, monday, 9, 1, monday,
        monday, monday, 2, "http-503",
    )  # fmt: skip
    assert await ledger.change_watched("ehr", SUBSCRIPTION, lambda _: told) == told
    assert await ledger.watched("ehr") == [told]
    assert await ledger.watched("other") == []


async def test_a_gap_is_opened_narrowed_and_closed(ledger: SqlLedger, monday: datetime) -> None:
    """By the numbers of later messages; what was closed is not shown as missed."""
    await hear(ledger, monday, 1)
    await hear(ledger, monday, 9)
    assert await open_gaps(ledger) == [(2, 8)]
    await hear(ledger, monday, 5)
    assert await open_gaps(ledger) == [(2, 4), (6, 8)]
    await hear(ledger, monday, *range(2, 9), query=True)
    assert await open_gaps(ledger) == []


async def test_messages_that_come_at_once_miss_nothing(ledger: SqlLedger, monday: datetime) -> None:
    """Each number is judged by what all others left, whoever writes first."""
    await hear(ledger, monday)
    await asyncio.gather(*(hear(ledger, monday, number) for number in (*range(1, 8), *range(9, 16))))
    assert await open_gaps(ledger) == [(8, 8)]


async def test_a_try_to_fill_a_gap_is_kept(ledger: SqlLedger, monday: datetime) -> None:
    """How often, when again, and why it failed."""
    await hear(ledger, monday, 3)

    def failed(known: Watched) -> Watched:
        return replace(
            known,
            gaps=tuple(replace(g, tries=1, try_at=monday + MINUTE, error="http-503") for g in known.gaps),
        )

    await ledger.change_watched("ehr", SUBSCRIPTION, failed)
    (gap,) = (await ledger.watched("ehr"))[0].gaps
    assert (gap.first, gap.last, gap.tries, gap.try_at, gap.error) == (1, 2, 1, monday + MINUTE, "http-503")


async def test_a_search_closes_only_gaps_from_before_it_began(ledger: SqlLedger, monday: datetime) -> None:
    """What was missed while it ran may not be in it."""
    await hear(ledger, monday, 3)
    await hear(ledger, monday + 2 * MINUTE, 6)
    assert await ledger.swept("ehr", monday + MINUTE, monday + 3 * MINUTE) == 1
    assert await open_gaps(ledger) == [(4, 5)]


async def test_a_gap_that_was_closed_meanwhile_stays_closed(ledger: SqlLedger, monday: datetime) -> None:
    """Two who saw it open do not undo each other."""
    known = await hear(ledger, monday, 3)
    (gap,) = (await ledger.watched("ehr"))[0].gaps
    await ledger.swept("ehr", monday, monday)
    late = replace(known, gaps=(replace(gap, closed_by=EVENTS, closed_at=monday),))
    await ledger.change_watched("ehr", SUBSCRIPTION, lambda _: late)
    assert await _closed_by(ledger, gap) == SWEEP


async def _closed_by(ledger: SqlLedger, gap: Gap) -> str | None:
    from sqlalchemy import select

    from fhir_bridge.ledger.database.tables import gaps

    async with ledger._reading() as connection:
        return (await connection.execute(select(gaps.c.closed_by).where(gaps.c.id == gap.id))).scalar_one()


async def test_how_far_a_type_was_searched_stays(ledger: SqlLedger, monday: datetime) -> None:
    """By source and type; the newer replaces the older."""
    first = Sweep("ehr", "Appointment?", monday, monday, 4, 1)
    await ledger.record_sweep(first)
    second = replace(first, until=monday + MINUTE, error="http-503", failing_since=monday)
    await ledger.record_sweep(second)
    await ledger.record_sweep(replace(first, criteria="ServiceRequest?"))
    assert await ledger.sweeps("ehr") == [second, replace(first, criteria="ServiceRequest?")]


async def test_one_watches_at_a_time(ledger: SqlLedger, monday: datetime) -> None:
    """Until the turn is given back or runs out; a renewal keeps it."""
    soon = monday + MINUTE
    assert await ledger.take_turn("ehr", "a", monday, soon)
    assert await ledger.take_turn("ehr", "b", monday, soon) is None
    assert await ledger.take_turn("other", "b", monday, soon)
    assert await ledger.take_turn("ehr", "a", monday, soon + MINUTE)
    assert await ledger.take_turn("ehr", "b", soon, soon + MINUTE) is None
    await ledger.end_turn("ehr", "a")
    assert await ledger.take_turn("ehr", "b", soon, soon + MINUTE)
    assert await ledger.take_turn("ehr", "a", soon + MINUTE, soon + 2 * MINUTE)


async def test_of_many_that_want_the_watch_one_gets_it(ledger: SqlLedger, monday: datetime) -> None:
    """Also where nobody ever had it."""
    takers = [ledger.take_turn("ehr", str(name), monday, monday + MINUTE) for name in range(8)]
    got = await asyncio.gather(*takers)
    assert sum(turn is not None for turn in got) == 1


async def test_many_who_ask_for_a_search_are_answered_by_one(ledger: SqlLedger, monday: datetime) -> None:
    """Since the first of them; who asks while it runs waits for the next."""
    await ledger.ask_sweep("ehr", monday)
    await ledger.ask_sweep("ehr", monday + MINUTE)
    turn = await ledger.take_turn("ehr", "a", monday, monday + MINUTE)
    assert turn is not None and turn.asked_at == monday
    await ledger.swept("ehr", monday - MINUTE, monday)
    turn = await ledger.take_turn("ehr", "a", monday, monday + MINUTE)
    assert turn is not None and turn.asked_at == monday
    await ledger.swept("ehr", monday, monday)
    await ledger.end_turn("ehr", "a", monday)
    turn = await ledger.take_turn("ehr", "a", monday, monday + MINUTE)
    assert turn is not None and (turn.asked_at, turn.fetched_at) == (None, monday)


async def test_the_versions_that_were_decided_are_known(
    ledger: SqlLedger, arrivals: Any, monday: datetime
) -> None:
    """So that a search can tell what it found from what was told already."""
    await ledger.accept([arrivals.call("Appointment/a1"), arrivals.skip("Appointment/a2")], now=monday)
    labels = ["Appointment/a1", "Appointment/a2", "Appointment/a3"]
    known = await ledger.known_versions("ehr", labels)
    assert known == {"Appointment/a1": ("1", monday), "Appointment/a2": ("1", monday)}
    assert await ledger.known_versions("other", labels) == {}
