"""The real client over real sockets: each way a network can fail lands in its outcome class (delivery)."""

import asyncio
import contextlib
import logging
import socket
import ssl
import struct
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme
from pydantic import SecretStr

from fhir_bridge.task_api.bodies import task_body
from fhir_bridge.task_api.client import TaskApiClient
from fhir_bridge.task_api.outcome import Outcome, OutcomeClass
from fhir_bridge.task_api.tasks import TaskDraft

KEY = SecretStr("key-that-never-shows")
PROJECT = "123e4567-e89b-12d3-a456-426614174000"
PATIENT = "123e4567-e89b-12d3-a456-426614174001"
TASK = "123e4567-e89b-12d3-a456-426614174002"

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def raw_server(script: Script, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A server that does to each connection exactly what `script` says; gives its port on loopback."""
    running: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        running.add(task)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await script(reader, writer)
        writer.transport.abort()
        running.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in list(running):
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def read_request(reader: asyncio.StreamReader) -> bytes:
    """One whole request: head and, by its Content-Length, body."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        (
            int(line.partition(b":")[2])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length:")
        ),
        0,
    )
    return head + await reader.readexactly(length)


def answering(answer: bytes) -> Script:
    """Read the request, then send these bytes and close."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(answer)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    return script


async def drop_after_read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read the request, close without an answer."""
    await read_request(reader)


async def reset_after_read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read the request, reset the connection."""
    await read_request(reader)
    reset_on_close(writer)


async def reset_after_the_first_kilobyte(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Reset the connection with most of the request unread."""
    await reader.readexactly(1024)
    reset_on_close(writer)


