"""Dispatch against the emulated task API: pace over workers, several zones, a source that is read again."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fhir_bridge.dispatch.clock import Clock, started_at
from fhir_bridge.dispatch.dispatcher import Dispatcher
from fhir_bridge.dispatch.housekeeping import Housekeeper, keeping_house
from fhir_bridge.dispatch.rereading import Rereading
from fhir_bridge.errors import FhirServerError
from fhir_bridge.ledger.records import Act, Arrival, Heard
from fhir_bridge.ledger.sources.messages import MessageState, Received, Settled, Take
from fhir_bridge.settings import calling_hours
from fhir_bridge.task_api.client import TaskApiClient
from fhir_bridge.task_api.outcome import Outcome


@pytest.fixture
def clock(monday: datetime) -> Clock:
    """A clock that shows Monday morning when the test begins, and ticks."""
    return started_at(monday)


def phone(number: int) -> str:
    """The number of the n-th made-up person."""
    return f"+1212555{number:04d}"


async def test_workers_keep_the_pace_together(delivery: Any, arrivals: Any, clock: Clock) -> None:
    """Two workers, two a second: after two seconds and a half no more than six tasks, and at last all."""
    async with delivery(clock=clock, pace="2/s") as running:
        calls = [arrivals.call(f"Appointment/{n}", phone=phone(n)) for n in range(9)]
        await running.ledger.accept(calls, now=clock())
        first = running.dispatcher
        second = Dispatcher(first.ledger, first.endpoint, first.rules, first.project_id, clock)
        stop = asyncio.Event()
        runs = [asyncio.create_task(each.run(stop)) for each in (first, second)]
        await asyncio.sleep(2.5)
        assert 3 <= (await running.stats())["tasks"] <= 6
        stop.set()
        await asyncio.gather(*runs)
        assert await running.reasons() == {"pacing": 9 - (await running.stats())["tasks"]}
        await running.drain(10)
        assert await running.states() == {"sent": 9}


async def test_who_waits_for_a_turn_until_the_evening_is_not_called(
    delivery: Any, arrivals: Any, clock: Clock
) -> None:
    """Four a second, and a fifth of a second until nine: of four calls the first may go, no other."""
    shown = [clock]
    async with delivery(clock=lambda: shown[0](), calling_hours=None, rate="4/s") as running:
        calls = [
            arrivals.call(f"Appointment/{n}", phone=phone(n), zones=("America/New_York",)) for n in range(4)
        ]
        await running.ledger.accept(calls, now=clock())
        shown[0] = started_at(datetime(2026, 11, 24, 1, 59, 59, 800_000, tzinfo=UTC))
        await running.drain(1)
        assert (await running.reasons())["calling-hours"] >= 3
        assert (await running.stats())["tasks"] <= 1


async def test_who_is_created_until_the_evening_is_not_called(
    delivery: Any, arrivals: Any, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The endpoint takes half a minute over the patient, and it is nine; they are known the next morning."""
    shown, create = [clock], TaskApiClient.create_patient

    async def slowly(*given: Any, **more: Any) -> Outcome:
        outcome = await create(*given, **more)
        shown[0] = started_at(datetime(2026, 11, 24, 2, 0, 1, tzinfo=UTC))
        return outcome

    monkeypatch.setattr(TaskApiClient, "create_patient", slowly)
    async with delivery(clock=lambda: shown[0](), calling_hours=None) as running:
        await running.ledger.accept(
            [arrivals.call("Appointment/a", zones=("America/New_York",))], now=clock()
        )
        shown[0] = started_at(datetime(2026, 11, 24, 1, 59, 30, tzinfo=UTC))
        await running.drain(1)
        assert await running.reasons() == {"calling-hours": 1}
        stats = await running.stats()
        assert (stats["patients"], stats["tasks"]) == (1, 0)


