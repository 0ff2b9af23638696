"""What a worker that is killed leaves behind: nobody is phoned twice, and every intent can be seen."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest

from fhir_bridge.ledger.records import Act, Selection
from fhir_bridge.ledger.states import State
from fhir_bridge.ledger.store import SqlLedger, open_ledger
from fhir_bridge.sandbox.faults import FaultScript
from fhir_bridge.sandbox.server import running_sandbox
from fhir_bridge.sandbox.settings import SandboxSettings
from tests.acceptance.worker_process import work
from tests.forks import FORKS

PROJECT = "123e4567-e89b-12d3-a456-426614174000"
LEASE = 1.5
MAX_IN_FLIGHT = 8


@dataclass
class Worker:
    """A worker in a process of its own, and the file with what it says."""

    process: BaseProcess
    said: Path

    async def has_said(self, word: str, times: int) -> None:
        """Wait until it has; an end before that fails the test with all it said."""
        while (told := self.said.read_text() if self.said.exists() else "").count(f"{word}\n") < times:
            assert self.process.is_alive(), told
            await asyncio.sleep(0.01)

    def kill(self) -> None:
        """Kill -9, and wait until it is gone."""
        self.process.kill()
        self.process.join()


@dataclass
class Site:
    """A sandbox in this process, a ledger file, and workers."""

    url: str
    path: Path
    ledger: SqlLedger
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    async def worker(self, mode: str = "send") -> Worker:
        """A worker that has opened the ledger."""
        said = self.path.with_name(f"{next(self._numbers)}.txt")
        words = (str(said), str(self.path), self.url, PROJECT, mode)
        process = FORKS.Process(target=work, args=words, daemon=True)
        process.start()
        worker = Worker(process, said)
        await worker.has_said("ready", 1)
        return worker

    async def work(self) -> None:
        """Let a worker work until nothing is due."""
        worker = await self.worker()
        await asyncio.to_thread(connection.wait, [worker.process.sentinel])
        assert worker.process.exitcode == 0, worker.said.read_text()

    async def stats(self) -> dict[str, Any]:
        """What the sandbox has seen."""
        async with httpx.AsyncClient(trust_env=False) as client:
            return dict((await client.get(f"{self.url}/_sandbox/stats")).json())

    async def has_seen(self, what: str, count: int) -> None:
        """Wait until the sandbox has so many `tasks`, `patients` or `requests`, asking it over HTTP."""
        for _ in range(1200):
            if (await self.stats())[what] >= count:
                return
            await asyncio.sleep(0.05)
        raise TimeoutError(what)

    async def states(self) -> dict[str, int]:
        """How many intents are in which state."""
        return (await self.ledger.status(datetime.now(UTC))).states

    async def accept(self, arrivals: Any, count: int) -> None:
        """Intents of as many patients, due at once."""
        now = datetime.now(UTC)
        valid_until = now + timedelta(days=1)
        calls = [
            arrivals.call(f"Appointment/{n}", phone=f"+1212555{n:04d}", valid_until=valid_until)
            for n in range(count)
        ]
        await self.ledger.accept(calls, now=now)


@contextlib.asynccontextmanager
async def site(folder: Path, *faults: str) -> AsyncIterator[Site]:
    """A site whose endpoint has these faults."""
    settings = SandboxSettings(faults=FaultScript.parse(faults), call_seconds=None)
    async with running_sandbox(settings) as server:
        path = folder / "ledger.db"
        async with await open_ledger(path, api_url=server.url, project_id=PROJECT) as ledger:
            yield Site(server.url, path, ledger)


async def test_killed_between_send_and_settle(tmp_path: Path, arrivals: Any) -> None:
    """Proves: a task whose answer died with the worker is in doubt after its lease, never sent again."""
    async with site(tmp_path, "hang-after POST /v1/task times=5") as place:
        await place.accept(arrivals, 5)
        worker = await place.worker()
        await place.has_seen("tasks", 5)
        worker.kill()
        assert await place.states() == {"sending": 5}
        await asyncio.sleep(LEASE)
        await place.work()
        stats = await place.stats()
        assert await place.states() == {"in_doubt": 5}
        assert (stats["tasks"], set(stats["tasks_by_patient"].values())) == (5, {1})
        assert {item.reason for item in await place.ledger.worklist()} == {"lease-ran-out"}


async def test_killed_between_attempt_and_send(tmp_path: Path, arrivals: Any) -> None:
    """Proves: an attempt committed and never sent is in doubt too: nobody can know that it was not."""
    async with site(tmp_path) as place:
        await place.accept(arrivals, 5)
        worker = await place.worker("hold")
        await worker.has_said("committed", 5)
        worker.kill()
        assert await place.states() == {"sending": 5}
        await asyncio.sleep(LEASE)
        await place.work()
        assert await place.states() == {"in_doubt": 5}
        assert (await place.stats())["tasks"] == 0


async def test_suspended_between_attempt_and_send_for_longer_than_its_lease(
    tmp_path: Path, arrivals: Any
) -> None:
    """Proves: who sleeps over its lease with the request in hand does not send it on waking up: by then it
    was in doubt, somebody asked the vendor, and another worker sent it."""
    async with site(tmp_path) as place:
        await place.accept(arrivals, 1)
        worker = await place.worker("suspend")
        await worker.has_said("committed", 1)
        await asyncio.sleep(LEASE)
        await place.work()
        assert await place.states() == {"in_doubt": 1}
        nobody = Act("tester", "the vendor has no such task", datetime.now(UTC))
        assert await place.ledger.resolve_resend(Selection(state=State.IN_DOUBT), nobody) == 1
        await place.work()
        assert (await place.states(), (await place.stats())["tasks"]) == ({"sent": 1}, 1)
        assert worker.process.pid is not None
        os.kill(worker.process.pid, signal.SIGCONT)
        await asyncio.to_thread(connection.wait, [worker.process.sentinel])
        assert (await place.states(), (await place.stats())["tasks"]) == ({"sent": 1}, 1)
        assert await place.ledger.worklist() == []


async def test_killed_while_creating_a_patient(tmp_path: Path, arrivals: Any) -> None:
    """Proves: a patient whose creation died with the worker is in doubt, and what hangs on them is parked."""
    async with site(tmp_path, "hang-after POST /v1/patient times=3") as place:
        await place.accept(arrivals, 3)
        worker = await place.worker()
        await place.has_seen("patients", 3)
        worker.kill()
        await asyncio.sleep(LEASE)
        await place.work()
        stats = await place.stats()
        assert (stats["patients"], stats["tasks"]) == (3, 0)
        assert await place.states() == {"parked": 3}


@pytest.mark.parametrize("seed", [1, 2])
async def test_killed_again_and_again(tmp_path: Path, arrivals: Any, seed: int) -> None:
    """Proves: whenever workers are killed, each intent has one task at most and none is lost."""
    rng, kills, intents = Random(seed), 5, 120
    async with site(tmp_path, "latency POST /v1/* seconds=0.03") as place:
        await place.accept(arrivals, intents)
        for _ in range(kills):
            before = (await place.stats())["requests"]
            worker = await place.worker()
            await place.has_seen("requests", before + rng.randint(1, 20))
            worker.kill()
        await asyncio.sleep(LEASE)
        await place.work()
        states, stats = await place.states(), await place.stats()
        assert sum(states.values()) == intents
        assert set(states) <= {"sent", "in_doubt", "parked"}
        assert all(tasks == 1 for tasks in stats["tasks_by_patient"].values() if tasks)
        assert states["sent"] <= stats["tasks"] <= states["sent"] + states.get("in_doubt", 0)
        assert states["sent"] < intents, "no kill met anything under way"
        unsettled = states.get("in_doubt", 0) + states.get("parked", 0)
        assert unsettled <= kills * MAX_IN_FLIGHT
