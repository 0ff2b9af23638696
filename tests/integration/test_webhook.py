"""What a sender is answered, over real sockets (intake, section 1)."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import hashlib
import hmac
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from fhir_bridge.errors import LedgerError
from fhir_bridge.ledger.sources.messages import Received
from tests.integration.webhook import BEARER, exchange, webhook

APPOINTMENT = b'{"resourceType":"Appointment","id":"a1"}'
JSON_TYPES = (
    "application/fhir+json",
    "application/json",
    "application/fhir+json; charset=utf-8",
    "text/plain",
)


def issue(response: Any) -> dict[str, str]:
    """The one issue of the OperationOutcome that every answer is."""
    assert response.headers["content-type"] == "application/fhir+json"
    body = response.json()
    assert body["resourceType"] == "OperationOutcome"
    (found,) = body["issue"]
    assert set(found) == {"severity", "code", "diagnostics"}
    return dict(found)


async def test_what_is_kept_is_acknowledged_with_an_outcome(tmp_path: Path) -> None:
    """200 with an informational OperationOutcome, whatever the media type of JSON is called."""
    async with webhook(tmp_path / "l.db") as door:
        for named in [*({"Content-Type": name} for name in JSON_TYPES), {}]:
            answer = await door.send(APPOINTMENT, **named)
            assert (answer.status_code, issue(answer)["severity"]) == (200, "information")
        kept = [(each.source, each.body, each.method, each.path) for each in await door.kept()]
        assert kept == [("ehr", APPOINTMENT, "POST", None)] * 5


ROUTES = [
    ("POST", "/fhir/ehr", None),
    ("POST", "/fhir/ehr/", None),
    ("POST", "/fhir/ehr/Appointment", None),
    ("POST", "/fhir/ehr/Appointment/a1", "Appointment/a1"),
    ("PUT", "/fhir/ehr/Appointment/a1", "Appointment/a1"),
    ("DELETE", "/fhir/ehr/Appointment/a1", "Appointment/a1"),
]


async def test_every_route_keeps_its_method_and_path(tmp_path: Path) -> None:
    """HAPI puts and deletes at Type/id; the body may be empty."""
    async with webhook(tmp_path / "l.db") as door:
        for body in (APPOINTMENT, b""):
            for method, path, _ in ROUTES:
                assert (await door.send(body, path, method)).status_code == 200
        kept = [(each.method, each.path, each.body) for each in await door.kept()]
        assert kept == [(method, label, body) for body in (APPOINTMENT, b"") for method, _, label in ROUTES]


async def test_a_deletion_by_header_is_kept_with_it(tmp_path: Path) -> None:
    """Medplum's `{}`."""
    async with webhook(tmp_path / "l.db") as door:
        more = {"X-Medplum-Deleted-Resource": "Appointment/a1"}
        assert (await door.send(b"{}", **more)).status_code == 200
        (kept,) = await door.kept()
        assert (kept.deleted, kept.body) == ("Appointment/a1", b"{}")


NOT_TAKEN: list[tuple[bytes, int, str]] = [
    (b"{", 400, "structure"),
    (b"Juniper", 400, "structure"),
    (b"{}", 400, "structure"),
    (b"[]", 400, "structure"),
    (b'{"a":' * 10_000, 400, "structure"),
    (b"\xff\xfe\x00", 400, "structure"),
    (b"<Appointment xmlns='http://hl7.org/fhir'/>", 415, "not-supported"),
    (b'{"resourceType":"Appointment","x":"' + b"a" * 70_000 + b'"}', 413, "too-long"),
]


async def test_what_is_not_taken_is_not_kept(tmp_path: Path) -> None:
    """Refused with a reason that shows nothing of it."""
    async with webhook(tmp_path / "l.db", max_body="64KiB") as door:
        for body, status, code in NOT_TAKEN:
            answer = await door.send(body)
            assert (answer.status_code, issue(answer)["code"]) == (status, code), body[:40]
            assert "Juniper" not in answer.text
        assert await door.kept() == []


