"""A worker in a process of its own, so that a test can kill it: the bridge's own parts, wired together.

Mode `send` works until nothing is due. `hold` stops for ever where the attempt is committed and no byte was
sent yet, and says `committed` each time. `suspend` has the whole process stopped there, as by SIGSTOP or a
machine that sleeps, until somebody continues it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from datetime import timedelta
from zoneinfo import ZoneInfo

import structlog
from pydantic import SecretStr

from fhir_bridge.dispatch.checks import Rules, SourceCalling
from fhir_bridge.dispatch.dispatcher import Dispatcher, Until
from fhir_bridge.ledger.records import StartTask, Write, Written
from fhir_bridge.ledger.store import SqlLedger, open_ledger
from fhir_bridge.settings import DispatchSettings, calling_hours
from fhir_bridge.task_api.client import TaskApiClient
from fhir_bridge.task_api.models import TaskRequest
from fhir_bridge.task_api.outcome import Outcome

LEASE = timedelta(seconds=1.5)
MAX_IN_FLIGHT = 8


class HeldClient(TaskApiClient):
    """The real client, but for the moment before the request of a task."""

    async def create_task(
        self, request: TaskRequest | bytes, *, idempotency_key: str | None = None
    ) -> Outcome:
        """Never gets as far as sending."""
        print("committed", flush=True)
        await asyncio.sleep(3600)
        return await super().create_task(request, idempotency_key=idempotency_key)


def suspend_after_commit(ledger: SqlLedger) -> None:
    """Stop this process where its first attempt at a task is committed, and go on where it is continued."""
    commit = ledger.write

    async def stopping(batch: Sequence[Write]) -> list[Written]:
        written = await commit(batch)
        if any(isinstance(item, StartTask) for item in batch):
            print("committed", flush=True)
            os.kill(os.getpid(), signal.SIGSTOP)
        return written

    setattr(ledger, "write", stopping)  # noqa: B010


async def main(ledger: str, url: str, project: str, mode: str) -> None:
    """Work until nothing is due within the lease."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    settings = DispatchSettings(
        calling_hours=calling_hours("off"), lease=LEASE, max_in_flight=MAX_IN_FLIGHT, min_gap=timedelta(0)
    )
    rules = Rules(settings, {"ehr": SourceCalling(calling_hours("off"), ZoneInfo("UTC"))})
    kind = HeldClient if mode == "hold" else TaskApiClient
    async with (
        kind(url, SecretStr("key"), timeout=30) as client,
        await open_ledger(ledger, api_url=url, project_id=project) as opened,
    ):
        if mode == "suspend":
            suspend_after_commit(opened)
        print("ready", flush=True)
        await Dispatcher(opened, client, rules, project).run(asyncio.Event(), Until(drained=LEASE))


def work(said: str, ledger: str, url: str, project: str, mode: str) -> None:
    """What such a process does; what it says goes to the file `said`."""
    file = os.open(said, os.O_WRONLY | os.O_CREAT, 0o600)
    for stream in (1, 2):
        os.dup2(file, stream)
    asyncio.run(main(ledger, url, project, mode))