async def drop_unread(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Take the connection, read nothing."""


async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read the request, never answer."""
    await read_request(reader)
    await asyncio.sleep(60)


async def hang_in_the_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Begin an answer, never go on."""
    await read_request(reader)
    writer.write(b"HTTP/1.1 201 Created\r\nContent-Length: 100\r\n\r\n{")
    await asyncio.sleep(60)


async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A byte now and then: each read succeeds in time, the answer never ends."""
    await read_request(reader)
    writer.write(b"HTTP/1.1 201 Created\r\nContent-Length: 100000\r\n\r\n")
    while True:
        writer.write(b" ")
        await asyncio.sleep(0.05)


def reset_on_close(writer: asyncio.StreamWriter) -> None:
    """Closing then sends a RST instead of a FIN."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def client_for(port: int, scheme: str = "http", host: str = "127.0.0.1", **options: object) -> TaskApiClient:
    """A client of the server at this port; times out quickly."""
    return TaskApiClient(
        f"{scheme}://{host}:{port}",
        KEY,
        **{"timeout": 2.0, "connect_timeout": 1.0, **options},  # type: ignore[arg-type]
    )


def request(context: str = "Bring the letter.") -> bytes:
    """A made-up request, as long as its context."""
    draft = TaskDraft.model_validate(
        {
            "task": "Schedule an appointment",
            "phone_number": "+15555555555",
            "task_data": {"additional_context": context},
        }
    )
    return task_body(draft.to_json(), PROJECT, PATIENT)


ACCEPTED_BODY = f'{{"id": "{TASK}"}}'.encode()
ACCEPTED_ANSWER = b"HTTP/1.1 201 Created\r\nContent-Length: 46\r\n\r\n" + ACCEPTED_BODY
NO_ID_ANSWER = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}"

AFTER_THE_FIRST_BYTE = [
    pytest.param(drop_after_read, "answer-failed", None, id="drop after read"),
    pytest.param(reset_after_read, "answer-failed", None, id="reset after read"),
    pytest.param(drop_unread, "answer-failed", None, id="drop unread"),
    pytest.param(hang, "answer-timeout", None, id="hang"),
    pytest.param(hang_in_the_body, "unreadable-answer", 201, id="hang inside the answer"),
    pytest.param(drip, "unreadable-answer", 201, id="answer without an end"),
    pytest.param(answering(ACCEPTED_ANSWER[:-10]), "unreadable-answer", 201, id="truncated 201"),
    pytest.param(answering(ACCEPTED_ANSWER[:30]), "answer-failed", None, id="truncated head"),
    pytest.param(answering(b"SSH-2.0-OpenSSH_9.2\r\n"), "answer-failed", None, id="no HTTP"),
    pytest.param(answering(NO_ID_ANSWER), "unreadable-answer", 201, id="no id"),
]


@pytest.mark.parametrize(("script", "error", "status"), AFTER_THE_FIRST_BYTE)
async def test_an_answer_lost_after_the_first_byte_is_unknown(
    script: Script, error: str, status: int | None
) -> None:
    """Proves that a request which may have placed a call is never taken for one that has not."""
    async with raw_server(script) as port, client_for(port, timeout=0.5) as client:
        outcome = await client.create_task(request())
    assert (outcome.kind, outcome.error, outcome.status) == (OutcomeClass.UNKNOWN, error, status)


@pytest.mark.parametrize("script", [drop_after_read, reset_after_read, hang])
async def test_an_honoured_idempotency_key_makes_a_lost_answer_repeatable(script: Script) -> None:
    """Proves that the setting, not the failure, decides; and that without a key nothing changes."""
    async with (
        raw_server(script) as port,
        client_for(port, timeout=0.5, idempotency_header="Idempotency-Key") as client,
    ):
        with_key = await client.create_task(request(), idempotency_key="k1")
        without = await client.create_task(request())
    assert with_key.kind is without.kind is OutcomeClass.UNKNOWN
    assert (with_key.repeatable, without.repeatable) == (True, False)


async def test_a_large_body_broken_off_while_it_is_written_is_unknown() -> None:
    """Proves that a part of a request counts as a request: who knows what the endpoint made of it."""
    async with raw_server(reset_after_the_first_kilobyte) as port, client_for(port) as client:
        outcome = await client.create_task(request("word " * 4_000_000))
    assert outcome.kind is OutcomeClass.UNKNOWN


async def test_an_early_refusal_of_a_large_body_is_read() -> None:
    """Proves that a 413 sent before the body was read to its end is not lost with the connection."""

    async def refuse_early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        while await reader.read(65536):
            pass

    async with raw_server(refuse_early) as port, client_for(port) as client:
        outcome = await client.create_task(request("word " * 400_000))
    assert (outcome.kind, outcome.status) == (OutcomeClass.REFUSED, 413)


async def test_a_refused_connection_is_not_processed() -> None:
    """Proves that nothing is in doubt when nobody listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        async with client_for(unused.getsockname()[1]) as client:
            outcome = await client.create_task(request())
    assert (outcome.kind, outcome.error) == (OutcomeClass.NOT_PROCESSED, "connect-failed")


async def test_a_name_that_does_not_resolve_is_not_processed() -> None:
    """Proves it for DNS: `.invalid` never resolves (RFC 6761)."""
    async with client_for(443, "https", "task-api.invalid", timeout=20.0, connect_timeout=20.0) as client:
        outcome = await client.create_task(request())
    assert (outcome.kind, outcome.error) == (OutcomeClass.NOT_PROCESSED, "connect-failed")


async def test_a_connection_that_is_never_taken_up_is_not_processed() -> None:
    """Proves it for a connect that times out: a listener whose queue is full answers no SYN."""
    if sys.platform != "linux":
        pytest.skip("only Linux leaves a SYN unanswered when the queue of a listener is full")
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        async with client_for(listener.getsockname()[1], connect_timeout=0.3) as client:
            outcome = await client.create_task(request())
    assert (outcome.kind, outcome.error) == (OutcomeClass.NOT_PROCESSED, "connect-timeout")


async def test_tls_towards_a_plain_server_is_not_processed() -> None:
    """Proves that a handshake which fails carries nothing of the request."""

    async def answer_in_plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1024)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()

    async with raw_server(answer_in_plain) as port, client_for(port, "https") as client:
        outcome = await client.create_task(request())
    assert (outcome.kind, outcome.error) == (OutcomeClass.NOT_PROCESSED, "tls-failed")


