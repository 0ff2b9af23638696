"""Read once more before the call, end to end: an EHR, a ledger, a worker and the endpoint, on sockets."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from fhir_bridge.app.delivery import dispatcher_of
from fhir_bridge.app.ledgers import ledger_of
from fhir_bridge.app.rules import run_of
from fhir_bridge.app.servers import fhir_servers
from fhir_bridge.dispatch.clock import started_at
from fhir_bridge.dispatch.dispatcher import Dispatcher, Until
from fhir_bridge.fetching.completing import Completion
from fhir_bridge.fhir_client.server import FhirServer
from fhir_bridge.intake.files import Inputs
from fhir_bridge.ledger.store import SqlLedger
from fhir_bridge.sandbox.server import running_sandbox
from fhir_bridge.sandbox.settings import SandboxSettings
from fhir_bridge.settings import Settings, load_settings
from tests.doubles.case import LOST, WORLD
from tests.doubles.faults import Fault
from tests.doubles.fhir_server import Bearer, FhirServerDouble

NOW = datetime(2026, 11, 23, 15, tzinfo=UTC)
SETTINGS = """\
[api]
url = "{endpoint}"
project_id = "123e4567-e89b-12d3-a456-426614174000"
key = "key"
[dispatch]
calling_hours = "off"
[sources.ehr]
base_url = "{ehr}"
timezone = "America/New_York"
[sources.ehr.client]
bearer = "token"
rate = "1000/s"
"""


@dataclass
class Site:
    """One hospital that is read, and what runs between it and the endpoint."""

    ehr: FhirServerDouble
    settings: Settings
    ledger: SqlLedger
    dispatcher: Dispatcher
    server: FhirServer
    endpoint: str

    async def take_in(self, trigger: str = "Appointment/a1") -> None:
        """What a message that says no more than an id leads to."""
        run = run_of(self.settings, self.settings.source("ehr"), self.dispatcher.clock())
        inputs = await Completion(self.server, run.profile).complete(run, Inputs(), (trigger,))
        arrivals, heard = run.taken(inputs)
        await self.ledger.accept(arrivals, now=self.dispatcher.clock(), heard=heard)
        self.ehr.requests.clear()

    async def work(self, seconds: float = 20.0) -> None:
        """A worker for as long as something is due within the seconds."""
        until = Until(at=self.dispatcher.clock() + timedelta(seconds=seconds))
        await self.dispatcher.run(asyncio.Event(), until)

    async def outcome(self) -> tuple[dict[str, int], dict[str, int], int]:
        """States and reasons in the ledger, and the tasks at the endpoint."""
        status = await self.ledger.status(self.dispatcher.clock())
        async with httpx.AsyncClient(trust_env=False) as client:
            stats = (await client.get(f"{self.endpoint}/_sandbox/stats")).json()
        return status.states, status.reasons, stats["tasks"]


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    """A site whose settings say how to read from its EHR, wired as the program wires it."""
    ehr = FhirServerDouble(guard=Bearer("token"))
    ehr.records.put(*WORLD)
    sandbox = SandboxSettings(api_keys=(SecretStr("key"),), call_seconds=None)
    async with contextlib.AsyncExitStack() as opened:
        await opened.enter_async_context(ehr.running())
        endpoint = (await opened.enter_async_context(running_sandbox(sandbox))).url
        (tmp_path / "bridge.toml").write_text(SETTINGS.format(endpoint=endpoint, ehr=ehr.url))
        loaded = load_settings(environ={}, working_folder=tmp_path)
        ledger = await opened.enter_async_context(ledger_of(loaded))
        servers = await opened.enter_async_context(fhir_servers(loaded.settings))
        dispatcher = await opened.enter_async_context(
            dispatcher_of(loaded.settings, ledger, clock=started_at(NOW), servers=servers)
        )
        yield Site(ehr, loaded.settings, ledger, dispatcher, servers["ehr"], endpoint)


async def test_what_did_not_move_is_asked_for_once_and_sent(site: Site) -> None:
    """Trigger, patient and order, in one request where the server takes batches; and whatever else may have
    come to stand against the call."""
    await site.take_in()
    await site.work()
    assert await site.outcome() == ({"sent": 1}, {}, 1)
    asked, *searches = [line.partition("?")[0] for line in site.ehr.lines() if line != "GET metadata"]
    assert asked == "POST "
    assert sorted(searches) == ["GET Appointment", "GET Appointment", "GET Consent"]


async def test_nobody_is_called_while_the_source_shows_an_older_version_that_calls_nobody(site: Site) -> None:
    """A copy of the server that lags behind, or one that was rebuilt and numbers anew."""
    label = "Appointment/a1"
    wanted = site.ehr.records.change(label, description="as before")
    await site.take_in()
    site.ehr.records.versions[label] = []
    site.ehr.records.put({**wanted, "status": "booked", "start": "2026-12-04T10:00:00-05:00"})
    await site.work()
    assert await site.outcome() == ({"ready": 1}, {"source-older": 1}, 0)
    site.ehr.records.versions[label] = [None, None]
    site.ehr.records.put(wanted)
    site.dispatcher.clock = started_at(NOW + timedelta(minutes=2))
    await site.work()
    assert await site.outcome() == ({"sent": 1}, {}, 1)


async def test_an_older_version_that_calls_too_is_nothing_to_wait_for(site: Site) -> None:
    """Whichever of the two counts, somebody is to be called."""
    site.ehr.records.change("Appointment/a1", description="as before")
    await site.take_in()
    site.ehr.records.versions["Appointment/a1"] = []
    site.ehr.records.put(LOST)
    await site.work()
    assert await site.outcome() == ({"sent": 1}, {}, 1)


async def test_an_appointment_that_was_made_good_meanwhile_calls_nobody(site: Site) -> None:
    """Booked again at the EHR after intake, and no message said so."""
    await site.take_in()
    site.ehr.records.change("Appointment/a1", status="booked", start="2026-12-04T10:00:00-05:00")
    await site.work()
    assert await site.outcome() == ({"skipped": 1}, {"already-booked": 1}, 0)


async def test_an_order_that_was_cancelled_meanwhile_calls_nobody(site: Site) -> None:
    """The appointment itself did not move: it is the order's version that did."""
    await site.take_in()
    site.ehr.records.change("ServiceRequest/s1", status="revoked")
    await site.work()
    assert await site.outcome() == ({"skipped": 1}, {"order-withdrawn": 1}, 0)


