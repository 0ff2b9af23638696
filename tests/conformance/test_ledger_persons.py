"""What a record says of a person holds for every call of theirs, until a record takes it back."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import insert

from fhir_bridge.ledger.database.tables import statements
from fhir_bridge.ledger.records import Act, Claimed, Heard, Refusal, Selection, SettleTask, StartTask
from fhir_bridge.ledger.sending.claims import Claim
from fhir_bridge.ledger.store import SqlLedger
from fhir_bridge.mapping.statements import Statement
from fhir_bridge.task_api.outcome import Outcome, OutcomeClass

MINUTE = timedelta(minutes=1)
OF_P = {"patient": "Patient/p"}
PATIENT = {**OF_P, "patient_id": "00000000-0000-4000-8000-000000000001"}


def said(stop: str | None = "patient-deceased", version: str | None = "2", **given: Any) -> Heard:
    """What the record of Patient/p says."""
    told = {"names": ("Patient/p",), "record": "Patient/p", "stop": stop, "version_id": version}
    return Heard("ehr", Statement(**{**told, **given}))


async def take(ledger: SqlLedger, now: datetime, *arrivals: Any, heard: Any = ()) -> None:
    """Take decisions and statements in; what calls is due at once."""
    await ledger.accept(arrivals, now=now, heard=heard)


async def seen(ledger: SqlLedger, trigger: str) -> tuple[str, str | None]:
    """The state and reason of a trigger's intent."""
    shown = await ledger.show(trigger)
    return shown["state"], shown["reason"]


async def claim(ledger: SqlLedger, now: datetime) -> list[Claimed]:
    """What is due."""
    return await ledger.claim(Claim("worker", now, now + MINUTE, 10))


async def test_a_death_stops_every_call_of_the_person(
    ledger: SqlLedger, arrivals: Any, monday: datetime
) -> None:
    """Also those that the message does not name; nobody else's."""
    await take(ledger, monday, arrivals.call("Appointment/a1", **PATIENT), arrivals.call("Appointment/b"))
    (worker, *_) = await claim(ledger, monday)
    await take(ledger, monday, arrivals.skip("Appointment/a2", "patient-deceased", **OF_P), heard=[said()])
    assert await seen(ledger, "Appointment/a1") == ("skipped", "patient-deceased")
    assert await seen(ledger, "Appointment/b") == ("ready", None)
    (refused,) = await ledger.write([StartTask(worker, monday, monday + MINUTE, monday)])
    assert not refused.done


async def test_a_record_that_comes_alone_is_heard(ledger: SqlLedger, arrivals: Any, monday: datetime) -> None:
    """A message may hold no more than the Patient; what parks or is rejected is stopped too."""
    await take(ledger, monday, arrivals.call("Appointment/a1", **PATIENT))
    await take(ledger, monday, heard=[said("patient-inactive")])
    assert await seen(ledger, "Appointment/a1") == ("skipped", "patient-inactive")


async def test_a_stop_holds_where_a_call_counts_again_that_stood_behind_another_persons_decision(
    ledger: SqlLedger, arrivals: Any, monday: datetime
) -> None:
    """A chain may speak of two patients, and what takes the call back names the other one only."""
    chain = {"members": ("ServiceRequest/s", "Appointment/a1")}
    other = {**chain, "patient": "Patient/q"}
    await take(ledger, monday, arrivals.call("Appointment/a1", **PATIENT, **chain), heard=[said()])
    await take(ledger, monday, arrivals.skip("ServiceRequest/s", **other))
    assert await seen(ledger, "Appointment/a1") == ("skipped", "already-booked")
    await take(ledger, monday, arrivals.skip("ServiceRequest/s", "awaiting-triage", **other, version_id="2"))
    assert await seen(ledger, "Appointment/a1") == ("skipped", "patient-deceased")


