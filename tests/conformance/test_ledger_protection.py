"""What protects people and their data: do-not-call, pace, crosswalk, retention, encryption, audit."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from dataclasses import replace
from datetime import datetime, timedelta
from inspect import getmembers
from typing import Any

import pytest
from msgspec import structs
from sqlalchemy import text

from fhir_bridge.errors import LedgerError, UsageError
from fhir_bridge.ledger.arrivals import intake
from fhir_bridge.ledger.arrivals.batch import Intake
from fhir_bridge.ledger.people import audit, retention
from fhir_bridge.ledger.people.disclosures import Period
from fhir_bridge.ledger.records import (
    Act,
    Claimed,
    Cleared,
    CrosswalkEntry,
    Heard,
    ReadBack,
    Refusal,
    Selection,
    SettlePatient,
    SettleTask,
    StartPatient,
    StartTask,
)
from fhir_bridge.ledger.sending.claims import Claim
from fhir_bridge.ledger.sources.messages import MessageSelection, MessageState, Received, Settled, Take
from fhir_bridge.ledger.states import State
from fhir_bridge.ledger.store import SqlLedger, open_ledger
from fhir_bridge.mapping.statements import Statement
from fhir_bridge.task_api.outcome import Outcome, OutcomeClass

MINUTE = timedelta(minutes=1)
MONTH = timedelta(days=30)
TASK = "00000000-0000-4000-8000-000000000002"
SENT = Outcome(OutcomeClass.ACCEPTED, 201, id=TASK)
LOST = Outcome(OutcomeClass.UNKNOWN, 500, "http-500")
REFUSED = Outcome(OutcomeClass.REFUSED, 422, "http-422", detail="Juniper is not welcome")
DESTINATION = {"api_url": "http://127.0.0.1:1", "project_id": "123e4567-e89b-12d3-a456-426614174000"}
NUMBER = "+12125550101"
PAYLOADS = {
    "inbox": ("body",),
    "patients": ("request", "answer"),
    "intents": ("content", "answer", "remote_outcome"),
    "triggers": ("content",),
}


def act(at: datetime) -> Act:
    """Somebody does something."""
    return Act("tester", "because", at)


def known(number: int) -> str:
    """The task API's id of the n-th patient."""
    return f"00000000-0000-4000-9000-{number:012d}"


async def claim(ledger: SqlLedger, now: datetime, limit: int = 100) -> list[Claimed]:
    """What a worker gets."""
    return await ledger.claim(Claim("worker", now, now + MINUTE, limit))


async def send(ledger: SqlLedger, now: datetime, outcome: Outcome = SENT) -> Claimed:
    """Send the one that is due, to this outcome."""
    (claimed,) = await claim(ledger, now, 1)
    (begun,) = await ledger.write([StartTask(claimed, now, now + MINUTE, now - MINUTE)])
    assert begun.done
    await ledger.write([SettleTask(claimed, begun.number, outcome, now, now, due_at=now, poll_at=now)])
    return claimed


async def standing(ledger: SqlLedger, trigger: str) -> tuple[str, str | None]:
    """State and reason of an intent."""
    shown = await ledger.show(trigger)
    return shown["state"], shown["reason"]


async def kept(ledger: SqlLedger) -> dict[str, int]:
    """How many payloads there are, by column."""
    found = {}
    async with ledger._engine.begin() as connection:
        for table, columns in PAYLOADS.items():
            for column in columns:
                query = text(f"SELECT count(*) FROM {table} WHERE {column} IS NOT NULL")
                found[f"{table}.{column}"] = (await connection.execute(query)).scalar_one()
    return {name: count for name, count in found.items() if count}


# -- do not call --


async def test_blocking_a_number_skips_what_waits_for_it(
    ledger: SqlLedger, arrivals: Any, monday: datetime
) -> None:
    """At once, a claim that a worker holds included; nobody else's."""
    calls = [
        arrivals.call(f"Appointment/{n}", phone=f"+121255501{n:02}", patient_id=known(n)) for n in (1, 2)
    ]
    await ledger.accept(calls, now=monday)
    claimed = await claim(ledger, monday)
    assert await ledger.block("number", NUMBER, act(monday)) == 1
    assert await standing(ledger, "Appointment/1") == ("skipped", "do-not-call")
    starts = [StartTask(item, monday, monday + MINUTE, monday) for item in claimed]
    assert [written.done for written in await ledger.write(starts)] == [False, True]


@pytest.mark.parametrize("whom", [("number", NUMBER), ("patient", "ehr|Patient/p-a")])
async def test_who_was_blocked_after_the_mapping_is_found_before_the_attempt(
    ledger: SqlLedger, arrivals: Any, monday: datetime, whom: tuple[str, str]
) -> None:
    """What was mapped before it and comes in after it neither creates the patient nor calls them."""
    await ledger.block(*whom, act(monday))
    await ledger.accept([arrivals.call("Appointment/a")], now=monday)
    (claimed,) = await claim(ledger, monday)
    for start in (
        StartPatient(claimed, monday, monday + MINUTE),
        StartTask(claimed, monday, monday + MINUTE, monday),
    ):
        (written,) = await ledger.write([start])
        assert written.refusal is Refusal.BLOCKED


async def test_mapping_asks_the_list_without_seeing_it(ledger: SqlLedger, monday: datetime) -> None:
    """A number is found by its hash; patients are those of the source that asks."""
    await ledger.block("number", NUMBER, act(monday))
    await ledger.block("patient", "ehr|Patient/p1", act(monday))
    found = await ledger.do_not_call("ehr")
    assert NUMBER in found.numbers
    assert "+12125550102" not in found.numbers
    assert found.patients == {"Patient/p1"}
    assert (await ledger.do_not_call("other")).patients == frozenset()
    assert "5550101" not in repr(await ledger.blocked()) + repr(found)


