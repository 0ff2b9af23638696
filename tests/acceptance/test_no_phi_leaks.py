"""A made-up patient goes through every stage while it fails: nothing of theirs shows on standard error.

What this proves: with every logger at DEBUG, asyncio in debug mode and Python's own hooks in place, neither a
log line, nor an error, nor a traceback of the command line quotes what a patient's record or the endpoint's
answer said. Standard output of `map` and `show` rightly holds it.
"""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.acceptance.watched_process import speak
from tests.forks import FORKS

CANARY = {
    "name": [{"family": "Zzyxfeather", "given": ["Quillanary"]}],
    "birthDate": "1971-07-19",
    "identifier": [{"system": "https://hospital.example/mrn", "value": "MRN-474747"}],
    "telecom": [
        {"system": "phone", "use": "mobile", "value": "(212) 555-0147"},
        {"system": "email", "value": "quillanary@canarymail.example"},
    ],
    "address": [
        {
            "line": ["77 Canarylane"],
            "city": "Canarytown",
            "state": "NY",
            "postalCode": "10047",
            "country": "US",
        }
    ],
}
MARKS = re.compile(r"zzyx|quillanary|canary(mail|lane|town)|555.?0147|474747|1971.07.19|10047", re.IGNORECASE)
"""What only the patient's own data could bring."""

CRASH_IN_MAPPING = """
import fhir_bridge.mapping_run as mapping_run
def decide(case, *others, **named):
    name = case.patient.view.name[0].family
    try:
        raise KeyError(name)
    except KeyError:
        raise ValueError(f"cannot say {name}: {case.patient.raw}")
mapping_run.decide = decide
"""

CRASH_IN_CLIENT = """
from fhir_bridge.task_api.client import TaskApiClient
async def create_task(self, request, *, idempotency_key=None):
    try:
        raise KeyError(request)
    except KeyError as error:
        raise RuntimeError(f"cannot send {request!r}") from error
TaskApiClient.create_task = create_task
"""

CRASH_IN_TRANSPORT = """
from fhir_bridge.task_api import client
async def send(self, request, **options):
    raise OSError(f"cannot write {request.content}")
client.Connections.handle_async_request = send
"""

ANSWERS = {
    "refused": 400,
    "redirected": 307,
    "key-refused": 401,
    "in-doubt": 500,
    "garbage": 201,
    "busy": 429,
}