async def test_xml_and_unknown_encodings_are_told_by_their_headers(tmp_path: Path) -> None:
    """415, before anything is read."""
    async with webhook(tmp_path / "l.db") as door:
        for more in ({"Content-Type": "application/fhir+xml"}, {"Content-Encoding": "br"}):
            answer = await door.send(APPOINTMENT, **more)
            assert (answer.status_code, issue(answer)["code"]) == (415, "not-supported")
        assert await door.kept() == []


async def test_gzip_is_unpacked_within_bounds(tmp_path: Path) -> None:
    """A bomb is 413 and never in memory; what is cut, trailing or no gzip is 400."""
    async with webhook(tmp_path / "l.db", max_body="64KiB") as door:
        packed = {"Content-Encoding": "gzip"}
        assert (await door.send(gzip.compress(APPOINTMENT), **packed)).status_code == 200
        assert [each.body for each in await door.kept()] == [APPOINTMENT]
        bomb = gzip.compress(b'{"resourceType":"Appointment","x":"' + b"a" * 30_000_000 + b'"}')
        assert len(bomb) < 64 * 1024
        assert (await door.send(bomb, **packed)).status_code == 413
        whole = gzip.compress(APPOINTMENT)
        for broken in (whole[:-3], whole + b"more", APPOINTMENT, b""):
            answer = await door.send(broken, **packed)
            assert (answer.status_code, issue(answer)["severity"]) == (400, "error")
        assert len(await door.kept()) == 1


async def test_other_methods_are_not_allowed(tmp_path: Path) -> None:
    """405, for a source that is there as for one that is not."""
    async with webhook(tmp_path / "l.db") as door:
        for method in ("GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"):
            known, unknown = [await door.send(b"", f"/fhir/{name}", method) for name in ("ehr", "other")]
            assert known.status_code == unknown.status_code == 405
            assert known.headers["allow"] == unknown.headers["allow"] == "POST"
            assert known.content == unknown.content


async def test_a_wrong_path_or_method_is_told_the_right_one(tmp_path: Path) -> None:
    """An engineer who opens the address in a browser, or forgets the source's name, sees what to do."""
    async with webhook(tmp_path / "l.db") as door:
        for path, method, status, says in (
            ("/", "GET", 404, "/fhir/NAME"), ("/fhir", "POST", 404, "/fhir/NAME"),
            ("/fhir/ehr", "GET", 405, "by POST"),
        ):  # fmt: skip
            answer = await door.send(b"", path, method)
            assert (answer.status_code, says in issue(answer)["diagnostics"]) == (status, True)


async def test_names_are_told_to_nobody_who_may_not_send(tmp_path: Path) -> None:
    """The same 401 for a wrong secret as for a wrong name; 404 only for who has the right secret."""
    async with webhook(tmp_path / "l.db") as door:
        wrong = {"Authorization": "Bearer wrong"}
        known, unknown = [await door.send(APPOINTMENT, f"/fhir/{n}", headers=wrong) for n in ("ehr", "x")]
        assert known.status_code == unknown.status_code == 401
        assert known.content == unknown.content
        assert known.headers["www-authenticate"] == unknown.headers["www-authenticate"]
        typo = await door.send(APPOINTMENT, "/fhir/her")
        assert (typo.status_code, issue(typo)["code"]) == (404, "not-found")
        assert await door.kept() == []


WRONG: list[dict[str, str]] = [
    {},
    {"Authorization": "Bearer"},
    {"Authorization": "Bearer toke"},
    {"Authorization": "Bearer token2"},
    {"Authorization": "Basic dG9rZW4="},
    {"Authorization": "token"},
    {"X-Authorization": "Bearer token"},
]


async def test_no_route_takes_wrong_credentials(tmp_path: Path) -> None:
    """401 with a challenge, and nothing kept."""
    async with webhook(tmp_path / "l.db") as door:
        for method, path, _ in ROUTES:
            for headers in WRONG:
                answer = await door.send(APPOINTMENT, path, method, headers=headers)
                assert (answer.status_code, issue(answer)["code"]) == (401, "login"), (path, headers)
                assert answer.headers["www-authenticate"] == "Bearer"
        assert await door.kept() == []


