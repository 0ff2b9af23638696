"""Dispatch: tasks a second with the durable ledger, the same requests without, and plain httpx."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import httpx
import structlog
from pydantic import SecretStr

from benchmarks.decided import decided, resources_of
from benchmarks.generator import NOW
from benchmarks.ledger import PROJECT
from benchmarks.measure import Row
from benchmarks.slow_endpoint import slow_endpoint
from fhir_bridge.dispatch.checks import Rules, SourceCalling
from fhir_bridge.dispatch.dispatcher import Dispatcher, Until
from fhir_bridge.ledger.records import Arrival
from fhir_bridge.ledger.store import open_ledger
from fhir_bridge.mapping.decision import Call
from fhir_bridge.settings.calling import calling_hours
from fhir_bridge.settings.tables import DispatchSettings
from fhir_bridge.task_api.client import TaskApiClient

TASKS = 600
IN_FLIGHT = 256
ROUNDS = 5

Run = Callable[[], Awaitable[float]]


def rows() -> Iterator[Row]:
    """Each task is two requests: its patient, then itself. The endpoint answers after 50 ms."""
    # What is logged of each task goes to a file in production; here it would fill the screen.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    calls = calls_of(TASKS)
    with slow_endpoint() as url, tempfile.TemporaryDirectory() as folder:
        rounds = []
        for number in range(ROUNDS):
            durable = asyncio.run(_durable(calls, url, Path(folder) / f"{number}.db"))
            bare = asyncio.run(_bare(calls, url))
            rounds.append((durable, bare, asyncio.run(_httpx(calls[: len(calls) // 3], url))))
    durable, bare, plain = sorted(rounds, key=lambda rates: rates[0] / rates[1])[ROUNDS // 2]
    path = "dispatch: 256 in flight, ledger durable"
    yield Row(path, "the same without ledger", durable / bare, ">= 0.8", "0.95", _rate(durable), _rate(bare))
    yield Row(path, "plain httpx, 32 in flight", durable / plain, ">= 5", "10", _rate(durable), _rate(plain))


def calls_of(tasks: int) -> list[Arrival]:
    """So many Calls of as many patients and numbers."""
    found: dict[str, Arrival] = {}
    for trigger, decision in decided(resources_of(4 * tasks)):
        if isinstance(decision, Call):
            arrival = Arrival("default", decision, trigger.view.resource_type, trigger.raw)
            found.setdefault(decision.task.phone_number, arrival)
    assert len(found) >= tasks, "the export has too few Calls"
    return list(found.values())[:tasks]


def _rate(per_second: float) -> str:
    return f"{per_second:.0f} tasks/s"


async def _durable(calls: Sequence[Arrival], url: str, path: Path) -> float:
    """Tasks a second from a ledger that holds all of them, until it says that all were sent."""
    rules = Rules(
        DispatchSettings(max_in_flight=IN_FLIGHT),
        {"default": SourceCalling(calling_hours("off"), ZoneInfo("UTC"))},
    )
    async with (
        await open_ledger(path, api_url=url, project_id=PROJECT, now=NOW) as ledger,
        _client(url) as client,
    ):
        await ledger.accept(calls, now=NOW)
        dispatcher = Dispatcher(ledger, client, rules, PROJECT, lambda: NOW)
        start = time.perf_counter()
        await dispatcher.run(asyncio.Event(), Until(drained=timedelta(0)))
        rate = len(calls) / (time.perf_counter() - start)
        states = (await ledger.status(NOW)).states
        assert states == {"sent": len(calls)}, states
        return rate


async def _bare(calls: Sequence[Arrival], url: str) -> float:
    """The same client and requests, as many in flight, nothing written down."""
    async with _client(url) as client:

        async def deliver(arrival: Arrival) -> None:
            call = arrival.decision
            assert isinstance(call, Call)
            patient = await client.create_patient(call.patient.request(PROJECT))
            assert patient.id
            task = await client.create_task(call.task.request(PROJECT, patient.id))
            assert task.id

        return await _in_flight(calls, deliver, IN_FLIGHT)


async def _httpx(calls: Sequence[Arrival], url: str) -> float:
    """The same requests by httpx as it comes, 32 in flight, where it is at its best."""
    limits = httpx.Limits(max_connections=32, max_keepalive_connections=32)
    async with httpx.AsyncClient(base_url=url, limits=limits, timeout=30, trust_env=False) as http:

        async def deliver(arrival: Arrival) -> None:
            call = arrival.decision
            assert isinstance(call, Call)
            patient = await http.post("/v1/patient", json=call.patient.request(PROJECT).to_wire())
            task = call.task.request(PROJECT, patient.json()["id"])
            (await http.post("/v1/task", json=task.to_wire())).raise_for_status()

        return await _in_flight(calls, deliver, 32)


async def _in_flight(
    calls: Sequence[Arrival], deliver: Callable[[Arrival], Awaitable[None]], at_once: int
) -> float:
    """Tasks a second with so many senders."""
    waiting = deque(calls)

    async def sender() -> None:
        while waiting:
            await deliver(waiting.popleft())

    start = time.perf_counter()
    await asyncio.gather(*(sender() for _ in range(at_once)))
    return len(calls) / (time.perf_counter() - start)


def _client(url: str) -> TaskApiClient:
    return TaskApiClient(url, SecretStr("made-up-key"), max_connections=IN_FLIGHT)
