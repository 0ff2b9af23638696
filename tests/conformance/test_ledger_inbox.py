"""Messages are kept before anybody is told so, taken up by one processor at a time, and lost by nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest

from fhir_bridge.errors import LedgerError
from fhir_bridge.ledger.records import Act
from fhir_bridge.ledger.sources.messages import (
    Message,
    MessageSelection,
    MessageState,
    Received,
    Settled,
    Take,
)
from fhir_bridge.ledger.store import SqlLedger, open_ledger
from tests.conformance.conftest import DESTINATION

MINUTE = timedelta(minutes=1)


def message(at: datetime, body: bytes = b"{}", source: str = "ehr", **given: Any) -> Received:
    """A message of a source."""
    return Received(source, body, at, **given)


async def taken(
    ledger: SqlLedger, now: datetime, token: str = "me", limit: int = 100, size: int = 1 << 20
) -> list[Message]:
    """What a processor gets, leased for a minute."""
    return await ledger.take_messages(Take(token, now, now + MINUTE, limit, size))


def bodies(messages: Sequence[Message]) -> list[bytes | None]:
    """What they say, in their order."""
    return [each.body for each in messages]


async def all_of(ledger: SqlLedger, selection: MessageSelection | None = None) -> list[Message]:
    """Every message of the inbox."""
    return [each async for each in ledger.messages(selection or MessageSelection())]


async def test_a_message_is_kept_as_it_came(ledger: SqlLedger, monday: datetime) -> None:
    """Bytes, source, method, path, header, moment; and again from a ledger opened anew."""
    sent = message(monday, b"\x00\xff{", method="PUT", path="Appointment/a1", deleted="Patient/p1")
    assert await ledger.receive([sent]) == [True]
    (kept,) = await all_of(ledger)
    assert (kept.body, kept.source, kept.method) == (b"\x00\xff{", "ehr", "PUT")
    assert (kept.path, kept.deleted, kept.received_at) == ("Appointment/a1", "Patient/p1", monday)
    assert (kept.state, kept.error, kept.tries) == (MessageState.RECEIVED, None, 0)


@pytest.mark.parametrize("delivery", [None, "d1"])
async def test_a_batch_keeps_its_order_and_is_kept_whole_or_not_at_all(
    ledger: SqlLedger, monday: datetime, delivery: str | None
) -> None:
    """Whether it is one statement, or asks first which deliveries are known."""
    batch = [
        message(
            monday,
            b"%d" % number,
            path=f"Appointment/a{number}" if number % 2 else None,
            delivery_id=delivery,
        )
        for number in range(70)
    ]
    assert await ledger.receive(batch) == [True] * 70
    nobodys: Any = message(monday, b"70", source=None, delivery_id=delivery)  # type: ignore[arg-type]
    with pytest.raises(LedgerError):
        await ledger.receive([message(monday, b"71", delivery_id=delivery), nobodys])
    kept = await all_of(ledger)
    assert bodies(kept) == [each.body for each in batch]
    assert [each.path for each in kept] == [each.path for each in batch]
    assert await ledger.receive([message(monday, b"71")]) == [True]


async def test_the_same_delivery_is_kept_once(ledger: SqlLedger, monday: datetime) -> None:
    """Same id and same body, within one batch or a later one; another body, another source, no id: each is
    kept."""
    same = message(monday, b"1", delivery_id="d1")
    other_body, other_source = (
        message(monday, b"2", delivery_id="d1"),
        message(monday, b"1", "lab", delivery_id="d1"),
    )
    assert await ledger.receive([same, same, other_body, other_source]) == [True, False, True, True]
    assert await ledger.receive([same, message(monday, b"1"), message(monday, b"1")]) == [False, True, True]
    assert len(await all_of(ledger)) == 5


async def test_a_delivery_is_forgotten_after_a_day(ledger: SqlLedger, monday: datetime) -> None:
    """A sender that numbers its deliveries from 1 again is not silenced."""
    await ledger.receive([message(monday, delivery_id="d1")])
    late = monday + timedelta(hours=24, seconds=1)
    assert await ledger.receive([message(monday + timedelta(hours=23), delivery_id="d1")]) == [False]
    assert await ledger.receive([message(late, delivery_id="d1")]) == [True]


async def test_messages_are_taken_oldest_first_and_once(ledger: SqlLedger, monday: datetime) -> None:
    """What one processor holds, no other gets, until the lease runs out: then its tries say so."""
    await ledger.receive([message(monday, b"%d" % n) for n in range(5)])
    assert bodies(await taken(ledger, monday, limit=3)) == [b"0", b"1", b"2"]
    assert await taken(ledger, monday, "other") == []
    again = await taken(ledger, monday + MINUTE, "other")
    assert bodies(again) == [b"0", b"1", b"2", b"3", b"4"]
    assert [each.tries for each in again] == [2, 2, 2, 1, 1]


async def test_a_clock_that_is_put_back_holds_no_message_up(ledger: SqlLedger, monday: datetime) -> None:
    """It came tomorrow, as it seems, and is processed now; one that is to wait waits."""
    await ledger.receive([message(monday + timedelta(days=1), b"1")])
    (one,) = await taken(ledger, monday)
    await ledger.settle_messages(
        "me", [Settled(one.id, MessageState.RECEIVED, "source-unreachable", monday + MINUTE)], monday
    )
    assert await taken(ledger, monday) == []
    assert bodies(await taken(ledger, monday + MINUTE)) == [b"1"]


async def test_a_source_has_one_processor_and_others_go_beside_it(
    ledger: SqlLedger, monday: datetime
) -> None:
    """A later message of one appointment must not overtake an earlier one in another process."""
    await ledger.receive([message(monday, b"1"), message(monday, b"2"), message(monday, b"3", "lab")])
    first = await taken(ledger, monday, limit=1)
    assert bodies(first) == [b"1"]
    assert bodies(await taken(ledger, monday, "other")) == [b"3"]
    await ledger.settle_messages("me", [Settled(first[0].id, MessageState.PROCESSED)], monday)
    assert bodies(await taken(ledger, monday, "other")) == [b"2"]


async def test_a_batch_is_bounded_in_bytes_but_never_empty(ledger: SqlLedger, monday: datetime) -> None:
    """A large message is taken alone."""
    await ledger.receive([message(monday, b"a" * 1000), message(monday, b"b" * 10), message(monday, b"c")])
    assert len(await taken(ledger, monday, size=100)) == 1
    assert len(await taken(ledger, monday + MINUTE, size=1010)) == 2


async def test_what_became_of_a_message_is_written_down_once(ledger: SqlLedger, monday: datetime) -> None:
    """Only by who still holds it: a processor whose lease ran out settles nothing."""
    await ledger.receive([message(monday, b"%d" % n) for n in range(3)])
    ids = [each.id for each in await taken(ledger, monday)]
    settled = [
        Settled(ids[0], MessageState.PROCESSED),
        Settled(ids[1], MessageState.FAILED, "notification-type"),
        Settled(ids[2], MessageState.RECEIVED, "source-unreachable", monday + 5 * MINUTE),
    ]
    await taken(ledger, monday + 2 * MINUTE, "thief")
    assert await ledger.settle_messages("me", settled, monday) == 0
    assert await ledger.settle_messages("thief", settled, monday) == 3
    assert await ledger.settle_messages("thief", settled, monday) == 0
    assert [(each.state, each.error) for each in await all_of(ledger)] == [
        ("processed", None),
        ("failed", "notification-type"),
        ("received", "source-unreachable"),
    ]
    assert await taken(ledger, monday + 4 * MINUTE) == []
    assert await ledger.next_message_due() == monday + 5 * MINUTE
    assert bodies(await taken(ledger, monday + 5 * MINUTE)) == [b"2"]


async def test_a_stopped_processor_gives_back_what_it_did_not_settle(
    ledger: SqlLedger, monday: datetime
) -> None:
    """Nobody waits for its lease."""
    await ledger.receive([message(monday)])
    await taken(ledger, monday)
    assert await ledger.release_messages("me") == 1
    assert len(await taken(ledger, monday, "other")) == 1


async def test_the_inbox_shows_what_waits_and_failed(ledger: SqlLedger, monday: datetime) -> None:
    """Counts, the oldest, and in `status` what is not processed."""
    await ledger.receive([message(monday + n * MINUTE) for n in range(3)])
    first, second = await taken(ledger, monday + 3 * MINUTE, limit=2)
    done = [Settled(first.id, MessageState.PROCESSED), Settled(second.id, MessageState.FAILED, "not-fhir")]
    await ledger.settle_messages("me", done, monday)
    lag = await ledger.inbox_lag()
    assert (lag.received, lag.failed, lag.oldest) == (1, 1, monday + 2 * MINUTE)
    assert (await ledger.status(monday)).inbox == {"received": 1, "failed": 1}


async def test_failed_messages_can_be_tried_again(ledger: SqlLedger, monday: datetime) -> None:
    """By id, or by source and error; audited, and never one that is no failure."""
    await ledger.receive([message(monday, b"1"), message(monday, b"2", "lab"), message(monday, b"3")])
    held = await taken(ledger, monday)
    failed = [Settled(each.id, MessageState.FAILED, "no-such-source") for each in held[:2]]
    await ledger.settle_messages("me", failed, monday)
    act = Act("op", "source added", monday)
    assert await ledger.retry_messages(MessageSelection(id=held[2].id), act) == 0
    assert await ledger.retry_messages(MessageSelection(source="lab", error="no-such-source"), act) == 1
    again = [each for each in await all_of(ledger) if each.state is MessageState.RECEIVED]
    assert [(each.body, each.tries) for each in again] == [(b"2", 0), (b"3", 1)]
    assert await ledger.verify_audit() is None
    assert (await ledger.audit_head()) is not None


async def test_a_range_of_the_inbox_can_be_read(ledger: SqlLedger, monday: datetime) -> None:
    """`since` is in, `until` is out; imported triggers are none of it."""
    await ledger.receive([message(monday + n * MINUTE, b"%d" % n) for n in range(120)])
    chosen = MessageSelection(since=monday + 10 * MINUTE, until=monday + 100 * MINUTE)
    assert bodies(await all_of(ledger, chosen)) == [b"%d" % n for n in range(10, 100)]


async def test_an_imported_trigger_is_no_message(ledger: SqlLedger, arrivals: Any, monday: datetime) -> None:
    """`submit` keeps the bytes of a trigger in the inbox: nobody processes them again."""
    await ledger.accept([arrivals.call("Appointment/a1")], now=monday)
    assert await taken(ledger, monday) == []
    assert await all_of(ledger) == []


async def test_messages_are_cleared_as_retention_says(ledger: SqlLedger, monday: datetime) -> None:
    """Processed ones after the period, failed ones later: somebody may still mend what is wrong."""
    await ledger.receive([message(monday, b"1"), message(monday, b"2")])
    one, two = await taken(ledger, monday)
    done = [Settled(one.id, MessageState.PROCESSED), Settled(two.id, MessageState.FAILED, "not-fhir")]
    await ledger.settle_messages("me", done, monday)
    keep = timedelta(days=30)
    assert (await ledger.clear_payloads(monday + keep, keep)).messages == 1
    assert bodies(await all_of(ledger)) == [None, b"2"]
    assert (await ledger.clear_payloads(monday + 4 * keep, keep)).messages == 1
    assert await ledger.retry_messages(MessageSelection(), Act("op", "again", monday)) == 0


async def test_bodies_are_encrypted_where_the_ledger_is(location: str, monday: datetime) -> None:
    """As every payload: without the key nobody reads them."""
    key = "k" * 43 + "="
    async with await open_ledger(location, now=monday, encryption_keys=[key], **DESTINATION) as ledger:
        await ledger.receive([message(monday, b"Juniper", delivery_id="d1")])
        assert await ledger.receive([message(monday, b"Juniper", delivery_id="d1")]) == [False]
        assert bodies(await all_of(ledger)) == [b"Juniper"]
    async with await open_ledger(location, now=monday, **DESTINATION) as locked:
        with pytest.raises(LedgerError, match="encrypted"):
            await all_of(locked)
        with pytest.raises(LedgerError, match="encrypted"):
            await locked.receive([message(monday)])


async def test_processors_side_by_side_take_no_message_twice(location: str, monday: datetime) -> None:
    """Four processors, each with a ledger of its own, over many sources: every message is settled exactly
    once, and those of a source in order."""
    sources = [f"s{n}" for n in range(6)]
    async with await open_ledger(location, now=monday, **DESTINATION) as ledger:
        await ledger.receive([message(monday, b"%d" % n, source) for n in range(20) for source in sources])
    seen: list[tuple[str, int]] = []

    async def process(token: str) -> int:
        count = 0
        async with await open_ledger(location, now=monday, **DESTINATION) as own:
            while (await own.inbox_lag()).received:
                held = await taken(own, monday, token, limit=7)
                await asyncio.sleep(0)
                seen.extend((each.source, each.id) for each in held)
                done = [Settled(each.id, MessageState.PROCESSED) for each in held]
                count += await own.settle_messages(token, done, monday)
        return count

    counts = await asyncio.gather(*(process(f"p{n}") for n in range(4)))
    assert sum(counts) == len(seen) == len(set(seen)) == 20 * len(sources)
    for source in sources:
        ids = [row for name, row in seen if name == source]
        assert ids == sorted(ids)
