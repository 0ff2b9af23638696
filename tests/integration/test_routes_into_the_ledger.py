"""The same work by different routes, and what takes it back: files decided and kept in a real ledger."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from fhir_bridge.app.rules import mapping_run
from fhir_bridge.fhir import documents
from fhir_bridge.ledger.records import Accepted, Act, SettlePatient, SettleTask, StartPatient, StartTask
from fhir_bridge.ledger.sending.claims import Claim
from fhir_bridge.ledger.store import SqlLedger, open_ledger
from fhir_bridge.task_api.outcome import Outcome, OutcomeClass

NAMED_BY_IDENTIFIER = {"type": "ServiceRequest", "identifier": {"system": "urn:orders", "value": "R1"}}


def patient(number: int = 1, **elements: Any) -> dict[str, Any]:
    """Patient/p1 has the number +12125550101, and so on."""
    return {
        "resourceType": "Patient",
        "id": f"p{number}",
        "name": [{"family": "Sample", "given": ["Juniper"]}],
        "birthDate": "1980-01-01",
        "telecom": [{"system": "phone", "value": f"(212) 555-01{number:02}"}],
        "address": [{"line": ["1 Elm Road"], "city": "Albany", "state": "NY", "postalCode": "12207"}],
        **elements,
    }


def appointment(patient: int = 1, **elements: Any) -> dict[str, Any]:
    """A proposed Appointment/a1; an element that is None is left out."""
    own = {
        "resourceType": "Appointment",
        "id": "a1",
        "status": "proposed",
        "created": "2026-11-20T09:00:00Z",
        "requestedPeriod": [{"start": "2026-12-01", "end": "2026-12-10"}],
        "participant": [{"actor": {"reference": f"Patient/p{patient}"}, "status": "needs-action"}],
        **elements,
    }
    return {name: value for name, value in own.items() if value is not None}


def order(**elements: Any) -> dict[str, Any]:
    """ServiceRequest/o1: an active referral."""
    return {
        "resourceType": "ServiceRequest",
        "id": "o1",
        "status": "active",
        "intent": "order",
        "authoredOn": "2026-11-20",
        "subject": {"reference": "Patient/p1"},
        "requester": {"display": "Adam Careful"},
        "category": [{"coding": [{"system": "http://snomed.info/sct", "code": "3457005"}]}],
        "code": {"text": "Cardiology"},
        **elements,
    }


def version(number: int) -> dict[str, str]:
    """The meta of a resource's n-th version, written on the n-th of November."""
    return {"versionId": str(number), "lastUpdated": f"2026-11-{number:02}T09:00:00Z"}


@dataclass
class Door:
    """The door of files: every call writes one and takes it in."""

    ledger: SqlLedger
    folder: Path
    now: datetime
    written: list[Path] = field(default_factory=list)

    async def take(
        self, *entries: dict[str, Any], kind: str = "collection", name: str = ""
    ) -> list[Accepted]:
        """One Bundle of resources, or of entries that are more than a resource."""
        path = self.folder / (name or f"{len(self.written)}.json")
        self.written.append(path)
        parts = [one if one.keys() & {"resource", "request"} else {"resource": one} for one in entries]
        path.write_text(json.dumps({"resourceType": "Bundle", "type": kind, "entry": parts}))
        run = mapping_run(None, None, {}, self.now)
        arrivals, heard = run.taken(run.read([str(path)]))
        return await self.ledger.accept(arrivals, now=self.now, heard=heard)

    async def send(self) -> int:
        """Every call that is due is placed at the endpoint; gives how many."""
        claimed = await self.ledger.claim(Claim("worker", self.now, self.now + timedelta(minutes=1), 10))
        for each in claimed:
            taken = Outcome(OutcomeClass.ACCEPTED, 201, id=str(uuid4()))
            lease = self.now + timedelta(minutes=1)
            if each.patient.api_id is None:
                (begun,) = await self.ledger.write([StartPatient(each, self.now, lease)])
                await self.ledger.write([SettlePatient(each, begun.number, taken, self.now, self.now)])
            (begun,) = await self.ledger.write([StartTask(each, self.now, lease, self.now)])
            await self.ledger.write([SettleTask(each, begun.number, taken, self.now, self.now)])
        return len(claimed)

    async def alarms(self) -> dict[str, int]:
        """What somebody must tell the vendor."""
        return (await self.ledger.status(self.now)).alarms

    async def ready(self) -> int:
        """How many calls are waiting."""
        return (await self.ledger.status(self.now)).states.get("ready", 0)


