"""Our own HTTP/1.1 over real sockets: what an answer may look like, and what ends a connection."""

import asyncio
import contextlib
import gzip
import logging
import os
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

import httpx
import pytest
from pydantic import SecretStr

from fhir_bridge.errors import SettingsError
from fhir_bridge.network import tls_context
from fhir_bridge.task_api.bodies import task_body
from fhir_bridge.task_api.client import MAX_ANSWER, TaskApiClient
from fhir_bridge.task_api.connections import Connections
from fhir_bridge.task_api.outcome import Outcome, OutcomeClass
from fhir_bridge.task_api.tasks import TaskDraft
from fhir_bridge.task_api.transport import EXTENSION, Progress, Stage

ID = "123e4567-e89b-12d3-a456-426614174002"
BODY = f'{{"id": "{ID}"}}'.encode()
CREATED = b"HTTP/1.1 201 Created\r\nContent-Length: 46\r\n\r\n" + BODY

Answers = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Server:
    """Counts connections and keeps what was asked over each; `answers` says the answer to a request."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._running: set[asyncio.Task[None]] = set()
        self.connections = 0
        self.requests: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection to its end."""
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        self.connections += 1
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while not writer.is_closing():
                head = await reader.readuntil(b"\r\n\r\n")
                _, _, length = head.lower().partition(b"content-length: ")
                self.requests.append(head + await reader.readexactly(int(length.split()[0] if length else 0)))
                await self._answers(reader, writer)
                await writer.drain()
        writer.transport.abort()
        self._running.discard(task)

    async def end(self) -> None:
        """Nothing stays behind."""
        for task in list(self._running):
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def serving(answers: Answers, **options: object) -> AsyncIterator[tuple[Server, TaskApiClient]]:
    """Such a server and a client of it."""
    server = Server(answers)
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    settings = {"timeout": 2.0, "connect_timeout": 1.0, **options}
    async with listener, TaskApiClient(url, SecretStr("made-up-key"), **settings) as client:  # type: ignore[arg-type]
        yield server, client
        listener.close()
        await server.end()


@contextlib.asynccontextmanager
async def serving_raw(script: Answers, give_up: float) -> AsyncIterator[TaskApiClient]:
    """A client of a server that does to its one connection what `script` says, and then drops it."""
    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await script(reader, writer)
        writer.transport.abort()
        over.set()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0, limit=1024)
    url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    async with listener, TaskApiClient(url, SecretStr("made-up-key"), timeout=give_up) as client:
        yield client
        await over.wait()
        await asyncio.sleep(0.01)


def saying(*parts: bytes, pause: float = 0.0, close: bool = False) -> Answers:
    """Answers with these bytes, part by part."""

    async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause)
        if close:
            writer.close()

    return answers


def request(context: str = "Bring the letter.") -> bytes:
    """A made-up request."""
    data = {"additional_context": context}
    draft = {"task": "Schedule an appointment", "phone_number": "+15555555555", "task_data": data}
    return task_body(TaskDraft.model_validate(draft).to_json(), ID, ID)


def singly(answer: bytes) -> list[bytes]:
    """Byte by byte."""
    return [answer[at : at + 1] for at in range(len(answer))]


CHUNKED = b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n"
IN_CHUNKS = CHUNKED + b"14;x=1\r\n" + BODY[:20] + b"\r\n1a\r\n" + BODY[20:] + b"\r\n0\r\nX-Trailer: t\r\n\r\n"

READABLE = [
    pytest.param([CREATED], id="at once"),
    pytest.param(singly(CREATED), id="byte by byte"),
    pytest.param([IN_CHUNKS], id="chunked"),
    pytest.param(singly(IN_CHUNKS), id="chunked, byte by byte"),
    pytest.param([b"HTTP/1.1 100 Continue\r\n\r\n", CREATED], id="after 100 Continue"),
    pytest.param([b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + CREATED], id="after 103 in one piece"),
    pytest.param(
        [b"HTTP/1.1 201 Created\r\nUpgrade: h2c\r\nConnection: Upgrade\r\nContent-Length: 46\r\n\r\n" + BODY],
        id="an upgrade offered",
    ),
]


