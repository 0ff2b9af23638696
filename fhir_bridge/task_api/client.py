"""The task API's async client: each call once, no redirects, an Outcome for whatever happens (delivery)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self, TypeVar
from urllib.parse import quote

import httpx
from pydantic import SecretStr, ValidationError

from fhir_bridge.network import address, bearer, proxy_for, tls_context
from fhir_bridge.task_api.connections import Connections
from fhir_bridge.task_api.outcome import Outcome, OutcomeClass, outcome_of_answer, outcome_of_failure
from fhir_bridge.task_api.patients import CreatePatientRequest
from fhir_bridge.task_api.records import Patient, Task
from fhir_bridge.task_api.tasks import TaskRequest
from fhir_bridge.task_api.transport import EXTENSION, Progress
from fhir_bridge.task_api.wire import NIL_ID, Received, Sent

MAX_ANSWER = 4 * 1024 * 1024
"""Bytes of an answer that are read; a longer one is unreadable. Long transcripts stay well below."""

_PATIENT = "/v1/patient"
_TASK = "/v1/task"

Record = TypeVar("Record", bound=Received)


class _Answer(NamedTuple):
    """What was read; `body` is None when it broke off or had no end."""

    status: int
    headers: httpx.Headers
    body: bytes | None


def _utc_now() -> datetime:
    return datetime.now(UTC)


class TaskApiClient:
    """Calls the task API at `base_url` with one key; an async context manager.

    Times are in seconds: `connect_timeout` for a connection, `timeout` for the whole exchange.
    `idempotency_header` names the header that carries a POST's key and says that the endpoint honours it:
    an unknown outcome of a POST with a key is then `repeatable`. `safe_statuses`: see `outcome_of_answer`.
    `proxy` is not used towards loopback; nothing is read from the environment. A call that is cancelled
    leaves its outcome unknown.
    Raises SettingsError for an address, key, proxy or CA bundle that cannot be used.
    """

    def __init__(
        self,
        base_url: str,
        api_key: SecretStr,
        *,
        timeout: float = 30.0,
        connect_timeout: float = 10.0,
        max_connections: int = 100,
        ca_bundle: Path | None = None,
        proxy: str | None = None,
        idempotency_header: str | None = None,
        safe_statuses: Collection[int] = (),
        now: Callable[[], datetime] = _utc_now,
    ) -> None:
        url = address(base_url, "api.url", "https://api.example")
        self._timeout = timeout
        self._idempotency_header = idempotency_header
        self._safe_statuses = frozenset(safe_statuses)
        self._now = now
        self._base_url = str(url).rstrip("/")
        self._connect_timeout = connect_timeout
        # An address and a header are parsed once here, not for every request.
        self._posts = {path: httpx.URL(self._base_url + path) for path in (_PATIENT, _TASK)}
        self._headers = [
            (b"Accept", b"application/json"),
            # Without compression an answer cannot be larger than what was read of it.
            (b"Accept-Encoding", b"identity"),
            (b"Authorization", bearer(api_key, "api.key").encode("ascii")),
            (b"User-Agent", b"fhir-bridge"),
        ]
        # Without httpx's client above it there are no redirects, cookies or proxies from the environment, and
        # a request costs half as much.
        self._transport = Connections(
            tls=tls_context(ca_bundle), proxy=proxy_for(url, proxy), max_connections=max_connections
        )

    def __repr__(self) -> str:
        return f"TaskApiClient({self._base_url!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections."""
        await self._transport.aclose()

    async def create_patient(
        self, request: CreatePatientRequest | bytes, *, idempotency_key: str | None = None
    ) -> Outcome:
        """POST /v1/patient once; bytes are a request's JSON. Never raises for an answer or a failure of the
        network.
        """
        return await self._post(_PATIENT, request, idempotency_key)

    async def create_task(
        self, request: TaskRequest | bytes, *, idempotency_key: str | None = None
    ) -> Outcome:
        """POST /v1/task once: somebody may be phoned. Bytes are a request's JSON. Never raises for an answer
        or a failing network.
        """
        return await self._post(_TASK, request, idempotency_key)

    async def get_patient(self, patient_id: str) -> Patient | Outcome:
        """The patient, or what became of the question: REFUSED with status 404 when there is none."""
        return await self._get(f"{_PATIENT}/{quote(patient_id, safe='')}", {}, Patient)

    async def get_task(
        self, task_id: str, *, include_transcript: bool = False, include_all_calls: bool = False
    ) -> Task | Outcome:
        """The task, or what became of the question: REFUSED with status 404 when there is none.

        It comes with its newest call, or with all of them, each with or without its transcript.
        """
        parameters = {
            "include_transcript": str(include_transcript).lower(),
            "include_all_calls": str(include_all_calls).lower(),
        }
        return await self._get(f"{_TASK}/{quote(task_id, safe='')}", parameters, Task)

    async def probe(self) -> Outcome:
        """ACCEPTED when the endpoint lives and takes our key: asks for a task that cannot be (delivery)."""
        task = await self.get_task(NIL_ID)
        if isinstance(task, Task):
            return Outcome(OutcomeClass.ACCEPTED, 200)
        if task.status in (400, 404):
            return Outcome(OutcomeClass.ACCEPTED, task.status)
        return task

    async def _post(self, path: str, body: Sent | bytes, idempotency_key: str | None) -> Outcome:
        headers = [*self._headers, (b"Content-Type", b"application/json")]
        has_key = bool(self._idempotency_header and idempotency_key)
        if self._idempotency_header and idempotency_key:
            headers.append((self._idempotency_header.encode("ascii"), idempotency_key.encode("ascii")))
        content = body if isinstance(body, bytes) else body.to_json()
        request = httpx.Request("POST", self._posts[path], content=content, headers=headers)
        answer = await self._exchange(request, idempotent=False)
        outcome = answer if isinstance(answer, Outcome) else self._outcome(answer, idempotent=False)
        return (
            replace(outcome, repeatable=True) if has_key and outcome.kind is OutcomeClass.UNKNOWN else outcome
        )

    async def _get(self, path: str, parameters: Mapping[str, str], model: type[Record]) -> Record | Outcome:
        url = self._base_url + path
        request = httpx.Request("GET", url, params=parameters or None, headers=self._headers)
        answer = await self._exchange(request, idempotent=True)
        if isinstance(answer, Outcome):
            return answer
        if not 200 <= answer.status < 300:
            return self._outcome(answer, idempotent=True)
        try:
            return model.model_validate_json(answer.body or b"")
        except ValidationError:
            return Outcome(OutcomeClass.NOT_PROCESSED, answer.status, "unreadable-answer")

    def _outcome(self, answer: _Answer, *, idempotent: bool) -> Outcome:
        now = self._now()
        return outcome_of_answer(*answer, now=now, safe_statuses=self._safe_statuses, idempotent=idempotent)

    async def _exchange(self, request: httpx.Request, *, idempotent: bool) -> _Answer | Outcome:
        """Send once: the answer as far as it could be read, or the outcome of having none."""
        progress = Progress()
        request.extensions = {EXTENSION: progress, "timeout": {"connect": self._connect_timeout}}
        response: httpx.Response | None = None
        body: bytes | None = None
        try:
            async with asyncio.timeout(self._timeout):
                response = await self._transport.handle_async_request(request)
                body = await _read(response)
        # Whatever is raised, what it means is read off the request's progress, never off its class; its text
        # is dropped, because it may quote what was sent.
        except Exception as error:
            if response is None:
                how = "timeout" if isinstance(error, TimeoutError | httpx.TimeoutException) else "failed"
                return outcome_of_failure(
                    f"{progress.stage}-{how}",
                    before_first_byte=progress.before_first_byte,
                    idempotent=idempotent,
                )
        finally:
            if response is not None:
                with contextlib.suppress(Exception):
                    await response.aclose()
        return _Answer(response.status_code, response.headers, body)


async def _read(response: httpx.Response) -> bytes | None:
    """The whole body, None when there is more of it than MAX_ANSWER."""
    body = bytearray()
    async for part in response.aiter_bytes():
        body += part
        if len(body) > MAX_ANSWER:
            return None
    return bytes(body)