async def test_a_header_that_stands_twice_is_no_credential(tmp_path: Path) -> None:
    """A proxy and we might each read another one."""
    async with webhook(tmp_path / "l.db") as door:
        twice = [("Authorization", "Bearer token"), ("Authorization", "Bearer wrong")]
        answer = await door.client.post(f"{door.url}/fhir/ehr", content=APPOINTMENT, headers=twice)
        assert answer.status_code == 401


def signed(secret: bytes, body: bytes = APPOINTMENT) -> str:
    """HMAC-SHA256 in hex."""
    return hmac.new(secret, body, hashlib.sha256).hexdigest()


def standard(secret: str, body: bytes = APPOINTMENT, age: float = 0, id_: str = "m1") -> dict[str, str]:
    """The headers of Standard Webhooks."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    sent = str(int(time.time() - age))
    digest = hmac.new(key, f"{id_}.{sent}.".encode() + body, hashlib.sha256).digest()
    signature = f"v1,{base64.b64encode(digest).decode()}"
    return {"webhook-id": id_, "webhook-timestamp": sent, "webhook-signature": signature}


OLD, NEW = (f"whsec_{base64.b64encode(name * 8).decode()}" for name in (b"old!", b"new!"))
BASIC = base64.b64encode(b"bridge:pass:word").decode()
TLS_HEADER = "X-SSL-Client-S-DN"


def cases() -> list[tuple[dict[str, Any], dict[str, str], int]]:
    """What a source demands, what is presented, and the answer; signed now."""
    return [
        ({"bearer": ["old", "new"]}, {"Authorization": "Bearer old"}, 200),
        ({"bearer": ["old", "new"]}, {"Authorization": "bearer new"}, 200),
        ({"bearer": ["old", "new"]}, {"Authorization": "Bearer oldnew"}, 401),
        ({"header": {"name": "X-Api-Key", "value": "k"}}, {"X-API-KEY": "k"}, 200),
        ({"header": {"name": "X-Api-Key", "value": "k"}}, {"X-Api-Key": "K"}, 401),
        ({"header": {"name": "X-Api-Key", "value": "k"}}, {}, 401),
        ({"basic": {"user": "bridge", "password": "pass:word"}}, {"Authorization": f"Basic {BASIC}"}, 200),
        ({"basic": {"user": "bridge", "password": "other"}}, {"Authorization": f"Basic {BASIC}"}, 401),
        ({"basic": {"user": "bridge", "password": "x"}}, {"Authorization": "Basic !!!"}, 401),
        ({"hmac": {"secret": "s"}}, {"X-Hub-Signature": f"sha256={signed(b's')}"}, 200),
        ({"hmac": {"secret": ["t", "s"]}}, {"X-Hub-Signature": signed(b"s").upper()}, 200),
        ({"hmac": {"secret": "s"}}, {"X-Hub-Signature": f"sha256={signed(b't')}"}, 401),
        ({"hmac": {"secret": "s"}}, {"X-Hub-Signature": f"sha256={signed(b's', b'other')}"}, 401),
        ({"hmac": {"secret": "s"}}, {"X-Hub-Signature": ""}, 401),
        ({"hmac": {"secret": "s"}}, {}, 401),
        ({"hmac": {"secret": "s", "header": "X-Signature"}}, {"X-Signature": signed(b"s")}, 200),
        ({"standard_webhooks": {"secret": [OLD, NEW]}}, standard(OLD), 200),
        ({"standard_webhooks": {"secret": [OLD, NEW]}}, standard(NEW), 200),
        ({"standard_webhooks": {"secret": NEW}}, standard(OLD), 401),
        ({"standard_webhooks": {"secret": NEW}}, standard(NEW, age=330), 401),
        ({"standard_webhooks": {"secret": NEW}}, standard(NEW, age=-330), 401),
        ({"standard_webhooks": {"secret": NEW}}, standard(NEW, b"other"), 401),
        ({"standard_webhooks": {"secret": NEW}}, {**standard(NEW), "webhook-id": "m2"}, 401),
        ({"standard_webhooks": {"secret": NEW}}, {**standard(NEW), "webhook-timestamp": "x"}, 401),
        ({"bearer": "token", "hmac": {"secret": "s"}}, BEARER, 401),
        ({"bearer": "token", "hmac": {"secret": "s"}}, {"X-Hub-Signature": signed(b"s")}, 401),
        ({"bearer": "token", "hmac": {"secret": "s"}}, {**BEARER, "X-Hub-Signature": signed(b"s")}, 200),
    ]


async def test_every_kind_of_credential_is_demanded_whole(tmp_path: Path) -> None:
    """Each live secret will do; of several kinds each is demanded; nothing else is let in."""
    told = {f"s{number}": credentials for number, (credentials, _, _) in enumerate(cases())}
    async with webhook(tmp_path / "l.db", told) as door:
        taken = []
        for number, (credentials, headers, status) in enumerate(cases()):
            answer = await door.send(APPOINTMENT, f"/fhir/s{number}", headers=headers)
            assert answer.status_code == status, (number, credentials)
            taken += [f"s{number}"] * (status == 200)
        assert [each.source for each in await door.kept()] == taken


async def test_a_new_secret_beside_the_old_one_signs_too(tmp_path: Path) -> None:
    """A sender that exchanges its secret signs with both."""
    async with webhook(tmp_path / "l.db", {"ehr": {"standard_webhooks": {"secret": NEW}}}) as door:
        both = standard(NEW)
        both["webhook-signature"] = f"{standard(OLD)['webhook-signature']} {both['webhook-signature']}"
        assert (await door.send(APPOINTMENT, headers=both)).status_code == 200


async def test_a_client_certificate_counts_only_from_a_trusted_proxy(tmp_path: Path) -> None:
    """The header is anybody's to write: elsewhere than from the proxy it is worth nothing."""
    credentials = {"ehr": {"client_certificate": {"header": TLS_HEADER, "value": "CN=ehr.example"}}}
    headers = {TLS_HEADER: "CN=ehr.example"}
    cases: Sequence[tuple[list[str], dict[str, str], int]] = [
        (["127.0.0.0/8"], headers, 200),
        (["127.0.0.1"], {TLS_HEADER: "CN=other"}, 401),
        (["127.0.0.1"], {}, 401),
        (["10.0.0.0/8", "::1"], headers, 401),
        ([], headers, 401),
    ]
    for proxies, presented, status in cases:
        async with webhook(tmp_path / "l.db", credentials, trusted_proxies=proxies) as door:
            forwarded = {**presented, "X-Forwarded-For": "127.0.0.1"}
            assert (await door.send(APPOINTMENT, headers=forwarded)).status_code == status