@pytest.fixture
def echo() -> Iterator[Callable[[int], str]]:
    """An endpoint whose every answer quotes the request; patients it creates, unless told otherwise."""
    told = {"status": 400}

    class Echo(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.answer(404, b'{"detail": "Zzyxfeather"}')

        def do_POST(self) -> None:
            sent = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path.endswith("/patient"):
                self.answer(201, b'{"id": "7c1e0000-0000-4000-8000-000000000001"}')
            else:
                detail = json.dumps({"detail": f"Quillanary Zzyxfeather: {sent.decode()}"}).encode()
                self.answer(told["status"], detail)

        def answer(self, status: int, body: bytes) -> None:
            self.send_response(status, "Quillanary")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Location", "/Zzyxfeather")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: Any) -> None:
            """Not a word: this is the other side."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()

    def answering(status: int) -> str:
        told["status"] = status
        return f"http://127.0.0.1:{server.server_port}"

    yield answering
    server.shutdown()
    thread.join()
    server.server_close()


class Watched:
    """Runs commands in processes of their own with every log there is, and looks through what they say."""

    def __init__(self, bridge: Any, hospital: Any) -> None:
        self.bridge = bridge
        appointment = hospital.appointment(comment="Zzyxfeather is afraid of needles")
        self.file = hospital.write("canary.json", hospital.patient(**CANARY), appointment)

    def __call__(self, *arguments: str, sabotage: str = "") -> tuple[int, str, str]:
        """Exit code, standard output, standard error without the patient."""
        process, out, errors = self._begun(*arguments, sabotage=sabotage)
        process.join(60)
        assert process.exitcode is not None, f"{arguments[0]} takes more than a minute"
        return process.exitcode, out.read_text(), self._without_them(arguments[0], errors)

    @contextlib.contextmanager
    def serving(self, *options: str, sabotage: str = "") -> Iterator[httpx.Client]:
        """`serve`, as who may send meets it; afterwards its standard error is looked through."""
        process, out, errors = self._begun("serve", "--port", "0", *options, sabotage=sabotage)
        try:
            until(lambda: "/metrics" in out.read_text() if out.exists() else False)
            url = out.read_text().split(" at ")[1].split(";")[0]
            token = {"Authorization": "Bearer token"}
            with httpx.Client(base_url=url, headers=token, trust_env=False, timeout=20) as client:
                yield client
            process.terminate()
            process.join(30)
            assert process.exitcode == 0
        finally:
            process.kill()
        assert not MARKS.search(out.read_text())
        self._without_them("serve", errors)

    def _begun(self, *arguments: str, sabotage: str) -> tuple[Any, Path, Path]:
        folder, name = self.bridge.folder, arguments[0]
        out, errors = folder / f"{name}.out", folder / f"{name}.err"
        out.unlink(missing_ok=True)
        words = (str(folder), str(out), str(errors), sabotage, *arguments)
        process = FORKS.Process(target=speak, args=words, daemon=True)
        process.start()
        return process, out, errors

    def _without_them(self, command: str, errors: Path) -> str:
        told = errors.read_text()
        leaks = [line for line in told.splitlines() if MARKS.search(line)]
        # The lines themselves are not shown: a failing test is no place for a patient either.
        shown = [MARKS.sub("<the patient>", line)[:300] for line in leaks]
        assert not shown, f"{command} shows the patient"
        return told


def until(true: Callable[[], bool]) -> None:
    """Wait for it: a machine may be busy."""
    deadline = time.monotonic() + 45
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.25)


@pytest.fixture
def watched(bridge: Any, hospital: Any) -> Watched:
    """The command line with one made-up patient to handle."""
    return Watched(bridge, hospital)


def test_the_canary_sings_where_it_may(watched: Watched, echo: Callable[[int], str]) -> None:
    """Else nothing would be proved: it is on standard output, in the ledger, and the logs are on."""
    assert MARKS.search(watched("map", watched.file)[1])
    watched.bridge.settings(echo(400))
    code, _, errors = watched("submit", watched.file, "--wait", "3s")
    assert code == 1
    for logger in ("aiosqlite DEBUG", "fhir_bridge.task_api.connection DEBUG", "sqlalchemy.engine.Engine"):
        assert logger in errors, logger
    assert MARKS.search(watched("show", "Appointment/a1")[1])
    kept = b"".join(path.read_bytes() for path in watched.bridge.folder.glob("fhir-bridge.db*"))
    assert MARKS.search(kept.decode("latin-1"))


def test_mapping_explaining_and_validating_say_nothing_of_them(watched: Watched, hospital: Any) -> None:
    """Called, skipped and rejected; every form of output."""
    wrong = {**CANARY, "telecom": [{"system": "phone", "value": "555-0147"}], "birthDate": "Zzyxfeather"}
    booked = hospital.appointment(3, status="booked", participant=[{"actor": {"display": "Quillanary"}}])
    hospital.write("rejected.json", hospital.patient(2, **wrong), hospital.appointment(2))
    hospital.write("skipped.json", booked)
    files = (watched.file, "rejected.json", "skipped.json")
    for form in ("json", "ndjson", "decisions"):
        assert watched("map", *files, "--format", form)[0] == 1
    for command in ("explain", "validate"):
        assert watched(command, *files)[0] == 1
        assert watched(command, *files, "--json")[0] == 1


@pytest.mark.parametrize("command", ["map", "explain", "validate", "submit"])
def test_what_cannot_be_read_is_not_quoted(
    watched: Watched, echo: Callable[[int], str], command: str
) -> None:
    """Truncated, in another encoding, in the wrong form, in another format: the place, never the text."""
    text = (watched.bridge.folder / watched.file).read_text()
    spoilt: dict[str, bytes] = {
        "truncated.json": text[:-9].encode(),
        "latin.json": text.replace("Zzyx", "Zzyxé").encode("latin-1"),
        "lines.ndjson": b'{"resourceType": "Patient", "name": "Zzyxfeather"\n' * 3
        + b'{"resourceType":"Patient"}\n',
        "key.json": b'{"resourceType": "Patient", "Zzyxfeather": {"Quillanary": [}}',
        "form.json": b'{"resourceType": "Bundle", "entry": [{"resource": "Zzyxfeather"}]}',
        "type.json": b'{"resourceType": ["Zzyxfeather"], "id": "474747"}',
        "words.txt": b"Zzyxfeather, Quillanary; 555-0147",
        "message.hl7": b"MSH|^~\\&|Zzyxfeather",
        "page.xml": b"<Patient><name>Zzyxfeather</name></Patient>",
    }
    for name, content in spoilt.items():
        (watched.bridge.folder / name).write_bytes(content)
    watched.bridge.settings(echo(400))
    code, _, errors = watched(command, *spoilt)
    assert code in (1, 4)
    assert errors.count("unreadable: ") >= len(spoilt) - 1


@pytest.mark.parametrize("answer", ANSWERS)
def test_an_endpoint_that_quotes_the_patient_is_not_repeated(
    watched: Watched, echo: Callable[[int], str], answer: str
) -> None:
    """Its body, its reason phrase and its headers stay in the ledger; `show` has them, on standard output."""
    watched.bridge.settings(echo(ANSWERS[answer]))
    assert watched("submit", watched.file, "--wait", "2s")[0] in (1, 5)
    assert not MARKS.search(watched("status")[1])
    assert not MARKS.search(watched("worklist")[1])
    watched("show", "Appointment/a1")
    watched("worker", "--drain") if answer in ("refused", "in-doubt") else None
    watched("cancel", "Appointment/a1", "--yes", "--because", "test")


def test_protecting_people_says_nothing_of_them(watched: Watched, echo: Callable[[int], str]) -> None:
    """Lists, exports and retention, with what works and what does not: their output has no more than ids."""
    folder = watched.bridge.folder
    watched.bridge.settings(echo(400))
    assert watched("submit", watched.file, "--wait", "2s")[0] == 1
    (folder / "list.csv").write_text("number,patient\n(212) 555-0147,\nZzyxfeather 5550147,\n")
    (folder / "known.csv").write_text("source,identity,patient_id\ndefault,Patient/p1,474747\n")
    (folder / "other.csv").write_text("Zzyxfeather,474747\n5550147,\n")
    because = ("--because", "test")
    for words, code in (
        (("block", "import", "list.csv", "--region", "US", *because), 1),
        (("block", "import", "other.csv", *because), 4),
        (("block", "add", "default/Patient/p1", *because), 0),
        (("block", "list", "--json"), 0),
        (("patients", "import", "known.csv", *because), 1),
        (("patients", "export", "-", *because), 0),
        (("retention", "run"), 0),
        (("audit", "verify"), 0),
        (("audit", "export", "-", *because), 0),
        (("submit", watched.file, "--dry-run"), 0),
    ):
        found, out, _ = watched(*words)
        assert found == code, words
        assert not MARKS.search(out), words


def test_an_encrypted_ledger_holds_nothing_of_them(watched: Watched, echo: Callable[[int], str]) -> None:
    """Neither its file nor its journal, nor the errors of who has no key or another one."""
    folder = watched.bridge.folder
    keyed = '[ledger]\nencryption_key = "{}"\n'
    watched.bridge.settings(echo(400), keyed.format("A" * 43 + "="))
    assert watched("submit", watched.file, "--wait", "2s")[0] == 1
    assert MARKS.search(watched("show", "Appointment/a1")[1])
    for path in folder.glob("fhir-bridge.db*"):
        assert not MARKS.search(path.read_bytes().decode("latin-1")), path.name
    for settings in ("", keyed.format("B" * 42 + "A=")):
        watched.bridge.settings(echo(400), settings)
        assert watched("show", "Appointment/a1")[0] == 6


def test_an_endpoint_that_is_down_gives_nothing_away(watched: Watched) -> None:
    """Nor does a name that cannot be found."""
    watched.bridge.settings("http://127.0.0.1:9")
    assert watched("submit", watched.file, "--wait", "1s")[0] == 5


@pytest.mark.parametrize("table", ["intents", "patients", "attempts", "inbox", "audit"])
def test_a_ledger_that_fails_in_the_middle_gives_nothing_away(
    watched: Watched, echo: Callable[[int], str], table: str
) -> None:
    """The database's complaint quotes statement and parameters: exit code 6 comes without them."""
    watched.bridge.settings(echo(400))
    watched("status")
    sabotage(watched.bridge.folder / "fhir-bridge.db", table)
    code, _, errors = watched("submit", watched.file, "--wait", "3s")
    if table == "audit":
        code, _, errors = watched("cancel", "Appointment/a1", "--yes", "--because", "test")
    assert code == 6, [MARKS.sub("<the patient>", line) for line in errors.splitlines() if "error" in line]
    assert "\nerror: " in errors


def sabotage(ledger: Path, table: str) -> None:
    """From now on the database refuses every new row of a table; of attempts it has lost the table."""
    database = sqlite3.connect(ledger)
    if table == "attempts":
        database.execute("alter table attempts rename to lost")
    else:
        refuses = f"before insert on {table} begin select raise(abort, 'database or disk is full'); end"
        database.execute(f"create trigger refuses {refuses}")
    database.commit()
    database.close()


def test_a_broken_ledger_file_gives_nothing_away(watched: Watched, echo: Callable[[int], str]) -> None:
    """Neither one that is no database, nor one whose pages are spoilt."""
    watched.bridge.settings(echo(400))
    watched("submit", watched.file, "--wait", "2s")
    ledger = watched.bridge.folder / "fhir-bridge.db"
    ledger.write_bytes(b"Zzyxfeather" * 1000)
    code, _, errors = watched("submit", watched.file)
    assert code == 6
    assert "\nerror: " in errors


@pytest.mark.parametrize(
    ("command", "breaks"),
    [
        ("map", CRASH_IN_MAPPING),
        ("explain", CRASH_IN_MAPPING),
        ("submit", CRASH_IN_MAPPING),
        ("submit", CRASH_IN_CLIENT),
    ],
)
def test_a_fault_of_ours_is_told_by_its_place_alone(
    watched: Watched, echo: Callable[[int], str], command: str, breaks: str
) -> None:
    """One line with type and place, one that says what to do; never the text, nor the chain behind it."""
    watched.bridge.settings(echo(400))
    code, _, errors = watched(command, watched.file, sabotage=breaks)
    assert code == 70
    assert re.search(
        r"^error: a fault of fhir-bridge itself: (ValueError|RuntimeError) at \S+:\d+", errors, re.M
    )
    assert "Traceback" not in errors
    assert "please report" in errors


def test_a_fault_of_the_transport_is_an_outcome(watched: Watched, echo: Callable[[int], str]) -> None:
    """Its text is dropped: the request may have left, so it is in doubt."""
    watched.bridge.settings(echo(400))
    code, _, _ = watched("submit", watched.file, "--wait", "2s", sabotage=CRASH_IN_TRANSPORT)
    assert code == 1
    assert json.loads(watched("status", "--json")[1])["patients"] == {"in_doubt": 1}


SOURCE = '[sources.ehr]\nhold = 0\n[sources.ehr.credentials]\nbearer = "token"\n'

CRASH_AT_THE_DOOR = """
from fhir_bridge.webhook import door
check = door.check
def fails(body, route):
    if b"words of a fault" in body:
        raise ValueError(f"cannot keep {body}")
    check(body, route)
door.check = fails
"""


def spoilt(text: str) -> dict[str, bytes]:
    """What a sender may make of a message about them."""
    name = "Quillanary Zzyxfeather"
    status = {
        "resourceType": "SubscriptionStatus", "type": "event-notification", "status": name, "topic": name,
        "error": [{"text": name}], "subscription": {"reference": f"Subscription/{name}", "display": name},
        "notificationEvent": [{"eventNumber": name, "timestamp": name, "focus": {"reference": name}}],
    }  # fmt: skip
    history = {"resourceType": "Bundle", "type": "history", "entry": [{"resource": status}]}
    return {
        "whole": text.encode(),
        "truncated": text[:-9].encode(),
        "latin": text.replace("Zzyx", "Zzyx\u00e9").encode("latin-1"),
        "utf-16": text.encode("utf-16"),
        "repeated": text.replace(
            '"status": "proposed"', f'"status": "proposed", "status": "{name}"'
        ).encode(),
        "unknown": json.dumps({"resourceType": name, "text": name}).encode(),
        "type": b'{"resourceType": ["Zzyxfeather"], "id": "474747"}',
        "key": b'{"resourceType": "Patient", "Zzyxfeather": {"Quillanary": [}}',
        "form": b'{"resourceType": "Bundle", "entry": [{"resource": "Zzyxfeather"}]}',
        "status": json.dumps(history).encode(),
        "fault": b"words of a fault: Zzyxfeather, Quillanary",
        "words": b"Zzyxfeather, Quillanary; 555-0147",
        "xml": b"<Patient><name>Zzyxfeather</name></Patient>",
        "deep": b'{"resourceType":"Patient","name":' + b"[" * 5000 + b'"Zzyxfeather"',
    }


def sent(client: httpx.Client, path: str, method: str = "POST", **more: Any) -> int:
    """One request, whose answer says nothing of them; gives its status."""
    answer = client.request(method, path, **more)
    assert not MARKS.search(answer.text + str(answer.headers)), (method, answer.status_code)
    return answer.status_code


def test_the_door_says_nothing_of_them(watched: Watched, echo: Callable[[int], str]) -> None:
    """Neither in an answer, a log line or a metric, nor where an operator looks afterwards, whatever is wrong
    with the message, its path, its headers; what is refused as what is kept and cannot be processed."""
    watched.bridge.settings(echo(400), SOURCE)
    text = (watched.bridge.folder / watched.file).read_text()
    headers = {"X-Medplum-Deleted-Resource": "Patient/Zzyxfeather 474747"}
    with watched.serving(sabotage=CRASH_AT_THE_DOOR) as client:
        taken = [sent(client, "/fhir/ehr", content=body) for body in spoilt(text).values()]
        assert set(taken) == {200, 400, 415, 500}
        for path, method in (
            ("/fhir/Zzyxfeather", "POST"), ("/fhir/ehr/Patient/Zzyxfeather 474747", "PUT"),
            ("/Zzyxfeather", "GET"), ("/fhir/ehr?name=Zzyxfeather", "PATCH"),
        ):  # fmt: skip
            assert sent(client, path, method, content=text) >= 400
        assert sent(client, "/fhir/ehr", content=b"{}", headers=headers) == 400
        assert sent(client, "/fhir/ehr", content=text, headers={"Content-Encoding": "gzip"}) == 400
        assert sent(client, "/fhir/ehr", content=text, headers={"Authorization": "Bearer Zzyxfeather"}) == 401
        until(lambda: client.get("/readyz").json()["inbox"]["received"] == 0)
        for path in ("/healthz", "/readyz", "/metrics"):
            assert sent(client, path, "GET") == 200
        assert client.get("/readyz").json()["inbox"]["failed"] > 0
        for words in (("sources",), ("sources", "--json"), ("status",), ("worklist",)):
            assert not MARKS.search(watched(*words)[1]), words


def test_a_fault_behind_the_door_gives_nothing_away(watched: Watched, echo: Callable[[int], str]) -> None:
    """Mapping that fails over them, and a ledger that refuses their message."""
    watched.bridge.settings(echo(400), SOURCE)
    text = (watched.bridge.folder / watched.file).read_text()
    with watched.serving(sabotage=CRASH_IN_MAPPING) as client:
        assert sent(client, "/fhir/ehr", content=text) == 200
        until(lambda: client.get("/readyz").json()["inbox"]["failed"] == 1)
        assert not MARKS.search(watched("worklist")[1])
        sabotage(watched.bridge.folder / "fhir-bridge.db", "inbox")
        assert sent(client, "/fhir/ehr", content=text) == 503
