"""From a message in the inbox to an intent in the ledger: every shape, every way to fail, nothing twice."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fhir_bridge.app.doors import processor_of
from fhir_bridge.app.servers import fhir_servers
from fhir_bridge.intake.files import Inputs
from fhir_bridge.ledger.records import Act
from fhir_bridge.ledger.sources.messages import Message, MessageSelection, MessageState, Received, Take
from fhir_bridge.ledger.store import SqlLedger, open_ledger
from fhir_bridge.processing.processor import MOST_TRIES, Processor
from fhir_bridge.settings import load_settings
from tests.doubles.faults import Fault
from tests.doubles.fhir_server import FhirServerDouble
from tests.integration.webhook import DESTINATION

BASE = "https://ehr.example/fhir"
PERSON: dict[str, Any] = {
    "resourceType": "Patient", "id": "p1", "name": [{"family": "Sample", "given": ["Juniper"]}],
    "birthDate": "1980-01-01", "telecom": [{"system": "phone", "value": "(212) 555-0101"}],
    "address": [{"line": ["12 Sample St"], "city": "New York", "state": "NY", "postalCode": "10001",
                 "country": "US"}],
}  # fmt: skip
WANTED: dict[str, Any] = {
    "resourceType": "Appointment", "id": "a1", "meta": {"versionId": "1"}, "status": "proposed",
    "created": "2026-11-20",
    "participant": [{"actor": {"reference": "Patient/p1"}, "status": "accepted"}],
}  # fmt: skip
BOOKED = {**WANTED, "status": "booked", "meta": {"versionId": "2"}}


def bundle(*resources: dict[str, Any], focus: str | None = None, kind: str = "event-notification") -> bytes:
    """An R5 notification with these resources, about the first of them or about `focus`."""
    about = focus or (f"{resources[0]['resourceType']}/{resources[0]['id']}" if resources else None)
    event = {"eventNumber": "1", **({"focus": {"reference": about}} if about else {})}
    status = {
        "resourceType": "SubscriptionStatus",
        "type": kind,
        "subscription": {"reference": "Subscription/s1"},
        "notificationEvent": [event] if kind == "event-notification" else [],
    }
    entries = [{"resource": each} for each in (status, *resources)]
    return json.dumps(
        {"resourceType": "Bundle", "type": "subscription-notification", "entry": entries}
    ).encode()


@dataclass
class Site:
    """A ledger and what processes its inbox, at a clock that a test moves."""

    ledger: SqlLedger
    processor: Processor
    clock: list[datetime]

    async def told(self, *bodies: bytes, source: str = "ehr", **route: Any) -> None:
        """Keep messages and process all that is due."""
        await self.ledger.receive([Received(source, body, self.clock[0], **route) for body in bodies])
        await self.process()

    async def process(self) -> None:
        """All that is due."""
        await self.processor.drain(asyncio.Event())

    async def messages(self) -> list[Message]:
        """The inbox."""
        return [each async for each in self.ledger.messages(MessageSelection())]

    async def ends(self) -> list[tuple[str, str | None]]:
        """State and reason of each message."""
        return [(each.state, each.error) for each in await self.messages()]

    async def intents(self) -> dict[str, int]:
        """How many intents stand where, a Skip with its reason."""
        status = await self.ledger.status(self.clock[0])
        return status.states | {f"because {reason}": count for reason, count in status.reasons.items()}


Open = Callable[..., contextlib.AbstractAsyncContextManager[Site]]


@pytest.fixture
def site(tmp_path: Path, monday: datetime) -> Open:
    """Opens a site; `more` is the rest of bridge.toml, `database` another ledger than a file."""

    @contextlib.asynccontextmanager
    async def opened(more: str = "[sources.ehr]\n", database: str | None = None) -> AsyncIterator[Site]:
        (tmp_path / "bridge.toml").write_text(more)
        loaded = load_settings(environ={}, working_folder=tmp_path)
        clock = [monday]
        async with (
            await open_ledger(database or tmp_path / "l.db", now=monday, **DESTINATION) as ledger,
            fhir_servers(loaded.settings) as servers,
        ):
            yield Site(ledger, processor_of(loaded, ledger, servers, lambda: clock[0]), clock)

    return opened


DONE = ("processed", None)
READY = {"ready": 1, "because hold": 1}
"""One call that waits for a revocation."""


@pytest.mark.parametrize(
    ("body", "route"),
    [
        (bundle(WANTED, PERSON), {}),
        (bundle(WANTED, PERSON).replace(b"subscription-notification", b"history"), {}),
        (json.dumps({**WANTED, "contained": []}).encode(), {"method": "PUT", "path": "Appointment/a1"}),
    ],
    ids=["r5", "r4b", "bare"],
)
async def test_what_a_message_brings_becomes_an_intent(
    site: Open, body: bytes, route: dict[str, str]
) -> None:
    """Held back for a revocation, as the source has it; a bare appointment without its patient is rejected,
    and nobody vanishes."""
    async with site('[sources.ehr]\nhold = "90s"\n') as here:
        await here.told(body, **route)
        assert await here.ends() == [DONE]
        if route:
            assert await here.intents() == {"rejected": 1, "because patient-unresolved": 1}
            return
        assert await here.intents() == READY
        assert await here.ledger.next_due() == here.clock[0] + timedelta(seconds=90)


async def test_the_same_message_again_changes_nothing(site: Open) -> None:
    """One server was seen to send an update nineteen times: in one batch, and later."""
    async with site() as here:
        await here.told(*[bundle(WANTED, PERSON)] * 18)
        await here.told(bundle(WANTED, PERSON))
        assert await here.ends() == [DONE] * 19
        assert await here.intents() == READY


async def test_a_message_processed_twice_is_one_intent(site: Open) -> None:
    """A processor that ends between the two commits leaves the message to be taken again."""
    async with site() as here:

        async def lost(*_asked: Any) -> int:
            raise asyncio.CancelledError

        settle, here.processor.ledger.settle_messages = here.ledger.settle_messages, lost  # type: ignore[method-assign]
        with contextlib.suppress(asyncio.CancelledError):
            await here.told(bundle(WANTED, PERSON))
        here.ledger.settle_messages = settle  # type: ignore[method-assign]
        assert await here.intents() == READY
        assert await here.ends() == [("received", None)]
        here.clock[0] += timedelta(minutes=6)
        await here.process()
        assert await here.ends() == [DONE]
        assert await here.intents() == READY


async def test_versions_decide_whatever_the_order(site: Open) -> None:
    """A booking told before the proposal it follows stands."""
    async with site() as here:
        await here.told(bundle(BOOKED, PERSON), bundle(WANTED, PERSON))
        assert await here.intents() == {"skipped": 1, "because already-booked": 1}


async def test_without_versions_the_later_message_counts(site: Open) -> None:
    """So a source's messages are taken in their order."""
    bare = {name: value for name, value in WANTED.items() if name != "meta"}
    async with site() as here:
        await here.told(bundle(bare, PERSON), bundle({**bare, "status": "booked"}, PERSON))
        assert await here.intents() == {"skipped": 1, "because already-booked": 1}