async def test_each_source_has_its_own_credentials(tmp_path: Path) -> None:
    """One hospital's secret opens no other's door."""
    told = {"ehr": {"bearer": "one"}, "lab": {"bearer": "two"}}
    async with webhook(tmp_path / "l.db", told) as door:
        for name, token, status in (("ehr", "one", 200), ("lab", "two", 200), ("ehr", "two", 401)):
            headers = {"Authorization": f"Bearer {token}"}
            assert (await door.send(APPOINTMENT, f"/fhir/{name}", headers=headers)).status_code == status
        assert [each.source for each in await door.kept()] == ["ehr", "lab"]


async def test_a_repeated_delivery_is_kept_once_and_answered_twice(tmp_path: Path) -> None:
    """Standard Webhooks number a delivery."""
    async with webhook(tmp_path / "l.db", {"ehr": {"standard_webhooks": {"secret": NEW}}}) as door:
        for _ in range(3):
            assert (await door.send(APPOINTMENT, headers=standard(NEW))).status_code == 200
        assert len(await door.kept()) == 1


STRANGE_PATHS = [
    "/fhir/ehr%0d%0aX-Evil:%201/Appointment/a1",
    "/fhir/ehr/Appointment%0d%0a/a1",
    "/fhir/ehr/Appointment/a1%0aevil",
    "/fhir/ehr/Appointment/a1%00",
    "/fhir/ehr/Appointment/..%2f..%2fetc",
    "/fhir/ehr/App%20ointment/a1",
    f"/fhir/ehr/Appointment/{'a' * 65}",
    "/fhir/ehr/Appointment/J%C3%BCniper",
]