@pytest.fixture
async def door(tmp_path: Path, monday: datetime, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Door]:
    """An empty ledger and an empty folder."""
    monkeypatch.chdir(tmp_path)
    project = "123e4567-e89b-12d3-a456-426614174000"
    path = tmp_path / "ledger.db"
    async with await open_ledger(path, api_url="http://127.0.0.1:1", project_id=project) as ledger:
        yield Door(ledger, tmp_path, monday)


async def test_one_place_in_two_files_of_one_name_is_two_appointments(door: Door) -> None:
    """Nothing but its place names them; whoever comes second is called too."""
    await door.take(patient(1), appointment(1, id=None), name="today.json")
    await door.take(patient(2), appointment(2, id=None), name="today.json")
    assert await door.ready() == 2


async def test_a_urn_that_is_used_again_names_another_appointment(door: Door) -> None:
    """Some systems put the same URNs into every message."""
    for number in (1, 2):
        entry = {"fullUrl": "urn:uuid:0", "resource": appointment(number, id=None)}
        await door.take(patient(number), entry)
    assert await door.ready() == 2


async def test_a_message_sent_again_with_new_urns_is_no_second_call(door: Door) -> None:
    """Many systems make new UUIDs whenever they write a message; two patients' are still two."""
    for sending, number in ((1, 1), (2, 1), (3, 2)):
        person, visit = f"urn:uuid:{sending}-person", f"urn:uuid:{sending}-visit"
        known_by = [{"system": "urn:oid:1.2.3", "value": f"mrn-{number}"}]
        actor = {"actor": {"reference": person}, "status": "needs-action"}
        await door.take(
            {"fullUrl": person, "resource": patient(number, id=None, identifier=known_by)},
            {"fullUrl": visit, "resource": appointment(id=None, participant=[actor])},
        )
    assert await door.ready() == 2


async def test_an_id_that_is_an_unfilled_template_is_nobodys(door: Door) -> None:
    """Two people are two patients and two calls, though an interface left the same `${id}` in both."""
    actor = {"actor": {"reference": "Patient/${id}"}, "status": "needs-action"}
    accepted = []
    for number in (1, 2):
        visit = appointment(id="${id}", participant=[actor], comment=f"Room {number}")
        accepted += await door.take(patient(number, id="${id}"), visit)
    assert await door.ready() == 2
    people = {each.key.split("|")[1] for each in accepted}
    assert len(people) == 2


async def test_a_loss_whose_start_is_taken_out_is_the_same_loss(door: Door) -> None:
    """Some systems clear the slot some time after the cancellation."""
    lost = appointment(status="cancelled", start="2026-12-02T15:00:00Z", end="2026-12-02T16:00:00Z")
    await door.take(patient(), {**lost, "meta": version(1)})
    await door.take(patient(), {**appointment(status="cancelled"), "meta": version(2)})
    assert await door.ready() == 1


@pytest.mark.parametrize("together", [True, False])
async def test_an_appointment_lost_to_death_stops_the_call_of_its_order(door: Door, together: bool) -> None:
    """The order is still active when the cancellation says why; nobody rings a dead person's phone."""
    code = {
        "system": "http://terminology.hl7.org/CodeSystem/appointment-cancellation-reason",
        "code": "pat-dec",
    }
    died = appointment(
        status="cancelled",
        start="2026-12-02T15:00:00Z",
        cancelationReason={"coding": [code]},
        basedOn=[{"reference": "ServiceRequest/o1"}],
    )
    for message in [[order(), died]] if together else [[order()], [died]]:
        await door.take(patient(), *message)
    assert await door.ready() == 0
    await door.take(patient(), order(note=[{"text": "once more"}]))
    assert await door.ready() == 0


async def test_what_is_deleted_at_the_source_is_not_called(door: Door) -> None:
    """A history that tells of the deletion takes back what waits; what is written again later, calls."""
    await door.take(patient(), appointment(meta=version(1)))
    gone = {"request": {"method": "DELETE", "url": "Appointment/a1"}}
    (accepted,) = await door.take(
        {**gone, "response": {"lastModified": "2026-11-05T09:00:00Z"}}, kind="history"
    )
    assert (accepted.state, accepted.reason) == ("skipped", "entered-in-error")
    await door.take(patient(), appointment(meta=version(7)))
    assert await door.ready() == 1


async def test_an_older_deletion_does_not_take_back_what_was_written_since(door: Door) -> None:
    """A history read late."""
    await door.take(patient(), appointment(meta=version(7)))
    gone = {"request": {"method": "DELETE", "url": "Appointment/a1"}}
    await door.take({**gone, "response": {"lastModified": "2026-11-05T09:00:00Z"}}, kind="history")
    assert await door.ready() == 1


