"""The sandbox over real sockets: each call as the vendor's reference describes it (task-api)."""

import asyncio
import contextlib
import json
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from fhir_bridge.errors import SettingsError
from fhir_bridge.sandbox.page import NEWEST
from fhir_bridge.sandbox.server import running_sandbox
from fhir_bridge.sandbox.settings import SandboxSettings
from fhir_bridge.task_api.bodies import patient_body, task_body
from fhir_bridge.task_api.client import TaskApiClient
from fhir_bridge.task_api.models import (
    NIL_ID,
    Patient,
    PatientDraft,
    Task,
    TaskDraft,
    TaskStatus,
    WebhookEvent,
    create_task_request,
)
from fhir_bridge.task_api.outcome import OutcomeClass

SEED: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "fixtures" / "seed-request.json").read_text(encoding="utf-8")
)
PROJECT = SEED["project_id"]
KEY = SecretStr("sandbox-key")
QUIET = SandboxSettings(api_keys=(KEY,), call_seconds=None)
PATIENT = {
    "project_id": PROJECT,
    "phone_number": "+15555555555",
    "first_name": "Ada",
    "last_name": "Quine",
    "address": SEED["task_data"]["referral"]["address"],
    "date_of_birth": "1980-02-29",
}


@contextlib.asynccontextmanager
async def plain_http(
    settings: SandboxSettings = QUIET, key: str = "sandbox-key"
) -> AsyncIterator[httpx.AsyncClient]:
    """A sandbox and a plain HTTP client of it, for what our own client would never send."""
    async with (
        running_sandbox(settings) as sandbox,
        httpx.AsyncClient(
            base_url=sandbox.url, headers={"Authorization": f"Bearer {key}"}, trust_env=False
        ) as http,
    ):
        yield http


async def test_the_vendors_own_example_is_answered() -> None:
    """Proves the contract: the request goes through unchanged and can be read back."""
    async with running_sandbox(QUIET) as sandbox, TaskApiClient(sandbox.url, KEY) as client:
        outcome = await client.create_task(create_task_request(SEED))
        assert outcome.kind is OutcomeClass.ACCEPTED
        assert outcome.id is not None
        task = await client.get_task(outcome.id)
        async with httpx.AsyncClient(trust_env=False) as http:
            tasks = (await http.get(f"{sandbox.url}/_sandbox/tasks")).json()
    assert [task["request"] for task in tasks] == [SEED]
    assert isinstance(task, Task)
    assert (task.id, task.status, task.calls) == (outcome.id, TaskStatus.PENDING, ())
    assert (task.task, task.patient_id) == (SEED["task"], SEED["patient_id"])


async def test_a_patient_is_created_and_read_back() -> None:
    """Proves both patient calls, with everything that was sent and the endpoint's own fields."""
    draft = PatientDraft.from_wire(PATIENT)
    async with running_sandbox(QUIET) as sandbox, TaskApiClient(sandbox.url, KEY) as client:
        outcome = await client.create_patient(patient_body(draft.to_json(), PROJECT))
        assert outcome.id is not None
        patient = await client.get_patient(outcome.id)
    assert isinstance(patient, Patient)
    assert (patient.id, patient.first_name, patient.project_id) == (outcome.id, "Ada", PROJECT)
    assert patient.address is not None
    assert patient.address.city == "Boston"
    assert patient.created_at is not None


@pytest.mark.parametrize("path", ["/v1/patient", "/v1/task"])
async def test_a_key_that_is_missing_or_wrong_is_401(path: str) -> None:
    """Proves it for every call, before anything else is looked at."""
    async with plain_http(key="wrong") as http:
        answers = [await http.post(path, content=b"x"), await http.get(f"{path}/{NIL_ID}")]
        del http.headers["Authorization"]
        answers += [await http.post(path, json=SEED), await http.get(f"{path}/no-uuid")]
    assert [answer.status_code for answer in answers] == [401] * 4
    assert all(set(answer.json()) == {"detail"} for answer in answers)


async def test_without_keys_any_key_is_accepted_but_none_is_not() -> None:
    """Proves that a first try needs no setting, and that a client that forgets its key still finds out."""
    async with plain_http(SandboxSettings(call_seconds=None), key="anything") as http:
        statuses = [(await http.get(f"/v1/task/{NIL_ID}")).status_code]
        del http.headers["Authorization"]
        statuses.append((await http.get(f"/v1/task/{NIL_ID}")).status_code)
    assert statuses == [404, 401]


