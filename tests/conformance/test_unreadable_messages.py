"""A message of which something cannot be read holds the calls that it may speak against."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update

from fhir_bridge.ledger.arrivals.precedence import Version
from fhir_bridge.ledger.database.tables import patients
from fhir_bridge.ledger.records import Act, Heard, StartTask, WorkItem
from fhir_bridge.ledger.sending.claims import Claim
from fhir_bridge.ledger.sources.messages import NO_VERSION, MessageSelection, Received, Unread, Unreadable
from fhir_bridge.ledger.store import SqlLedger
from fhir_bridge.mapping.gates import NOBODY_BLOCKED, Blocked
from fhir_bridge.mapping.statements import Statement
from fhir_bridge.mapping_run import MappingRun
from fhir_bridge.processing.processor import Processor
from fhir_bridge.processing.source import ProcessedSource
from tests.conformance.test_processors import PERSON, PROFILE, WANTED

Json = dict[str, Any]
HELD = ("rejected", "record-unreadable")
READY = ("ready", None)
DEAD = {**PERSON, "deceasedBoolean": True, "meta": {"versionId": "3", "lastUpdated": "2026-11-23T08:00:00Z"}}
OTHER = {**PERSON, "id": "p2", "telecom": [{"system": "phone", "value": "(212) 555-0102"}]}


def of(patient: str, trigger: str) -> Json:
    """An appointment that somebody is to be called for."""
    return {**WANTED, "id": trigger, "participant": [{"actor": {"reference": f"Patient/{patient}"}}]}


def bundle(*entries: Json) -> bytes:
    """A message of these resources."""
    return json.dumps(
        {"resourceType": "Bundle", "type": "history", "entry": [{"resource": one} for one in entries]}
    ).encode()


@dataclass
class Site:
    """A ledger and what processes its inbox, an hour later with each message."""

    ledger: SqlLedger
    now: datetime
    processor: Processor = field(init=False)

    def __post_init__(self) -> None:
        async def nobody(_: str) -> Blocked:
            return NOBODY_BLOCKED

        source = ProcessedSource("ehr", lambda now: MappingRun(PROFILE, now))
        self.processor = Processor(self.ledger, {"ehr": source}, nobody, lambda: self.now)

    async def told(self, body: bytes, **route: Any) -> None:
        """A message comes and is processed."""
        self.now += timedelta(hours=1)
        await self.ledger.receive([Received("ehr", body, self.now, **route)])
        await self.processor.drain(asyncio.Event())

    async def stands(self, trigger: str) -> tuple[str, str | None]:
        """State and reason of a trigger's intent."""
        shown = await self.ledger.show(trigger)
        return shown["state"], shown["reason"]

    async def failed(self) -> list[WorkItem]:
        """The messages on the work list."""
        return [item for item in await self.ledger.worklist() if item.kind == "message"]

    def act(self) -> Act:
        """Somebody's."""
        return Act("tester", "looked at it", self.now)


@pytest.fixture
async def site(ledger: SqlLedger, monday: datetime) -> AsyncIterator[Site]:
    """Two persons wait to be called."""
    site = Site(ledger, monday)
    await site.told(bundle(PERSON, OTHER, of("p1", "a1"), of("p2", "a2")))
    assert await site.stands("Appointment/a1") == READY
    yield site


CUT = b'{"resourceType":"Bundle","type":"history","entry":[{"resource":%b}]}'


def latin(resource: Json) -> bytes:
    """A message whose one resource is not UTF-8."""
    return CUT % json.dumps({**resource, "note_": "X"}).replace('"X"', '"\xe9"').encode("latin-1")


MISSPELT = json.dumps({**DEAD, "resourceType": "Pateint"}).encode()

SPEAKS: dict[str, bytes] = {
    "a death": latin(DEAD),
    "a death of a Pateint": CUT % MISSPELT,
    "a denial": latin({"resourceType": "Consent", "id": "c", "patient": {"reference": "Patient/p1"}}),
    "a booking": latin({**of("p1", "a9"), "status": "booked"}),
    "a cancellation that names no patient": latin({"resourceType": "Appointment", "id": "a1"}),
    "an order": latin({"resourceType": "ServiceRequest", "id": "s", "subject": {"reference": "Patient/p1"}}),
}


@pytest.mark.parametrize("what", SPEAKS)
async def test_what_cannot_be_read_holds_whom_it_names(site: Site, what: str) -> None:
    """Nobody else; what comes for that person later waits too."""
    await site.told(SPEAKS[what])
    assert await site.stands("Appointment/a1") == HELD
    assert await site.stands("Appointment/a2") == READY
    (item,) = await site.failed()
    assert item.holds == ("Patient/p1",)
    await site.told(bundle(PERSON, of("p1", "a3")))
    assert await site.stands("Appointment/a3") == HELD


async def test_a_broken_record_of_another_type_holds_nobody(site: Site) -> None:
    """It decides nothing, and the work list does not say that it does."""
    visit = {"resourceType": "Encounter", "subject": {"reference": "Patient/p1"}, "id": "X"}
    await site.told(CUT % json.dumps(visit).replace('"X"', '"\xe9"').encode("latin-1"))
    assert await site.stands("Appointment/a1") == READY
    (item,) = await site.failed()
    assert item.holds == ()


async def test_where_nobody_is_shown_the_work_list_says_so(site: Site) -> None:
    """Nobody can be held for it."""
    await site.told(latin({"resourceType": "Consent", "id": "c"}))
    assert await site.stands("Appointment/a1") == READY
    (item,) = await site.failed()
    assert item.holds == ("?",)