@pytest.mark.parametrize(
    ("hour", "zones", "reason"),
    [
        (15, ("America/New_York", "America/Los_Angeles"), "calling-hours"),  # 10:00 and 07:00
        (17, ("America/New_York", "America/Los_Angeles"), None),  # 12:00 and 09:00
        (15, ("America/New_York",), None),
    ],
)
async def test_it_is_day_wherever_the_called_person_may_be(
    delivery: Any, arrivals: Any, hour: int, zones: tuple[str, ...], reason: str | None
) -> None:
    """Of several zones that an address or number may be in, all must agree."""
    clock = started_at(datetime(2026, 11, 23, hour, tzinfo=UTC))
    async with delivery(clock=clock, calling_hours=None) as running:
        await running.ledger.accept([arrivals.call("Appointment/a", zones=zones)], now=clock())
        await running.drain(1)
        assert await running.reasons() == ({reason: 1} if reason else {})
        assert (await running.stats())["tasks"] == (0 if reason else 1)


async def test_a_holiday_is_waited_for(delivery: Any, arrivals: Any) -> None:
    """Thanksgiving 2026 in New York: due the next morning at eight."""
    hours = calling_hours({"weekday": "08:00-21:00", "holiday": "closed", "holidays": ["2026-11-26"]})
    clock = started_at(datetime(2026, 11, 26, 15, tzinfo=UTC))
    async with delivery(clock=clock, calling_hours=hours) as running:
        await running.ledger.accept([arrivals.call("Appointment/a")], now=clock())
        await running.drain(1)
        assert await running.ledger.next_due() == datetime(2026, 11, 27, 13, tzinfo=UTC)


# -- a source that is read again --


@dataclass
class Hospital:
    """A source that can be asked: what each trigger says by now; nothing: it does not answer."""

    says: dict[str, Sequence[Arrival] | None] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    async def read_again(
        self, trigger: str, patient: str, seen: Mapping[str, str]
    ) -> tuple[Sequence[Arrival], Sequence[Heard]] | None:
        """See SourceReader."""
        self.asked.append(trigger)
        if trigger not in self.says:
            raise FhirServerError("no answer")
        said = self.says[trigger]
        return None if said is None else (said, [])


@dataclass
class Faulty:
    """A reader with a fault over one trigger; of the others nothing moved."""

    trigger: str

    async def read_again(self, trigger: str, patient: str, seen: Mapping[str, str]) -> None:
        """See SourceReader."""
        if trigger == self.trigger:
            raise ValueError("unforeseen")


async def test_what_moved_at_the_source_is_what_is_sent(delivery: Any, arrivals: Any, clock: Clock) -> None:
    """A new number is called, who died is not; what is the same, or nothing moved, goes as it is."""
    calls = {name: arrivals.call(f"Appointment/{name}", phone=phone(n)) for n, name in enumerate("abcd")}
    hospital = Hospital(
        {
            "Appointment/a": [calls["a"]],
            "Appointment/b": [arrivals.call("Appointment/b", phone=phone(77), version_id="2")],
            "Appointment/c": [arrivals.skip("Appointment/c", "patient-deceased", version_id="2")],
            "Appointment/d": None,
        }
    )
    async with delivery(clock=clock) as running:
        running.dispatcher.rereading = Rereading(running.ledger, {"ehr": hospital})
        await running.ledger.accept(list(calls.values()), now=clock())
        await running.drain(3)
        assert await running.states() == {"sent": 3, "skipped": 1}
        assert await running.reasons() == {"patient-deceased": 1}
        assert (await running.ledger.show("Appointment/b"))["request"]["phone_number"] == phone(77)
        assert (await running.stats())["tasks"] == 3
        assert sorted(hospital.asked) == [f"Appointment/{name}" for name in "abbcd"]


async def test_a_fault_over_one_call_holds_up_no_other(delivery: Any, arrivals: Any, clock: Clock) -> None:
    """What nobody foresaw while it was read again: it waits, and the worker goes on."""
    async with delivery(clock=clock) as running:
        running.dispatcher.rereading = Rereading(running.ledger, {"ehr": Faulty("Appointment/a")})
        calls = [arrivals.call("Appointment/a"), arrivals.call("Appointment/b", phone=phone(2))]
        await running.ledger.accept(calls, now=clock())
        await running.drain(1)
        assert await running.states() == {"ready": 1, "sent": 1}
        assert await running.reasons() == {"not-read-again": 1}