@pytest.mark.parametrize("outcome", [SENT, LOST])
async def test_blocking_who_may_have_been_called_is_an_alarm(
    ledger: SqlLedger, arrivals: Any, monday: datetime, outcome: Outcome
) -> None:
    """What went out cannot be called back here: somebody must tell the vendor."""
    await ledger.accept([arrivals.call("Appointment/a", phone=NUMBER, patient_id=known(1))], now=monday)
    await send(ledger, monday, outcome)
    before = await standing(ledger, "Appointment/a")
    assert await ledger.block("number", NUMBER, act(monday)) == 0
    shown = await ledger.show("Appointment/a")
    assert (shown["state"], shown["reason"]) == before
    assert (shown["alarm"], shown["alarm_reason"]) == ("revoked-after-send", "do-not-call")


async def test_blocking_whose_call_is_over_is_no_alarm(
    ledger: SqlLedger, arrivals: Any, monday: datetime
) -> None:
    """There is nothing left that the vendor could stop."""
    await ledger.accept([arrivals.call("Appointment/a", phone=NUMBER, patient_id=known(1))], now=monday)
    await send(ledger, monday)
    (sent,) = await ledger.take_polls(monday, monday + MINUTE, 1)
    await ledger.record_polls([ReadBack(sent, "COMPLETED", None, final=True)], monday)
    assert await ledger.block("number", NUMBER, act(monday)) == 0
    assert await standing(ledger, "Appointment/a") == ("done", None)
    assert (await ledger.show("Appointment/a"))["alarm"] is None


async def test_unblocking_decides_again_what_the_list_alone_held_back(
    ledger: SqlLedger, arrivals: Any, monday: datetime
) -> None:
    """Not what mapping skipped, nor who died, nor what another entry still blocks."""
    calls = [
        arrivals.call("Appointment/a", phone=NUMBER, patient_id=known(1)),
        arrivals.call("Appointment/b", phone=NUMBER, patient_id=known(2)),
        arrivals.skip("Appointment/c", "do-not-call"),
        arrivals.call("Appointment/d", phone=NUMBER, patient_id=known(4)),
    ]
    await ledger.accept(calls, now=monday)
    died = Statement(("Patient/p-d",), "Patient/p-d", "patient-deceased")
    await ledger.accept([], now=monday, heard=[Heard("ehr", died)])
    await ledger.block("number", NUMBER, act(monday))
    await ledger.block("patient", "ehr|Patient/p-b", act(monday))
    assert await ledger.unblock("number", NUMBER, act(monday)) == 1
    assert await standing(ledger, "Appointment/d") == ("skipped", "patient-deceased")
    assert await standing(ledger, "Appointment/a") == ("ready", None)
    assert await standing(ledger, "Appointment/b") == ("skipped", "do-not-call")
    assert await standing(ledger, "Appointment/c") == ("skipped", "do-not-call")
    assert await ledger.unblock("number", NUMBER, act(monday)) is None


def one_person(*identities: str, record: str = "Patient/p-a", source: str = "ehr") -> Heard:
    """What a record says of who is the same person as it."""
    return Heard(source, Statement((), record, None, same=identities))


P_A, P_B, P_C = "ehr|Patient/p-a", "ehr|Patient/p-b", "ehr|Patient/p-c"
MERGE = one_person("Patient/p-a", "Patient/p-b")
THREE = one_person("Patient/p-a", "Patient/p-b", "Patient/p-c")


@pytest.mark.parametrize("whom", [P_A, P_B])
@pytest.mark.parametrize("told", ["before", "after"])
async def test_a_block_reaches_a_person_under_every_identity(
    ledger: SqlLedger, arrivals: Any, monday: datetime, whom: str, told: str
) -> None:
    """Whichever record of a merge is named, whether the merge is told before or after; to be seen, and taken
    back at once."""
    await ledger.accept([arrivals.call("Appointment/a"), arrivals.call("Appointment/b")], now=monday)
    if told == "before":
        await ledger.accept([], now=monday, heard=[MERGE])
    assert await ledger.block("patient", whom, act(monday)) == (2 if told == "before" else 1)
    if told == "after":
        await ledger.accept([], now=monday, heard=[MERGE])
    for trigger in ("Appointment/a", "Appointment/b"):
        assert await standing(ledger, trigger) == ("skipped", "do-not-call")
        (entry,) = (await ledger.show(trigger))["blocked"]
        assert entry["via"] == (None if entry["value"] == whom else whom)
    assert {entry.value: entry.via for entry in await ledger.blocked()} == {
        value: None if value == whom else whom for value in (P_A, P_B)
    }
    assert (await ledger.do_not_call("ehr")).patients == {"Patient/p-a", "Patient/p-b"}
    with pytest.raises(UsageError, match="same person"):
        await ledger.unblock("patient", P_B if whom == P_A else P_A, act(monday))
    assert await ledger.unblock("patient", whom, act(monday)) == 2
    assert await ledger.blocked() == []
    assert (await ledger.status(monday)).states == {"ready": 2}


async def test_a_block_reaches_who_is_told_to_be_the_same_step_by_step(
    ledger: SqlLedger, arrivals: Any, monday: datetime
) -> None:
    """Each record knows only the next; the last comes with the call that is not made for it. Nobody else."""
    await ledger.block("patient", P_A, act(monday))
    chained = [
        one_person("Patient/p-b", "identifier:1", record="Patient/p-b"),
        one_person("Patient/p-c", "identifier:1", record="Patient/p-c"),
        one_person("Patient/p-a", "Patient/p-d", source="other"),
    ]
    await ledger.accept(
        [arrivals.call("Appointment/c"), arrivals.call("Appointment/d")], now=monday, heard=chained
    )
    assert await standing(ledger, "Appointment/c") == ("ready", None)
    await ledger.accept([arrivals.call("Appointment/b")], now=monday, heard=[MERGE])
    for trigger in ("Appointment/b", "Appointment/c"):
        assert await standing(ledger, trigger) == ("skipped", "do-not-call")
    assert await standing(ledger, "Appointment/d") == ("ready", None)
    await ledger.accept([], now=monday, heard=[MERGE])
    assert len(await ledger.blocked()) == 4


