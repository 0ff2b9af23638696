"""Several workers at one ledger, each with connections of its own: nothing is done twice or in vain."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from fhir_bridge.ledger.database.locks import Lock, hold
from fhir_bridge.ledger.database.tables import intents
from fhir_bridge.ledger.records import (
    Act,
    Change,
    Claimed,
    Refusal,
    Selection,
    SettleTask,
    StartPatient,
    StartTask,
    Write,
)
from fhir_bridge.ledger.sending import exchanges
from fhir_bridge.ledger.sending.claims import Claim
from fhir_bridge.ledger.sending.gate import BREAKER
from fhir_bridge.ledger.sources.messages import Received, Take
from fhir_bridge.ledger.store import SqlLedger, open_ledger
from fhir_bridge.task_api.outcome import Outcome, OutcomeClass

MINUTE = timedelta(minutes=1)
HERE = {"api_url": "http://127.0.0.1:1", "project_id": "123e4567-e89b-12d3-a456-426614174000"}
A_TASK = Outcome(OutcomeClass.ACCEPTED, 201, id="00000000-0000-4000-8000-000000000002")

Workers = Callable[[int], Awaitable[list[SqlLedger]]]


@pytest.fixture
async def workers(ledger: SqlLedger, location: str) -> AsyncIterator[Workers]:
    """Opens the same ledger so many times more."""
    async with AsyncExitStack() as opened:

        async def open_all(count: int) -> list[SqlLedger]:
            return [
                await opened.enter_async_context(await open_ledger(location, **HERE)) for _ in range(count)
            ]

        yield open_all


def patient(number: int) -> str:
    """The id that the site itself knows its n-th patient by."""
    return f"00000000-0000-4000-9000-{number:012d}"


async def ready(ledger: SqlLedger, arrivals: Any, now: datetime, count: int, *, people: int = 0) -> None:
    """So many intents, due now, of as many people or of `people`."""
    calls = [
        arrivals.call(
            f"Appointment/{n}",
            phone=f"+1212{5550000 + n % (people or count):07d}",
            patient_id=patient(n),
        )
        for n in range(count)
    ]
    for start in range(0, count, 500):
        await ledger.accept(calls[start : start + 500], now=now)


async def test_four_thousand_rows_are_claimed_once_each(
    ledger: SqlLedger, workers: Workers, arrivals: Any, monday: datetime
) -> None:
    """Four workers claim at once, in small portions, until nothing is left: each row by exactly one."""
    await ready(ledger, arrivals, monday, 4_000)

    async def work(own: SqlLedger, token: str) -> list[int]:
        found: list[int] = []
        while claimed := await own.claim(Claim(token, monday, monday + MINUTE, 97)):
            found += [item.id for item in claimed]
        return found

    shares = await asyncio.gather(*(work(own, str(number)) for number, own in enumerate(await workers(4))))
    counted = Counter(item for share in shares for item in share)
    assert len(counted) == 4_000
    assert set(counted.values()) == {1}


async def test_a_number_is_called_by_one_worker_at_a_time(
    ledger: SqlLedger, workers: Workers, arrivals: Any, monday: datetime
) -> None:
    """Sixty intents to twenty numbers, started by three workers at once: twenty go, whoever was first."""
    await ready(ledger, arrivals, monday, 60, people=20)
    keys = [f"ehr|Patient/p-{n}|Appointment/{n}" for n in range(60)]
    claimed: list[list[Claimed]] = [[], [], []]
    for place in range(60):
        # Each by its key, for a worker is never given the second of a lane.
        asked = Claim(f"worker-{place % 3}", monday, monday + MINUTE, 1, only=[keys[place]])
        claimed[place % 3] += await ledger.claim(asked)
    assert [len(share) for share in claimed] == [20] * 3

    async def start(own: SqlLedger, share: list[Claimed]) -> list[Claimed]:
        starts = [StartTask(item, monday, monday + MINUTE, monday - MINUTE) for item in share]
        written = await asyncio.gather(*(own.write(starts[n : n + 5]) for n in range(0, 20, 5)))
        answers = [answer for batch in written for answer in batch]
        refused = {answer.refusal for answer in answers if not answer.done}
        assert refused <= {Refusal.RECENTLY_CALLED, Refusal.LOST}
        return [item for item, answer in zip(share, answers, strict=True) if answer.done]

    begun = await asyncio.gather(
        *(start(own, share) for own, share in zip(await workers(3), claimed, strict=True))
    )
    lanes = Counter(item.lane for share in begun for item in share)
    assert len(lanes) == 20
    assert set(lanes.values()) == {1}
    assert (await ledger.status(monday)).states == {"ready": 40, "sending": 20}
    assert await ledger.waiting() == 60


async def test_a_patient_is_created_by_one_worker(
    ledger: SqlLedger, workers: Workers, arrivals: Any, monday: datetime
) -> None:
    """Two intents of one new patient at two workers: one creates the patient, the other is told to wait."""
    calls = [
        arrivals.call(f"Appointment/{n}", phone=f"+1212555010{n}", patient="Patient/p") for n in range(2)
    ]
    keys = [item.key for item in await ledger.accept(calls, now=monday)]
    own = await workers(2)
    claimed = [(await ledger.claim(Claim(key, monday, monday + MINUTE, 1, only=[key])))[0] for key in keys]
    written = await asyncio.gather(
        *(
            one.write([StartPatient(item, monday, monday + MINUTE)])
            for one, item in zip(own, claimed, strict=True)
        )
    )
    assert sorted(answer.done for (answer,) in written) == [False, True]


async def test_what_comes_in_twice_at_once_is_one_intent(
    ledger: SqlLedger, workers: Workers, arrivals: Any, monday: datetime
) -> None:
    """Two doors take in the order and its appointment at the same moment: one chain, one call."""
    chain = {"intent": "ehr|p|o", "patient": "Patient/p", "members": ("ServiceRequest/o", "Appointment/a")}
    doors = await workers(4)
    for number in range(10):
        one = {name: f"{value}-{number}" for name, value in chain.items() if name != "members"}
        members = tuple(f"{member}-{number}" for member in chain["members"])
        taken = await asyncio.gather(
            *(
                door.accept([arrivals.call(members[place % 2], members=members, **one)], now=monday)
                for place, door in enumerate(doors)
            )
        )
        changes = [answer.change for (answer,) in taken]
        assert changes.count(Change.NEW) == 1
    assert (await ledger.status(monday)).states == {"ready": 10}


async def test_acts_at_once_are_one_chain(ledger: SqlLedger, workers: Workers, monday: datetime) -> None:
    """The audit of people who act at the same moment is whole, and no act of theirs fails."""
    people = await workers(4)
    await asyncio.gather(
        *(
            one.pause(f"source-{place}-{turn}", Act(f"person-{place}", "because", monday))
            for place, one in enumerate(people)
            for turn in range(10)
        )
    )
    assert await ledger.verify_audit() is None
    assert len((await ledger.gate()).paused_sources) == 40


async def test_what_is_given_is_found_by_its_id_however_much_is_ready(
    ledger: SqlLedger, arrivals: Any, monday: datetime
) -> None:
    """Of hundreds that are ready and claimed PostgreSQL reads the ten that are begun, and settled, and no
    others, though nobody has told it yet how large the tables are.
    """
    if ledger._engine.dialect.name != "postgresql":
        pytest.skip("SQLite does not count what it reads")
    await ready(ledger, arrivals, monday, 400)
    claimed = await ledger.claim(Claim("w", monday, monday + MINUTE, 400))
    some = claimed[:10]
    begins = [StartTask(item, monday, monday + MINUTE, monday - MINUTE) for item in some]
    settles = [SettleTask(item, 1, A_TASK, monday, monday, poll_at=monday) for item in some]

    async def read(connection: AsyncConnection) -> int:
        counted = "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_all_tables WHERE relname = 'intents'"
        return int((await connection.exec_driver_sql(counted)).scalar_one())

    async def read_for(batch: Sequence[Write]) -> int:
        async def write(connection: AsyncConnection) -> int:
            before = await read(connection)
            assert all(answer.done for answer in await exchanges.write(connection, batch, BREAKER))
            return await read(connection) - before

        return await ledger._at_once(write)

    # Each is read to be locked, to be changed, and for its keys.
    assert await read_for(begins) < 100
    assert await read_for(settles) < 100


async def test_who_waits_for_one_another_is_told_to_try_again(
    ledger: SqlLedger, workers: Workers, arrivals: Any, monday: datetime
) -> None:
    """Decisions, cancellations and retries that cross each other, thirty times over: none of them fails."""
    await ready(ledger, arrivals, monday, 40)
    one, two, three = await workers(3)
    act = Act("tester", "because", monday)
    for version in range(2, 12):
        newer = [
            arrivals.call(f"Appointment/{n}", phone=f"+1212{5550000 + n:07d}", version_id=str(version))
            for n in range(40)
        ]
        await asyncio.gather(
            one.accept(newer, now=monday),
            two.cancel(Selection(source="ehr"), act),
            three.retry(Selection(source="ehr"), act),
            ledger.claim(Claim(f"w-{version}", monday, monday + MINUTE, 40)),
        )
    states = (await ledger.status(monday)).states
    assert sum(states.values()) == 40
    assert set(states) <= {"ready", "cancelled"}


async def test_a_pause_holds_what_was_claimed_before_it(
    ledger: SqlLedger, workers: Workers, arrivals: Any, monday: datetime
) -> None:
    """A worker that has not heard of it commits no attempt: neither of a paused source, nor of any at all."""
    await ready(ledger, arrivals, monday, 2)
    (other,) = await workers(1)
    act = Act("tester", "because", monday)
    for source in ("ehr", ""):
        (claimed, *_) = await ledger.claim(Claim("w", monday, monday + MINUTE, 1))
        await other.pause(source, act)
        (written,) = await ledger.write([StartTask(claimed, monday, monday + MINUTE, monday)])
        assert written.refusal is Refusal.PAUSED
        assert await ledger.claim(Claim("v", monday, monday + MINUTE, 9)) == []
        assert await other.resume(source, act)
        (again,) = await ledger.write([StartTask(claimed, monday, monday + MINUTE, monday - MINUTE)])
        assert again.done
        await ledger.rescue(monday + MINUTE)


async def test_a_pause_keeps_a_patient_from_being_created(
    ledger: SqlLedger, workers: Workers, arrivals: Any, monday: datetime
) -> None:
    """Nobody's data is told to the endpoint either, though the intent was claimed before."""
    await ledger.accept([arrivals.call("Appointment/a")], now=monday)
    (claimed,) = await ledger.claim(Claim("w", monday, monday + MINUTE, 1))
    (other,) = await workers(1)
    await other.pause("ehr", Act("tester", "because", monday))
    (written,) = await ledger.write([StartPatient(claimed, monday, monday + MINUTE)])
    assert written.refusal is Refusal.PAUSED