def unversioned(resource: dict[str, Any], **changed: Any) -> dict[str, Any]:
    """The resource as a server sends it that keeps no versions."""
    return {name: value for name, value in (resource | changed).items() if name != "meta"}


@pytest.mark.parametrize(
    ("newer", "reason"),
    [
        ((unversioned(WANTED, status="entered-in-error"), PERSON), "entered-in-error"),
        ((unversioned(PERSON, active=False),), "patient-inactive"),
    ],
    ids=["the trigger", "the person"],
)
async def test_a_message_that_is_tried_again_is_as_old_as_when_it_came(
    site: Open, newer: tuple[dict[str, Any], ...], reason: str
) -> None:
    """What a newer one said since stands, where no version tells."""
    broken = bundle(unversioned(WANTED), PERSON, {"resourceType": "Encounter", "id": "pX"})
    async with site() as here:
        await here.told(broken.replace(b'"pX"', b'"p\xe9"'))
        here.clock[0] += timedelta(minutes=1)
        await here.told(bundle(*newer))
        here.clock[0] += timedelta(minutes=1)
        act = Act("op", "again", here.clock[0])
        assert await here.ledger.retry_messages(MessageSelection(error="encoding"), act) == 1
        await here.process()
        assert await here.ends() == [("failed", "encoding"), DONE]
        assert await here.intents() == {"skipped": 1, f"because {reason}": 1}


async def test_a_message_that_had_to_wait_is_as_old_as_when_it_came(site: Open) -> None:
    """Its server did not answer, and what came after it needed none."""
    double = FhirServerDouble()
    double.records.put(PERSON)
    double.faults.append(Fault("GET Patient/p1", 503, times=None))
    async with double.running(), site(client(double)) as here:
        await here.told(json.dumps(unversioned(WANTED)).encode())
        assert await here.ends() == [("received", "source-unreachable")]
        here.clock[0] += timedelta(seconds=1)
        await here.told(json.dumps(unversioned(WANTED, status="entered-in-error")).encode())
        double.faults.clear()
        here.clock[0] += timedelta(minutes=1)
        await here.process()
        assert await here.ends() == [DONE, DONE]
        assert await here.intents() == {"skipped": 1, "because entered-in-error": 1}