async def test_a_handshake_that_hangs_is_not_processed() -> None:
    """Proves it for a server that takes the connection and never speaks."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)

    async with raw_server(silent) as port, client_for(port, "https", connect_timeout=0.3) as client:
        outcome = await client.create_task(request())
    assert (outcome.kind, outcome.error) == (OutcomeClass.NOT_PROCESSED, "tls-timeout")


@pytest.fixture
def authority() -> trustme.CA:
    """A certificate authority nobody trusts by default."""
    return trustme.CA()


def server_tls(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    """TLS for a server, with a certificate of this authority for these names."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return context


async def test_a_certificate_nobody_vouches_for_is_not_processed(authority: trustme.CA) -> None:
    """Proves that patient data does not go to whoever answers."""
    tls = server_tls(authority, "localhost")
    async with raw_server(drop_after_read, tls) as port, client_for(port, "https", "localhost") as client:
        outcome = await client.create_task(request())
    assert (outcome.kind, outcome.error) == (OutcomeClass.NOT_PROCESSED, "tls-failed")


async def test_a_ca_bundle_is_honoured(authority: trustme.CA, tmp_path: Path) -> None:
    """Proves that a site's own authority can be trusted, and for its own names only."""
    bundle = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(bundle)
    kinds = []
    for name in ("localhost", "elsewhere.example"):
        async with (
            raw_server(answering(ACCEPTED_ANSWER), server_tls(authority, name)) as port,
            client_for(port, "https", "localhost", ca_bundle=bundle) as client,
        ):
            kinds.append((await client.create_task(request())).kind)
    assert kinds == [OutcomeClass.ACCEPTED, OutcomeClass.NOT_PROCESSED]


async def test_waiting_for_a_free_connection_is_not_processed() -> None:
    """Proves that a request which never left the queue is not in doubt behind one that is."""
    async with raw_server(hang) as port, client_for(port, timeout=0.6, max_connections=1) as client:
        first = asyncio.create_task(client.create_task(request()))
        await asyncio.sleep(0.3)
        client._timeout = 0.1
        second = await client.create_task(request())
        assert (second.kind, second.error) == (OutcomeClass.NOT_PROCESSED, "pool-timeout")
        assert (await first).kind is OutcomeClass.UNKNOWN


async def test_a_proxy_that_refuses_the_tunnel_has_carried_nothing() -> None:
    """Proves that the CONNECT of a proxy is not taken for the request."""
    refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"
    for script in (answering(refusal), drop_after_read):
        async with (
            raw_server(script) as port,
            client_for(443, "https", "task-api.example", proxy=f"http://127.0.0.1:{port}") as client,
        ):
            outcome = await client.create_task(request())
        assert (outcome.kind, outcome.error) == (OutcomeClass.NOT_PROCESSED, "proxy-failed")


