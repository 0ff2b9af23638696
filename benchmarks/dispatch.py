"""Dispatch: tasks a second with the durable ledger, the same requests without, and plain httpx."""

from __future__ import annotations

import asyncio
import gc
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from zoneinfo import ZoneInfo

import httpx
import msgspec
import structlog
from pydantic import SecretStr

from benchmarks.databases import Database, databases
from benchmarks.decided import decided, resources_of
from benchmarks.generator import NOW
from benchmarks.ledger import PROJECT
from benchmarks.measure import Row, Work, growth, seconds
from benchmarks.slow_endpoint import slow_endpoint
from fhir_bridge.dispatch.checks import Rules, SourceCalling
from fhir_bridge.dispatch.dispatcher import Dispatcher, Until
from fhir_bridge.ledger.database.direct import let_threads_in
from fhir_bridge.ledger.records import Arrival
from fhir_bridge.ledger.store import open_ledger
from fhir_bridge.mapping.decision import Call
from fhir_bridge.settings.calling import calling_hours
from fhir_bridge.settings.tables import DispatchSettings
from fhir_bridge.task_api.bodies import patient_body, task_body
from fhir_bridge.task_api.client import TaskApiClient

TASKS = 2_000
"""Enough that the first requests and the last answers are a small part of it."""
IN_FLIGHT = 256
ROUNDS = 5
RULES = Rules(
    DispatchSettings(max_in_flight=IN_FLIGHT),
    {"default": SourceCalling(calling_hours("off"), ZoneInfo("UTC"))},
)


def rows() -> Iterator[Row]:
    """Each task is two requests: its patient, then itself. The endpoint answers after 50 ms."""
    # What is logged of each task goes to a file in production; here it would fill the screen.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    let_threads_in()  # as `worker` and `serve` do
    calls = many(calls_of(TASKS // 2), 2)
    with slow_endpoint() as url, databases() as both:
        for database in both:
            yield from _beside_the_others(calls, url, database)
            sizes = partial(_piece, calls[:200], url, database)
            yield from growth(f"dispatch{_on(database)}", sizes, rounds=3)


def _beside_the_others(calls: Sequence[Arrival], url: str, database: Database) -> Iterator[Row]:
    rounds = []
    for _ in range(ROUNDS):
        with _dispatching(calls, url, database) as work:
            durable = len(calls) / seconds(work)
        bare = asyncio.run(_bare(calls, url))
        rounds.append((durable, bare, asyncio.run(_httpx(calls[: len(calls) // 5], url))))
    durable, bare, plain = sorted(rounds, key=lambda rates: rates[0] / rates[1])[ROUNDS // 2]
    path = f"dispatch: 256 in flight, durable{_on(database)}"
    yield Row(path, "the same without ledger", durable / bare, ">= 0.8", "0.95", _rate(durable), _rate(bare))
    yield Row(path, "plain httpx, 32 in flight", durable / plain, ">= 5", "10", _rate(durable), _rate(plain))


def _piece(calls: Sequence[Arrival], url: str, database: Database, size: int) -> Work:
    stack = ExitStack()
    run = stack.enter_context(_dispatching(many(calls, size), url, database))

    def work() -> None:
        with stack:
            run()

    return work


def _on(database: Database) -> str:
    return f", {database.name}"


def many(calls: Sequence[Arrival], times: int) -> list[Arrival]:
    """So many times the calls, each of other patients, numbers and triggers."""
    return [_another(call, number) for number in range(times) for call in calls]


def _another(arrival: Arrival, number: int) -> Arrival:
    call = arrival.decision
    assert isinstance(call, Call)
    subject, mark = call.subject, f"-{number}"
    return replace(
        arrival,
        decision=msgspec.structs.replace(
            call,
            subject=msgspec.structs.replace(
                subject,
                trigger=subject.trigger + mark,
                intent=(subject.intent or "") + mark,
                members=tuple(member + mark for member in subject.members),
                patient=(subject.patient or "") + mark,
            ),
            task=call.task.model_copy(update={"phone_number": f"{call.task.phone_number}{number}"}),
        ),
    )


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


@contextmanager
def _dispatching(calls: Sequence[Arrival], url: str, database: Database) -> Iterator[Work]:
    """Dispatch from a ledger that holds all of them, until nothing is due and all is committed.

    What is looked at and closed afterwards is no part of it, nor of the loop without a ledger.
    """
    with asyncio.Runner() as runner:
        ledger = runner.run(open_ledger(database.ledger(), api_url=url, project_id=PROJECT, now=NOW))
        for start in range(0, len(calls), 1_000):
            runner.run(ledger.accept(calls[start : start + 1_000], now=NOW))
        client = _client(url)
        dispatcher = Dispatcher(ledger, client, RULES, PROJECT, lambda: NOW)

        async def end() -> None:
            async with ledger, client:
                states = (await ledger.status(NOW)).states
                assert states == {"sent": len(calls)}, states

        yield lambda: runner.run(dispatcher.run(asyncio.Event(), Until(drained=timedelta(0))))
        runner.run(end())


async def _bare(calls: Sequence[Arrival], url: str) -> float:
    """The same client and requests, as many in flight, nothing written down."""
    async with _client(url) as client:

        async def deliver(arrival: Arrival) -> None:
            call = arrival.decision
            assert isinstance(call, Call)
            patient = await client.create_patient(patient_body(call.patient.to_json(), PROJECT))
            assert patient.id
            task = await client.create_task(task_body(call.task.to_json(), PROJECT, patient.id))
            assert task.id

        return await _in_flight(calls, deliver, IN_FLIGHT)


async def _httpx(calls: Sequence[Arrival], url: str) -> float:
    """The same requests by httpx as it comes, 32 in flight, where it is at its best."""
    limits = httpx.Limits(max_connections=32, max_keepalive_connections=32)
    async with httpx.AsyncClient(base_url=url, limits=limits, timeout=30, trust_env=False) as http:

        async def deliver(arrival: Arrival) -> None:
            call = arrival.decision
            assert isinstance(call, Call)
            patient = await http.post("/v1/patient", json=call.patient.to_wire(PROJECT))
            task = call.task.to_wire(PROJECT, patient.json()["id"])
            (await http.post("/v1/task", json=task)).raise_for_status()

        return await _in_flight(calls, deliver, 32)


async def _in_flight(
    calls: Sequence[Arrival], deliver: Callable[[Arrival], Awaitable[None]], at_once: int
) -> float:
    """Tasks a second with so many senders, the garbage collector held still as it is for ours."""
    waiting = deque(calls)

    async def sender() -> None:
        while waiting:
            await deliver(waiting.popleft())

    gc.collect()
    gc.disable()
    try:
        start = time.perf_counter()
        await asyncio.gather(*(sender() for _ in range(at_once)))
        return len(calls) / (time.perf_counter() - start)
    finally:
        gc.enable()


def _client(url: str) -> TaskApiClient:
    return TaskApiClient(url, SecretStr("made-up-key"), max_connections=IN_FLIGHT)