async def test_a_person_who_is_blocked_twice_stays_so_until_both_are_taken_back(
    ledger: SqlLedger, arrivals: Any, monday: datetime
) -> None:
    """Under two records, before anybody knew that they are one and a third: all go by the entry that is left,
    also where the merge is told once more."""
    await ledger.accept([arrivals.call("Appointment/a"), arrivals.call("Appointment/b")], now=monday)
    await ledger.block("patient", P_A, act(monday))
    await ledger.block("patient", P_B, act(monday))
    await ledger.accept([], now=monday, heard=[THREE])
    assert await ledger.unblock("patient", P_A, act(monday)) == 0
    for _ in range(2):
        entries = {entry.value: entry.via for entry in await ledger.blocked()}
        assert entries == {P_A: P_B, P_B: None, P_C: P_B}
        await ledger.accept([], now=monday, heard=[THREE])
    assert await standing(ledger, "Appointment/a") == ("skipped", "do-not-call")
    assert await ledger.unblock("patient", P_B, act(monday)) == 2
    assert (await ledger.status(monday)).states == {"ready": 2}


async def test_a_merge_that_comes_after_the_call_of_who_is_blocked_is_an_alarm(
    ledger: SqlLedger, arrivals: Any, monday: datetime
) -> None:
    """It went out for the other record of the person."""
    await ledger.accept([arrivals.call("Appointment/b", phone=NUMBER, patient_id=known(1))], now=monday)
    await send(ledger, monday, SENT)
    await ledger.block("patient", P_A, act(monday))
    await ledger.accept([], now=monday, heard=[MERGE])
    shown = await ledger.show("Appointment/b")
    assert (shown["alarm"], shown["alarm_reason"]) == ("revoked-after-send", "do-not-call")


async def test_a_block_and_a_merge_that_come_at_once_know_of_each_other(
    ledger: SqlLedger, monday: datetime
) -> None:
    """Somebody is blocked while the message that tells of the merge is being taken in: under both records."""
    async with ledger._writing() as connection:
        await intake.accept(connection, [], Intake(monday, monday), ledger._salt, [MERGE])
        blocked = asyncio.create_task(ledger.block("patient", P_A, act(monday)))
        await asyncio.wait([blocked], timeout=0.3)
    await blocked
    assert {entry.value for entry in await ledger.blocked()} == {P_A, P_B}


async def test_a_long_list_is_taken_in_whole(ledger: SqlLedger, arrivals: Any, monday: datetime) -> None:
    """Twelve hundred numbers and a patient, twice: the same list, two rows of the audit."""
    await ledger.accept([arrivals.call("Appointment/a", phone="+12125550777")], now=monday)
    entries = [("number", f"+1212555{n:04}") for n in range(1200)] + [("patient", "ehr|Patient/p9")]
    assert await ledger.block_all(entries, act(monday)) == 1
    assert await ledger.block_all(entries, act(monday)) == 0
    assert len(await ledger.blocked()) == 1201
    head = await ledger.audit_head()
    assert head is not None
    assert head.number == 2


# -- pace --


async def test_the_pace_holds_over_batches_and_workers(
    ledger: SqlLedger, arrivals: Any, monday: datetime
) -> None:
    """Two a minute: one goes, the others are told when their turn may be, and only then another goes."""
    calls = [
        arrivals.call(f"Appointment/{n}", phone=f"+121255501{n:02}", patient_id=known(n)) for n in range(3)
    ]
    await ledger.accept(calls, now=monday)
    every = timedelta(seconds=30)
    claimed = await claim(ledger, monday)

    async def start(moment: datetime, *wanted: Claimed) -> list[Any]:
        return await ledger.write(
            [StartTask(item, moment, monday + MINUTE, monday - MINUTE, every) for item in wanted]
        )

    first, second, third = await start(monday, *claimed)
    assert first.done
    assert (second.refusal, second.turn_at) == (Refusal.PACED, monday + every)
    assert third.turn_at == monday + 2 * every
    early = monday + every - timedelta(seconds=2)
    assert [w.refusal for w in await start(early, claimed[1])] == [Refusal.PACED]
    (later, last) = await start(monday + every, *claimed[1:])
    assert (later.done, last.turn_at) == (True, monday + 2 * every)


async def test_the_pace_holds_after_a_night_without_calls(
    ledger: SqlLedger, arrivals: Any, monday: datetime
) -> None:
    """What did not go then is not made up for at once: no more than in the last second, and never twice."""
    calls = [
        arrivals.call(f"Appointment/{n}", phone=f"+121255501{n:02}", patient_id=known(n)) for n in range(9)
    ]
    await ledger.accept(calls, now=monday)
    until, every = monday + MONTH, timedelta(seconds=0.5)
    waiting = await ledger.claim(Claim("worker", monday, until, 9))

    async def start(moment: datetime) -> int:
        """How many of those that wait may go."""
        starts = [StartTask(item, moment, until, monday - MINUTE, every) for item in waiting]
        written = await ledger.write(starts)
        waiting[:] = [item for item, told in zip(waiting, written, strict=True) if not told.done]
        return sum(told.done for told in written)

    morning = monday + timedelta(hours=12)
    assert await start(monday) == 1
    assert await start(morning) == 3
    assert await start(morning) == 0
    assert await start(morning - 2 * every) == 0, "a worker whose clock is behind"
    assert await start(morning + every) == 1


