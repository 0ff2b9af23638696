"""Simulated phone calls: each task is called after a while, ends, and is reported to the webhook."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import Any

import httpx

from fhir_bridge.sandbox.settings import SandboxSettings
from fhir_bridge.sandbox.store import Store
from fhir_bridge.task_api.models import CallStatus, TaskStatus

_log = logging.getLogger(__name__)

CALLS_BEFORE_GIVING_UP = 2


class Simulator:
    """Runs the calls of all tasks at once, in the background."""

    def __init__(self, settings: SandboxSettings, store: Store) -> None:
        self._settings = settings
        self._store = store
        self._running: set[asyncio.Task[None]] = set()
        self._http = httpx.AsyncClient(trust_env=False, timeout=5.0)

    def resume(self) -> None:
        """Take up the calls that a restart interrupted."""
        for task_id in self._store.unfinished():
            self.start(task_id)

    def start(self, task_id: str) -> None:
        """Call for this task, in the background."""
        if self._settings.call_seconds is not None:
            running = asyncio.create_task(self._run(task_id, self._settings.call_seconds))
            self._running.add(running)
            running.add_done_callback(self._running.discard)

    async def aclose(self) -> None:
        """Break off what is under way; a store in a file lets the next start take it up."""
        for running in list(self._running):
            running.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        await self._http.aclose()

    async def _run(self, task_id: str, seconds: float) -> None:
        body = self._store.body(task_id)
        picks_up = self._picks_up(str(body["phone_number"]))
        while self._store.calls_made(task_id) < (1 if picks_up else CALLS_BEFORE_GIVING_UP):
            await asyncio.sleep(seconds / 2)
            call_id = self._store.start_call(task_id, self._settings.now())
            await asyncio.sleep(seconds / 2)
            self._end_call(call_id, body, picks_up)
            await self._report("call.completed", task_id, call_id)
        status = TaskStatus.COMPLETED if picks_up else TaskStatus.FAILED
        self._store.end_task(task_id, status, _task_outcome(body, picks_up), self._settings.now())
        await self._report("task.completed", task_id, None)

    def _picks_up(self, phone_number: str) -> bool:
        chance = random.Random(f"{self._settings.seed}:{phone_number}")
        return chance.random() >= self._settings.failed_share

    def _end_call(self, call_id: str, body: dict[str, Any], picks_up: bool) -> None:
        now = self._settings.now()
        if picks_up:
            self._store.end_call(call_id, CallStatus.SUCCESS, "The patient agreed.", _transcript(body), now)
        else:
            self._store.end_call(call_id, CallStatus.FAILED, "Nobody answered.", [], now)

    async def _report(self, event: str, task_id: str, call_id: str | None) -> None:
        """Post one event, once, with a timestamp that has no zone, as the vendor's own example."""
        if self._settings.webhook is None:
            return
        stamp = self._settings.now().replace(tzinfo=None).isoformat(timespec="seconds")
        body = {"event": event, "task_id": task_id, "call_id": call_id, "timestamp": stamp}
        try:
            answer = await self._http.post(self._settings.webhook, json=body)
            answer.raise_for_status()
        except httpx.HTTPError as error:
            _log.warning("webhook %s for task %s not delivered: %s", event, task_id, type(error).__name__)


def _task_outcome(body: dict[str, Any], picks_up: bool) -> str:
    if not picks_up:
        return "The patient could not be reached."
    if body["task_type"] != "SCHEDULE_APPOINTMENT":
        return "The task was completed."
    rescheduled = (body.get("task_data") or {}).get("is_rescheduling")
    return "The appointment was rescheduled." if rescheduled else "The appointment was scheduled."


def _transcript(body: dict[str, Any]) -> list[dict[str, str]]:
    return [
        {"role": "assistant", "content": f"Hello, I am calling about this: {body['task']}. May I go on?"},
        {"role": "user", "content": "Yes, please."},
        {"role": "assistant", "content": "Thank you, that is arranged. Goodbye."},
    ]