async def test_an_older_version_does_not_undo_a_stop(
    ledger: SqlLedger, arrivals: Any, monday: datetime
) -> None:
    """Nor one that does not tell its version: a file that is sent again phones nobody who died meanwhile."""
    first = arrivals.call("Appointment/a1", **PATIENT)
    await take(ledger, monday, first, heard=[said(None, "1")])
    await take(ledger, monday, arrivals.skip("Appointment/a1", "patient-deceased", **OF_P), heard=[said()])
    for again in (said(None, "1"), said(None, None)):
        await take(ledger, monday, first, arrivals.call("Appointment/a2", **PATIENT), heard=[again])
        assert await seen(ledger, "Appointment/a1") == ("skipped", "patient-deceased")
        assert await seen(ledger, "Appointment/a2") == ("skipped", "patient-deceased")
    assert await claim(ledger, monday) == []


async def test_a_newer_version_lets_the_calls_go_on(
    ledger: SqlLedger, arrivals: Any, monday: datetime
) -> None:
    """What was recorded by mistake; the older version that said it is not heard again."""
    await take(ledger, monday, arrivals.call("Appointment/a1", **PATIENT))
    await take(ledger, monday, heard=[said()])
    await take(ledger, monday, heard=[said(None, "3")])
    await take(ledger, monday, heard=[said(version="2")])
    assert await seen(ledger, "Appointment/a1") == ("ready", None)
    (claimed,) = await claim(ledger, monday)
    (started,) = await ledger.write([StartTask(claimed, monday, monday + MINUTE, monday)])
    assert started.done


async def test_each_record_takes_back_only_what_it_said(
    ledger: SqlLedger, arrivals: Any, monday: datetime
) -> None:
    """A Patient who lives does not lift a Consent that denies."""
    await take(ledger, monday, arrivals.call("Appointment/a1", **PATIENT))
    consent = {"record": "Consent/c", "version": None}
    await take(ledger, monday, heard=[said("consent-denied", **consent), said(None)])
    assert await seen(ledger, "Appointment/a1") == ("skipped", "consent-denied")
    await take(ledger, monday, heard=[said(None, **consent)])
    assert await seen(ledger, "Appointment/a1") == ("ready", None)


async def test_a_stop_reaches_the_names_of_merged_records(
    ledger: SqlLedger, arrivals: Any, monday: datetime
) -> None:
    """And is taken back for all of them, though the record that takes it back knows only one."""
    old = arrivals.call("Appointment/a1", **{**PATIENT, "patient": "Patient/old"})
    await take(ledger, monday, old)
    await take(ledger, monday, heard=[said(names=("Patient/p", "Patient/old"))])
    assert await seen(ledger, "Appointment/a1") == ("skipped", "patient-deceased")
    await take(ledger, monday, heard=[said(None, "3")])
    assert await seen(ledger, "Appointment/a1") == ("ready", None)


async def test_a_death_after_sending_is_an_alarm_once(
    ledger: SqlLedger, arrivals: Any, monday: datetime
) -> None:
    """The state stays, and the same news raises no second alarm."""
    await take(ledger, monday, arrivals.call("Appointment/a1", **PATIENT))
    (claimed,) = await claim(ledger, monday)
    await ledger.write([StartTask(claimed, monday, monday + MINUTE, monday)])
    await take(ledger, monday, heard=[said()])
    (item,) = await ledger.worklist()
    assert (item.state, item.reason) == ("sending", "revoked-after-send")
    await ledger.acknowledge(Selection(key=item.key), Act("tester", "told the vendor", monday))
    await take(ledger, monday, heard=[said(version="3")])
    assert await ledger.worklist() == []


async def test_what_comes_back_unsent_is_stopped(ledger: SqlLedger, arrivals: Any, monday: datetime) -> None:
    """A call that was not processed, and one that an operator had cancelled or lets go again."""
    await take(ledger, monday, arrivals.call("Appointment/a1", **PATIENT), arrivals.call("Appointment/b"))
    key = (await ledger.show("Appointment/a1"))["key"]
    somebody = Act("tester", "because", monday)
    await ledger.cancel(Selection(key=key), somebody)
    await take(ledger, monday, heard=[said()])
    await ledger.retry(Selection(key=key), somebody)
    assert await seen(ledger, "Appointment/a1") == ("skipped", "patient-deceased")


