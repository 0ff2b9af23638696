"""Each scripted fault of the sandbox, as the real client meets it."""

import json
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from fhir_bridge.sandbox.faults import Fault, FaultScript
from fhir_bridge.sandbox.server import running_sandbox
from fhir_bridge.sandbox.settings import SandboxSettings
from fhir_bridge.task_api.client import TaskApiClient
from fhir_bridge.task_api.models import create_task_request
from fhir_bridge.task_api.outcome import Outcome, OutcomeClass

SEED: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "fixtures" / "seed-request.json").read_text(encoding="utf-8")
)
UNKNOWN = OutcomeClass.UNKNOWN
NOT_PROCESSED = OutcomeClass.NOT_PROCESSED


async def meet(
    *rules: str, requests: int = 1, idempotency_key: str | None = None
) -> tuple[list[Outcome], int]:
    """The outcomes of this many requests under these rules, and how many tasks there were in the end."""
    header = "Idempotency-Key" if idempotency_key else None
    settings = SandboxSettings(call_seconds=None, faults=FaultScript.parse(rules), idempotency_header=header)
    async with running_sandbox(settings) as sandbox:
        async with TaskApiClient(
            sandbox.url, SecretStr("key"), timeout=1.0, idempotency_header=header
        ) as client:
            outcomes = [
                await client.create_task(create_task_request(SEED), idempotency_key=idempotency_key)
                for _ in range(requests)
            ]
        async with httpx.AsyncClient(trust_env=False) as http:
            stats = (await http.get(f"{sandbox.url}/_sandbox/stats")).json()
    return outcomes, stats["tasks"]


FAULTS = [
    ("refuse", UNKNOWN, None, 0),
    ("drop-before", UNKNOWN, None, 0),
    ("drop-after", UNKNOWN, None, 1),
    ("reset-before", UNKNOWN, None, 0),
    ("reset-after", UNKNOWN, None, 1),
    ("hang-before", UNKNOWN, None, 0),
    ("hang-after", UNKNOWN, None, 1),
    ("hang-before seconds=0.1", UNKNOWN, None, 0),
    ("status-before code=503", UNKNOWN, 503, 0),
    ("status-before code=503 retry-after=7", NOT_PROCESSED, 503, 0),
    ("status-before code=429 retry-after=7", NOT_PROCESSED, 429, 0),
    ("status-before code=422", OutcomeClass.REFUSED, 422, 0),
    ("status-before code=403", OutcomeClass.KEY_REFUSED, 403, 0),
    ("status-after code=504", UNKNOWN, 504, 1),
    ("garbage", UNKNOWN, 201, 1),
    ("truncated", UNKNOWN, 201, 1),
]


@pytest.mark.parametrize(("rule", "kind", "status", "tasks"), FAULTS)
async def test_a_fault_does_what_it_says(
    rule: str, kind: OutcomeClass, status: int | None, tasks: int
) -> None:
    """Proves what the caller sees, and whether there is a task although it looks the same from outside."""
    script = "refuse nth=1" if rule == "refuse" else f"{rule} POST /v1/task nth=1"
    (outcome, next_one), seen = await meet(script, requests=2)
    assert (outcome.kind, outcome.status, seen) == (kind, status, tasks + 1)
    assert outcome.retry_after == (7 if "retry-after" in rule else None)
    assert next_one.kind is OutcomeClass.ACCEPTED


def test_every_fault_is_met() -> None:
    """A fault added one day needs a row above."""
    assert {rule.split()[0] for rule, *_ in FAULTS} | {"latency"} == {fault.value for fault in Fault}


async def test_latency_only_takes_time() -> None:
    """Proves that the answer comes, later."""
    started = time.monotonic()
    (outcome,), tasks = await meet("latency POST /v1/task seconds=0.3")
    assert outcome.kind is OutcomeClass.ACCEPTED
    assert tasks == 1
    assert time.monotonic() - started >= 0.3


async def test_faults_strike_only_the_api() -> None:
    """Proves that whoever watches the sandbox still can."""
    outcomes, tasks = await meet("status-before code=500", requests=2)
    assert [outcome.status for outcome in outcomes] == [500, 500]
    assert tasks == 0


async def test_a_lost_answer_retried_under_one_key_leaves_one_task() -> None:
    """Proves what an idempotency header would give: both ways of losing an answer are safe to retry."""
    outcomes, tasks = await meet("drop-before nth=1", "drop-after nth=2", requests=4, idempotency_key="k")
    assert [outcome.kind for outcome in outcomes] == [OutcomeClass.UNKNOWN] * 2 + [OutcomeClass.ACCEPTED] * 2
    assert [outcome.repeatable for outcome in outcomes] == [True, True, False, False]
    assert outcomes[2].id == outcomes[3].id
    assert tasks == 1


async def test_the_sandbox_stops_while_a_fault_hangs() -> None:
    """Proves that a script cannot keep a test from ending."""
    settings = SandboxSettings(call_seconds=None, faults=FaultScript.parse(["hang-before seconds=3600"]))
    started = time.monotonic()
    async with running_sandbox(settings) as sandbox:
        async with TaskApiClient(sandbox.url, SecretStr("key"), timeout=0.2) as client:
            await client.create_task(create_task_request(SEED))
        reader = httpx.AsyncClient(trust_env=False, timeout=0.1, headers={"Authorization": "Bearer key"})
        with pytest.raises(httpx.ReadTimeout):
            await reader.get(f"{sandbox.url}/v1/task/x")
    await reader.aclose()
    assert time.monotonic() - started < 5