async def test_an_order_revoked_alone_takes_back_the_appointment_that_waits(door: Door) -> None:
    """The second message holds the order only; its Appointment was proposed in the first."""
    based = appointment(basedOn=[{"reference": "ServiceRequest/o1"}], meta=version(1))
    await door.take(patient(), order(meta=version(1)), based)
    assert await door.ready() == 1
    (accepted,) = await door.take(patient(), order(status="revoked", meta=version(2)))
    assert (accepted.state, accepted.reason) == ("skipped", "not-active")
    assert await door.ready() == 0


@pytest.mark.parametrize(
    "named", [NAMED_BY_IDENTIFIER, {"reference": "ServiceRequest?identifier=urn:orders|R1"}]
)
@pytest.mark.parametrize("order_first", [True, False])
async def test_an_order_named_by_its_number_is_the_same_order(
    door: Door, named: dict[str, Any], order_first: bool
) -> None:
    """The order comes in one message, and in another an Appointment that knows only its number."""
    messages = [order(identifier=[{"system": "urn:orders", "value": "R1"}]), appointment(basedOn=[named])]
    for message in messages if order_first else reversed(messages):
        await door.take(patient(), message)
    assert await door.ready() == 1


async def test_a_number_that_many_carry_joins_nobody(door: Door) -> None:
    """A placeholder, or the number of a group, is two orders' and two patients'."""
    for number in (1, 2):
        await door.take(patient(number), appointment(number, id=f"a{number}", basedOn=[NAMED_BY_IDENTIFIER]))
    assert await door.ready() == 2
    shared = [{"system": "urn:orders", "value": "0"}]
    orders = [order(id=f"o{n}", code={"text": f"Care {n}"}, identifier=shared) for n in (1, 2)]
    await door.take(patient(), *orders)
    assert await door.ready() == 4


async def test_a_death_stops_what_waits_for_another_appointment(door: Door) -> None:
    """The newer message brings the dead Patient and something else of theirs; then the first comes again."""
    first = (patient(meta=version(1)), appointment(meta=version(1)))
    await door.take(*first)
    died = patient(meta=version(2), deceasedBoolean=True)
    await door.take(died, appointment(id="a2", meta=version(2)))
    assert await door.ready() == 0
    await door.take(*first)
    assert await door.ready() == 0
    await door.take(patient(meta=version(3)))
    assert await door.ready() == 1


@pytest.mark.parametrize(
    "told",
    [
        {"deceasedDateTime": "2026-11-22"},
        {"active": False},
        {"meta": {"tag": [{"code": "HTEST"}]}},
        {"meta": {"security": [{"code": "R"}]}},
    ],
)
async def test_a_patient_who_comes_alone_is_heard(door: Door, told: dict[str, Any]) -> None:
    """No trigger is in the message, and the call that waits is stopped all the same."""
    await door.take(patient(), appointment())
    await door.take(patient(**told))
    assert await door.ready() == 0


async def test_a_consent_that_comes_alone_is_heard(door: Door) -> None:
    """By an absolute reference too, though nothing says where the server is."""
    await door.take(patient(), appointment())
    denies = {"resourceType": "Consent", "id": "c1", "status": "active", "provision": {"type": "deny"}}
    await door.take({**denies, "patient": {"reference": "https://ehr.example/fhir/Patient/p1"}})
    assert await door.ready() == 0


async def test_a_consent_is_found_whatever_server_it_names(door: Door) -> None:
    """That somebody is wrongly kept from being called can be mended."""
    denies = {"resourceType": "Consent", "id": "c1", "status": "active", "provision": {"type": "deny"}}
    consent = {**denies, "patient": {"reference": "https://other.example/fhir/Patient/p1"}}
    (visit,) = await door.take(patient(), consent, appointment())
    assert (visit.state, visit.reason) == ("skipped", "consent-denied")


async def test_what_was_never_booked_and_is_cancelled_is_no_second_call(door: Door) -> None:
    """The call to schedule it was placed; now somebody must tell the vendor that nobody wants it any more."""
    await door.take(patient(), appointment(meta=version(1), start="2026-12-02T15:00:00Z"))
    assert await door.send() == 1
    lost = appointment(meta=version(2), status="cancelled", start="2026-12-02T15:00:00Z")
    for _ in range(2):
        await door.take(patient(), lost)
        assert await door.ready() == 0
        assert await door.alarms() == {"revoked-after-send": 1}