@pytest.mark.parametrize("parts", READABLE)
async def test_an_answer_is_read_and_its_connection_used_again(parts: Iterable[bytes]) -> None:
    """However it is cut, and whatever goes before it, three requests take one connection."""
    async with serving(saying(*parts)) as (server, client):
        outcomes = [await client.create_task(request()) for _ in range(3)]
    assert [(outcome.kind, outcome.id) for outcome in outcomes] == [(OutcomeClass.ACCEPTED, ID)] * 3
    assert (server.connections, len(server.requests)) == (1, 3)


CLOSING = [
    pytest.param(
        b"HTTP/1.1 201 Created\r\nConnection: close\r\nContent-Length: 46\r\n\r\n" + BODY, id="close"
    ),
    pytest.param(b"HTTP/1.0 201 Created\r\nContent-Length: 46\r\n\r\n" + BODY, id="HTTP/1.0"),
    pytest.param(b"HTTP/1.1 201 Created\r\n\r\n" + BODY, id="no length"),
]


@pytest.mark.parametrize("answer", CLOSING)
async def test_an_answer_that_ends_its_connection_is_read(answer: bytes) -> None:
    """The next request opens a connection of its own."""
    async with serving(saying(answer, close=True)) as (server, client):
        outcomes = [await client.create_task(request()) for _ in range(2)]
    assert [outcome.id for outcome in outcomes] == [ID, ID]
    assert server.connections == 2


async def test_a_connection_the_endpoint_only_says_it_closes_is_not_used_again() -> None:
    """`Connection: close` is believed, though the socket stays open."""
    answer = b"HTTP/1.1 201 Created\r\nConnection: close\r\nContent-Length: 46\r\n\r\n" + BODY
    async with serving(saying(answer)) as (server, client):
        outcomes = [await client.create_task(request()) for _ in range(2)]
    assert [outcome.id for outcome in outcomes] == [ID, ID]
    assert server.connections == 2


async def test_an_answer_nobody_asked_for_is_never_taken_for_the_next_one() -> None:
    """A second answer behind the first would call a task sent that was not; with a pause, and without."""
    forged = CREATED.replace(b"4002", b"4666")
    for answers in (saying(CREATED + forged), saying(CREATED, forged, pause=0.02)):
        async with serving(answers) as (server, client):
            ids = []
            for _ in range(2):
                ids.append((await client.create_task(request())).id)
                await asyncio.sleep(0.05)
        assert ids == [ID, ID]
        assert server.connections == 2


LONG = b"x" * 200_000
HEAD = b"HTTP/1.1 201 Created\r\n"
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"

NO_ANSWER = {
    "a long header": HEAD + b"X: " + LONG + b"\r\n\r\n",
    "many headers": HEAD + b"X: y\r\n" * 20_000 + b"\r\n",
    "100 for ever": b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000 + CREATED,
    "protocols switched": SWITCHED + CREATED,
    "two lengths": HEAD + b"Content-Length: 46\r\nContent-Length: 2\r\n\r\n" + BODY,
    "a length that is no number": HEAD + b"Content-Length: many\r\n\r\n" + BODY,
}
HALF_AN_ANSWER = {
    "a chunk without a length": CHUNKED + b"zz\r\n" + BODY,
    "a chunk line without an end": CHUNKED + b"2e;" + LONG + b"\r\n" + BODY,
    "a trailer without an end": CHUNKED + b"2e\r\n" + BODY + b"\r\n0\r\nX: " + LONG,
    "no last chunk": CHUNKED + b"2e\r\n" + BODY + b"\r\n",
}
GARBLED = [
    *(pytest.param(answer, "answer-failed", id=name) for name, answer in NO_ANSWER.items()),
    *(pytest.param(answer, "unreadable-answer", id=name) for name, answer in HALF_AN_ANSWER.items()),
]


@pytest.mark.parametrize(("answer", "error"), GARBLED)
async def test_an_answer_that_breaks_the_rules_is_unknown(answer: bytes, error: str) -> None:
    """Whoever answers like that may have placed the call."""
    async with serving(saying(answer, close=True)) as (_, client):
        outcome = await client.create_task(request())
    assert (outcome.kind, outcome.error) == (OutcomeClass.UNKNOWN, error)


