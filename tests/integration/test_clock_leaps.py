"""The machine's clock leaps, by hand or by NTP: that can make the bridge wait, but never phone twice."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fhir_bridge.dispatch.clock import started_at

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


class LeapingClock:
    """Ticks as the machine's does, until it leaps."""

    def __init__(self, moment: datetime) -> None:
        self._ticking = started_at(moment)
        self._leapt = timedelta(0)

    def __call__(self) -> datetime:
        return (self._ticking() + self._leapt).astimezone(UTC)

    def leap(self, by: timedelta) -> None:
        """Forwards, or backwards by less than nothing."""
        self._leapt += by


@pytest.fixture
def clock(monday: datetime) -> LeapingClock:
    """Monday morning, so far."""
    return LeapingClock(monday)


def calls(arrivals: Any, count: int) -> list[Any]:
    """Calls to as many people, due at once."""
    return [arrivals.call(f"Appointment/{n}", phone=f"+1212555{n:04d}") for n in range(count)]


async def under_way(running: Any, count: int) -> None:
    """Wait until so many requests are on their way."""
    for _ in range(200):
        if (await running.states()).get("sending") == count:
            return
        await asyncio.sleep(0.02)
    raise TimeoutError


@pytest.mark.parametrize("leap", [DAY, HOUR, -HOUR, -DAY], ids=str)
async def test_a_leap_while_a_request_is_under_way(
    delivery: Any, arrivals: Any, clock: LeapingClock, leap: timedelta
) -> None:
    """Its lease seems to have run out, or to run for a day yet: the answer that comes settles it once."""
    async with delivery("latency POST /v1/task seconds=2", clock=clock) as running:
        await running.ledger.accept(calls(arrivals, 3), now=clock())
        sending = asyncio.create_task(running.drain())
        await under_way(running, 3)
        clock.leap(leap)
        # Another worker looks for dead ones at this moment.
        assert await running.ledger.rescue(clock()) == (3 if leap > timedelta(0) else 0)
        await sending
        stats = await running.stats()
        assert await running.states() == {"sent": 3}
        assert (stats["tasks"], set(stats["tasks_by_patient"].values())) == (3, {1})


async def test_a_leap_backwards_only_delays_what_was_due(
    delivery: Any, arrivals: Any, clock: LeapingClock
) -> None:
    """What was due comes due again, and is sent once."""
    async with delivery(clock=clock) as running:
        await running.ledger.accept(calls(arrivals, 3), now=clock())
        clock.leap(-HOUR)
        await running.drain(0.5)
        assert (await running.states(), (await running.stats())["tasks"]) == ({"ready": 3}, 0)
        clock.leap(HOUR)
        await running.drain()
        assert (await running.states(), (await running.stats())["tasks"]) == ({"sent": 3}, 3)


async def test_a_number_called_in_what_is_now_the_future_was_called_recently(
    delivery: Any, arrivals: Any, clock: LeapingClock
) -> None:
    """The gap between two calls to one number is not lost with the time."""
    async with delivery(clock=clock) as running:
        await running.ledger.accept([arrivals.call("Appointment/1")], now=clock())
        await running.drain()
        clock.leap(-DAY)
        await running.ledger.accept([arrivals.call("Appointment/2")], now=clock())
        await running.drain(1)
        assert await running.states() == {"sent": 1, "ready": 1}
        assert await running.reasons() == {"recently-called": 1}
        clock.leap(DAY + timedelta(hours=4))
        await running.drain()
        assert await running.states() == {"sent": 2}


async def test_a_leap_forwards_ends_waits_and_nothing_else(
    delivery: Any, arrivals: Any, clock: LeapingClock
) -> None:
    """What was held or paused is due; what was sent stays sent; a call of last year makes no sense."""
    async with delivery("status-before POST /v1/task code=429 retry-after=600 nth=1", clock=clock) as running:
        held, *others = calls(arrivals, 3)
        await running.ledger.accept([held], now=clock())
        await running.ledger.accept(others, now=clock(), hold=HOUR)
        await running.drain(1)
        assert await running.states() == {"ready": 3}
        clock.leap(2 * HOUR)
        await running.drain()
        assert (await running.states(), (await running.stats())["tasks"]) == ({"sent": 3}, 3)
        late = arrivals.call("Appointment/9", phone="+12125550109")
        await running.ledger.accept([late], now=clock())
        clock.leap(365 * DAY)
        await running.drain()
        assert await running.states() == {"sent": 3, "parked": 1}


@pytest.mark.parametrize("meanwhile", ["a patient is created", "the rate is waited for"])
async def test_the_evening_may_come_before_the_call(delivery: Any, arrivals: Any, meanwhile: str) -> None:
    """It was still time to call when it was looked at first: nobody is called when it no longer is."""
    clock = LeapingClock(datetime(2026, 11, 23, 20, 59, 20, tzinfo=UTC))
    is_created = meanwhile == "a patient is created"
    known = None if is_created else "00000000-0000-4000-9000-000000000001"
    faults = ["latency POST /v1/patient seconds=1.5"] if is_created else []
    rate = {} if is_created else {"rate": "30/min"}
    async with delivery(*faults, clock=clock, calling_hours=None, **rate) as running:
        said = {"zones": ("Europe/London",), "patient_id": known}
        count = 1 if is_created else 2
        named = [arrivals.call(f"Appointment/{n}", phone=f"+1212555{n:04d}", **said) for n in range(count)]
        await running.ledger.accept(named, now=clock())
        sending = asyncio.create_task(running.drain(0.1))
        for _ in range(500):
            if (await running.stats())["requests"]:
                break
            await asyncio.sleep(0.02)
        clock.leap(timedelta(minutes=1))
        await sending
        assert (await running.stats())["tasks"] == count - 1
        assert await running.reasons() == {"calling-hours": 1}