async def test_failures_seen_by_several_workers_are_counted_together(
    ledger: SqlLedger, workers: Workers, monday: datetime
) -> None:
    """Each adds one to what the others found, and none is lost."""
    people = await workers(4)
    await asyncio.gather(
        *(
            one.change_gate(lambda gate: replace(gate, failures=gate.failures + 1))
            for one in people
            for _ in range(10)
        )
    )
    assert (await ledger.gate()).failures == 40


async def test_a_worker_that_waited_for_a_row_looks_again(
    ledger: SqlLedger, workers: Workers, arrivals: Any, monday: datetime
) -> None:
    """While its batch waits for another intent, the number is called by another worker: not once more."""
    await ready(ledger, arrivals, monday, 3, people=2)  # the first and the last have one number
    named = {n: f"ehr|Patient/p-{n}|Appointment/{n}" for n in range(3)}
    first, slow, last = [
        (await ledger.claim(Claim(token, monday, monday + MINUTE, 1, only=[named[n]])))[0]
        for n, token in enumerate(("three", "two", "two"))
    ]
    one, two, three = await workers(3)

    def start(claimed: Claimed) -> StartTask:
        return StartTask(claimed, monday, monday + MINUTE, monday - MINUTE)

    async def call(own: SqlLedger, claimed: Claimed) -> bool:
        (begun,) = await own.write([start(claimed)])
        if begun.done:
            await own.write([SettleTask(claimed, begun.number, A_TASK, monday, monday, poll_at=monday)])
        return begun.done

    async with one._writing() as holding:
        await holding.execute(select(intents.c.id).where(intents.c.id == slow.id).with_for_update())
        waits = asyncio.create_task(two.write([start(slow), start(last)]))
        await asyncio.sleep(0.3)
        calls = asyncio.create_task(call(three, first))
        await asyncio.sleep(0.5)
    (_, of_last), of_first = await waits, await calls
    assert sorted([of_last.done, of_first]) == [False, True]