async def test_a_message_that_is_tried_again_still_brings_what_nobody_said_since(site: Open) -> None:
    """Nothing of it is lost by being late: its trigger was last heard of before it."""
    double = FhirServerDouble()
    double.faults.append(Fault("GET", 503, times=None))
    async with double.running(), site(client(double)) as here:
        await here.told(bundle(unversioned(WANTED, status="entered-in-error"), PERSON))
        here.clock[0] += timedelta(seconds=1)
        await here.told(json.dumps(unversioned(WANTED)).encode())
        double.faults.clear()
        double.records.put(PERSON)
        here.clock[0] += timedelta(minutes=1)
        await here.process()
        assert await here.ends() == [DONE, DONE]
        assert await here.intents() == READY


@pytest.mark.parametrize(
    "deletion",
    [
        (b"{}", {"deleted": "Appointment/a1"}),
        (b"", {"method": "DELETE", "path": "Appointment/a1"}),
        (
            json.dumps(
                {
                    "resourceType": "Bundle",
                    "type": "history",
                    "entry": [{"request": {"method": "DELETE", "url": "Appointment/a1"}}],
                }
            ).encode(),
            {},
        ),
    ],
    ids=["medplum", "hapi", "history"],
)
async def test_what_is_deleted_calls_nobody(site: Open, deletion: tuple[bytes, dict[str, str]]) -> None:
    """In every form; and an older version told again does not bring it back."""
    dated = {**WANTED, "meta": {"lastUpdated": "2026-11-20T10:00:00Z"}}
    async with site() as here:
        await here.told(bundle(dated, PERSON))
        body, route = deletion
        await here.told(body, **route)
        await here.told(bundle(dated, PERSON))
        assert await here.ends() == [DONE] * 3
        assert await here.intents() == {"skipped": 1, "because entered-in-error": 1}


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({**PERSON, "deceasedBoolean": True}, "patient-deceased"),
        (
            {"resourceType": "Consent", "id": "c1", "status": "active", "provision": {"type": "deny"},
             "patient": {"reference": "Patient/p1"}, "scope": {"coding": [{"code": "patient-privacy"}]}},
            "consent-denied",
        ),
    ],
    ids=["death", "denial"],
)  # fmt: skip
async def test_a_message_about_a_person_alone_stops_their_calls(
    site: Open, record: dict[str, Any], reason: str
) -> None:
    """No trigger is in it, and the call that waits is not made."""
    async with site() as here:
        await here.told(bundle(WANTED, PERSON))
        await here.told(json.dumps(record).encode())
        assert await here.intents() == {"skipped": 1, f"because {reason}": 1}


async def test_a_patient_who_is_deleted_is_not_called_until_there_is_a_record_again(site: Open) -> None:
    """Nobody knows any more who that was; what is told late of the time before brings nobody back."""
    async with site() as here:
        await here.told(bundle(WANTED, PERSON))
        await here.told(b"", method="DELETE", path="Patient/p1")
        gone = {"skipped": 1, "because patient-inactive": 1}
        assert await here.intents() == gone
        for late in ({"versionId": "9"}, {"lastUpdated": "2026-11-20T10:00:00Z"}, {}):
            await here.told(json.dumps({**PERSON, "meta": late}).encode())
            assert await here.intents() == gone
        again = {**PERSON, "meta": {"lastUpdated": "2026-11-24T10:00:00Z"}}
        await here.told(json.dumps(again).encode())
        assert await here.intents() == READY


@pytest.mark.parametrize("kind", ["handshake", "heartbeat", "query-status"])
async def test_what_tells_of_no_event_is_noted_and_done(site: Open, kind: str) -> None:
    """Nothing is decided."""
    async with site() as here:
        await here.told(bundle(kind=kind))
        assert await here.ends() == [DONE]
        assert await here.intents() == {}


FAILING: list[tuple[bytes, dict[str, Any], str]] = [
    (bundle(focus="Appointment/a1"), {}, "nothing-to-read-from"),
    (bundle(), {}, "nothing-to-read-from"),
    (b"", {}, "nothing-to-read-from"),
    (b"", {"method": "PUT", "path": "Appointment/a1"}, "nothing-to-read-from"),
    (bundle(kind="surprise"), {}, "notification-type"),
    (b'{"resourceType":"Appointment","id":"\xe9"}', {}, "encoding"),
    (b'{"resourceType":"Bundle","entry":5}', {}, "notification-element"),
    (bundle(), {"source": "gone"}, "no-such-source"),
]


