"""Dispatch against the emulated task API: what each outcome leads to, and that nobody is phoned twice."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from pydantic import SecretStr

from fhir_bridge.dispatch.clock import Clock, started_at
from fhir_bridge.dispatch.dispatcher import Until
from fhir_bridge.dispatch.rate import RateLimit
from fhir_bridge.dispatch.sender import Sender
from fhir_bridge.dispatch.writes import WriteQueue
from fhir_bridge.ledger.port import Dispatches
from fhir_bridge.ledger.records import Act, Selection, SettlePatient, Write, Written
from fhir_bridge.ledger.sending.claims import Claim
from fhir_bridge.ledger.sending.gate import Breaker, Gate
from fhir_bridge.task_api.client import TaskApiClient


@pytest.fixture
def clock(monday: datetime) -> Clock:
    """A clock that shows Monday morning when the test begins, and ticks."""
    return started_at(monday)


def act(clock: Clock) -> Act:
    """Somebody does something now."""
    return Act("tester", "because the test says so", clock())


def phone(number: int) -> str:
    """The number of the n-th made-up person."""
    return f"+1212555{number:04d}"


async def test_a_patient_is_created_first_and_once(delivery: Any, arrivals: Any, clock: Clock) -> None:
    """Two intents of one patient need one patient at the endpoint, and each its task."""
    async with delivery(clock=clock, min_gap=timedelta(0)) as running:
        calls = [arrivals.call(f"Appointment/{n}", patient="Patient/p", phone=phone(n)) for n in range(2)]
        await running.ledger.accept(calls, now=clock())
        await running.drain()
        stats = await running.stats()
        assert (stats["patients"], stats["tasks"]) == (1, 2)
        assert await running.states() == {"sent": 2}


async def test_five_hundred_intents_are_five_hundred_tasks(
    delivery: Any, arrivals: Any, clock: Clock
) -> None:
    """Each intent has exactly one task, and the ledger knows its id."""
    async with delivery(clock=clock) as running:
        calls = [arrivals.call(f"Appointment/{n}", phone=phone(n)) for n in range(500)]
        await running.ledger.accept(calls, now=clock())
        await running.drain(30)
        stats = await running.stats()
        assert await running.states() == {"sent": 500}
        assert stats["tasks"] == 500
        assert set(stats["tasks_by_patient"].values()) == {1}


@pytest.mark.parametrize(
    ("fault", "state", "tasks"),
    [
        ("status-before POST /v1/task code=400", "refused", 0),
        ("status-before POST /v1/task code=302", "refused", 0),
        ("status-before POST /v1/task code=500", "in_doubt", 0),
        ("status-after POST /v1/task code=503", "in_doubt", 1),
        ("drop-before POST /v1/task", "in_doubt", 0),
        ("drop-after POST /v1/task", "in_doubt", 1),
        ("reset-after POST /v1/task", "in_doubt", 1),
        ("garbage POST /v1/task", "in_doubt", 1),
        ("truncated POST /v1/task", "in_doubt", 1),
        ("hang-after POST /v1/task", "in_doubt", 1),
        ("status-before POST /v1/task code=429 retry-after=1 nth=1-2", "sent", 1),
        ("status-before POST /v1/task code=503 retry-after=1 nth=1", "sent", 1),
        ("status-before POST /v1/task code=408 nth=1", "sent", 1),
    ],
)
async def test_each_outcome_leads_to_its_state(
    delivery: Any, arrivals: Any, clock: Clock, fault: str, state: str, tasks: int
) -> None:
    """What may have been processed is never sent again by itself; what certainly was not is."""
    async with delivery(fault, clock=clock, patience=0.5) as running:
        await running.ledger.accept([arrivals.call("Appointment/a")], now=clock())
        await running.drain(4)
        assert await running.states() == {state: 1}
        assert (await running.stats())["tasks"] == tasks


@pytest.mark.parametrize("lost", ["drop-after", "drop-before", "garbage", "hang-after"])
@pytest.mark.parametrize("what", ["patient", "task"])
async def test_what_is_lost_is_sent_again_where_the_endpoint_honours_our_key(
    delivery: Any, arrivals: Any, clock: Clock, lost: str, what: str
) -> None:
    """Twice lost, then put off, which says nothing of the first: one patient, one task, nothing in doubt."""
    faults = (f"{lost} POST /v1/{what} nth=1-2", f"status-before POST /v1/{what} code=408 nth=3")
    async with delivery(*faults, clock=clock, patience=0.3, idempotency_header="Idempotency-Key") as running:
        await running.ledger.accept([arrivals.call("Appointment/a")], now=clock())
        await running.drain(2)
        stats = await running.stats()
        assert await running.states() == {"sent": 1}
        assert (stats["patients"], stats["tasks"]) == (1, 1)
        attempts = (await running.ledger.show("Appointment/a"))["attempts"]
        of_it = [item for item in attempts if item["call"] == f"create_{what}"]
        assert [item["outcome"] for item in of_it] == ["unknown"] * 3 + ["accepted"]
        assert all(item["finished_at"] for item in of_it)


@pytest.mark.parametrize("against", ["block", "pause", "revocation"])
async def test_what_is_lost_is_not_sent_again_where_something_speaks_against_it(
    delivery: Any, arrivals: Any, clock: Clock, against: str
) -> None:
    """Before the second request somebody is blocked, all is paused, or the source calls it off: it is in
    doubt, as without a key.
    """
    lost = "drop-before POST /v1/task nth=1"
    settings = {"idempotency_header": "Idempotency-Key", "retry": {"base": timedelta(seconds=2)}}
    async with delivery(lost, clock=clock, **settings) as running:
        await running.ledger.accept([arrivals.call("Appointment/a")], now=clock())
        working = asyncio.create_task(running.drain(1))
        await _until(running, {"sending": 1})
        if against == "block":
            await running.ledger.block("patient", "ehr|Patient/p-a", act(clock))
        elif against == "pause":
            await running.ledger.pause("", act(clock))
        else:
            gone = arrivals.skip("Appointment/a", "entered-in-error", version_id="2")
            await running.ledger.accept([gone], now=clock())
        await working
        assert await running.states() == {"in_doubt": 1}
        assert (await running.stats())["tasks"] == 0


async def test_a_lost_answer_about_a_patient_parks_their_intents(
    delivery: Any, arrivals: Any, clock: Clock
) -> None:
    """A patient in doubt holds all their intents visibly, until somebody says what became of them."""
    async with delivery("drop-after POST /v1/patient nth=1", clock=clock) as running:
        calls = [arrivals.call(f"Appointment/{n}", patient="Patient/p", phone=phone(n)) for n in range(2)]
        await running.ledger.accept(calls, now=clock())
        await running.drain(1)
        assert await running.states() == {"parked": 2}
        assert await running.reasons() == {"patient-in-doubt": 2}
        assert {item.kind for item in await running.ledger.worklist()} == {"intent", "patient"}
        created = next(iter((await running.stats())["tasks_by_patient"]), None)
        resolved = await running.ledger.resolve_patient("ehr", "Patient/p", created, act(clock))
        assert resolved == 2
        await running.drain(2)
        assert await running.states() == {"sent": 2}


async def test_a_refused_patient_parks_their_intents_until_mended(
    delivery: Any, arrivals: Any, clock: Clock
) -> None:
    """What the endpoint refused is tried again with better data."""
    async with delivery("status-before POST /v1/patient code=400 nth=1", clock=clock) as running:
        await running.ledger.accept([arrivals.call("Appointment/a")], now=clock())
        await running.drain(1)
        assert await running.reasons() == {"patient-refused": 1}
        mended = arrivals.call("Appointment/a", version_id="2", phone=phone(7))
        await running.ledger.accept([mended], now=clock())
        await running.drain(2)
        assert await running.states() == {"sent": 1}


async def test_a_refused_key_stops_the_destination_and_loses_nothing(
    delivery: Any, arrivals: Any, clock: Clock
) -> None:
    """With a wrong key everything stays ready, and hardly more than what was in flight was tried."""
    breaker = Breaker(probe_every=timedelta(milliseconds=200))
    async with delivery(clock=clock, key="wrong", breaker=breaker, max_in_flight=4) as running:
        calls = [arrivals.call(f"Appointment/{n}", phone=phone(n)) for n in range(30)]
        await running.ledger.accept(calls, now=clock())
        await running.drain(2)
        status = await running.ledger.status(clock())
        assert status.states == {"ready": 30}
        assert status.destination["held_back_because"] == "key-refused"
        assert (await running.stats())["requests"] < 20


async def test_the_stop_ends_when_the_key_is_taken_again(delivery: Any, arrivals: Any, clock: Clock) -> None:
    """401 stops; the probe that is answered 404 lets everything go on."""
    breaker = Breaker(probe_every=timedelta(milliseconds=100))
    fault = "status-before POST /v1/patient code=401 nth=1"
    async with delivery(fault, clock=clock, breaker=breaker) as running:
        await running.ledger.accept([arrivals.call("Appointment/a")], now=clock())
        stop = asyncio.Event()
        run = asyncio.create_task(running.dispatcher.run(stop))
        await _until(running, {"sent": 1})
        stop.set()
        await run


async def test_the_breaker_opens_and_closes(delivery: Any, arrivals: Any, clock: Clock) -> None:
    """Three answers lost in a row stop the sending; the probe lets the other seven go, and nothing twice."""
    breaker = Breaker(failures=3, open_for=timedelta(minutes=1))
    fault = "drop-before POST /v1/patient nth=1-3"
    async with delivery(fault, clock=clock, breaker=breaker, max_in_flight=1) as running:
        calls = [arrivals.call(f"Appointment/{n}", phone=phone(n)) for n in range(10)]
        await running.ledger.accept(calls, now=clock())
        await running.drain(1)
        assert (await running.ledger.status(clock())).destination["held_back_because"] == "breaker-open"
        assert (await running.stats())["patients"] == 0
        running.dispatcher.clock = lambda: clock() + timedelta(minutes=1)
        await running.drain(2)
        assert await running.states() == {"sent": 7, "parked": 3}
        assert (await running.stats())["tasks"] == 7


class SlowToSettle:
    """A ledger that keeps no outcome before it is told to."""

    def __init__(self, ledger: Any) -> None:
        self.ledger = ledger
        self.may_settle = asyncio.Event()

    async def write(self, items: Sequence[Write]) -> list[Written]:
        """Waits where an outcome is among them."""
        if any(isinstance(item, SettlePatient) for item in items):
            await self.may_settle.wait()
        return list(await self.ledger.write(items))


async def test_what_a_sender_learnt_counts_before_the_ledger_has_it(
    delivery: Any, arrivals: Any, clock: Clock
) -> None:
    """A look at the row in between forgets no failure, and still sees that a person paused everything."""
    async with delivery("drop-before POST /v1/patient nth=1-1", clock=clock) as running:
        ledger, dispatcher = running.ledger, running.dispatcher
        await ledger.accept([arrivals.call("Appointment/1", phone=phone(1))], now=clock())
        lease = clock() + timedelta(minutes=1)
        [claimed] = await ledger.claim(Claim("t" * 32, clock(), lease, 1, None))
        slow = SlowToSettle(ledger)
        async with WriteQueue(cast("Dispatches", slow)) as writes:
            shared = (dispatcher.rules, dispatcher.project_id, clock, dispatcher.rng)
            sender = Sender(dispatcher.endpoint, writes, *shared, RateLimit(None), timedelta(minutes=1))
            await sender.deliver(claimed)
            seen = await sender.look(ledger)
            await ledger.pause("", act(clock))
            paused = await sender.look(ledger)
            slow.may_settle.set()
            await writes.flush()
        assert (seen.failures, seen.closed_because(clock())) == (1, None)
        assert (paused.failures, paused.closed_because(clock())) == (1, "paused")
        assert await sender.look(ledger) == await ledger.gate()


async def test_an_endpoint_that_is_down_loses_nothing(
    delivery: Any, arrivals: Any, clock: Clock, unused_tcp_port: int
) -> None:
    """Refused connections were certainly not processed: all stays ready, and says that it is tried again."""
    async with delivery(clock=clock) as running:
        dead = TaskApiClient(f"http://127.0.0.1:{unused_tcp_port}", SecretStr("key"))
        running.dispatcher.endpoint, alive = dead, running.dispatcher.endpoint
        calls = [arrivals.call(f"Appointment/{n}", phone=phone(n)) for n in range(5)]
        await running.ledger.accept(calls, now=clock())
        await running.drain(0.2)
        assert await running.states() == {"ready": 5}
        assert set(await running.reasons()) <= {"retry", "breaker-open"}
        await dead.aclose()
        running.dispatcher.endpoint = alive
        await running.ledger.change_gate(lambda gate: Gate())
        await running.drain(5)
        assert await running.states() == {"sent": 5}


async def test_one_number_is_not_called_twice_within_the_gap(
    delivery: Any, arrivals: Any, clock: Clock
) -> None:
    """A mother of three has one phone: the second task waits, and says why."""
    async with delivery(clock=clock, min_gap=timedelta(hours=4)) as running:
        calls = [arrivals.call(f"Appointment/{n}", phone=phone(1)) for n in range(3)]
        await running.ledger.accept(calls, now=clock())
        await running.drain(2)
        assert await running.states() == {"sent": 1, "ready": 2}
        assert await running.reasons() == {"recently-called": 2}


async def test_one_lane_has_one_request_in_flight(delivery: Any, arrivals: Any, clock: Clock) -> None:
    """Without a gap the tasks to one number still go one after the other."""
    async with delivery("latency POST /v1/task seconds=0.2", clock=clock, min_gap=timedelta(0)) as running:
        calls = [
            arrivals.call(f"Appointment/{n}", phone=phone(1), patient_id=f"00000000-0000-4000-8000-{n:012d}")
            for n in range(4)
        ]
        await running.ledger.accept(calls, now=clock())
        began = time.monotonic()
        await running.drain(10)
        assert await running.states() == {"sent": 4}
        assert time.monotonic() - began >= 4 * 0.2


@pytest.mark.parametrize(
    ("hour", "dispatch", "reason"),
    [
        (11, {"calling_hours": None}, "calling-hours"),  # 06:00 in New York, where +1 212 is
        (15, {"calling_hours": None, "pilot": ("+12125559999",)}, "not-in-pilot"),
    ],
)
async def test_what_must_wait_stays_ready_with_its_reason(
    delivery: Any, arrivals: Any, hour: int, dispatch: dict[str, Any], reason: str
) -> None:
    """Nothing reaches the endpoint, not even the patient."""
    clock = started_at(datetime(2026, 11, 23, hour, tzinfo=UTC))
    async with delivery(clock=clock, **dispatch) as running:
        await running.ledger.accept([arrivals.call("Appointment/a")], now=clock())
        await running.drain(1)
        assert await running.reasons() == {reason: 1}
        assert (await running.stats())["requests"] == 0


async def test_what_makes_no_sense_any_more_is_parked(delivery: Any, arrivals: Any, clock: Clock) -> None:
    """A call whose time has passed while it waited is given to a person."""
    async with delivery(clock=clock) as running:
        await running.ledger.accept([arrivals.call("Appointment/a", valid_until=clock())], now=clock())
        await running.drain(1)
        assert await running.reasons() == {"no-longer-valid": 1}
        assert (await running.stats())["requests"] == 0


async def test_an_id_that_is_none_is_never_sent(
    delivery: Any, arrivals: Any, clock: Clock, tmp_path: Path
) -> None:
    """What somebody wrote into the ledger by hand goes into no request: the intent is given to a person."""
    async with delivery(clock=clock) as running:
        known = arrivals.call("Appointment/a", patient_id="22222222-2222-4222-8222-222222222222")
        await running.ledger.accept([known, arrivals.call("Appointment/b", phone=phone(1))], now=clock())
        with contextlib.closing(sqlite3.connect(tmp_path / "ledger.db")) as beside, beside:
            beside.execute("UPDATE patients SET api_id = 'p\",\"' WHERE api_id IS NOT NULL")
        await running.drain(1)
        assert await running.reasons() == {"request-invalid": 1}
        assert (await running.stats())["tasks"] == 1


async def test_a_blocked_number_is_never_called(delivery: Any, arrivals: Any, clock: Clock) -> None:
    """Somebody who asked not to be called after the mapping is not called, nor told to the endpoint."""
    async with delivery(clock=clock) as running:
        await running.ledger.accept([arrivals.call("Appointment/a", phone=phone(1))], now=clock())
        await running.ledger.block("number", phone(1), act(clock))
        await running.drain(1)
        assert (await running.states(), await running.reasons()) == ({"skipped": 1}, {"do-not-call": 1})
        assert (await running.stats())["requests"] == 0


async def test_retries_end_at_the_deadline(delivery: Any, arrivals: Any, clock: Clock) -> None:
    """An endpoint that is busy for ever leaves the intent to a person, not in a loop."""
    retry = {
        "base": timedelta(milliseconds=5),
        "cap": timedelta(milliseconds=5),
        "deadline": timedelta(seconds=0.5),
    }
    async with delivery("status-before POST /v1/task code=408", clock=clock, retry=retry) as running:
        await running.ledger.accept([arrivals.call("Appointment/a")], now=clock())
        await running.drain(3)
        assert await running.reasons() == {"retries-used-up": 1}
        assert await running.ledger.retry(Selection(reason="retries-used-up"), act(clock)) == 1
        assert await running.states() == {"ready": 1}


async def test_a_pause_is_obeyed_and_a_resume_too(delivery: Any, arrivals: Any, clock: Clock) -> None:
    """While a source is paused its intents stay ready; those of others are sent."""
    async with delivery(clock=clock) as running:
        await running.ledger.pause("ehr", act(clock))
        await running.ledger.accept([arrivals.call("Appointment/a")], now=clock())
        await running.drain(1)
        assert (await running.stats())["requests"] == 0
        assert await running.ledger.resume("ehr", act(clock))
        await running.drain(2)
        assert await running.states() == {"sent": 1}


async def test_an_outcome_is_read_back(delivery: Any, arrivals: Any, clock: Clock) -> None:
    """When the endpoint says how the call went, the intent is done."""
    async with delivery(clock=clock, sandbox={"call_seconds": 0.1, "failed_share": 0.0}) as running:
        await running.ledger.accept([arrivals.call("Appointment/a")], now=clock())
        stop = asyncio.Event()
        run = asyncio.create_task(running.dispatcher.run(stop))
        await _until(running, {"done": 1})
        stop.set()
        await run
        assert (await running.ledger.show("Appointment/a"))["remote_status"] == "COMPLETED"


async def test_a_stop_finishes_what_is_in_flight_and_gives_the_rest_back(
    delivery: Any, arrivals: Any, clock: Clock
) -> None:
    """Nothing is left sending, and what was only claimed can be claimed by another worker at once."""
    async with delivery("latency POST /v1/task seconds=0.5", clock=clock, max_in_flight=5) as running:
        calls = [arrivals.call(f"Appointment/{n}", phone=phone(n)) for n in range(30)]
        await running.ledger.accept(calls, now=clock())
        stop = asyncio.Event()
        run = asyncio.create_task(running.dispatcher.run(stop))
        for _ in range(3000):
            if (await running.stats())["patients"] >= 5:
                break
            await asyncio.sleep(0.02)
        stop.set()
        await run
        states, stats = await running.states(), await running.stats()
        assert set(states) == {"sent", "ready"}
        assert 5 <= states["sent"] == stats["tasks"] == stats["patients"] < 30
        await running.drain(20)
        assert await running.states() == {"sent": 30}


async def test_a_run_can_be_about_some_intents_only(delivery: Any, arrivals: Any, clock: Clock) -> None:
    """What else is due stays for the worker."""
    async with delivery(clock=clock) as running:
        calls = [arrivals.call(f"Appointment/{n}", phone=phone(n)) for n in range(3)]
        accepted = await running.ledger.accept(calls, now=clock())
        until = Until(only=[accepted[1].key], at=clock() + timedelta(seconds=10))
        began = time.monotonic()
        await running.dispatcher.run(asyncio.Event(), until)
        assert time.monotonic() - began < 5
        assert await running.states() == {"sent": 1, "ready": 2}
        assert (await running.ledger.show("Appointment/1"))["state"] == "sent"


async def _until(running: Any, states: dict[str, int]) -> None:
    """Wait for the ledger to come to these states."""
    for _ in range(1000):
        if await running.states() == states:
            return
        await asyncio.sleep(0.05)
    assert await running.states() == states