async def test_a_patient_who_died_meanwhile_is_not_called(site: Site) -> None:
    """Nor for anything else: the record stops all of the person's calls."""
    await site.take_in()
    site.ehr.records.change("Patient/p1", deceasedDateTime="2026-11-22")
    await site.work()
    assert await site.outcome() == ({"skipped": 1}, {"patient-deceased": 1}, 0)


BOOKED_ANEW = {
    "resourceType": "Appointment",
    "id": "a2",
    "status": "booked",
    "created": "2026-11-23T14:59:00Z",
    "start": "2026-12-04T10:00:00-05:00",
    "participant": [{"actor": {"reference": "Patient/p1"}, "status": "accepted"}],
    "basedOn": [{"reference": "ServiceRequest/s1"}],
}
DENIAL = {
    "resourceType": "Consent",
    "id": "n1",
    "status": "active",
    "scope": {"coding": [{"code": "patient-privacy"}]},
    "patient": {"reference": "Patient/p1"},
    "provision": {"type": "deny"},
}


@pytest.mark.parametrize(
    ("what", "reason"),
    [(BOOKED_ANEW, "already-booked"), (DENIAL, "consent-denied")],
    ids=["booking", "denial"],
)
async def test_what_is_new_at_the_ehr_stops_the_call(site: Site, what: dict[str, Any], reason: str) -> None:
    """Another resource than those that the call was made of: neither trigger nor patient moved."""
    await site.take_in()
    site.ehr.records.put(what)
    await site.work()
    assert await site.outcome() == ({"skipped": 1}, {reason: 1}, 0)


async def test_a_version_that_says_the_same_is_sent_once(site: Site) -> None:
    """It is mapped again, and what comes of it is what was going to be sent."""
    await site.take_in()
    site.ehr.records.change("Appointment/a1")
    site.ehr.records.change("Patient/p1")
    await site.work()
    assert await site.outcome() == ({"sent": 1}, {}, 1)