async def test_nothing_of_a_strange_path_gets_through(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """CR, LF and the like: refused, neither kept nor logged nor in an answer."""
    async with webhook(tmp_path / "l.db") as door:
        for path in STRANGE_PATHS:
            answer = await door.send(APPOINTMENT, path, "PUT")
            assert answer.status_code in (400, 404), path
            assert "evil" not in answer.text.lower()
            assert "x-evil" not in answer.headers
        assert await door.kept() == []
    told = "".join(capsys.readouterr())
    assert "evil" not in told.lower()
    assert "niper" not in told


@pytest.mark.parametrize(
    "label", ["Appointment/a1\tevil", "evil", "https://evil.example/Appointment/a1", "A/b/c"]
)
async def test_a_deletion_header_is_type_and_id_or_refused(tmp_path: Path, label: str) -> None:
    """Nothing else is kept of it."""
    async with webhook(tmp_path / "l.db") as door:
        answer = await door.send(b"{}", **{"X-Medplum-Deleted-Resource": label})
        assert (answer.status_code, issue(answer)["code"]) == (400, "value")
        assert await door.kept() == []


class BrokenInbox:
    """A ledger that cannot be written, until it is mended; or one that takes long."""

    def __init__(self, slow: float = 0) -> None:
        self.slow = slow
        self.mended = False
        self.batches: list[int] = []

    async def receive(self, batch: Sequence[Received]) -> list[bool]:
        """LedgerError, or an answer after a while."""
        if self.slow:
            await asyncio.sleep(self.slow)
        elif not self.mended:
            raise LedgerError("the disk is full", code="ledger-unavailable")
        self.batches.append(len(batch))
        return [True] * len(batch)


async def test_what_cannot_be_kept_is_never_acknowledged(tmp_path: Path) -> None:
    """503 with Retry-After, to each of the batch; once the ledger is mended it goes on by itself."""
    broken = BrokenInbox()
    async with webhook(tmp_path / "l.db", inbox=broken) as door:
        answers = await asyncio.gather(*(door.send() for _ in range(5)))
        assert {each.status_code for each in answers} == {503}
        assert {each.headers["retry-after"] for each in answers} == {"5"}
        assert {issue(each)["code"] for each in answers} == {"transient"}
        broken.mended = True
        assert (await door.send()).status_code == 200


async def test_an_answer_does_not_wait_for_a_slow_ledger_for_ever(tmp_path: Path) -> None:
    """After two seconds the sender is told to come again: 2xx would be a promise nobody can keep."""
    async with webhook(tmp_path / "l.db", inbox=BrokenInbox(slow=2.6)) as door:
        since = time.monotonic()
        assert (await door.send()).status_code == 503
        assert 1.5 < time.monotonic() - since < 2.6


async def test_concurrent_requests_share_a_commit(tmp_path: Path) -> None:
    """Group commit: far fewer transactions than messages, each answered only after its own."""
    counting = BrokenInbox(slow=0.05)
    async with webhook(tmp_path / "l.db", inbox=counting) as door:
        answers = await asyncio.gather(*(door.send() for _ in range(40)))
        assert {each.status_code for each in answers} == {200}
    assert sum(counting.batches) == 40
    assert len(counting.batches) < 10


async def test_chunks_are_counted_as_they_come(tmp_path: Path) -> None:
    """A body without a length is refused at the limit, not after its end."""
    async with webhook(tmp_path / "l.db", max_body="64KiB", body_timeout="500ms") as door:
        head = b"POST /fhir/ehr HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer token\r\n"
        head += b"Transfer-Encoding: chunked\r\n\r\n"
        chunk = b"8000\r\n" + b"a" * 0x8000 + b"\r\n"
        answer = await exchange(door.port, head, chunk, chunk, chunk, pause=0.02)
        assert answer.startswith(b"HTTP/1.1 413 ")
        parts = [b"%x\r\n%s\r\n" % (len(part), part) for part in (APPOINTMENT[:9], APPOINTMENT[9:])]
        whole = head.replace(b"Host: x\r\n", b"Host: x\r\nConnection: close\r\n")
        assert (await exchange(door.port, whole, *parts, b"0\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        assert [each.body for each in await door.kept()] == [APPOINTMENT]


async def test_slow_senders_are_hung_up_on(tmp_path: Path) -> None:
    """Headers that do not end, a body that drips, a connection that says nothing, one that goes on sending
    after it was refused: each ends, and nothing is kept."""
    async with webhook(tmp_path / "l.db", body_timeout="300ms") as door:
        head = b"POST /fhir/ehr HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: 90\r\n\r\n"
        right, wrong = head % b"token", head % b"wrong"
        since = time.monotonic()
        nothing, headers, body, refused = await asyncio.gather(
            exchange(door.port),
            exchange(door.port, *[right[n : n + 1] for n in range(60)], pause=0.05),
            exchange(door.port, right, *[b"a"] * 30, pause=0.05),
            exchange(door.port, wrong, *[b"a"] * 30, pause=0.05),
        )
        assert time.monotonic() - since < 5
        assert (nothing, headers) == (b"", b"")
        assert body.startswith(b"HTTP/1.1 408 ")
        assert refused.startswith(b"HTTP/1.1 401 ")
        assert await door.kept() == []


async def test_endless_headers_are_cut(tmp_path: Path) -> None:
    """However fast they come."""
    async with webhook(tmp_path / "l.db") as door:
        line = b"X-Filler: " + b"a" * 1000 + b"\r\n"
        assert await exchange(door.port, b"POST /fhir/ehr HTTP/1.1\r\nHost: x\r\n", *[line] * 200) == b""


async def test_a_thousand_connections_do_not_keep_others_out(tmp_path: Path) -> None:
    """Half of them silent, half with half a request: a sender is served all the same."""
    async with webhook(tmp_path / "l.db", body_timeout="20s") as door:
        opened = []
        try:
            for number in range(1000):
                _, writer = await asyncio.open_connection("127.0.0.1", door.port)
                if number % 2:
                    writer.write(b"POST /fhir/ehr HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n")
                opened.append(writer)
            answers = await asyncio.gather(*(door.send() for _ in range(20)))
            assert {each.status_code for each in answers} == {200}
        finally:
            for writer in opened:
                writer.transport.abort()
        assert len(await door.kept()) == 20


async def test_a_sender_that_hangs_up_leaves_nothing_half_kept(tmp_path: Path) -> None:
    """The body ends early: no row."""
    async with webhook(tmp_path / "l.db") as door:
        head = (
            b"POST /fhir/ehr HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer token\r\nContent-Length: 90\r\n\r\n"
        )
        await exchange(door.port, head + b'{"resource', end=True)
        assert (await door.send()).status_code == 200
        assert len(await door.kept()) == 1


async def test_those_who_watch_see_counts_and_no_names(tmp_path: Path) -> None:
    """/healthz, /readyz, /metrics: no credentials needed, so no source and no patient is named."""
    async with webhook(tmp_path / "l.db", {"saint-marigold": {"bearer": "token"}}) as door:
        await door.send(APPOINTMENT, "/fhir/saint-marigold")
        await door.send(APPOINTMENT, "/fhir/saint-marigold", headers={})
        health, ready, metrics = [
            await door.client.get(door.url + path) for path in ("/healthz", "/readyz", "/metrics")
        ]
        assert health.json() == {"status": "ok"}
        assert ready.json()["inbox"]["received"] == 1
        assert ready.json()["ledger"] == "ok"
        assert 'fhir_bridge_webhook_requests_total{code="kept",status="200"} 1.0' in metrics.text
        assert 'fhir_bridge_webhook_requests_total{code="credentials",status="401"} 1.0' in metrics.text
        assert 'fhir_bridge_inbox_messages{state="received"} 1.0' in metrics.text
        assert "marigold" not in ready.text + metrics.text


async def test_readiness_says_when_the_ledger_cannot_be_written(tmp_path: Path) -> None:
    """503 with a code, while the process itself is healthy."""
    async with webhook(tmp_path / "l.db") as door:
        with contextlib.closing(sqlite3.connect(tmp_path / "l.db", isolation_level=None)) as other:
            other.execute("DROP TABLE destination")
        answer = await door.client.get(f"{door.url}/readyz")
        assert (answer.status_code, answer.json()["ledger"]) == (503, "ledger-unavailable")
        assert (await door.client.get(f"{door.url}/healthz")).status_code == 200