@pytest.mark.parametrize("kind", [OutcomeClass.NOT_PROCESSED, OutcomeClass.UNKNOWN])
async def test_what_is_stopped_while_it_is_sent_is_not_sent_again(
    ledger: SqlLedger, arrivals: Any, monday: datetime, kind: OutcomeClass
) -> None:
    """Neither by itself, where nobody was called, nor where an operator says so of one in doubt."""
    await take(ledger, monday, arrivals.call("Appointment/a1", **PATIENT))
    (claimed,) = await claim(ledger, monday)
    (begun,) = await ledger.write([StartTask(claimed, monday, monday + MINUTE, monday)])
    await take(ledger, monday, heard=[said()])
    assert (await seen(ledger, "Appointment/a1"))[0] == "sending"
    outcome = Outcome(kind, 503, "http-503")
    settled = SettleTask(claimed, begun.number, outcome, monday, monday, due_at=monday, poll_at=monday)
    await ledger.write([settled])
    if kind is OutcomeClass.UNKNOWN:
        somebody = Act("tester", "nobody was called", monday)
        assert await ledger.resolve_resend(Selection(key="Appointment/a1"), somebody) == 1
    assert await seen(ledger, "Appointment/a1") == ("skipped", "patient-deceased")


async def test_starting_asks_once_more(ledger: SqlLedger, arrivals: Any, monday: datetime) -> None:
    """Should an intent be ready though a record speaks against it, its attempt is not committed."""
    await take(ledger, monday, arrivals.call("Appointment/a1", **PATIENT))
    (claimed,) = await claim(ledger, monday)
    against = {"source": "ehr", "record": "Patient/p", "identity": "Patient/p", "stop": "patient-test"}
    async with ledger._writing() as connection:
        await connection.execute(insert(statements).values(**against, changed_at=monday))
    (refused,) = await ledger.write([StartTask(claimed, monday, monday + MINUTE, monday)])
    assert refused.refusal is Refusal.STOPPED


async def test_a_record_of_contradictory_age_takes_nothing_back_but_the_next_one_does(
    ledger: SqlLedger, arrivals: Any, monday: datetime
) -> None:
    """A server that numbers anew, or an old copy with a new time: the dead are not called for it."""
    day = timedelta(days=1)
    await take(ledger, monday, arrivals.call("Appointment/a1", **PATIENT))
    await take(ledger, monday, heard=[said(version="7", last_updated=monday - day)])
    await take(ledger, monday, heard=[said(None, "1", last_updated=monday)])
    assert await seen(ledger, "Appointment/a1") == ("skipped", "patient-deceased")
    await take(ledger, monday, heard=[said(None, "2", last_updated=monday + MINUTE)])
    assert await seen(ledger, "Appointment/a1") == ("ready", None)


LINKED = Heard("ehr", Statement((), "Patient/q", None, same=("Patient/q", "Patient/p")))
"""The record of Patient/q says that it is the same person as Patient/p."""


async def test_a_death_is_one_under_every_identity_of_the_person(
    ledger: SqlLedger, arrivals: Any, monday: datetime
) -> None:
    """Told before or after it is known that two records are one person; taken back for both. That a record is
    not in use any more says nothing of the other.
    """
    call = arrivals.call("Appointment/q", patient="Patient/q", patient_id=PATIENT["patient_id"])
    await take(
        ledger, monday, call, arrivals.call("Appointment/p", **PATIENT), heard=[said("patient-inactive")]
    )
    await take(ledger, monday, heard=[LINKED])
    assert await seen(ledger, "Appointment/q") == ("ready", None)
    await take(ledger, monday, heard=[said(version="3")])
    assert await seen(ledger, "Appointment/q") == ("skipped", "patient-deceased")
    await take(ledger, monday, heard=[said(None, version="4")])
    for trigger in ("Appointment/q", "Appointment/p"):
        assert await seen(ledger, trigger) == ("ready", None)


async def test_who_turns_out_to_be_somebody_who_died_is_not_called(
    ledger: SqlLedger, arrivals: Any, monday: datetime
) -> None:
    """Neither what waits nor what comes."""
    await take(ledger, monday, heard=[said()])
    await take(ledger, monday, arrivals.call("Appointment/1", patient="Patient/q", phone="+12125550102"))
    assert await seen(ledger, "Appointment/1") == ("ready", None)
    await take(ledger, monday, heard=[LINKED])
    await take(ledger, monday, arrivals.call("Appointment/2", patient="Patient/q"))
    for trigger in ("Appointment/1", "Appointment/2"):
        assert await seen(ledger, trigger) == ("skipped", "patient-deceased")