async def test_what_cannot_be_processed_fails_with_its_reason(site: Open) -> None:
    """Counted in the status, listed on the work list, and tried again when told."""
    async with site() as here:
        for body, route, _ in FAILING:
            await here.told(body, **route)
        assert await here.ends() == [("failed", reason) for _, _, reason in FAILING]
        assert (await here.ledger.status(here.clock[0])).inbox == {"failed": len(FAILING)}
        items = await here.ledger.worklist()
        assert [(item.kind, item.reason) for item in items] == [("message", r) for _, _, r in FAILING]
        act = Act("op", "mended", here.clock[0])
        assert await here.ledger.retry_messages(MessageSelection(error="encoding"), act) == 1
        assert (await here.ledger.inbox_lag()).received == 1


async def test_one_unreadable_resource_takes_no_other_along(site: Open) -> None:
    """The rest is decided on; the message fails, so that somebody looks. A patient or a consent that may be
    about the same person holds the call."""
    visit = {"resourceType": "Encounter", "id": "pX", "subject": {"reference": "Patient/p1"}}
    held = {"rejected": 1, "because record-unreadable": 1}
    async with site() as here:
        await here.told(bundle(WANTED, PERSON, visit).replace(b'"pX"', b'"p\xe9"'))
        assert await here.ends() == [("failed", "encoding")]
        assert await here.intents() == READY
        consent = {**visit, "resourceType": "Consent"}
        await here.told(bundle(WANTED, PERSON, consent).replace(b'"pX"', b'"p\xe9"'))
        assert await here.intents() == held
        await here.told(bundle(WANTED, PERSON))
        assert await here.intents() == held, "the consent is not read by that"
        act = Act("op", "the consent denies nothing", here.clock[0])
        assert await here.ledger.settle_failed(MessageSelection(id=2), act) == 1
        assert await here.intents() == {"ready": 1}


async def test_one_bad_message_takes_no_other_along(site: Open) -> None:
    """Neither before nor after it in a batch."""
    other = {
        **WANTED,
        "id": "a2",
        "participant": [{"actor": {"reference": "Patient/p2"}, "status": "accepted"}],
    }
    async with site() as here:
        await here.told(
            bundle(WANTED, PERSON), bundle(kind="surprise"), bundle(other, {**PERSON, "id": "p2"})
        )
        assert await here.ends() == [DONE, ("failed", "notification-type"), DONE]
        assert await here.intents() == {"ready": 2, "because hold": 2}


async def test_a_message_that_ends_its_processor_is_given_up_alone(site: Open) -> None:
    """Those that were taken with it are processed."""
    async with site() as here:
        await here.ledger.receive(
            [Received("ehr", bundle(WANTED, PERSON), here.clock[0]), Received("ehr", bundle(), here.clock[0])]
        )
        for _ in range(MOST_TRIES):
            now = here.clock[0]
            await here.ledger.take_messages(Take("dead", now, now + timedelta(seconds=1), 10, 1 << 20))
            here.clock[0] += timedelta(seconds=2)
        await here.process()
        assert (await here.ends())[0] == ("failed", "given-up")
        assert (await here.ends())[1] == ("failed", "nothing-to-read-from")


def client(double: FhirServerDouble) -> str:
    """A source that can be read."""
    return (
        f'[sources.ehr]\nbase_url = "{double.url}"\n[sources.ehr.client]\n'
        '[sources.ehr.subscription]\ncriteria = ["Appointment"]\n'
    )


async def test_what_is_only_named_is_read_at_its_server(site: Open) -> None:
    """id-only, relative or on the source's own base, and a bare PUT without payload: the same intent as if
    all had come along, patient included."""
    double = FhirServerDouble()
    double.records.put(WANTED, PERSON)
    async with double.running(), site(client(double)) as here:
        await here.told(
            bundle(focus="Appointment/a1"),
            bundle(focus=f"{double.url}/Appointment/a1"),
        )
        await here.told(b"", method="PUT", path="Appointment/a1")
        assert await here.ends() == [DONE] * 3
        assert await here.intents() == READY


ELSEWHERE = [
    "http://169.254.169.254/latest/Appointment/a1",
    "https://evil.example/fhir/Appointment/a1",
    "file:///etc/passwd",
    "Appointment/../../admin",
    "//evil.example/Appointment/a1",
    "http://127.0.0.1:1/fhir/Appointment/a1",
]


