"""`serve` killed under load: what a sender was told is kept, is kept; and all of it is processed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from fhir_bridge.ledger.sources.messages import MessageSelection, MessageState
from fhir_bridge.ledger.store import SqlLedger, open_ledger
from tests.conftest import Bridge
from tests.forks import Forked

PROJECT = "123e4567-e89b-12d3-a456-426614174000"
SETTINGS = """\
[api]
url = "http://127.0.0.1:1"
project_id = "{project}"
key = "key"
timeout = "500ms"
[dispatch]
calling_hours = "off"
lease = "1s"
[ledger]
url = "{ledger}"
[sources.ehr.credentials]
bearer = "token"
"""
SENDERS = 16
KILLS = 2


def message(number: int) -> bytes:
    """One person's proposed appointment."""
    patient = {
        "resourceType": "Patient", "id": f"p{number}", "birthDate": "1980-01-01",
        "name": [{"family": "Sample", "given": ["Juniper"]}],
        "telecom": [{"system": "phone", "value": f"+1212555{number % 10000:04}"}],
        "address": [{"line": ["12 Sample St"], "city": "New York", "state": "NY", "postalCode": "10001",
                     "country": "US"}],
    }  # fmt: skip
    appointment = {
        "resourceType": "Appointment", "id": f"a{number}", "status": "proposed",
        "participant": [{"actor": {"reference": f"Patient/p{number}"}, "status": "accepted"}],
    }  # fmt: skip
    entries = [{"resource": each} for each in (patient, appointment)]
    return json.dumps({"resourceType": "Bundle", "type": "collection", "entry": entries}).encode()


@dataclass
class Hospital:
    """Senders that never stop, and what they were told is kept."""

    bridge: Bridge
    told: set[int] = field(default_factory=set)
    sent: int = 0
    _wanted: int = 0
    _enough: asyncio.Event = field(default_factory=asyncio.Event)

    async def hears(self, more: int) -> None:
        """Until so many more messages were acknowledged."""
        self._wanted = len(self.told) + more
        self._enough.clear()
        await self._enough.wait()

    def serve(self) -> tuple[Forked, str]:
        """`fhir-bridge serve` in a process of its own, and its address."""
        process = self.bridge.process("serve", "--port", "0", stderr=Path(os.devnull))
        first = process.stdout.readline()
        assert first.startswith("webhooks are taken at "), first
        return process, first.split(" at ")[1].split(";")[0]

    async def load(self, url: str) -> None:
        """Send from all sides until nobody answers any more."""
        async with httpx.AsyncClient(trust_env=False, timeout=5) as client:
            await asyncio.gather(*(self._send(client, url) for _ in range(SENDERS)))

    async def _send(self, client: httpx.AsyncClient, url: str) -> None:
        headers = {"Authorization": "Bearer token"}
        while True:
            self.sent += 1
            number = self.sent
            try:
                answer = await client.post(f"{url}/fhir/ehr", content=message(number), headers=headers)
            except httpx.HTTPError:
                return
            if answer.status_code == 200:
                self.told.add(number)
                if len(self.told) >= self._wanted:
                    self._enough.set()

    async def kept(self, ledger: SqlLedger) -> dict[int, int]:
        """How often each message is in the inbox."""
        counts: dict[int, int] = {}
        async for each in ledger.messages(MessageSelection()):
            name = json.loads(each.body or b"")["entry"][1]["resource"]["id"]
            counts[int(name[1:])] = counts.get(int(name[1:]), 0) + 1
        return counts


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
@pytest.mark.timeout(240)
async def test_what_was_acknowledged_survives_kill_9(
    database: str, bridge: Bridge, request: pytest.FixtureRequest
) -> None:
    """Proves: every 2xx that a sender saw is a row of the inbox, though the process was killed under load
    again and again; and what a dead processor held is processed by the next, each message into one intent."""
    location = "l.db"
    if database == "postgresql":
        make: Callable[[], str] = request.getfixturevalue("postgres_database")
        location = make()
    (bridge.folder / "bridge.toml").write_text(SETTINGS.format(project=PROJECT, ledger=location))
    hospital = Hospital(bridge)
    for _ in range(KILLS):
        process, url = hospital.serve()
        load = asyncio.create_task(hospital.load(url))
        await hospital.hears(60)
        process.send_signal(signal.SIGKILL)
        await asyncio.to_thread(process.wait)
        await load
    process, url = hospital.serve()
    at = bridge.folder / "l.db" if database == "sqlite" else location
    async with await open_ledger(at, api_url="http://127.0.0.1:1", project_id=PROJECT) as ledger:
        assert hospital.told <= set(await hospital.kept(ledger)), "acknowledged, and not there"
        for _ in range(600):
            if not (await ledger.inbox_lag()).received:
                break
            await asyncio.sleep(0.1)
        load = asyncio.create_task(hospital.load(url))
        await hospital.hears(20)
        process.send_signal(signal.SIGTERM)  # a graceful stop answers what was begun
        assert await asyncio.to_thread(process.wait) == 0
        await load
        kept = await hospital.kept(ledger)
        assert hospital.told <= set(kept)
        assert set(kept.values()) == {1}
        processed = [each async for each in ledger.messages(MessageSelection(state=MessageState.PROCESSED))]
        assert len(processed) >= KILLS * 60
        assert (await ledger.inbox_lag()).failed == 0
        states = (await ledger.status(datetime.now(UTC))).states
        assert sum(states.values()) == len(processed)