async def test_nobody_waits_for_the_turn_of_who_does_not_come(
    ledger: SqlLedger, arrivals: Any, monday: datetime
) -> None:
    """A turn is a guess of at most ten minutes, however many are ahead."""
    calls = [
        arrivals.call(f"Appointment/{n}", phone=f"+121255501{n:02}", patient_id=known(n)) for n in range(9)
    ]
    await ledger.accept(calls, now=monday)
    starts = [
        StartTask(item, monday, monday + MINUTE, monday - MINUTE, timedelta(minutes=5))
        for item in await claim(ledger, monday)
    ]
    turns = [written.turn_at for written in await ledger.write(starts)]
    assert turns[0] is None
    assert max(turn for turn in turns if turn) == monday + timedelta(minutes=10)


# -- crosswalk --


async def test_an_imported_patient_is_not_created_again(
    ledger: SqlLedger, arrivals: Any, monday: datetime
) -> None:
    """Their intents go to the id that was imported, and the export gives it back."""
    entry = CrosswalkEntry("ehr", "Patient/p-a", known(7), 2)
    done = await ledger.import_patients([entry], act(monday))
    assert (done.new, done.known, done.conflicts) == (1, 0, {})
    await ledger.accept([arrivals.call("Appointment/a")], now=monday)
    (claimed,) = await claim(ledger, monday)
    assert claimed.patient.api_id == known(7)
    assert [(e.identity, e.patient_id) for e in await ledger.export_patients(act(monday))] == [
        ("Patient/p-a", known(7))
    ]


async def test_an_import_brings_back_who_was_in_doubt_and_changes_nobody_who_is_known(
    ledger: SqlLedger, arrivals: Any, monday: datetime
) -> None:
    """A conflict is named by its line; a check alone writes nothing."""
    await ledger.accept([arrivals.call("Appointment/a")], now=monday)
    (claimed,) = await claim(ledger, monday)
    (begun,) = await ledger.write([StartPatient(claimed, monday, monday + MINUTE)])
    await ledger.write([SettlePatient(claimed, begun.number, LOST, monday, monday)])
    assert await standing(ledger, "Appointment/a") == ("parked", "patient-in-doubt")
    await ledger.import_patients([CrosswalkEntry("ehr", "Patient/b", known(2), 2)], act(monday))
    entries = [
        CrosswalkEntry("ehr", "Patient/p-a", known(1), 2),
        CrosswalkEntry("ehr", "Patient/b", known(3), 3),
        CrosswalkEntry("ehr", "Patient/p-a", known(4), 4),
    ]
    checked = await ledger.check_patients(entries, monday)
    assert set(checked.conflicts) == {3, 4}
    assert await standing(ledger, "Appointment/a") == ("parked", "patient-in-doubt")
    done = await ledger.import_patients(entries, act(monday))
    assert (done.brought_back, set(done.conflicts)) == (1, {3, 4})
    assert await standing(ledger, "Appointment/a") == ("ready", None)
    exported = {e.identity: e.patient_id for e in await ledger.export_patients(act(monday))}
    assert exported == {"Patient/p-a": known(1), "Patient/b": known(2)}


async def test_a_patient_who_is_being_created_is_not_imported(
    ledger: SqlLedger, arrivals: Any, monday: datetime
) -> None:
    """The request is under way: what comes of it counts, and whoever imports is told."""
    await ledger.accept([arrivals.call("Appointment/a")], now=monday)
    (claimed,) = await claim(ledger, monday)
    (begun,) = await ledger.write([StartPatient(claimed, monday, monday + MINUTE)])
    entry = CrosswalkEntry("ehr", "Patient/p-a", known(7), 2)
    done = await ledger.import_patients([entry], act(monday))
    assert (done.new, done.known, done.brought_back) == (0, 0, 0)
    assert "being created" in done.conflicts[2]
    created = Outcome(OutcomeClass.ACCEPTED, 201, id=known(1))
    await ledger.write([SettlePatient(claimed, begun.number, created, monday, monday)])
    assert [e.patient_id for e in await ledger.export_patients(act(monday))] == [known(1)]


@pytest.mark.parametrize("before", [None, 1])
async def test_the_sites_own_id_of_a_patient_settles_who_they_are(
    ledger: SqlLedger, arrivals: Any, monday: datetime, before: int | None
) -> None:
    """Whether another one was known or none: what waits for them goes there, and nobody is created."""
    first = known(before) if before else None
    await ledger.accept([arrivals.call("Appointment/a", patient_id=first)], now=monday)
    newer = arrivals.call("Appointment/a", patient_id=known(2), version_id="2")
    await ledger.accept([newer], now=monday)
    (claimed,) = await claim(ledger, monday)
    assert claimed.patient.api_id == known(2)
    assert [e.patient_id for e in await ledger.export_patients(act(monday))] == [known(2)]


async def test_two_identities_that_turn_out_one_are_one_patient_from_then_on(
    ledger: SqlLedger, arrivals: Any, monday: datetime
) -> None:
    """What waits goes to the surviving record's patient; what was sent under the other is an alarm."""
    calls = [
        arrivals.call("Appointment/a", patient="Patient/old", patient_id=known(1), phone=NUMBER),
        arrivals.call("Appointment/b", patient="Patient/old", patient_id=known(1), phone="+12125550102"),
        arrivals.call("Appointment/c", patient="Patient/new", patient_id=known(2), phone="+12125550103"),
    ]
    await ledger.accept(calls[:1], now=monday)
    await send(ledger, monday)
    await ledger.accept(calls[1:], now=monday)
    merged = [
        arrivals.call("Appointment/a", patient="Patient/new", version_id="2", phone=NUMBER),
        arrivals.call("Appointment/b", patient="Patient/new", version_id="2", phone="+12125550102"),
    ]
    await ledger.accept(merged, now=monday)
    later = monday + MINUTE
    assert {item.patient.api_id for item in await claim(ledger, later)} == {known(2)}
    assert (await ledger.show("Appointment/a"))["alarm"] == "patient-changed-after-send"
    assert (await ledger.status(later)).states == {"sent": 1, "ready": 2}