async def test_an_ehr_without_versions_is_mapped_again_and_sent_once(site: Site) -> None:
    """Nobody can say that nothing moved; what comes out the same goes out. What moved is seen, too."""
    site.ehr.versions = False
    await site.take_in()
    await site.work()
    assert await site.outcome() == ({"sent": 1}, {}, 1)
    site.ehr.records.put({**LOST, "id": "a2", "start": "2026-11-18T14:00:00-05:00"})
    await site.take_in("Appointment/a2")
    site.ehr.records.change("Patient/p1", active=False)
    await site.work()
    assert await site.outcome() == ({"sent": 1, "skipped": 1}, {"patient-inactive": 1}, 1)


async def test_a_new_number_is_the_one_that_is_called(site: Site) -> None:
    """Read from the EHR a moment before."""
    await site.take_in()
    site.ehr.records.change("Patient/p1", telecom=[{"system": "phone", "value": "(212) 555-0199"}])
    await site.work()
    assert (await site.outcome())[2] == 1
    shown = await site.ledger.show("Appointment/a1")
    assert shown["request"]["phone_number"] == "+12125550199"


async def test_a_trigger_that_is_gone_calls_nobody(site: Site) -> None:
    """Deleted (410); or not known any more (404) to a server that still knows the patient."""
    await site.take_in()
    site.ehr.records.remove("Appointment/a1")
    await site.work()
    assert await site.outcome() == ({"skipped": 1}, {"entered-in-error": 1}, 0)


async def test_a_trigger_nobody_knows_any_more_is_taken_for_gone(site: Site) -> None:
    """Where the patient is known: not every server remembers what it deleted."""
    await site.take_in()
    del site.ehr.records.versions["Appointment/a1"]
    await site.work()
    assert await site.outcome() == ({"skipped": 1}, {"entered-in-error": 1}, 0)


async def test_a_server_that_knows_nothing_any_more_decides_nothing(site: Site) -> None:
    """It is another server, or another tenant: nobody is called, and nothing is given up."""
    await site.take_in()
    site.ehr.records.versions.clear()
    await site.work()
    assert await site.outcome() == ({"ready": 1}, {"source-unreachable": 1}, 0)


@pytest.mark.parametrize(
    "fault",
    [Fault("", 503, times=None), Fault("", 401, times=None), Fault("", 200, b"<html>", times=None)],
    ids=["no time", "our token refused", "a log-in page"],
)
async def test_while_the_ehr_is_down_nobody_is_called(site: Site, fault: Fault) -> None:
    """It may know why not. When it is back, the call goes out."""
    await site.take_in()
    fault.headers = {"retry-after": "3600"}
    site.ehr.faults.append(fault)
    await site.work()
    assert await site.outcome() == ({"ready": 1}, {"source-unreachable": 1}, 0)
    site.ehr.faults.clear()
    site.dispatcher.clock = started_at(NOW + timedelta(minutes=2))
    await site.work()
    assert await site.outcome() == ({"sent": 1}, {}, 1)


async def test_a_source_without_a_client_is_not_read_again(tmp_path: Path, site: Site) -> None:
    """What came as a file from somewhere else goes out as it is."""
    assert site.dispatcher.rereading is not None
    assert set(site.dispatcher.rereading.readers) == {"ehr"}
    (tmp_path / "bridge.toml").write_text(
        SETTINGS.format(endpoint=site.endpoint, ehr=site.ehr.url).partition("[sources.ehr.client]")[0]
    )
    bare = load_settings(environ={}, working_folder=tmp_path)
    async with dispatcher_of(bare.settings, site.ledger) as dispatcher:
        assert dispatcher.rereading is None


async def test_what_may_speak_against_the_call_and_is_not_told_any_more_stops_it(site: Site) -> None:
    """Our rights were taken away since: a person has to look, and nobody is called meanwhile."""
    await site.take_in()
    site.ehr.faults.append(Fault("GET Appointment\\?", 403, times=None))
    await site.work()
    states, reasons, tasks = await site.outcome()
    assert (states, reasons, tasks) == ({"rejected": 1}, {"source-incomplete": 1}, 0)