async def test_a_transaction_given_up_for_another_is_done_again(
    ledger: SqlLedger, workers: Workers, arrivals: Any, monday: datetime
) -> None:
    """Two that hold what the other wants: the database gives one up, and its caller never hears of it."""
    await ready(ledger, arrivals, monday, 2)
    one, two = await workers(2)
    newer = [arrivals.call(f"Appointment/{n}", phone=f"+121255500{n:02d}", version_id="2") for n in range(2)]

    def row(number: int) -> Any:
        return select(intents.c.id).where(intents.c.trigger == f"Appointment/{number}").with_for_update()

    async with one._writing() as holding:
        await holding.execute(row(1))
        accepted = asyncio.create_task(two.accept(newer, now=monday))
        await asyncio.sleep(0.3)
        await holding.execute(row(0))
    assert [answer.change for answer in await accepted] == [Change.DECIDED_AGAIN] * 2


async def test_no_attempt_waits_behind_messages_that_wait(
    postgres_database: Callable[[], str], arrivals: Any, monday: datetime
) -> None:
    """Where several may write: another processor takes messages, our own waits for it, and calls go on."""
    async with (
        await open_ledger(url := postgres_database(), now=monday, **HERE) as ours,
        await open_ledger(url, **HERE) as other,
    ):
        await ready(ours, arrivals, monday, 1)
        (claimed,) = await ours.claim(Claim("w", monday, monday + MINUTE, 1))
        async with other._writing() as holding:
            await hold(holding, Lock.INBOX)
            waits = asyncio.create_task(ours.take_messages(Take("m", monday, monday + MINUTE, 9, 1 << 20)))
            await asyncio.sleep(0.2)
            async with asyncio.timeout(30):
                (begun,) = await ours.write([StartTask(claimed, monday, monday + MINUTE, monday)])
                assert await ours.receive([Received("ehr", b"{}", monday)]) == [True]
            assert begun.done and not waits.done()
        assert len(await waits) == 1