# -- retention --


async def settled(ledger: SqlLedger, arrivals: Any, monday: datetime) -> None:
    """One refused, one rejected, one skipped, one sent, one ready: all with payloads."""
    await ledger.accept([arrivals.call("Appointment/refused", phone=NUMBER, patient_id=known(1))], now=monday)
    await send(ledger, monday, REFUSED)
    await ledger.accept([arrivals.call("Appointment/sent", phone="+12125550102")], now=monday)
    (claimed,) = await claim(ledger, monday)
    (begun,) = await ledger.write([StartPatient(claimed, monday, monday + MINUTE)])
    created = Outcome(OutcomeClass.ACCEPTED, 201, id=known(2))
    await ledger.write([SettlePatient(claimed, begun.number, created, monday, monday)])
    await ledger.release("worker")
    await send(ledger, monday)
    rest = [
        arrivals.reject("Appointment/rejected"),
        arrivals.skip("Appointment/skipped"),
        arrivals.call("Appointment/ready", phone="+12125550103"),
    ]
    await ledger.accept(rest, now=monday)


async def test_payloads_of_what_is_over_are_cleared_and_states_stay(
    ledger: SqlLedger, arrivals: Any, monday: datetime
) -> None:
    """After the period, not before; what is under way keeps its own."""
    await settled(ledger, arrivals, monday)
    before, states = await kept(ledger), (await ledger.status(monday)).states
    assert await ledger.clear_payloads(monday + MONTH - MINUTE, MONTH) == Cleared()
    assert await kept(ledger) == before
    cleared = await ledger.clear_payloads(monday + MONTH, MONTH)
    assert (cleared.intents, cleared.unfinished) == (3, 0)
    assert await kept(ledger) == {
        "inbox.body": 2,
        "intents.content": 2,
        "patients.request": 1,
    }
    assert (await ledger.status(monday)).states == states
    assert (await ledger.show("Appointment/refused"))["request"] is None
    assert await ledger.clear_payloads(monday + MONTH, MONTH) == Cleared()


@pytest.mark.parametrize("cleared", [True, False])
@pytest.mark.parametrize("imported", [True, False])
async def test_somebody_else_under_an_identity_is_known_by_what_is_kept(
    ledger: SqlLedger, arrivals: Any, monday: datetime, imported: bool, cleared: bool
) -> None:
    """Nobody is called in another's name, though retention has cleared whom the patient was created as, and
    though they came by an import of the crosswalk and were called since."""
    if imported:
        await ledger.import_patients([CrosswalkEntry("ehr", "Patient/p", known(2), 2)], act(monday))
    first = arrivals.call("Appointment/1", patient="Patient/p")
    await ledger.accept([first], now=monday)
    for one in await claim(ledger, monday):
        if not imported:
            (begun,) = await ledger.write([StartPatient(one, monday, monday + MINUTE)])
            created = Outcome(OutcomeClass.ACCEPTED, 201, id=known(2))
            await ledger.write([SettlePatient(one, begun.number, created, monday, monday)])
    await ledger.release("worker")
    await ledger.cancel(Selection(key="Appointment/1"), act(monday))
    later = monday + 2 * MONTH
    if cleared:
        await ledger.clear_payloads(later, MONTH)
        assert (await kept(ledger)).get("patients.request") is None
    same = arrivals.call("Appointment/2", patient="Patient/p", phone="+12125550102")
    call = arrivals.call("Appointment/3", patient="Patient/p", phone="+12125550103").decision
    somebody = call.patient.model_copy(update={"first_name": "Otto", "last_name": "Other"})
    other = replace(first, decision=structs.replace(call, patient=somebody))
    await ledger.accept([same], now=later)
    assert await standing(ledger, "Appointment/2") == ("ready", None)
    await ledger.accept([other], now=later)
    assert await standing(ledger, "Appointment/3") == ("parked", "patient-changed")


async def test_what_was_cleared_is_still_recognised(
    ledger: SqlLedger, arrivals: Any, monday: datetime
) -> None:
    """The same record again changes nothing; a newer version is decided."""
    await settled(ledger, arrivals, monday)
    later = monday + MONTH
    await ledger.clear_payloads(later, MONTH)
    same = arrivals.call("Appointment/sent", phone="+12125550102")
    (accepted,) = await ledger.accept([same], now=later)
    assert accepted.state == "sent"
    newer = arrivals.call("Appointment/rejected", phone="+12125550109", version_id="2")
    (accepted,) = await ledger.accept([newer], now=later)
    assert accepted.state == "ready"


async def test_what_comes_of_a_call_that_was_cleared_is_cleared_as_well(
    ledger: SqlLedger, arrivals: Any, monday: datetime
) -> None:
    """A newer version that changes nothing of a call that is over is kept with its trigger alone."""
    await ledger.accept([arrivals.call("Appointment/a", patient_id=known(1))], now=monday)
    await send(ledger, monday)
    (sent,) = await ledger.take_polls(monday, monday + MINUTE, 1)
    await ledger.record_polls([ReadBack(sent, "COMPLETED", None, final=True)], monday)
    later = monday + MONTH
    await ledger.clear_payloads(later, MONTH)
    newer = arrivals.call("Appointment/a", patient_id=known(1), phone="+12125550109", version_id="2")
    await ledger.accept([newer], now=later)
    assert (await kept(ledger))["triggers.content"] == 1
    await ledger.clear_payloads(later + MONTH, MONTH)
    assert await kept(ledger) == {}