async def test_what_was_booked_by_the_call_and_is_lost_is_a_call(door: Door) -> None:
    """The first call did what it was for; the loss is an intent of its own."""
    await door.take(patient(), appointment(meta=version(1)))
    assert await door.send() == 1
    booked = {"start": "2026-12-02T15:00:00Z", "end": "2026-12-02T16:00:00Z"}
    await door.take(patient(), appointment(meta=version(2), status="booked", **booked))
    await door.take(patient(), appointment(meta=version(3), status="cancelled", **booked))
    assert await door.ready() == 1
    assert await door.alarms() == {}


async def test_an_appointment_first_heard_of_when_lost_is_a_call(door: Door) -> None:
    """The order's call was placed, somebody booked and cancelled between two exports: it had a time."""
    await door.take(patient(), order())
    assert await door.send() == 1
    based = [{"reference": "ServiceRequest/o1"}]
    lost = appointment(status="cancelled", start="2026-12-02T15:00:00Z", basedOn=based)
    await door.take(patient(), lost)
    assert await door.ready() == 1


async def test_a_lost_appointment_that_never_had_a_time_is_no_second_call(door: Door) -> None:
    """Nothing can have been booked; the call of its order was placed."""
    await door.take(patient(), order())
    assert await door.send() == 1
    based = [{"reference": "ServiceRequest/o1"}]
    await door.take(patient(), appointment(status="cancelled", requestedPeriod=None, basedOn=based))
    assert await door.ready() == 0
    assert await door.alarms() == {"revoked-after-send": 1}


@pytest.mark.parametrize("first", ["order", "appointment"])
async def test_an_absolute_reference_joins_the_chain_of_a_source_without_base(door: Door, first: str) -> None:
    """A source is one hospital: where nothing says on which server it is, Type/id counts."""
    based = [{"reference": "https://ehr.example/fhir/ServiceRequest/o1"}]
    messages = [(patient(), order()), (patient(), appointment(basedOn=based))]
    for message in messages if first == "order" else messages[::-1]:
        await door.take(*message)
        await door.send()
    assert (await door.ledger.status(door.now)).states == {"sent": 1}


async def test_another_server_than_the_messages_own_is_a_stranger(door: Door) -> None:
    """The message shows its server by its fullUrls: the same Type/id elsewhere is another order."""
    await door.take(patient(), order())
    assert await door.send() == 1
    based = [{"reference": "https://other.example/fhir/ServiceRequest/o1"}]
    url = "https://ehr.example/fhir/"
    await door.take(
        {"fullUrl": f"{url}Patient/p1", "resource": patient()},
        {"fullUrl": f"{url}Appointment/a1", "resource": appointment(basedOn=based)},
    )
    assert await door.ready() == 1


async def test_a_withdrawn_order_is_found_by_an_absolute_reference(door: Door) -> None:
    """In one message, without fullUrls."""
    based = [{"reference": "https://ehr.example/fhir/ServiceRequest/o1"}]
    (_, visit) = await door.take(patient(), order(status="revoked"), appointment(basedOn=based))
    assert visit.state == "skipped"


async def test_a_reused_patient_id_is_parked_for_a_person(door: Door) -> None:
    """Somebody else under the id whose patient at the endpoint is known: no task in their name."""
    await door.take(patient(), appointment())
    assert await door.send() == 1
    another = patient(name=[{"family": "Other", "given": ["Otto"]}], birthDate="1950-05-05")
    await door.take(another, appointment(id="a2"))
    assert (await door.ledger.status(door.now)).reasons.get("patient-changed") == 1
    assert await door.send() == 0
    somebody = Act("tester", "created by hand", door.now)
    assert await door.ledger.resolve_patient("default", "Patient/p1", str(uuid4()), somebody) == 1
    await door.take(another, appointment(id="a3"))
    assert await door.ready() == 2


async def test_a_new_surname_is_the_same_person(door: Door) -> None:
    """Birth date and first name agree: somebody married."""
    await door.take(patient(), appointment())
    assert await door.send() == 1
    await door.take(patient(name=[{"family": "Other", "given": ["Juniper"]}]), appointment(id="a2"))
    assert await door.ready() == 1


@pytest.mark.parametrize("written_again", [True, False])
async def test_an_undated_deletion_beside_a_version_goes_by_the_historys_order(
    door: Door, written_again: bool
) -> None:
    """A history tells the newest first: what stands before its deletion was written after it."""
    put = {"resource": appointment(meta=version(7)), "request": {"method": "PUT", "url": "Appointment/a1"}}
    gone = {"request": {"method": "DELETE", "url": "Appointment/a1"}}
    entries = [put, gone] if written_again else [gone, put]
    await door.take(patient(), *entries, kind="history")
    assert await door.ready() == (1 if written_again else 0)
    told = [problem.code for problem in documents.read_file(door.written[-1]).problems]
    assert told == ([] if written_again else ["deletion-undated"])