async def test_a_reference_leads_to_no_other_server(site: Open) -> None:
    """Whoever can post must not make us ask hosts of their choosing: refused unasked, for a person to see."""
    double = FhirServerDouble()
    async with double.running(), site(client(double)) as here:
        for reference in ELSEWHERE:
            await here.told(bundle(focus=reference))
        assert await here.ends() == [("failed", "foreign-reference")] * len(ELSEWHERE)
        assert double.requests == []


async def test_what_its_server_does_not_know_is_for_a_person(site: Open) -> None:
    """404 may be a wrong base_url; 410 says it was deleted."""
    double = FhirServerDouble()
    async with double.running(), site(client(double)) as here:
        await here.told(bundle(focus="Appointment/a9"))
        assert await here.ends() == [("failed", "not-found")]


@pytest.mark.parametrize(
    "answer",
    [{"resourceType": "OperationOutcome", "issue": []}, {**WANTED, "id": "a2"}, {**PERSON, "id": "a1"}],
    ids=["an outcome", "another id", "another type"],
)
async def test_what_is_answered_instead_of_the_resource_is_for_a_person(
    site: Open, answer: dict[str, Any]
) -> None:
    """With status 200: nothing is decided from it, and the message does not pass for processed."""
    double = FhirServerDouble()
    double.records.put(WANTED, PERSON)
    double.faults.append(Fault("GET Appointment/a1", 200, json.dumps(answer).encode()))
    async with double.running(), site(client(double)) as here:
        await here.told(bundle(focus="Appointment/a1"))
        assert await here.ends() == [("failed", "other-resource")]
        assert await here.intents() == {}


async def test_a_server_that_does_not_answer_is_asked_again(site: Open) -> None:
    """Nothing is decided meanwhile; the wait doubles; after a day a person must look."""
    double = FhirServerDouble()
    async with double.running():
        settings = client(double)  # and nobody is there any more
    async with site(settings) as here:
        await here.told(bundle(focus="Appointment/a1"))
        assert await here.ends() == [("received", "source-unreachable")]
        assert await here.ledger.next_message_due() == here.clock[0] + timedelta(seconds=5)
        assert await here.intents() == {}
        here.clock[0] += timedelta(hours=25)
        await here.process()
        assert await here.ends() == [("failed", "source-unreachable")]


async def test_a_slow_source_does_not_outlast_the_lease(site: Open) -> None:
    """What its server takes long for is taken in before another processor may be at the later ones."""
    async with site() as here:
        taken_in: list[tuple[int, datetime]] = []
        (source,) = here.processor.sources.values()

        class Slow:
            async def complete(self, run: Any, inputs: Inputs, *_rest: Any) -> Inputs:
                here.clock[0] += timedelta(seconds=25)
                return inputs

        here.processor.sources = {"ehr": replace(source, completes=Slow())}
        settle = here.ledger.settle_messages

        async def noted(token: str, settled: Any, now: datetime) -> int:
            taken_in.append((len(settled), now))
            return await settle(token, settled, now)

        here.ledger.settle_messages = noted  # type: ignore[method-assign]
        begun = here.clock[0]
        await here.told(*[bundle({**WANTED, "id": f"a{n}"}, PERSON) for n in range(5)])
        assert here.processor.lease == timedelta(minutes=2)
        assert [(count, (at - begun).total_seconds()) for count, at in taken_in] == [(3, 75), (2, 125)]
        assert await here.ends() == [DONE] * 5


async def test_an_empty_notification_asks_for_a_search_once(site: Open) -> None:
    """Forged ones must not make us hammer an EHR: however many come, they are one search, and it is the
    watcher's, at its own pace."""
    double = FhirServerDouble()
    async with double.running(), site(client(double)) as here:
        await here.told(*[bundle()] * 30, b"")
        assert await here.ends() == [DONE] * 31
        assert double.lines("GET Appointment") == []


async def test_processors_on_one_database_share_the_work(
    site: Open, postgres_database: Callable[[], str]
) -> None:
    """Two of them over three sources: each message processed once, one intent a patient and source."""
    sources = "".join(f"[sources.s{n}]\n" for n in range(3))
    database = postgres_database()
    async with site(sources, database) as one, site(sources, database) as two:
        batch = [
            Received(f"s{number % 3}", bundle(WANTED, PERSON), one.clock[0], delivery_id=str(number))
            for number in range(60)
        ]
        await one.ledger.receive(batch)
        await asyncio.gather(one.process(), two.process())
        while (await one.ledger.inbox_lag()).received:
            await asyncio.gather(one.process(), two.process())
        assert {each.state for each in await one.messages()} == {MessageState.PROCESSED}
        assert [each.tries for each in await one.messages()] == [1] * 60
        assert await one.intents() == {"ready": 3, "because hold": 3}