async def test_after_four_periods_nothing_is_kept_whatever_the_state(
    ledger: SqlLedger, arrivals: Any, monday: datetime
) -> None:
    """With an alarm; what was ready can no longer be sent and is parked, so that no worker stumbles."""
    await settled(ledger, arrivals, monday)
    later = monday + 4 * MONTH
    cleared = await ledger.clear_payloads(later, MONTH)
    assert (cleared.intents, cleared.unfinished) == (5, 2)
    assert await kept(ledger) == {}
    assert await standing(ledger, "Appointment/ready") == ("parked", "payloads-cleared")
    assert await standing(ledger, "Appointment/sent") == ("sent", None)
    assert (await ledger.status(later)).alarms == {"payloads-cleared": 2}
    assert await claim(ledger, later) == []
    assert await ledger.retry(Selection(key="Appointment/ready"), act(later)) == 0


@pytest.mark.parametrize("step", ["_clear", "_give_up"])
async def test_what_somebody_decides_meanwhile_keeps_its_payloads(
    location: str,
    ledger: SqlLedger,
    arrivals: Any,
    monday: datetime,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
) -> None:
    """Between retention's look at an intent and its clearing. On SQLite nobody can write then."""
    if "://" not in location:
        pytest.skip("SQLite has one writer")
    await settled(ledger, arrivals, monday)
    later = monday + (MONTH if step == "_clear" else 4 * MONTH)
    clears = getattr(retention, step)

    async def late(*given: Any) -> None:
        if step == "_clear":
            assert await ledger.retry(Selection(key="Appointment/refused"), act(later)) == 1
        else:
            assert await ledger.cancel(Selection(key="Appointment/ready"), act(later)) == 1
        await clears(*given)

    monkeypatch.setattr(retention, step, late)
    await ledger.clear_payloads(later, MONTH)
    trigger, stands = ("refused", "ready") if step == "_clear" else ("ready", "cancelled")
    shown = await ledger.show(f"Appointment/{trigger}")
    assert (shown["state"], shown["alarm"]) == (stands, None)
    assert shown["request"]["phone_number"]


async def test_what_other_triggers_said_is_kept_as_long_as_their_intent(
    ledger: SqlLedger, arrivals: Any, monday: datetime
) -> None:
    """Not cleared with the Skips that stand alone: the order would not be heard of again. An alarm that is
    there stays what it is."""
    chain = {"intent": "ehr|Patient/p1|ServiceRequest/o1", "members": ("Appointment/a1", "ServiceRequest/o1")}
    order = arrivals.call("ServiceRequest/o1", phone=NUMBER, patient_id=known(1), **chain)
    await ledger.accept([order, arrivals.skip("Appointment/alone")], now=monday)
    await send(ledger, monday)
    await ledger.accept([arrivals.skip("Appointment/a1", "already-booked", **chain)], now=monday)
    await ledger.block("number", NUMBER, act(monday))
    assert (await kept(ledger))["triggers.content"] == 2
    almost = monday + 4 * MONTH - MINUTE
    assert (await ledger.clear_payloads(almost, MONTH)).unfinished == 0
    assert (await kept(ledger))["triggers.content"] == 1
    assert (await ledger.clear_payloads(almost + MINUTE, MONTH)).unfinished == 1
    assert await kept(ledger) == {}
    assert (await ledger.status(monday)).alarms == {"revoked-after-send": 1}


async def test_a_message_is_cleared_once_it_is_processed_and_else_only_when_very_old(
    ledger: SqlLedger, monday: datetime
) -> None:
    """What waits, or failed and waits for a person, would vanish with its bytes."""
    await ledger.receive([Received("ehr", b'{"id": "%d"}' % n, monday) for n in range(3)])
    taken = await ledger.take_messages(Take("w", monday, monday + MINUTE, 2, 1 << 20))
    states = (MessageState.PROCESSED, MessageState.FAILED)
    settled = [Settled(each.id, state, None, monday) for each, state in zip(taken, states, strict=True)]
    await ledger.settle_messages("w", settled, monday)
    for later, left in ((MONTH - MINUTE, 3), (MONTH, 2), (4 * MONTH - MINUTE, 2), (4 * MONTH, 0)):
        await ledger.clear_payloads(monday + later, MONTH)
        assert (await kept(ledger)).get("inbox.body", 0) == left