async def test_nobody_is_called_while_messages_of_their_source_lie_unread(
    delivery: Any, arrivals: Any, clock: Clock
) -> None:
    """One of them may call it off. What came just now is being processed, what is tried again may take a
    day."""
    other = type(arrivals)("other")
    async with delivery(clock=clock) as running:
        ledger, rules = running.ledger, running.dispatcher.rules
        rules.sources["other"] = rules.sources["ehr"]  # type: ignore[index]
        received = [
            Received("ehr", b"{}", clock() - timedelta(seconds=10)),
            Received("other", b"{}", clock()),
        ]
        await ledger.receive(received)
        calls = [arrivals.call("Appointment/a"), other.call("Appointment/b", phone=phone(2))]
        await ledger.accept(calls, now=clock())
        await running.drain(1)
        assert await running.states() == {"ready": 1, "sent": 1}
        assert await running.reasons() == {"inbox-behind": 1}
        now = clock()
        messages = await ledger.take_messages(Take("me", now, now + timedelta(minutes=1), 9, 1 << 20))
        assert await ledger.is_unread("ehr", now - timedelta(seconds=5))
        waits = Settled(messages[0].id, MessageState.RECEIVED, "source-unreachable", now)
        await ledger.settle_messages("me", [waits], now)
        assert not await ledger.is_unread("ehr", now - timedelta(seconds=5))


async def test_how_far_the_inbox_is_behind_is_asked_once_for_all_senders(
    delivery: Any, arrivals: Any, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many of them want to know it at the same moment."""
    asked = []
    async with delivery(clock=clock) as running:
        is_unread = running.ledger.is_unread

        async def counting(source: str, before: datetime) -> bool:
            asked.append(source)
            return bool(await is_unread(source, before))

        monkeypatch.setattr(running.ledger, "is_unread", counting)
        calls = [arrivals.call(f"Appointment/a{number}", phone=phone(number)) for number in range(1, 9)]
        await running.ledger.accept(calls, now=clock())
        await running.drain(len(calls))
        assert await running.states() == {"sent": len(calls)}
    assert len(asked) < len(calls) / 2


async def test_a_source_that_is_read_again_need_not_be_waited_for(
    delivery: Any, arrivals: Any, clock: Clock
) -> None:
    """It says itself whether anybody is wanted."""
    async with delivery(clock=clock) as running:
        running.dispatcher.rereading = Rereading(running.ledger, {"ehr": Hospital({"Appointment/a": None})})
        await running.ledger.receive([Received("ehr", b"{}", clock() - timedelta(seconds=10))])
        await running.ledger.accept([arrivals.call("Appointment/a")], now=clock())
        await running.drain(1)
        assert await running.states() == {"sent": 1}


async def test_a_source_that_does_not_answer_is_waited_for(
    delivery: Any, arrivals: Any, clock: Clock
) -> None:
    """It may know why nobody must be called: nobody is, nor told to the endpoint. Others are not held up."""
    other = type(arrivals)(source="other")
    async with delivery(clock=clock) as running:
        rules = running.dispatcher.rules
        rules.sources["other"] = rules.sources["ehr"]  # type: ignore[index]
        running.dispatcher.rereading = Rereading(running.ledger, {"ehr": Hospital()})
        calls = [arrivals.call("Appointment/a"), other.call("Appointment/b", phone=phone(2))]
        await running.ledger.accept(calls, now=clock())
        await running.drain(1)
        assert await running.states() == {"ready": 1, "sent": 1}
        assert await running.reasons() == {"source-unreachable": 1}
        assert (await running.stats())["patients"] == 1


async def test_a_worker_tidies_beside_its_work(
    delivery: Any, arrivals: Any, monday: datetime, capsys: pytest.CaptureFixture[str]
) -> None:
    """Payloads are cleared as soon as it starts, and the head of the audit stands in its log."""
    later = started_at(monday + timedelta(days=40))
    async with delivery(clock=later) as running:
        await running.ledger.accept([arrivals.reject("Appointment/a")], now=monday)
        await running.ledger.block("number", phone(9), Act("tester", "because", monday))
        assert await running.ledger.last_attempt() == 0
        head = await running.ledger.audit_head()
        async with keeping_house(Housekeeper(running.ledger, timedelta(days=30), later)):
            await running.drain(0.5)
        assert (await running.ledger.show("Appointment/a"))["lineage"] == {}
    logged = capsys.readouterr().out
    assert head.chain in logged
    assert "payloads-cleared" in logged
