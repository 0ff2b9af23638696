"""Several processors at one inbox: whatever one of them loses time over, a message is taken in once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from fhir_bridge.intake.files import Inputs
from fhir_bridge.ledger.database.tables import inbox, intents, metadata, triggers
from fhir_bridge.ledger.sources.messages import MessageSelection, Received
from fhir_bridge.ledger.store import SqlLedger
from fhir_bridge.mapping.gates import NOBODY_BLOCKED, Blocked
from fhir_bridge.mapping.profile import SourceFacts
from fhir_bridge.mapping_run import MappingRun
from fhir_bridge.processing.processor import Processor
from fhir_bridge.processing.source import ProcessedSource
from fhir_bridge.profiles.load import load_profile

LEASE = timedelta(seconds=0.2)
PERSON: dict[str, Any] = {
    "resourceType": "Patient", "id": "p1", "name": [{"family": "Sample", "given": ["Juniper"]}],
    "birthDate": "1980-01-01", "telecom": [{"system": "phone", "value": "(212) 555-0101"}],
    "address": [{"line": ["12 Sample St"], "city": "New York", "state": "NY", "postalCode": "10001",
                 "country": "US"}],
}  # fmt: skip
WANTED: dict[str, Any] = {
    "resourceType": "Appointment", "id": "a1", "status": "proposed", "created": "2026-11-20",
    "participant": [{"actor": {"reference": "Patient/p1"}, "status": "accepted"}],
}  # fmt: skip
PROFILE = load_profile(SourceFacts(name="ehr"), None, {})
CALLED_OFF = {**WANTED, "status": "entered-in-error"}


@dataclass
class Slow:
    """A source's server that answers when the test lets it; `asked` once somebody waits for it."""

    asked: asyncio.Event = field(default_factory=asyncio.Event)
    answers: asyncio.Event = field(default_factory=asyncio.Event)

    async def is_asked(self) -> None:
        """By somebody."""
        async with asyncio.timeout(30):
            await self.asked.wait()

    async def complete(
        self, run: MappingRun, inputs: Inputs, triggers: Sequence[str] = (), blocked: Blocked = NOBODY_BLOCKED
    ) -> Inputs:
        """What is at hand does."""
        self.asked.set()
        await self.answers.wait()
        return inputs


async def nobody(_source: str) -> Blocked:
    """Nobody is on the list."""
    return NOBODY_BLOCKED


@dataclass
class Inbox:
    """A ledger, its messages, and processors of them, at a clock that the test moves."""

    ledger: SqlLedger
    now: datetime

    async def told(self, *resources: dict[str, Any]) -> None:
        """A message with each of these and the patient."""
        for resource in resources:
            entries = [
                {"resource": each, "request": {"method": "PUT", "url": "x"}} for each in (resource, PERSON)
            ]
            body = json.dumps({"resourceType": "Bundle", "type": "history", "entry": entries}).encode()
            await self.ledger.receive([Received("ehr", body, self.now)])

    def processor(self, slow: Slow | None = None, lease: timedelta = LEASE) -> Processor:
        """One of them."""
        source = ProcessedSource("ehr", lambda now: MappingRun(PROFILE, now), completes=slow)
        return Processor(self.ledger, {"ehr": source}, nobody, lambda: self.now, lease=lease)

    async def rows(self) -> dict[str, Any]:
        """All that was made of the messages."""
        made = (intents, triggers, metadata.tables["members"], metadata.tables["patients"])
        async with self.ledger._reading() as connection:
            return {table.name: (await connection.execute(select(table))).all() for table in made}

    async def leased_until(self) -> datetime:
        """Of the oldest message."""
        async with self.ledger._reading() as connection:
            found: datetime = (await connection.execute(select(inbox.c.lease_until))).scalars().first()
            return found


@pytest.fixture
def site(ledger: SqlLedger, monday: datetime) -> Inbox:
    """An inbox with nothing in it."""
    return Inbox(ledger, monday)


async def test_a_message_that_takes_longer_than_its_lease_stays_with_its_processor(site: Inbox) -> None:
    """The lease is renewed while its source's server is waited for: nobody else takes it up."""
    await site.told(WANTED)
    slow, stop = Slow(), asyncio.Event()
    working = asyncio.create_task(site.processor(slow).step(stop))
    await slow.is_asked()
    for _ in range(3):
        site.now += LEASE * 0.75
        async with asyncio.timeout(30):
            while await site.leased_until() < site.now + LEASE:  # noqa: ASYNC110 (another row tells nobody)
                await asyncio.sleep(0.01)
        assert await site.processor().step(stop) == 0
    slow.answers.set()
    assert await working == 1
    assert [(m.state, m.tries) async for m in site.ledger.messages(MessageSelection())] == [("processed", 1)]
    assert (await site.ledger.status(site.now)).states == {"ready": 1}


@pytest.mark.parametrize("also", [(), (CALLED_OFF,)], ids=["the same", "and a later one"])
async def test_a_message_that_two_processors_are_at_is_taken_in_once(
    site: Inbox, also: tuple[dict[str, Any], ...]
) -> None:
    """A machine stood still until its lease was over, and goes on when another has done its work: what it
    made of the older message undoes nothing.
    """
    await site.told(WANTED)
    slow, stop = Slow(), asyncio.Event()
    standing_still = site.processor(slow, lease=timedelta(minutes=10))
    working = asyncio.create_task(standing_still.step(stop))
    await slow.is_asked()
    await site.told(*also)
    site.now += timedelta(minutes=11)
    assert await site.processor().step(stop) == 1 + len(also)
    once = await site.rows()
    slow.answers.set()
    await working
    assert await site.rows() == once
    found = [(m.state, m.tries) async for m in site.ledger.messages(MessageSelection())]
    assert found == [("processed", 2), *[("processed", 1)] * len(also)]
    assert (await site.ledger.status(site.now)).states == {"skipped" if also else "ready": 1}


async def test_processors_at_the_same_messages_at_once_take_each_in_once(site: Inbox) -> None:
    """Whoever wins, the other is refused; nothing waits for the other for ever."""
    await site.told(*[{**WANTED, "id": f"a{number}"} for number in range(4)])
    stop, slow = asyncio.Event(), Slow()
    working = []
    for _ in range(3):
        slow.asked.clear()
        working.append(asyncio.create_task(site.processor(slow, lease=timedelta(minutes=10)).step(stop)))
        await slow.is_asked()
        site.now += timedelta(minutes=11)
    slow.answers.set()
    async with asyncio.timeout(60):
        await asyncio.gather(*working)
    site.now += timedelta(minutes=11)
    while await site.processor().step(stop):
        pass
    states = [m.state async for m in site.ledger.messages(MessageSelection())]
    assert states == ["processed"] * 4
    assert (await site.ledger.status(site.now)).states == {"ready": 4}