async def test_an_older_version_of_a_record_is_counted_when_it_is_left_aside(
    ledger: SqlLedger, monday: datetime
) -> None:
    """As one of an appointment is; the same one again is no older one."""
    for version in ("2", "1", "2", "1"):
        await take(ledger, monday, heard=[said(version=version)])
    assert (await ledger.status(monday)).outdated == {"ehr": 2}


def merged(version: str | None = "2") -> Heard:
    """The record of Patient/q says that Patient/p took its place."""
    return Heard("ehr", Statement((), "Patient/q", None, version, same=("Patient/q", "Patient/p")))


def apart(version: str | None = "3", **given: Any) -> Heard:
    """The record of Patient/q, in use and linked with no other."""
    return Heard(
        "ehr", Statement(("Patient/q",), "Patient/q", **{"stop": None, "version_id": version, **given})
    )


async def test_a_merge_that_is_taken_back_ends_for_what_comes(
    ledger: SqlLedger, arrivals: Any, monday: datetime
) -> None:
    """A death stays with the record that told of it; whom somebody blocked meanwhile stays blocked until
    they are taken off the list; a block that comes later is of the one record alone."""
    q = {"patient": "Patient/q", "patient_id": PATIENT["patient_id"], "phone": "+12125550102"}
    await take(ledger, monday, heard=[merged(), said(version="1")])
    await take(ledger, monday, arrivals.call("Appointment/q", **q), arrivals.call("Appointment/p", **PATIENT))
    assert await seen(ledger, "Appointment/q") == ("skipped", "patient-deceased")
    await take(ledger, monday, heard=[apart()])
    assert await seen(ledger, "Appointment/q") == ("ready", None)
    assert await seen(ledger, "Appointment/p") == ("skipped", "patient-deceased")
    await ledger.block("patient", "ehr|Patient/p", Act("op", "asked us", monday))
    assert await seen(ledger, "Appointment/q") == ("ready", None)
    await take(ledger, monday, heard=[said(version="2")])
    assert await seen(ledger, "Appointment/q") == ("ready", None)
    await take(ledger, monday, heard=[merged("4")])
    assert (await seen(ledger, "Appointment/q"))[0] == "skipped"
    await take(ledger, monday, heard=[apart("5")])
    assert await seen(ledger, "Appointment/q") == ("skipped", "do-not-call")
    for whom in ("ehr|Patient/p", "ehr|Patient/q"):
        await ledger.unblock("patient", whom, Act("op", "asked us to", monday))
    assert await seen(ledger, "Appointment/q") == ("ready", None)
    assert await seen(ledger, "Appointment/p") == ("skipped", "patient-deceased")


@pytest.mark.parametrize(
    "later",
    [apart("1"), apart("2"), apart(None), apart("3", stop="patient-inactive"), merged("3")],
    ids=["an older version", "the same", "one without a version", "one not in use", "one with the link"],
)
async def test_a_merge_is_taken_back_by_a_newer_version_that_is_in_use_alone(
    ledger: SqlLedger, arrivals: Any, monday: datetime, later: Heard
) -> None:
    """Whatever may not know of it says nothing of it."""
    q = {"patient": "Patient/q", "patient_id": PATIENT["patient_id"]}
    await take(ledger, monday, arrivals.call("Appointment/q", **q), heard=[merged(), said(version="1")])
    await take(ledger, monday, heard=[later])
    assert (await seen(ledger, "Appointment/q"))[0] == "skipped"


async def test_a_merge_of_which_another_record_tells_too_stays(
    ledger: SqlLedger, arrivals: Any, monday: datetime
) -> None:
    """Each record takes back only what it said itself."""
    both = Statement(("Patient/p",), "Patient/p", "patient-deceased", "1", same=("Patient/p", "Patient/q"))
    q = {"patient": "Patient/q", "patient_id": PATIENT["patient_id"]}
    await take(ledger, monday, arrivals.call("Appointment/q", **q), heard=[merged(), Heard("ehr", both)])
    await take(ledger, monday, heard=[apart()])
    assert await seen(ledger, "Appointment/q") == ("skipped", "patient-deceased")