async def test_an_answer_lost_behind_a_tunnel_is_unknown(authority: trustme.CA, tmp_path: Path) -> None:
    """Proves that the request is told from the CONNECT on one and the same connection."""
    bundle = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(bundle)

    async with raw_server(drop_after_read, server_tls(authority, "task-api.example")) as endpoint:

        async def tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            there, back = await asyncio.open_connection("127.0.0.1", endpoint)
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await asyncio.gather(copy(reader, back), copy(there, writer))

        async with (
            raw_server(tunnel) as port,
            client_for(
                443, "https", "task-api.example", proxy=f"http://127.0.0.1:{port}", ca_bundle=bundle
            ) as client,
        ):
            outcome = await client.create_task(request())
    assert (outcome.kind, outcome.error) == (OutcomeClass.UNKNOWN, "answer-failed")


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass on what comes until it ends."""
    with contextlib.suppress(ConnectionError):
        while part := await reader.read(65536):
            writer.write(part)
            await writer.drain()
    writer.close()


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_is_refused_and_never_followed(status: int) -> None:
    """Proves that patient data goes nowhere but to the endpoint that was set."""
    seen = []

    async def elsewhere(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await read_request(reader))

    async with raw_server(elsewhere) as other:
        head = f"HTTP/1.1 {status} Moved\r\nLocation: http://127.0.0.1:{other}/\r\n"
        answer = f"{head}Content-Length: 0\r\n\r\n".encode()
        async with raw_server(answering(answer)) as port, client_for(port) as client:
            outcome = await client.create_task(request())
    assert (outcome.kind, outcome.status, seen) == (OutcomeClass.REFUSED, status, [])


async def test_a_request_is_sent_once_whatever_happens() -> None:
    """Proves that neither the client nor what lies beneath retries on its own."""
    connections = 0

    async def count_and_drop(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await read_request(reader)

    async with raw_server(count_and_drop) as port, client_for(port) as client:
        await client.create_task(request())
    assert connections == 1


async def test_an_idle_connection_closed_by_the_server_is_not_used() -> None:
    """Proves that the second request opens a connection of its own instead of ending in doubt."""
    async with raw_server(answering(ACCEPTED_ANSWER)) as port, client_for(port) as client:
        kinds = []
        for _ in range(3):
            kinds.append((await client.create_task(request())).kind)
            await asyncio.sleep(0.05)
    assert kinds == [OutcomeClass.ACCEPTED] * 3


async def test_a_connection_idle_for_three_seconds_is_not_used_again() -> None:
    """Proves that a server may close its idle connections after some seconds without a false in-doubt."""
    connections = 0

    async def keep_alive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while True:
            await read_request(reader)
            writer.write(ACCEPTED_ANSWER)

    async with raw_server(keep_alive) as port, client_for(port) as client:
        await client.create_task(request())
        await client.create_task(request())
        assert connections == 1
        await asyncio.sleep(3.1)
        await client.create_task(request())
    assert connections == 2


async def test_retry_after_as_a_date_is_counted_from_the_given_clock() -> None:
    """Proves that the header's date reaches the outcome as seconds."""
    answer = b"HTTP/1.1 503 Busy\r\nRetry-After: Mon, 09 Dec 2024 10:00:30 GMT\r\nContent-Length: 0\r\n\r\n"
    clock = datetime(2024, 12, 9, 10, 0, tzinfo=UTC)
    async with raw_server(answering(answer)) as port, client_for(port, now=lambda: clock) as client:
        outcome = await client.create_task(request())
    assert (outcome.kind, outcome.retry_after) == (OutcomeClass.NOT_PROCESSED, 30)


async def test_reading_may_always_be_tried_again() -> None:
    """Proves that a lost answer to a GET puts nothing in doubt."""
    for script in (drop_after_read, answering(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnull")):
        async with raw_server(script) as port, client_for(port) as client:
            outcome = await client.get_task(TASK)
            probe = await client.probe()
        assert isinstance(outcome, Outcome)
        assert outcome.kind is probe.kind is OutcomeClass.NOT_PROCESSED


async def test_neither_key_nor_patient_shows_in_logs_or_reprs(caplog: pytest.LogCaptureFixture) -> None:
    """Proves it with every logger at its most talkative, for an answer and for a failure."""
    caplog.set_level(logging.DEBUG)
    body = request("Ask for Quine Canary.")
    for script in (answering(ACCEPTED_ANSWER), drop_after_read):
        async with raw_server(script) as port, client_for(port) as client:
            outcome = await client.create_task(body)
            said = caplog.text + repr(client) + repr(outcome)
    assert "fhir_bridge.task_api.connection" in caplog.text
    assert KEY.get_secret_value() not in said
    assert "Quine" not in said
    assert "5555555" not in said