@pytest.mark.parametrize("kind", ["patient", "task"])
async def test_an_unknown_id_is_404_and_a_malformed_one_400(kind: str) -> None:
    """Proves the documented bodies of both GETs."""
    async with plain_http() as http:
        answers = [await http.get(f"/v1/{kind}/{name}") for name in (NIL_ID, "17")]
    assert [answer.status_code for answer in answers] == [404, 400]
    assert [answer.json() for answer in answers] == [
        {"detail": "not found"},
        {"detail": f"{kind}_id: not a UUID"},
    ]


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        ({"phone_number": "Quine"}, "phone_number: string_pattern_mismatch"),
        ({"task": None}, "task: string_type"),
        ({"task_data": {"referral": {"address": {}}}}, "task_data.referral.address.street_name: missing"),
        ({"task_data": {"Quine": 1}}, "extra_forbidden"),
        ({"task_type": "Quine"}, "body: union_tag_invalid"),
    ],
)
async def test_a_bad_task_is_400_naming_the_field_and_never_its_value(
    change: dict[str, Any], detail: str
) -> None:
    """Proves that the detail, which ends on a work list, can be acted on and holds no patient data."""
    async with plain_http() as http:
        answer = await http.post("/v1/task", json={**SEED, **change})
    assert answer.status_code == 400
    assert detail in answer.json()["detail"]
    assert "Quine" not in answer.json()["detail"].replace("task_data.Quine: extra_forbidden", "")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b"[" * 100_000])
async def test_a_body_that_is_no_object_is_400(body: bytes) -> None:
    """Proves that nothing a client sends brings the sandbox down."""
    async with plain_http() as http:
        answers = [await http.post(path, content=body) for path in ("/v1/task", "/v1/patient")]
        assert (await http.get("/_sandbox/stats")).json()["tasks"] == 0
    assert [answer.status_code for answer in answers] == [400, 400]


async def test_what_the_api_does_not_have_is_404_or_405() -> None:
    """Proves that the answer is a JSON detail as everywhere else."""
    async with plain_http() as http:
        answers = [await http.get("/v1/tasks"), await http.delete(f"/v1/task/{NIL_ID}")]
    assert [answer.status_code for answer in answers] == [404, 405]
    assert all(set(answer.json()) == {"detail"} for answer in answers)


async def test_the_schema_can_be_held_to() -> None:
    """Proves both stricter settings; without them the vendor's quick start and its example go through."""
    without_address = {key: value for key, value in PATIENT.items() if key != "address"}
    strict = SandboxSettings(call_seconds=None, require_address=True, require_known_patient=True)
    statuses = []
    for settings in (QUIET, strict):
        async with plain_http(settings) as http:
            patient = await http.post("/v1/patient", json=without_address)
            task = await http.post("/v1/task", json=SEED)
            statuses.append((patient.status_code, task.status_code))
    assert statuses == [(201, 201), (400, 400)]


async def test_the_statistics_count_patients_tasks_and_requests() -> None:
    """Proves the one page that other tools read, key for key."""
    async with plain_http() as http:
        assert (await http.get("/_sandbox/stats")).json() == {
            "patients": 0,
            "tasks": 0,
            "tasks_by_patient": {},
            "requests": 0,
        }
        await http.post("/v1/patient", json=PATIENT)
        other = {**SEED, "patient_id": NIL_ID}
        for body in (SEED, other, SEED, {}):
            await http.post("/v1/task", json=body)
        assert (await http.get("/_sandbox/stats")).json() == {
            "patients": 1,
            "tasks": 3,
            "tasks_by_patient": {SEED["patient_id"]: 2, NIL_ID: 1},
            "requests": 5,
        }


async def test_the_page_shows_the_tasks_of_each_patient() -> None:
    """Proves that a person sees what arrived, and that no text of a request can become markup."""
    async with plain_http() as http:
        empty = (await http.get("/_sandbox")).text
        await http.post("/v1/task", json={**SEED, "task": "Schedule <script>alert(1)</script>"})
        page = await http.get("/_sandbox")
    assert "No task has arrived yet" in empty
    assert page.headers["content-type"].startswith("text/html")
    assert SEED["patient_id"] in page.text
    assert "&lt;script&gt;" in page.text
    assert "<script>" not in page.text


async def test_the_page_stays_small_after_thousands_of_tasks() -> None:
    """Proves that it shows the newest tasks and still counts all of them."""
    async with running_sandbox(QUIET) as sandbox, TaskApiClient(sandbox.url, KEY) as client:
        for _ in range(NEWEST + 5):
            await client.create_task(create_task_request(SEED))
        async with httpx.AsyncClient(trust_env=False) as http:
            page = (await http.get(f"{sandbox.url}/_sandbox")).text
            tasks = (await http.get(f"{sandbox.url}/_sandbox/tasks")).json()
    assert page.count("<details>") == NEWEST
    assert f"The newest {NEWEST} tasks" in page
    assert f"{NEWEST + 5} tasks</span>" in page
    assert len(tasks) == NEWEST + 5