async def test_more_rows_than_are_looked_at_at_once_are_cleared(
    ledger: SqlLedger, arrivals: Any, monday: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of them, and what an answer that came late left behind."""
    monkeypatch.setattr(retention, "ROWS_AT_ONCE", 2)
    numbers = range(5)
    await ledger.accept([arrivals.skip(f"Appointment/{n}") for n in numbers], now=monday)
    await ledger.accept([arrivals.call(f"ServiceRequest/{n}") for n in numbers], now=monday)
    await ledger.cancel(Selection(state=State.READY), act(monday))
    cleared = await ledger.clear_payloads(monday + MONTH, MONTH)
    assert (cleared.intents, cleared.patients, await kept(ledger)) == (10, 5, {})
    async with ledger._engine.begin() as connection:
        await connection.execute(text("UPDATE intents SET answer = :said"), {"said": b"Juniper is late"})
    assert (await ledger.clear_payloads(monday + MONTH, MONTH)).intents == 5
    assert await kept(ledger) == {}


async def test_what_the_endpoint_told_of_a_call_is_cleared_with_it(
    ledger: SqlLedger, arrivals: Any, monday: datetime
) -> None:
    """What became of the call may hold what the patient said."""
    await ledger.accept([arrivals.call("Appointment/a", patient_id=known(1))], now=monday)
    await send(ledger, monday)
    (sent,) = await ledger.take_polls(monday, monday + MINUTE, 9)
    told = ReadBack(sent, "COMPLETED", "Juniper wants to come on Friday", final=True)
    await ledger.record_polls([told], monday)
    assert (await kept(ledger))["intents.remote_outcome"] == 1
    assert (await ledger.clear_payloads(monday + MONTH, MONTH)).intents == 1
    assert await kept(ledger) == {}
    assert await standing(ledger, "Appointment/a") == ("done", None)


async def test_what_is_in_doubt_and_cleared_cannot_be_sent_again(
    ledger: SqlLedger, arrivals: Any, monday: datetime
) -> None:
    """Its request is gone: resolving to send it changes nothing, resolving it as sent does."""
    await ledger.accept([arrivals.call("Appointment/a", patient_id=known(1))], now=monday)
    await send(ledger, monday, LOST)
    later = monday + 4 * MONTH
    await ledger.clear_payloads(later, MONTH)
    assert await ledger.resolve_resend(Selection(key="Appointment/a"), act(later)) == 0
    assert await ledger.resolve_sent("Appointment/a", TASK, act(later)) == 1


async def test_the_database_holds_no_name_after_retention(
    location: str, ledger: SqlLedger, arrivals: Any, monday: datetime
) -> None:
    """In a SQLite file what is cleared is overwritten, its journal emptied."""
    await settled(ledger, arrivals, monday)
    await ledger.clear_payloads(monday + 4 * MONTH, MONTH)
    async with ledger._engine.begin() as connection:
        for table in PAYLOADS:
            assert "Juniper" not in repr((await connection.execute(text(f"SELECT * FROM {table}"))).all())
    if "://" not in location:
        from pathlib import Path

        files = list(Path(location).parent.glob(f"{Path(location).name}*"))
        assert files
        assert not any(b"Juniper" in path.read_bytes() for path in files)


# -- encryption --

KEY, OTHER = (b64encode(bytes([number]) * 32).decode() for number in (1, 2))


async def reopened(location: str, *keys: str) -> SqlLedger:
    """The same ledger under these keys, the first writes."""
    return await open_ledger(location, encryption_keys=keys, **DESTINATION)


async def raw(ledger: SqlLedger) -> str:
    """All payloads as they lie there."""
    async with ledger._engine.begin() as connection:
        rows = [
            (await connection.execute(text(f"SELECT {', '.join(columns)} FROM {table}"))).all()
            for table, columns in PAYLOADS.items()
        ]
    return "".join(
        bytes(value).decode("latin-1") for table in rows for row in table for value in row if value
    )


async def test_with_a_key_no_payload_lies_in_the_clear(
    location: str, ledger: SqlLedger, arrivals: Any, monday: datetime
) -> None:
    """Written, sent, shown and recognised as without."""
    async with await reopened(location, KEY) as own:
        await settled(own, arrivals, monday)
        lies = await raw(own)
        assert "Juniper" not in lies
        assert "5550102" not in lies
        assert (await own.show("Appointment/refused"))["answer"] == "Juniper is not welcome"
        same = arrivals.call("Appointment/ready", phone="+12125550103")
        assert [a.change for a in await own.accept([same], now=monday)] == ["unchanged"]


async def test_an_old_key_reads_and_the_new_one_writes(
    location: str, ledger: SqlLedger, arrivals: Any, monday: datetime
) -> None:
    """What was in the clear before there was a key is read too."""
    await ledger.accept([arrivals.call("Appointment/plain", phone="+12125550100")], now=monday)
    async with await reopened(location, OTHER) as own:
        await own.accept([arrivals.call("Appointment/old")], now=monday)
    async with await reopened(location, KEY, OTHER) as own:
        await own.accept([arrivals.call("Appointment/new", phone="+12125550102")], now=monday)
        for name in ("plain", "old", "new"):
            assert (await own.show(f"Appointment/{name}"))["request"]["task"]
    async with await reopened(location, KEY) as own:
        assert (await own.show("Appointment/new"))["request"]["task"]
        with pytest.raises(LedgerError, match=r"ledger\.encryption_key"):
            await own.show("Appointment/old")


async def test_without_the_key_nothing_is_read_or_written_in_the_clear(
    location: str, ledger: SqlLedger, arrivals: Any, monday: datetime
) -> None:
    """The error names the setting; counts, which need no payload, still work. Another key is refused."""
    async with await reopened(location, KEY) as own:
        await own.accept([arrivals.call("Appointment/a")], now=monday)
    async with await reopened(location) as locked:
        assert (await locked.status(monday)).states == {"ready": 1}
        for refused in (
            locked.show("Appointment/a"),
            locked.accept([arrivals.call("Appointment/b")], now=monday),
            claim(locked, monday),
        ):
            with pytest.raises(LedgerError, match=r"ledger\.encryption_key"):
                await refused
        assert (await locked.status(monday)).states == {"ready": 1}
    with pytest.raises(LedgerError, match=r"ledger\.encryption_key"):
        await reopened(location, OTHER)


async def test_a_payload_that_was_tampered_with_is_not_believed(
    location: str, ledger: SqlLedger, arrivals: Any, monday: datetime
) -> None:
    """The number to call cannot be changed by who can only write to the database."""
    async with await reopened(location, KEY) as own:
        await own.accept([arrivals.call("Appointment/a")], now=monday)
        async with own._engine.begin() as connection:
            content = (await connection.execute(text("SELECT content FROM intents"))).scalar_one()
            spoilt = bytes(content)[:-1] + bytes([bytes(content)[-1] ^ 1])
            await connection.execute(text("UPDATE intents SET content = :content"), {"content": spoilt})
        with pytest.raises(LedgerError, match="changed"):
            await claim(own, monday)


# -- audit --


async def test_the_sites_key_protects_the_audit_from_who_can_write_to_the_ledger(
    location: str, ledger: SqlLedger, monday: datetime
) -> None:
    """What came before it is counted; without it nobody acts, for the chain would break."""
    await ledger.block("number", NUMBER, act(monday))
    async with await open_ledger(location, audit_key=b"the site's own", **DESTINATION) as own:
        await own.block("number", "+12125550102", act(monday))
        checked = await own.check_audit()
        assert (checked.broken_at, checked.before_key) == (None, 1)
    for key in (None, b"another"):
        async with await open_ledger(location, audit_key=key, **DESTINATION) as other:
            with pytest.raises(LedgerError, match=r"ledger\.audit_key"):
                await other.block("number", "+12125550103", act(monday))
            assert len(await other.blocked()) == 2


async def test_a_row_that_a_key_forged_is_told_by_what_stands_around_it(
    location: str, ledger: SqlLedger, monday: datetime
) -> None:
    """The ledger's own key, which whoever can write to it can find out, counts no more after the site's; and
    the site's alone cannot change one row without those that follow."""
    async with await open_ledger(location, audit_key=b"the site's own", **DESTINATION) as own:
        await own.block("number", NUMBER, act(monday))
        await own.block("number", "+12125550102", act(monday))
        (first, _) = [row async for row in own.acts(Period())]
        other = replace(act(monday), reason="another")
        chain = audit._link(own._audit_key, audit._START, 1, other, first.action, first.subject)
        async with own._writing() as connection:
            await audit.note(connection, own._own_audit_key, act(monday), "unblock", "number")
        assert await own.verify_audit() == 3
        async with own._engine.begin() as connection:
            rewritten = text("UPDATE audit SET reason = 'another', chain = :chain WHERE number = 1")
            await connection.execute(rewritten, {"chain": chain})
        assert await own.verify_audit() == 2


async def test_every_act_leaves_its_row_in_the_audit(location: str, arrivals: Any, monday: datetime) -> None:
    """Whatever somebody may do or look at, and though nothing came of it; no method that is told of an act is
    left out."""
    one: dict[str, Any] = {"selection": Selection(state=State.PARKED)}
    every: dict[str, Any] = {"selection": MessageSelection()}
    number = {"kind": "number", "value": NUMBER}
    acts: list[tuple[str, dict[str, Any], str]] = [
        ("retry", one, "retry"),
        ("cancel", one, "cancel"),
        ("resolve_sent", {"key": "Appointment/a", "task_id": TASK}, "resolve-sent"),
        ("resolve_resend", one, "resolve-resend"),
        ("resolve_patient", {"source": "ehr", "identity": "Patient/p", "created": None}, "resolve-patient"),
        ("resend_patients", {"selection": Selection(source="ehr")}, "resend-patients"),
        ("acknowledge", one, "acknowledge"),
        ("pause", {"source": "ehr"}, "pause"),
        ("resume", {"source": "ehr"}, "resume"),
        ("restored", {"as_of": monday}, "restored"),
        ("block", number, "block"),
        ("unblock", number, "unblock"),
        ("block_all", {"entries": [("number", NUMBER)]}, "block-import"),
        ("export_patients", {}, "patients-export"),
        ("import_patients", {"entries": []}, "patients-import"),
        ("retry_messages", every, "retry-messages"),
        ("settle_failed", every, "settle-messages"),
        ("note", {"action": "settings", "subject": "page"}, "settings"),
        ("show", {"named": "Appointment/a"}, "show"),
        ("reencrypt", {"begin": [].append, "advance": [].append}, "reencrypt"),
    ]
    methods = {name: method for name, method in getmembers(SqlLedger) if not name.startswith("_")}
    takes_act = {name for name, method in methods.items() if "act" in getattr(method, "__annotations__", ())}
    assert {name for name, _, _ in acts} == takes_act
    async with await open_ledger(location, encryption_keys=[KEY], now=monday, **DESTINATION) as own:
        await own.accept([arrivals.call("Appointment/a")], now=monday)
        for name, about, _ in acts:
            await getattr(own, name)(**about, act=act(monday))
        assert [row.action async for row in own.acts(Period())] == [action for _, _, action in acts]


async def test_looking_at_an_intent_is_audited(ledger: SqlLedger, arrivals: Any, monday: datetime) -> None:
    """Who looked at what, and when."""
    (accepted,) = await ledger.accept([arrivals.call("Appointment/a")], now=monday)
    await ledger.show("Appointment/a", act(monday))
    (row,) = [row async for row in ledger.acts(Period())]
    assert (row.action, row.subject, row.actor, row.at) == ("show", accepted.key, "tester", monday)


async def test_every_attempt_is_a_disclosure(ledger: SqlLedger, arrivals: Any, monday: datetime) -> None:
    """Patient and task, refused ones too, by whom they are about; of a period, or of one patient."""
    await settled(ledger, arrivals, monday)
    found = [row async for row in ledger.disclosures(Period())]
    assert [(row.call, row.outcome, row.patient) for row in found] == [
        ("create_task", "refused", "Patient/p-refused"),
        ("create_patient", "accepted", "Patient/p-sent"),
        ("create_task", "accepted", "Patient/p-sent"),
    ]
    assert {row.source for row in found} == {"ehr"}
    assert (found[2].task_id, found[2].patient_id, found[2].trigger) == (TASK, known(2), "Appointment/sent")
    of_one = [row async for row in ledger.disclosures(Period(), ("ehr", "Patient/p-sent"))]
    assert of_one == found[1:]
    assert [row async for row in ledger.disclosures(Period(since=monday + MINUTE))] == []
    assert [row async for row in ledger.disclosures(Period(until=monday))] == []
