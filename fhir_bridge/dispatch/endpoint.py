"""What dispatch asks of the task API; `task_api.client.TaskApiClient` is the one that does it over HTTP."""

from __future__ import annotations

from typing import Protocol

from fhir_bridge.task_api.models import Task
from fhir_bridge.task_api.outcome import Outcome


class Endpoint(Protocol):
    """Each call is made once and never raises for an answer or a failing network."""

    async def create_patient(self, request: bytes, *, idempotency_key: str | None = None) -> Outcome:
        """POST /v1/patient, a request's JSON."""
        ...

    async def create_task(self, request: bytes, *, idempotency_key: str | None = None) -> Outcome:
        """POST /v1/task, a request's JSON: somebody may be phoned."""
        ...

    async def get_task(
        self, task_id: str, *, include_transcript: bool = False, include_all_calls: bool = False
    ) -> Task | Outcome:
        """The task, or what became of the question."""
        ...

    async def probe(self) -> Outcome:
        """ACCEPTED where the endpoint is alive and takes our key."""
        ...