async def test_storage_survives_a_restart(tmp_path: Path) -> None:
    """Proves that patients, tasks and idempotency keys are all there again."""
    settings = SandboxSettings(
        call_seconds=None, storage=tmp_path / "sandbox.db", idempotency_header="Idempotency-Key"
    )
    seen = []
    for _ in range(2):
        async with plain_http(settings) as http:
            task = await http.post("/v1/task", json=SEED, headers={"Idempotency-Key": "k"})
            patient = await http.post("/v1/patient", json=PATIENT, headers={"Idempotency-Key": "k"})
            seen.append((task.json(), patient.json()))
            stats = (await http.get("/_sandbox/stats")).json()
    assert seen[0] == seen[1]
    assert (stats["patients"], stats["tasks"]) == (1, 1)


async def test_storage_survives_kill_9(bridge: Any) -> None:
    """Proves that what was answered with 201 is still there after the process was killed."""
    storage = bridge.folder / "sandbox.db"
    code = (
        "import asyncio, sys; from pathlib import Path;"
        "from fhir_bridge.sandbox.server import serve_sandbox;"
        "from fhir_bridge.sandbox.settings import SandboxSettings;"
        "settings = SandboxSettings(storage=Path(sys.argv[1]), call_seconds=None);"
        "asyncio.run(serve_sandbox(settings, on_start=lambda url: print(url, flush=True)))"
    )
    process = bridge.process(str(storage), program=code)
    url = process.stdout.readline().strip()
    async with TaskApiClient(url, KEY) as client:
        outcome = await client.create_task(create_task_request(SEED))
    process.kill()
    process.wait()
    async with (
        running_sandbox(SandboxSettings(storage=storage, call_seconds=None)) as sandbox,
        TaskApiClient(sandbox.url, KEY) as client,
    ):
        task = await client.get_task(str(outcome.id))
    assert isinstance(task, Task)


async def test_a_served_sandbox_stops_at_sigterm(bridge: Any) -> None:
    """Proves that the command ends when it is told to, with a caller still connected."""
    code = (
        "import asyncio;"
        "from fhir_bridge.sandbox.server import serve_sandbox;"
        "from fhir_bridge.sandbox.settings import SandboxSettings;"
        "asyncio.run(serve_sandbox(SandboxSettings(), on_start=lambda url: print(url, flush=True)))"
    )
    process = bridge.process(program=code)
    url = process.stdout.readline().strip()
    async with TaskApiClient(url, KEY) as client:
        assert (await client.probe()).kind is OutcomeClass.ACCEPTED
        process.terminate()
        assert await asyncio.to_thread(process.wait, 10) in (0, -signal.SIGTERM)


async def test_an_idempotency_key_makes_a_repeated_post_create_nothing() -> None:
    """Proves same key and body, same id; another body 409; another kind of thing, its own keys."""
    settings = SandboxSettings(call_seconds=None, idempotency_header="Idempotency-Key")
    draft = TaskDraft.from_wire(SEED)
    changed = TaskDraft.from_wire({**SEED, "task": "Schedule an appointment"})
    async with (
        running_sandbox(settings) as sandbox,
        TaskApiClient(sandbox.url, KEY, idempotency_header="Idempotency-Key") as client,
    ):
        requests = [
            task_body(draft.to_json(), PROJECT, NIL_ID),
            task_body(draft.to_json(), PROJECT, NIL_ID),
            task_body(changed.to_json(), PROJECT, NIL_ID),
        ]
        first, again, other = [await client.create_task(each, idempotency_key="k") for each in requests]
        new = await client.create_task(requests[0], idempotency_key="k2")
        patient = await client.create_patient(
            patient_body(PatientDraft.from_wire(PATIENT).to_json(), PROJECT), idempotency_key="k"
        )
    assert first.id == again.id != new.id
    assert (other.kind, other.status) == (OutcomeClass.REFUSED, 409)
    assert patient.kind is OutcomeClass.ACCEPTED


async def test_without_the_setting_the_header_is_ignored() -> None:
    """Proves that the sandbox is the real API unless told otherwise: each POST creates."""
    async with plain_http() as http:
        ids = {
            (await http.post("/v1/task", json=SEED, headers={"Idempotency-Key": "k"})).json()["id"]
            for _ in range(2)
        }
    assert len(ids) == 2