async def test_an_unclear_record_may_be_about_anybody_in_its_message(site: Site) -> None:
    """As within a Bundle of a file."""
    body = bundle(OTHER, {"resourceType": "Consent", "id": "X"})
    await site.told(body.replace(b'"X"', b'"\xe9"'))
    assert await site.stands("Appointment/a2") == HELD
    assert await site.stands("Appointment/a1") == READY


async def test_a_readable_version_lets_the_calls_go_on(site: Site) -> None:
    """One that is as new, or newer; an older one, or one that came before, says nothing of it."""
    await site.told(latin(DEAD))
    for older in ({"versionId": "2", "lastUpdated": "2026-11-23T07:00:00Z"}, {"versionId": "2"}, {}):
        await site.told(bundle({**PERSON, "meta": older}))
        assert await site.stands("Appointment/a1") == HELD
    await site.told(bundle({**PERSON, "meta": {"versionId": "4", "lastUpdated": "2026-11-23T09:00:00Z"}}))
    assert (await site.stands("Appointment/a1"))[0] == "ready"
    (item,) = await site.failed()
    assert item.holds == ()


@pytest.mark.parametrize("version", [NO_VERSION, Version("3", None)])
async def test_the_same_version_lets_the_calls_go_on_only_where_it_came_later(
    site: Site, version: Version
) -> None:
    """What came before, or with what could not be read, or waited while newer messages were taken in, may be
    what stood there until then."""
    at = site.now
    (message,) = [each async for each in site.ledger.messages(MessageSelection())]
    unread = Unreadable("ehr", message.id, frozenset({"Patient/p1"}), at, "Patient/p1", version)
    await site.ledger.accept([], now=at, missed=Unread([unread]))
    record = Statement(("Patient/p1",), "Patient/p1", None, version.version_id)
    earlier, later = (at + timedelta(minutes=minutes) for minutes in (-1, 1))
    for said_at, is_late in ((earlier, False), (at, False), (later, True)):
        await site.ledger.accept([], now=later, heard=[Heard("ehr", record, said_at, is_late)])
        assert await site.stands("Appointment/a1") == HELD
    await site.ledger.accept([], now=later, heard=[Heard("ehr", record, later)])
    assert await site.stands("Appointment/a1") == READY


async def test_a_readable_version_that_is_dead_ends_the_calls(site: Site) -> None:
    """What stood there is known now."""
    await site.told(latin(DEAD))
    await site.told(bundle(DEAD))
    assert await site.stands("Appointment/a1") == ("skipped", "patient-deceased")


async def test_an_order_is_answered_by_its_own_readable_version(site: Site) -> None:
    """Which says nothing of a person by itself."""
    order = {"resourceType": "ServiceRequest", "id": "s", "subject": {"reference": "Patient/p1"}}
    await site.told(latin(order))
    await site.told(bundle({**order, "status": "revoked", "intent": "order"}, PERSON))
    assert (await site.stands("Appointment/a1"))[0] == "ready"


async def test_a_message_that_can_be_read_by_now_holds_nothing(site: Site) -> None:
    """Retried, it is processed as if for the first time; one that still fails goes on holding."""
    await site.told(b"", path="Appointment/a1")
    assert await site.stands("Appointment/a1") == HELD
    await site.ledger.retry_messages(MessageSelection(), site.act())
    await site.processor.drain(asyncio.Event())
    assert await site.stands("Appointment/a1") == HELD
    (item,) = await site.failed()
    assert (item.reason, item.holds) == ("nothing-to-read-from", ("Patient/p1",))


async def test_somebody_may_say_that_a_message_is_settled(site: Site) -> None:
    """It leaves the work list, and what it held goes on; what another one holds does not."""
    await site.told(latin(DEAD))
    await site.told(SPEAKS["a denial"])
    first, second = (int(item.key) for item in await site.failed())
    assert await site.ledger.settle_failed(MessageSelection(id=first), site.act()) == 1
    assert await site.stands("Appointment/a1") == HELD
    assert await site.ledger.settle_failed(MessageSelection(id=second), site.act()) == 1
    assert (await site.stands("Appointment/a1"))[0] == "ready"
    assert await site.failed() == []
    assert await site.ledger.settle_failed(MessageSelection(id=second), site.act()) == 0


async def test_what_is_known_of_a_death_outlives_an_unreadable_record(site: Site) -> None:
    """Settling the message does not bring the dead person's call back."""
    await site.told(bundle(DEAD))
    newer = {**PERSON, "meta": {"versionId": "5"}}
    await site.told(latin(newer))
    assert await site.stands("Appointment/a1") == ("skipped", "patient-deceased")
    await site.ledger.settle_failed(MessageSelection(), site.act())
    assert await site.stands("Appointment/a1") == ("skipped", "patient-deceased")


async def test_what_was_sent_already_raises_no_alarm_of_its_own(site: Site) -> None:
    """The message is on the work list; nobody knows that the call was revoked."""
    async with site.ledger._writing() as connection:
        await connection.execute(update(patients).values(state="created", api_id="known"))
    later = site.now + timedelta(minutes=1)
    claimed = await site.ledger.claim(Claim("w", site.now, later, 9))
    begun = await site.ledger.write([StartTask(each, site.now, later, site.now) for each in claimed])
    assert [each.done for each in begun] == [True, True]
    await site.told(latin(DEAD))
    assert [item.kind for item in await site.ledger.worklist()] == ["message"]