async def test_a_head_that_drips_is_given_up_in_time() -> None:
    """Each byte comes in time; the exchange as a whole does not."""
    async with serving(saying(*singly(CREATED), pause=0.05), timeout=0.4) as (_, client):
        outcome = await client.create_task(request())
    assert (outcome.kind, outcome.error) == (OutcomeClass.UNKNOWN, "answer-timeout")


async def test_a_reset_while_the_request_is_written_is_unknown() -> None:
    """And named for what it is: most of the request never left."""

    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        linger = struct.pack("ii", 1, 0)
        await reader.readexactly(1024)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    async with serving_raw(reset, give_up=5.0) as client:
        outcome = await client.create_task(request("word " * 4_000_000))
    assert (outcome.kind, outcome.error) == (OutcomeClass.UNKNOWN, "request-failed")


async def test_an_endpoint_that_reads_nothing_is_unknown() -> None:
    """The first bytes left: they lie in its buffers."""

    async def stalls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.6)

    async with serving_raw(stalls, give_up=0.4) as client:
        outcome = await client.create_task(request("word " * 4_000_000))
    assert (outcome.kind, outcome.error) == (OutcomeClass.UNKNOWN, "request-timeout")


async def test_an_answer_of_any_size_takes_bounded_memory() -> None:
    """Reading stops soon after the most that is read, though the endpoint would go on."""
    sent = 0

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(CHUNKED)
        while True:
            writer.write(b"10000\r\n" + b"x" * 65536 + b"\r\n")
            await writer.drain()
            sent += 65536

    async with serving(endless, timeout=20.0) as (_, client):
        outcome = await client.create_task(request())
    assert (outcome.kind, outcome.error) == (OutcomeClass.UNKNOWN, "unreadable-answer")
    assert sent < 3 * MAX_ANSWER + 16 * 1024 * 1024


async def test_what_arrived_before_a_slow_reader_looks_is_held_to_a_limit() -> None:
    """Who takes an answer and does not read it does not fill the memory; read later, it is whole."""
    length = 8 * 1024 * 1024
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length
    async with serving(saying(head + b"x" * length)) as (_, client):
        asked = httpx.Request("GET", f"{client._base_url}/")
        response = await client._transport.handle_async_request(asked)
        await asyncio.sleep(0.3)
        assert response.stream._answer.held < 1024 * 1024  # type: ignore[union-attr]
        assert len(await response.aread()) == length
        await response.aclose()


async def test_the_answer_to_a_head_request_ends_with_its_head() -> None:
    """Whatever length it names."""
    async with serving(saying(b"HTTP/1.1 200 OK\r\nContent-Length: 46\r\n\r\n")) as (_, client):
        asked = httpx.Request("HEAD", f"{client._base_url}/")
        response = await client._transport.handle_async_request(asked)
        assert (response.status_code, await response.aread()) == (200, b"")
        await response.aclose()


@pytest.mark.parametrize("status", [204, 304])
async def test_an_answer_without_a_body_ends_with_its_head(status: int) -> None:
    """No length is waited for."""
    async with serving(saying(b"HTTP/1.1 %d Nothing\r\n\r\n" % status)) as (server, client):
        outcomes = [await client.create_task(request()) for _ in range(2)]
    assert [outcome.status for outcome in outcomes] == [status] * 2
    assert server.connections == 1


async def test_a_compressed_answer_is_read_though_none_was_asked_for() -> None:
    """A gateway that compresses all the same puts nothing in doubt."""
    body = gzip.compress(BODY)
    head = b"HTTP/1.1 201 Created\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body)
    async with serving(saying(head + body)) as (_, client):
        assert (await client.create_task(request())).id == ID


