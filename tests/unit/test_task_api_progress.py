from types import SimpleNamespace

import pytest

from fhir_bridge.task_api.transport import Progress, Stage

Events = list[tuple[str, dict[str, object]]]

CONNECT: dict[str, object] = {"request": SimpleNamespace(method=b"CONNECT")}
POST: dict[str, object] = {"request": SimpleNamespace(method=b"POST")}

CONNECTING: Events = [("connection.connect_tcp.started", {}), ("connection.connect_tcp.complete", {})]
TLS: Events = [("connection.start_tls.started", {}), ("connection.start_tls.complete", {})]
TUNNEL: Events = [
    ("http11.send_request_headers.started", CONNECT),
    ("http11.send_request_headers.complete", {}),
    ("http11.send_request_body.started", CONNECT),
    ("http11.receive_response_headers.started", CONNECT),
    ("http11.receive_response_headers.complete", {}),
]
SENDING: Events = [("http11.send_request_headers.started", POST)]
ANSWER: Events = [("http11.receive_response_headers.started", POST)]
CLOSING: Events = [("http11.response_closed.started", {}), ("http11.response_closed.complete", {})]


@pytest.mark.parametrize(
    ("events", "stage", "before"),
    [
        ([], Stage.POOL, True),
        (CONNECTING, Stage.CONNECT, True),
        (CONNECTING + TLS, Stage.TLS, True),
        (CONNECTING + TUNNEL, Stage.PROXY, True),
        (CONNECTING + TUNNEL + CLOSING, Stage.PROXY, True),
        (CONNECTING + TUNNEL + TLS, Stage.TLS, True),
        (CONNECTING + SENDING, Stage.REQUEST, False),
        (CONNECTING + TUNNEL + TLS + SENDING, Stage.REQUEST, False),
        (SENDING + CLOSING, Stage.REQUEST, False),
        (SENDING + ANSWER, Stage.ANSWER, False),
        (SENDING + CONNECTING, Stage.REQUEST, False),
        (SENDING + ANSWER + CONNECTING + TLS, Stage.ANSWER, False),
        ([("http3.send_early_data.started", {})], Stage.REQUEST, False),
        ([("http2.send_connection_init.started", {})], Stage.REQUEST, False),
    ],
)
async def test_the_first_byte_is_unsent_only_while_every_step_is_known_to_write_nothing(
    events: Events, stage: Stage, before: bool
) -> None:
    """A step nobody has heard of may have written, and after a byte there is no way back."""
    progress = Progress(Stage.POOL)
    for event, info in events:
        await progress.observe(event, info)
    assert (progress.stage, progress.before_first_byte) == (stage, before)


async def test_a_transport_that_does_not_report_proves_nothing() -> None:
    """Some other transport, put in one day, can cost an in-doubt but not a second call."""
    progress = Progress()
    assert not progress.before_first_byte
    await progress.observe("connection.connect_tcp.started", {})
    assert not progress.before_first_byte
