"""Many requests share few connections, and a connection comes back however its request ended."""

import asyncio
import contextlib
import gc
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from fhir_bridge.task_api.client import TaskApiClient
from fhir_bridge.task_api.outcome import OutcomeClass

NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}"


@contextlib.asynccontextmanager
async def counting_server(*, drops: bool = False) -> AsyncIterator[tuple[str, list[int]]]:
    """Answers every request with 404, or drops it; gives its address and the requests of each connection."""
    seen: list[int] = []
    running: list[asyncio.Task[None] | None] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        running.append(asyncio.current_task())
        number = len(seen)
        seen.append(0)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                seen[number] += 1
                if drops:
                    break
                await asyncio.sleep(0.01)
                writer.write(NOT_FOUND)
        writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", seen
        await asyncio.gather(*filter(None, running))


def client_for(url: str, connections: int) -> TaskApiClient:
    """A client with so many connections."""
    return TaskApiClient(url, SecretStr("made-up-key"), max_connections=connections, timeout=5.0)


async def test_one_request_after_the_other_takes_one_connection() -> None:
    """However many there may be: the warm one is used again."""
    async with counting_server() as (url, seen), client_for(url, 8) as client:
        for _ in range(20):
            assert (await client.probe()).kind is OutcomeClass.ACCEPTED
        assert seen == [20]


async def test_no_more_connections_than_allowed() -> None:
    """Forty requests at once over four connections, each answered."""
    async with counting_server() as (url, seen), client_for(url, 4) as client:
        outcomes = await asyncio.gather(*(client.probe() for _ in range(40)))
        assert {outcome.kind for outcome in outcomes} == {OutcomeClass.ACCEPTED}
        assert len(seen) == 4
        assert sum(seen) == 40


async def test_a_lost_answer_gives_its_connection_back() -> None:
    """Otherwise the fourth request would wait for ever."""
    async with counting_server(drops=True) as (url, seen), client_for(url, 1) as client:
        outcomes = [await client.probe() for _ in range(4)]
        assert {outcome.error for outcome in outcomes} == {"answer-failed"}
        assert seen == [1, 1, 1, 1]


async def test_a_cancelled_request_gives_its_connection_back() -> None:
    """A caller that gives up does not take the connection with it."""
    async with counting_server() as (url, _), client_for(url, 1) as client:
        for _ in range(3):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(client.probe(), 0.003)
        assert (await client.probe()).kind is OutcomeClass.ACCEPTED


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_wherever_opening_is_cancelled_no_socket_is_left(loop: str) -> None:
    """A connect timeout may come at any step of it, and a worker meets thousands."""
    factory = pytest.importorskip("uvloop").Loop if loop == "uvloop" else None

    async def cancel(client: TaskApiClient, steps: int) -> None:
        probe = asyncio.create_task(client.probe())
        for _ in range(steps):
            await asyncio.sleep(0)
        probe.cancel()
        await asyncio.wait([probe])
        await asyncio.sleep(0.005)

    async def ask() -> None:
        with socket.create_server(("127.0.0.1", 0), backlog=200) as server:
            url = f"http://127.0.0.1:{server.getsockname()[1]}"
            async with client_for(url, 1) as client:
                await cancel(client, 50)
                before = open_sockets()
                for steps in range(60):
                    await cancel(client, steps)
                assert open_sockets() == before

    gc.disable()  # it would close what was left
    try:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(ask())
    finally:
        gc.enable()


def open_sockets() -> int:
    """How many this process holds."""
    return sum(file.is_socket() for file in Path("/proc/self/fd").iterdir())


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_the_endpoint_is_reached_on_either_loop(loop: str) -> None:
    """`worker` runs on the standard one, `serve` on uvloop."""
    factory = pytest.importorskip("uvloop").Loop if loop == "uvloop" else None

    async def ask() -> object:
        async with counting_server() as (url, _), TaskApiClient(url, SecretStr("key")) as client:
            return await client.probe()

    with asyncio.Runner(loop_factory=factory) as runner:
        assert getattr(runner.run(ask()), "kind", None) is OutcomeClass.ACCEPTED