@contextlib.asynccontextmanager
async def webhook_receiver() -> AsyncIterator[tuple[str, asyncio.Queue[WebhookEvent]]]:
    """A real HTTP server on loopback, and what it has received."""
    events: asyncio.Queue[WebhookEvent] = asyncio.Queue()

    async def receive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        events.put_nowait(WebhookEvent.model_validate_json(await reader.readexactly(length)))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(receive, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook", events


async def finished(client: TaskApiClient, task_id: str) -> Task:
    """The task once its calls are over, with all of them and what was said."""
    async with asyncio.timeout(10):
        while True:
            task = await client.get_task(task_id, include_transcript=True, include_all_calls=True)
            assert isinstance(task, Task)
            if isinstance(task.status, TaskStatus) and task.status.is_final:
                return task
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("failed_share", "status", "events"),
    [
        (0.0, TaskStatus.COMPLETED, ["call.completed", "task.completed"]),
        (1.0, TaskStatus.FAILED, ["call.completed", "call.completed", "task.completed"]),
    ],
)
async def test_a_simulated_call_ends_and_is_reported(
    failed_share: float, status: TaskStatus, events: list[str]
) -> None:
    """Proves outcome, transcript and both webhooks, for a patient who answers and for one who never does."""
    async with webhook_receiver() as (url, queue):
        settings = SandboxSettings(call_seconds=0.05, failed_share=failed_share, webhook=url)
        async with running_sandbox(settings) as sandbox, TaskApiClient(sandbox.url, KEY) as client:
            outcome = await client.create_task(create_task_request(SEED))
            task = await finished(client, str(outcome.id))
            newest = await client.get_task(str(outcome.id))
            async with asyncio.timeout(5):
                received = [await queue.get() for _ in events]
            assert queue.empty()
    assert task.status is status
    assert task.task_outcome
    assert task.calls is not None
    assert [event.event for event in received] == events
    assert {event.task_id for event in received} == {task.id}
    assert [event.call_id for event in received[:-1]] == [call.id for call in reversed(task.calls)]
    assert all(call.transcripts for call in task.calls) == (status is TaskStatus.COMPLETED)
    assert isinstance(newest, Task)
    assert newest.calls is not None
    assert [call.transcripts for call in newest.calls] == [None]
    assert newest.has_more_calls == (len(task.calls) > 1)


async def test_calls_interrupted_by_a_restart_are_taken_up(tmp_path: Path) -> None:
    """Proves that no task of a kept storage stays unfinished for ever."""
    storage = tmp_path / "sandbox.db"
    interrupted = SandboxSettings(call_seconds=0.4, failed_share=0.0, storage=storage)
    async with running_sandbox(interrupted) as sandbox, TaskApiClient(sandbox.url, KEY) as client:
        outcome = await client.create_task(create_task_request(SEED))
        await asyncio.sleep(0.3)
    resumed = SandboxSettings(call_seconds=0.02, failed_share=0.0, storage=storage)
    async with running_sandbox(resumed) as sandbox, TaskApiClient(sandbox.url, KEY) as client:
        task = await finished(client, str(outcome.id))
    assert task.calls is not None
    assert (task.status, len(task.calls)) == (TaskStatus.COMPLETED, 1)


async def test_a_webhook_nobody_takes_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Proves that the task still ends, and that the log names the event and no patient."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        settings = SandboxSettings(
            call_seconds=0.02, failed_share=0.0, webhook=f"http://127.0.0.1:{unused.getsockname()[1]}/"
        )
        async with running_sandbox(settings) as sandbox, TaskApiClient(sandbox.url, KEY) as client:
            outcome = await client.create_task(create_task_request(SEED))
            task = await finished(client, str(outcome.id))
    assert task.status is TaskStatus.COMPLETED
    assert "webhook call.completed" in caplog.text
    assert "5555555" not in caplog.text


async def test_a_taken_port_and_a_bad_storage_are_said(tmp_path: Path) -> None:
    """Proves that both are errors with a name instead of a traceback."""
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(SettingsError, match="cannot listen"),
    ):
        async with running_sandbox(SandboxSettings(port=taken.getsockname()[1])):
            pass
    nonsense = tmp_path / "nonsense.db"
    nonsense.write_bytes(b"not a database" * 100)
    for storage in (nonsense, tmp_path / "missing" / "sandbox.db"):
        with pytest.raises(SettingsError, match=storage.name):
            async with running_sandbox(SandboxSettings(storage=storage)):
                pass
