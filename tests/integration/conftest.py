"""A dispatcher between a real ledger and the sandbox, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
from pydantic import SecretStr

from fhir_bridge.dispatch.checks import Rules, SourceCalling
from fhir_bridge.dispatch.clock import Clock
from fhir_bridge.dispatch.dispatcher import Dispatcher, Until
from fhir_bridge.ledger.gate import Breaker
from fhir_bridge.ledger.store import SqlLedger, open_ledger
from fhir_bridge.sandbox.faults import FaultScript
from fhir_bridge.sandbox.server import running_sandbox
from fhir_bridge.sandbox.settings import SandboxSettings
from fhir_bridge.settings import DispatchSettings, calling_hours
from fhir_bridge.task_api.client import TaskApiClient

PROJECT = "123e4567-e89b-12d3-a456-426614174000"
QUICK = {"base": timedelta(milliseconds=20), "cap": timedelta(milliseconds=50)}


@dataclass
class Delivery:
    """A ledger, the sandbox and what runs between them; `url` is the sandbox's."""

    url: str
    ledger: SqlLedger
    dispatcher: Dispatcher

    async def drain(self, seconds: float = 5.0) -> None:
        """Send until nothing is due within the seconds, at most as long as that."""
        now = self.dispatcher.clock()
        await self.dispatcher.run(asyncio.Event(), Until(at=now + timedelta(seconds=seconds)))

    async def states(self) -> dict[str, int]:
        """How many intents are in which state."""
        return (await self.ledger.status(self.dispatcher.clock())).states

    async def reasons(self) -> dict[str, int]:
        """How many intents have which reason."""
        return (await self.ledger.status(self.dispatcher.clock())).reasons

    async def stats(self) -> dict[str, Any]:
        """What the sandbox has seen."""
        async with httpx.AsyncClient(trust_env=False) as client:
            return dict((await client.get(f"{self.url}/_sandbox/stats")).json())


Deliver = Callable[..., contextlib.AbstractAsyncContextManager[Delivery]]


@pytest.fixture
def delivery(tmp_path: Path) -> Deliver:
    """Opens a Delivery: faults by line, `[dispatch]` settings and the clock can be given."""

    @contextlib.asynccontextmanager
    async def opened(
        *faults: str,
        clock: Clock,
        key: str = "key",
        patience: float = 5.0,
        breaker: Breaker | None = None,
        sandbox: dict[str, Any] | None = None,
        **dispatch: Any,
    ) -> AsyncIterator[Delivery]:
        settings = SandboxSettings(
            api_keys=(SecretStr("key"),),
            faults=FaultScript.parse(faults),
            **(sandbox or {"call_seconds": None}),
        )
        told = {"calling_hours": calling_hours("off"), "retry": QUICK, **dispatch}
        rules = Rules(
            DispatchSettings(**told), {"ehr": SourceCalling(calling_hours("08:00-21:00"), ZoneInfo("UTC"))}
        )
        async with (
            running_sandbox(settings) as server,
            TaskApiClient(server.url, SecretStr(key), timeout=patience) as client,
            await open_ledger(
                tmp_path / "ledger.db",
                api_url=server.url,
                project_id=PROJECT,
                now=clock(),
                breaker=breaker or Breaker(),
            ) as ledger,
        ):
            dispatcher = Dispatcher(
                ledger, client, rules, PROJECT, clock, Random(0), breaker or Breaker(), timedelta(seconds=0.2)
            )
            yield Delivery(server.url, ledger, dispatcher)

    return opened
