"""What of a file nobody can read holds calls as a message does, once for each text."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fhir_bridge.ledger.records import Broken, Heard
from fhir_bridge.ledger.sources.messages import MessageSelection, Unread
from fhir_bridge.ledger.store import SqlLedger
from fhir_bridge.mapping.statements import Statement
from tests.conformance.test_processors import PERSON
from tests.conformance.test_unreadable_messages import HELD, OTHER, READY, Site, bundle, of

WRITTEN = datetime(2026, 11, 23, 8, tzinfo=UTC)
OF_P1 = Broken(
    "ehr", "Patient.ndjson:7", "not-json", b"one", frozenset({"Patient/p1"}), "Patient/p1", "3", WRITTEN
)
UNVERSIONED = replace(OF_P1, digest=b"two", version_id=None, last_updated=None)


@pytest.fixture
async def site(ledger: SqlLedger, monday: datetime) -> AsyncIterator[Site]:
    """Two persons wait to be called."""
    site = Site(ledger, monday)
    await site.told(bundle(PERSON, OTHER, of("p1", "a1"), of("p2", "a2")))
    yield site


async def read(site: Site, *broken: Broken, heard: tuple[Heard, ...] = (), ago: int = 0) -> None:
    """Files are taken in that hold these, read so many minutes before."""
    site.now += timedelta(hours=1)
    missed = Unread(broken=broken, read_at=site.now - timedelta(minutes=ago))
    await site.ledger.accept((), now=site.now, heard=heard, missed=missed)


def readable(version: str | None = None, updated: datetime | None = None) -> Heard:
    """The record of p1 as it should have been, alive."""
    return Heard("ehr", Statement(("Patient/p1",), "Patient/p1", None, version, updated))


async def test_a_text_is_one_message_however_often_it_is_read(site: Site) -> None:
    """It says where it stands, and holds whom it names; another text is another."""
    for _ in range(2):
        await read(site, OF_P1)
        assert await site.stands("Appointment/a1") == HELD
        assert await site.stands("Appointment/a2") == READY
        (item,) = await site.failed()
        assert (item.place, item.trigger, item.reason) == ("Patient.ndjson:7", None, "not-json")
        assert item.holds == ("Patient/p1",)
    await read(site, replace(OF_P1, digest=b"other"), replace(OF_P1, source="elsewhere"))
    assert len(await site.failed()) == 3


async def test_what_is_settled_stays_settled(site: Site) -> None:
    """Somebody has seen to that very text: the same file may be run again."""
    await read(site, OF_P1, UNVERSIONED)
    settled = await site.ledger.settle_failed(MessageSelection(source="ehr", error="not-json"), site.act())
    assert settled == 2
    assert (await site.stands("Appointment/a1"))[0] == "ready"
    await read(site, OF_P1, UNVERSIONED)
    assert (await site.stands("Appointment/a1"))[0] == "ready"
    assert await site.failed() == []


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        (OF_P1, readable("3", WRITTEN)),
        (OF_P1, readable("4", WRITTEN + timedelta(hours=2))),
        (UNVERSIONED, readable()),
    ],
    ids=["the same version", "a newer one", "none has a version"],
)
async def test_the_record_that_was_mended_lets_go_and_leaves_the_work_list(
    site: Site, broken: Broken, told: Heard
) -> None:
    """There is nothing left that a person should see to."""
    await read(site, broken)
    assert await site.stands("Appointment/a1") == HELD
    await read(site, heard=(told,))
    assert (await site.stands("Appointment/a1"))[0] == "ready"
    assert await site.failed() == []


async def test_an_older_version_lets_nobody_go(site: Site) -> None:
    """It was known before what cannot be read was written."""
    await read(site, OF_P1)
    await read(site, heard=(readable("2", WRITTEN - timedelta(hours=2)),))
    assert await site.stands("Appointment/a1") == HELD


async def test_a_text_without_a_version_holds_again_after_its_record_was_read(site: Site) -> None:
    """Cut off before its version shows, a later one looks the same; one that shows its version is known."""
    for broken, told, stands in (
        (OF_P1, readable("3", WRITTEN), "ready"),
        (UNVERSIONED, readable("9", site.now + timedelta(days=1)), "rejected"),
    ):
        await read(site, broken)
        await read(site, heard=(told,))
        assert (await site.stands("Appointment/a1"))[0] == "ready"
        await read(site, broken)
        assert (await site.stands("Appointment/a1"))[0] == stands


async def test_what_stands_beside_it_answers_by_its_version_only(site: Site) -> None:
    """Of two in one file that have none, nobody knows which is the later; however long it takes to load."""
    await read(site, UNVERSIONED, heard=(readable(),), ago=5)
    await read(site, heard=(readable(),), ago=65)
    assert await site.stands("Appointment/a1") == HELD
    await site.ledger.settle_failed(MessageSelection(), site.act())
    await read(site, OF_P1, heard=(readable("4", WRITTEN + timedelta(hours=2)),))
    assert (await site.stands("Appointment/a1"))[0] == "ready"
    assert await site.failed() == []


async def test_whom_a_trigger_is_about_is_looked_up(site: Site) -> None:
    """A cancellation need not name its patient; what names nobody at all holds nobody, and is told."""
    cancelled = Broken("ehr", "a:1", "not-json", b"c", frozenset({"Appointment/a2"}), "Appointment/a2")
    await read(site, cancelled, Broken("ehr", "b", "encoding", b"d"))
    assert await site.stands("Appointment/a1") == READY
    assert await site.stands("Appointment/a2") == HELD
    assert [item.holds for item in await site.failed()] == [("Patient/p2",), ("?",)]


async def test_there_is_nothing_to_process_again(site: Site) -> None:
    """Its text is in the file: `retry` and `replay` have nothing to go by, and retention nothing to clear."""
    await read(site, OF_P1)
    assert await site.ledger.retry_messages(MessageSelection(), site.act()) == 0
    await site.processor.drain(asyncio.Event())
    assert len(await site.failed()) == 1
    read_back: list[Any] = [message.method async for message in site.ledger.messages(MessageSelection())]
    assert "FILE" not in read_back


async def test_hundreds_are_taken_in_and_let_go(site: Site) -> None:
    """Each a message of its own, all in one transaction."""
    many = [
        replace(OF_P1, digest=b"%d" % n, names=frozenset({f"Patient/m{n}"}), about=f"Patient/m{n}")
        for n in range(500)
    ]
    await read(site, *many)
    assert (await site.ledger.inbox_lag()).failed == 500
    mended = [Heard("ehr", Statement((f"Patient/m{n}",), f"Patient/m{n}", None, "4")) for n in range(400)]
    await read(site, heard=tuple(mended))
    assert (await site.ledger.inbox_lag()).failed == 100
    assert await site.ledger.settle_failed(MessageSelection(error="not-json"), site.act()) == 100