async def test_a_request_says_who_and_what_in_full() -> None:
    """Its length, type, key and host, and the idempotency key where it is honoured."""
    async with serving(saying(CREATED), idempotency_header="Idempotency-Key") as (server, client):
        body = request()
        await client.create_task(body, idempotency_key="k1")
        await client.get_task("a/b?c")
    head, _, sent = server.requests[0].partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    assert (first, sent) == ("POST /v1/task HTTP/1.1", body)
    assert headers["host"].startswith("127.0.0.1:")
    assert headers["content-length"] == str(len(sent))
    assert headers["authorization"] == "bearer made-up-key"
    assert headers["idempotency-key"] == "k1"
    assert server.requests[1].startswith(b"GET /v1/task/a%2Fb%3Fc?include_transcript=false&include_all_calls")


async def test_a_header_with_a_line_end_leaves_nothing() -> None:
    """It would begin a header, or a request, of somebody else's making; the next request is as ever."""
    async with serving(saying(CREATED), idempotency_header="Idempotency-Key") as (server, client):
        outcome = await client.create_task(request(), idempotency_key="k\r\nX: y")
        assert (outcome.kind, outcome.error) == (OutcomeClass.NOT_PROCESSED, "connect-failed")
        assert server.requests == []
        assert (await client.create_task(request())).id == ID


async def test_a_connection_that_closed_while_the_loop_was_busy_is_not_used() -> None:
    """The socket itself is asked: the event loop may not have heard of the end yet."""
    peers: list[socket.socket] = []

    async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peers.append(writer.get_extra_info("socket"))
        writer.write(CREATED)

    async with serving(answers) as (server, client):
        assert (await client.create_task(request())).id == ID
        with socket.socket(fileno=os.dup(peers[0].fileno())) as peer:
            peer.shutdown(socket.SHUT_WR)
        # Not awaited in between: nothing has told asyncio.
        assert (await client.create_task(request())).id == ID
    assert server.connections == 2


async def test_a_cancelled_request_is_never_mistaken_for_the_next() -> None:
    """Its answer comes over its own connection, which nobody uses any more."""

    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.1)
        writer.write(CREATED)

    async with serving(late, max_connections=1) as (server, client):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.create_task(request()), 0.03)
        assert (await client.create_task(request())).id == ID
    assert server.connections == 2


async def test_a_request_that_is_sent_twice_proves_nothing_the_second_time() -> None:
    """Its Progress remembers the first byte, whatever the second time fails at."""
    progress = Progress()
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/"
        transport = Connections(tls=tls_context(None), proxy=None, max_connections=1)
        asked = httpx.Request("POST", url, content=b"x", extensions={EXTENSION: progress})
        progress.reach(Stage.REQUEST)
        with pytest.raises(httpx.ConnectError):
            await transport.handle_async_request(asked)
        await transport.aclose()
    assert not progress.before_first_byte


async def test_a_proxy_is_asked_with_its_password_and_gets_nothing_else() -> None:
    """The key of the endpoint does not go to the proxy."""
    refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"
    server = Server(saying(refusal))
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    proxy = f"http://user:pass@127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    key = SecretStr("made-up-key")
    async with listener, TaskApiClient("https://task-api.example", key, proxy=proxy) as client:
        outcome = await client.create_task(request())
        listener.close()
        await server.end()
    assert (outcome.kind, outcome.error) == (OutcomeClass.NOT_PROCESSED, "proxy-failed")
    asked = server.requests[0].lower()
    assert asked.startswith(b"connect task-api.example:443 http/1.1\r\nhost: task-api.example:443\r\n")
    assert b"proxy-authorization: basic dxnlcjpwyxnz" in asked
    assert b"made-up-key" not in asked


def test_a_proxy_of_another_kind_is_refused() -> None:
    """Only HTTP's CONNECT is spoken."""
    with pytest.raises(SettingsError):
        TaskApiClient("https://task-api.example", SecretStr("k"), proxy="socks5://127.0.0.1:1080")


async def test_no_part_of_a_request_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Methods, sizes and statuses only."""
    caplog.set_level(logging.DEBUG)
    async with serving(saying(CREATED)) as (_, client):
        outcome = await client.create_task(request("Ask for Quine Canary."))
    assert isinstance(outcome, Outcome)
    assert "POST written" in caplog.text
    assert "Quine" not in caplog.text
    assert ID not in caplog.text
