"""A chaos run: workers, intake, operators and the endpoint are killed until nobody waits to be phoned.

Then it drains with an endpoint that behaves, weighs what is left, and settles the doubts as an operator does.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.acceptance.chaos_books import Books
from tests.acceptance.chaos_evidence import Evidence, Kill, breaches, unsettled_by_the_operator
from tests.acceptance.chaos_process import IN_INTAKE, IN_OPERATION, IN_WORK, NO_POINT
from tests.acceptance.chaos_site import FAULTS, LEASE, Running, Site, bundle, trigger

FROM_OUTSIDE = "from outside"
PATIENCE = 6.0
"""Seconds that a process may take to come to its point; then it is killed wherever it is."""

UNHARMED = (NO_POINT, 0, 300.0)
"""The fate of a process that may end by itself."""

_RARE = ("claim", "rescue", "Defer")
_FINE = {"submit": (0, 1, 5), "worker": (0, 1, 5), "operator": (0, 1)}
"""Exit codes of commands that did their work: 1 needs a person, 5 the endpoint holds us back."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be run. `batch`: intents in one file of the intake."""

    database: str
    seed: int
    intents: int
    workers: int
    batch: int = 50


@dataclass(frozen=True, slots=True)
class Result:
    """What came of it. `after_chaos` is the evidence before an operator settled `settled` doubts, `at_last`
    after it; times are in seconds.
    """

    plan: Plan
    seconds: float
    endpoint_kills: int
    after_chaos: Evidence
    at_last: Evidence
    settled: int
    breaches: list[str]


def fates(rng: Random, points: Sequence[str]) -> Iterator[tuple[str, int, float]]:
    """Point, which time, and how long to wait for it in seconds; one in four dies by chance only."""
    while True:
        for number, point in enumerate(rng.sample(points, len(points))):
            # A process polls every other second, and only what was sent a minute ago.
            most = 1 if point.endswith("_polls") else 2 if point.endswith(_RARE) else 4
            yield point, rng.randint(1, most), PATIENCE
            if number % 3 == 2:
                yield NO_POINT, 0, rng.uniform(0.6, 3)


@dataclass
class Run:
    """One chaos run under way."""

    plan: Plan
    site: Site
    books: Books
    rng: Random
    kills: list[Kill] = field(default_factory=list)
    acts: int = 0
    endpoint_kills: int = 0
    over: asyncio.Event = field(default_factory=asyncio.Event)
    started: float = field(default_factory=time.time)

    async def chaos(self) -> None:
        """Until all is taken in and nothing is ready or being sent, or it takes too long."""
        work = fates(self.rng, IN_WORK)
        busy = [asyncio.create_task(self.keep_working(work)) for _ in range(self.plan.workers)]
        busy.append(asyncio.create_task(self.keep_operating()))
        try:
            await self.take_in()
            for _ in range(240):
                if not self.books.under_way():
                    break
                await asyncio.sleep(0.5)
        finally:
            self.over.set()
            await asyncio.gather(*busy)

    async def take_in(self) -> None:
        """Every file is submitted until a submit comes to its end; some are submitted again."""
        count, batch = self.plan.intents, self.plan.batch
        deaths = fates(self.rng, IN_INTAKE)
        files = []
        for start in range(0, count, batch):
            file = self.site.folder / f"intake-{start:05}.json"
            file.write_text(json.dumps(bundle(range(start, min(start + batch, count)), count * 2 // 3)))
            files.append(file)
        again = self.rng.sample(files, max(len(files) // 10, 1))
        for number, file in enumerate([*files, *again]):
            if number in (len(files) // 3, 2 * len(files) // 3):
                await self.lose_endpoint()
            killed = True
            while killed:
                point, nth, patience = next(deaths) if self.rng.random() < 0.4 else UNHARMED
                fate = (point, min(nth, 1), patience)
                killed = await self.run("submit", "submit", str(file), "--wait", "0s", fate=fate)

    async def keep_working(self, work: Iterator[tuple[str, int, float]]) -> None:
        """One worker after another, each killed."""
        while not self.over.is_set():
            await self.run("worker", "worker", fate=next(work))

    async def keep_operating(self) -> None:
        """Somebody cancels what waits for a number's gap, and thinks better of it."""
        deaths = fates(self.rng, IN_OPERATION)
        because = ("--because", "chaos")
        while not self.over.is_set():
            await asyncio.sleep(self.rng.uniform(1, 3))
            point, _, _ = next(deaths)
            waiting = ("--state", "ready", "--reason", "recently-called")
            command = (
                ("cancel", *waiting, "--yes") if "cancel" in point else ("retry", "--state", "cancelled")
            )
            if not await self.run("operator", *command, *because, fate=(point, 1, 60.0)):
                self.acts += 1

    async def lose_endpoint(self) -> None:
        """The endpoint dies, is away for a moment, and comes back with other bad luck."""
        await self.site.kill_endpoint()
        self.endpoint_kills += 1
        await asyncio.sleep(self.rng.uniform(0.2, 1))
        await self.site.start_endpoint(*FAULTS, seed=self.rng.randrange(2**31))

    async def calm(self) -> None:
        """The endpoint behaves from now on, the leases of the dead run out, and nothing stays cancelled."""
        await self.site.kill_endpoint()
        await self.site.start_endpoint()
        await asyncio.sleep(LEASE)
        await self.run("operator", "retry", "--state", "cancelled", "--because", "calm")
        self.acts += 1

    async def drain(self) -> None:
        """One worker does what is left to be done."""
        await self.run("worker", "worker", "--drain", "--concurrency", "32")

    async def run(self, role: str, *command: str, fate: tuple[str, int, float] = UNHARMED) -> bool:
        """Run a command to its end; True where it was killed. Raises RuntimeError for any other bad end."""
        point, nth, patience = fate
        running = await self.site.start(role, *command, point=point, nth=nth)
        code = await running.wait(patience)
        if code == -9:
            self.kills.append(self.kill_of(running))
            return True
        if code not in _FINE[role]:
            raise RuntimeError(f"{role} ended by itself with {code}: {running.output.read_text()[-2000:]}")
        return False

    def kill_of(self, running: Running) -> Kill:
        """Where it died and what it left, looked up before the leases run out."""
        told = running.told()
        where = next((line["died"] for line in told if "died" in line), FROM_OUTSIDE)
        left = self.books.left_by({line["token"] for line in told if "token" in line})
        return Kill(running.ended_at - self.started, running.role, where, left)


async def run_chaos(plan: Plan, ledger: str, folder: Path) -> Result:
    """Run a plan on an empty ledger (a file path, or the URL of a PostgreSQL database that is upgraded)."""
    site = Site(folder, ledger)
    rng = Random(f"{plan.database}:{plan.seed}")
    try:
        await site.start_endpoint(*FAULTS, seed=plan.seed)
        run = Run(plan, site, Books(site, plan.intents), rng)
        await run.chaos()
        await run.calm()
        await run.drain()
        offered = frozenset(trigger(number) for number in range(plan.intents))
        after_chaos = await run.books.evidence(offered, run.kills, run.acts)
        settled = await run.books.settle()
        await run.drain()
        at_last = await run.books.evidence(offered, run.kills, run.acts)
    finally:
        await site.close()
    found = breaches(after_chaos) + breaches(at_last) + unsettled_by_the_operator(at_last)
    seconds = time.time() - run.started
    return Result(plan, seconds, run.endpoint_kills, after_chaos, at_last, settled, found)
