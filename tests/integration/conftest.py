"""A dispatcher between a real ledger and the sandbox, over real sockets; and the third-party files, read and
ready to map."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
from pydantic import SecretStr

from fhir_bridge.app.rules import mapping_run
from fhir_bridge.dispatch.checks import Rules, SourceCalling
from fhir_bridge.dispatch.clock import Clock
from fhir_bridge.dispatch.dispatcher import Dispatcher, Until
from fhir_bridge.fhir.dates import parse
from fhir_bridge.fhir.resource import Resource
from fhir_bridge.fhir.views import Appointment, ServiceRequest, View
from fhir_bridge.intake.files import Inputs
from fhir_bridge.ledger.sending.gate import Breaker
from fhir_bridge.ledger.store import SqlLedger, open_ledger
from fhir_bridge.mapping.decision import Decision
from fhir_bridge.mapping.printed import kind
from fhir_bridge.mapping_run import MappingRun
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
        """Send until nothing is due within the seconds, however long a busy machine takes over it."""
        async with asyncio.timeout(100):
            await self.dispatcher.run(asyncio.Event(), Until(drained=timedelta(seconds=seconds)))

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
        idempotency_header: str | None = None,
        **dispatch: Any,
    ) -> AsyncIterator[Delivery]:
        settings = SandboxSettings(
            api_keys=(SecretStr("key"),),
            faults=FaultScript.parse(faults),
            **{"call_seconds": None, "idempotency_header": idempotency_header, **(sandbox or {})},
        )
        told = {"calling_hours": calling_hours("off"), "retry": QUICK, **dispatch}
        rules = Rules(
            DispatchSettings(**told), {"ehr": SourceCalling(calling_hours("08:00-21:00"), ZoneInfo("UTC"))}
        )
        async with (
            running_sandbox(settings) as server,
            TaskApiClient(
                server.url, SecretStr(key), timeout=patience, idempotency_header=idempotency_header
            ) as client,
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


TODAY = datetime(2026, 11, 23, 15, tzinfo=UTC)
ABROAD = {
    "ans-sas-fr": ("FR", "Europe/Paris"),
    "au-core": ("AU", "Australia/Sydney"),
    "au-fhir-test-data": ("AU", "Australia/Sydney"),
    "nhs-bars": ("GB", "Europe/London"),
    "nhs-pds": ("GB", "Europe/London"),
}
"""Folders of the corpora that are not American."""


@dataclass
class MappedCorpora:
    """The third-party files as a site would map them: each folder a source, each file read once.

    `alone` is what is in each file that can be read, `together` what is in each folder.
    """

    config: Path
    today: datetime = TODAY
    alone: dict[str, Inputs] = field(default_factory=dict)
    together: dict[str, Inputs] = field(default_factory=dict)
    _runs: dict[tuple[str, frozenset[tuple[str, str]]], MappingRun] = field(default_factory=dict)

    def run(self, source: str, now: datetime = TODAY, **settings: str) -> MappingRun:
        """What `map --source` runs with at an instant; settings by their short names."""
        key = (source, frozenset(settings.items()))
        if key not in self._runs:
            self._runs[key] = mapping_run(str(self.config), source, settings, now)
        return replace(self._runs[key], now=now)

    def each(self) -> Iterator[tuple[str, str, Inputs]]:
        """Each file, then each folder: its source, its name and what is in it."""
        for name, inputs in self.alone.items():
            yield name.split("/")[0], name, inputs
        for name, inputs in self.together.items():
            yield name, name, inputs

    def verdict(self, decision: Decision) -> str:
        """What was decided, in two words."""
        reason = getattr(decision, "reason", None)
        return kind(decision) if reason is None else f"{kind(decision)} {reason}"

    def own_time(self, trigger: Resource[View]) -> datetime:
        """An hour before the newest moment a trigger names, when it may still have called; else today."""
        view = trigger.view
        if isinstance(view, Appointment):
            named = [view.created, view.start, *(period.start for period in view.requested_period)]
        else:
            assert isinstance(view, ServiceRequest)
            named = [view.authored_on, view.date, view.occurrence_date_time]
        moments = [moment.instant(UTC) for text in named if (moment := parse(text))]
        return max(moments) - timedelta(hours=1) if moments else self.today


@pytest.fixture(scope="package")
def mapped_corpora(corpora: Path, tmp_path_factory: pytest.TempPathFactory) -> MappedCorpora:
    """The third-party files, named from inside their folder so that no label holds a path of this machine."""
    folders = sorted(path.name for path in corpora.iterdir() if path.is_dir() and path.name != "LICENCES")
    config = tmp_path_factory.mktemp("site") / "bridge.toml"
    config.write_text("".join(map(_source_table, folders)))
    found = MappedCorpora(config)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(corpora)
        for folder in folders:
            names = [str(path) for path in sorted(Path(folder).rglob("*json")) if path.is_file()]
            read = {name: found.run(folder).read([name]) for name in names}
            found.alone |= {name: inputs for name, inputs in read.items() if not inputs.nothing_readable}
            found.together[folder] = found.run(folder).read(names)
    return found


def _source_table(folder: str) -> str:
    country, zone = ABROAD.get(folder, ("US", "America/New_York"))
    return f'[sources.{folder}]\njurisdiction = "{country}"\ntimezone = "{zone}"\n'
