"""What workers and operators do to intents: leases, rescue, resolving, and the audit of it."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from fhir_bridge.errors import UsageError
from fhir_bridge.ledger.records import (
    Act,
    Claimed,
    PatientAgain,
    Refusal,
    Selection,
    SettleTask,
    StartPatient,
    StartTask,
    TaskAgain,
    Written,
)
from fhir_bridge.ledger.sending.claims import Claim
from fhir_bridge.ledger.states import State
from fhir_bridge.ledger.store import SqlLedger, open_ledger
from fhir_bridge.task_api.outcome import Outcome, OutcomeClass

MINUTE = timedelta(minutes=1)
TASK = "00000000-0000-4000-8000-000000000002"
SENT = Outcome(OutcomeClass.ACCEPTED, 201, id=TASK)
LOST = Outcome(OutcomeClass.UNKNOWN, 500, "http-500")
REFUSED = Outcome(OutcomeClass.REFUSED, 422, "http-422", detail="no such project")
BUSY = Outcome(OutcomeClass.NOT_PROCESSED, 503, "http-503")


def act(at: datetime) -> Act:
    """Somebody does something."""
    return Act("tester", "because", at)


def patient(number: int) -> str:
    """The id the site itself knows its n-th patient by, so that none has to be created."""
    return f"00000000-0000-4000-9000-{number:012d}"


async def ready(ledger: SqlLedger, arrivals: Any, now: datetime, count: int = 1) -> None:
    """So many intents of as many people, due now."""
    calls = [
        arrivals.call(f"Appointment/{n}", phone=f"+1212555{n:04d}", patient_id=patient(n))
        for n in range(count)
    ]
    await ledger.accept(calls, now=now)


async def claim(ledger: SqlLedger, now: datetime, token: str = "worker", limit: int = 100) -> list[Claimed]:
    """What a worker gets."""
    return await ledger.claim(Claim(token, now, now + MINUTE, limit))


async def begin(ledger: SqlLedger, now: datetime) -> Claimed:
    """The one due intent, its attempt committed."""
    (claimed,) = await claim(ledger, now)
    (written,) = await ledger.write([StartTask(claimed, now, now + MINUTE, now)])
    assert written.done
    return claimed


async def settle(
    ledger: SqlLedger, claimed: Claimed, now: datetime, outcome: Outcome, number: int = 1
) -> None:
    """What became of its first attempt, or of another."""
    await ledger.write([SettleTask(claimed, number, outcome, now, now, due_at=now, poll_at=now)])


async def state(ledger: SqlLedger, named: str = "Appointment/0") -> str:
    """The state of one intent."""
    return str((await ledger.show(named))["state"])


async def test_a_claim_is_exclusive_until_its_lease_runs_out(
    ledger: SqlLedger, arrivals: Any, monday: datetime
) -> None:
    """Another worker gets nothing for a minute, and everything after it."""
    await ready(ledger, arrivals, monday, 3)
    assert len(await claim(ledger, monday, "one")) == 3
    assert await claim(ledger, monday + MINUTE - timedelta(microseconds=1), "two") == []
    assert len(await claim(ledger, monday + MINUTE, "two")) == 3


async def test_workers_that_claim_at_once_share_without_overlap(
    location: str, ledger: SqlLedger, arrivals: Any, monday: datetime
) -> None:
    """Four workers with connections of their own, four hundred intents: each is claimed exactly once."""
    await ready(ledger, arrivals, monday, 400)

    async def work(token: str) -> list[int]:
        async with await open_ledger(location, api_url="http://127.0.0.1:1", project_id=PROJECT) as own:
            found: list[int] = []
            while claimed := await claim(own, monday, token, 7):
                found += [item.id for item in claimed]
            return found

    shares = await asyncio.gather(*(work(str(number)) for number in range(4)))
    counted = Counter(item for share in shares for item in share)
    assert len(counted) == 400
    assert set(counted.values()) == {1}


async def test_a_lost_lease_can_start_nothing(ledger: SqlLedger, arrivals: Any, monday: datetime) -> None:
    """A worker that slept through its lease finds that the row is another's."""
    await ready(ledger, arrivals, monday)
    (mine,) = await claim(ledger, monday, "slow")
    later = monday + 2 * MINUTE
    (too_late,) = await ledger.write([StartTask(mine, later, later + MINUTE, later)])
    assert too_late.refusal is Refusal.LOST
    (theirs,) = await claim(ledger, later, "quick")
    (for_slow,) = await ledger.write([StartTask(mine, later, later + MINUTE, later)])
    (for_quick,) = await ledger.write([StartTask(theirs, later, later + MINUTE, later)])
    assert for_slow.refusal is Refusal.LOST
    assert for_quick.done


async def test_one_lane_is_in_flight_once(ledger: SqlLedger, arrivals: Any, monday: datetime) -> None:
    """Two intents to one number: the second cannot be claimed while the first is sending."""
    calls = [arrivals.call(f"Appointment/{n}", patient_id=patient(n)) for n in range(2)]
    await ledger.accept(calls, now=monday)
    first = await begin(ledger, monday)
    assert await claim(ledger, monday) == []
    await settle(ledger, first, monday, SENT)
    assert len(await claim(ledger, monday)) == 1


async def test_the_database_itself_refuses_two_in_flight_in_one_lane(
    ledger: SqlLedger, arrivals: Any, monday: datetime
) -> None:
    """What a bug would allow, the index refuses, and the rest of the batch is written."""
    calls = [arrivals.call(f"Appointment/{n}", patient_id=patient(n)) for n in range(2)]
    calls.append(arrivals.call("Appointment/2", phone="+12125550177", patient_id=patient(2)))
    keys = [item.key for item in await ledger.accept(calls, now=monday)]
    claimed = [(await ledger.claim(Claim("w", monday, monday + MINUTE, 9, only=[key])))[0] for key in keys]
    before_any_call = monday - MINUTE
    written = await ledger.write(
        [StartTask(item, before_any_call, monday + MINUTE, monday) for item in claimed]
    )
    assert sorted(item.done for item in written) == [False, True, True]
    assert (await ledger.status(monday)).states == {"sending": 2, "ready": 1}


async def test_what_a_dead_worker_was_sending_is_in_doubt(
    ledger: SqlLedger, arrivals: Any, monday: datetime
) -> None:
    """When the lease ran out, not before; and it is never claimed again."""
    await ready(ledger, arrivals, monday)
    await begin(ledger, monday)
    assert await ledger.rescue(monday + MINUTE - timedelta(microseconds=1)) == 0
    assert await ledger.rescue(monday + MINUTE) == 1
    assert await state(ledger) == "in_doubt"
    assert await claim(ledger, monday + timedelta(days=3)) == []


async def test_an_answer_after_the_lease_shows_the_task(
    ledger: SqlLedger, arrivals: Any, monday: datetime
) -> None:
    """A slow worker that was given up and then answers brings the proof that it was sent."""
    await ready(ledger, arrivals, monday)
    claimed = await begin(ledger, monday)
    await ledger.rescue(monday + MINUTE)
    await settle(ledger, claimed, monday + 2 * MINUTE, SENT)
    shown = await ledger.show("Appointment/0")
    assert (shown["state"], shown["task_id"]) == ("sent", TASK)


async def test_what_is_being_sent_is_begun_once_more_under_its_own_attempt_only(
    ledger: SqlLedger, arrivals: Any, monday: datetime
) -> None:
    """The endpoint honours our key: each attempt is written down with what became of the one before, until
    somebody is blocked or the lease is over."""
    await ready(ledger, arrivals, monday)
    claimed = await begin(ledger, monday)
    until = monday + MINUTE

    async def again(number: int, at: datetime = monday) -> Written:
        (written,) = await ledger.write([TaskAgain(claimed, number, LOST, monday, at, until)])
        return written

    assert await again(1) == Written(True, 2)
    assert not (await again(1)).done, "that attempt is not the last any more"
    shown = await ledger.show("Appointment/0")
    assert [item["outcome"] for item in shown["attempts"]] == ["unknown", None]
    assert not (await again(2, until)).done, "the lease is over"
    assert await again(2) == Written(True, 3)
    await ledger.block("patient", f"ehr|{claimed.patient.identity}", act(monday))
    assert not (await again(3)).done
    await settle(ledger, claimed, monday, LOST, number=3)
    assert await state(ledger) == "in_doubt"


async def test_a_patient_is_begun_once_more_while_an_intent_wants_them(
    ledger: SqlLedger, arrivals: Any, monday: datetime
) -> None:
    """The same of a creation whose answer was lost."""
    await ledger.accept([arrivals.call("Appointment/0")], now=monday)
    (claimed,) = await claim(ledger, monday)
    until = monday + MINUTE
    assert (await ledger.write([StartPatient(claimed, monday, until)]))[0].done

    async def again(number: int) -> Written:
        (written,) = await ledger.write([PatientAgain(claimed, number, LOST, monday, monday, until)])
        return written

    assert await again(1) == Written(True, 2)
    assert not (await again(1)).done
    await ledger.cancel(Selection(key="Appointment/0"), act(monday))
    assert not (await again(2)).done


async def test_an_answer_after_the_lease_comes_before_it_is_sent_again(
    ledger: SqlLedger, arrivals: Any, monday: datetime
) -> None:
    """Somebody had it sent again, and nobody has yet: the late answer shows the task, and nobody does."""
    await ready(ledger, arrivals, monday)
    claimed = await begin(ledger, monday)
    later = monday + MINUTE
    await ledger.rescue(later)
    assert await ledger.resolve_resend(Selection(key="Appointment/0"), act(later)) == 1
    (again,) = await claim(ledger, later, "another")
    await settle(ledger, claimed, later, SENT)
    (start,) = await ledger.write([StartTask(again, later, later + MINUTE, monday - MINUTE)])
    assert start.refusal is Refusal.LOST
    shown = await ledger.show("Appointment/0")
    assert (shown["state"], shown["task_id"], shown["called_at"]) == ("sent", TASK, later)


@pytest.mark.parametrize("meanwhile", ["sending again", "sent again", "cancelled", "sent as another"])
async def test_an_answer_after_it_was_settled_otherwise_is_an_alarm(
    ledger: SqlLedger, arrivals: Any, monday: datetime, meanwhile: str
) -> None:
    """The endpoint has a task more than the ledger says: somebody must tell the vendor, and which."""
    await ready(ledger, arrivals, monday)
    claimed = await begin(ledger, monday)
    later, key, other = monday + MINUTE, Selection(key="Appointment/0"), TASK[:-1] + "9"
    await ledger.rescue(later)
    if meanwhile == "cancelled":
        await ledger.cancel(key, act(later))
    elif meanwhile == "sent as another":
        await ledger.resolve_sent("Appointment/0", other, act(later))
    else:
        await ledger.resolve_resend(key, act(later))
        second = await begin(ledger, later)
        if meanwhile == "sent again":
            await settle(ledger, second, later, replace(SENT, id=other), number=2)
    state_before = await state(ledger)
    await settle(ledger, claimed, later, SENT)
    assert await state(ledger) == state_before
    (item,) = await ledger.worklist(Selection(reason="also-sent"))
    assert item.key.endswith("Appointment/0")
    assert (await ledger.show("Appointment/0"))["alarm_reason"] == TASK


@pytest.mark.parametrize("outcome", [LOST, REFUSED, Outcome(OutcomeClass.NOT_PROCESSED, 429, "http-429")])
async def test_any_other_late_answer_is_left_to_the_operator(
    ledger: SqlLedger, arrivals: Any, monday: datetime, outcome: Outcome
) -> None:
    """It is kept with the attempt, and changes no state: somebody may have resolved it meanwhile."""
    await ready(ledger, arrivals, monday)
    claimed = await begin(ledger, monday)
    await ledger.rescue(monday + MINUTE)
    await settle(ledger, claimed, monday + 2 * MINUTE, outcome)
    shown = await ledger.show("Appointment/0")
    assert shown["state"] == "in_doubt"
    assert shown["attempts"][0]["error"] == outcome.error


async def test_an_operator_settles_what_is_in_doubt(
    ledger: SqlLedger, arrivals: Any, monday: datetime
) -> None:
    """Sent as a task, sent again, or let be; only what is in doubt, and with the audit to show for it."""
    await ready(ledger, arrivals, monday, 3)
    for claimed in await claim(ledger, monday):
        await ledger.write([StartTask(claimed, monday, monday + MINUTE, monday - MINUTE)])
        await settle(ledger, claimed, monday, LOST)
    assert await ledger.resolve_sent("Appointment/0", TASK, act(monday)) == 1
    with pytest.raises(UsageError, match="another intent"):
        await ledger.resolve_sent("Appointment/1", TASK, act(monday))
    assert await ledger.resolve_resend(Selection(key="Appointment/1"), act(monday)) == 1
    assert await ledger.cancel(Selection(state=State.IN_DOUBT), act(monday)) == 1
    assert (await ledger.status(monday)).states == {"sent": 1, "ready": 1, "cancelled": 1}
    assert await ledger.resolve_sent("Appointment/0", TASK, act(monday)) == 0
    for act_on in (ledger.resolve_resend, ledger.cancel, ledger.retry):
        assert await act_on(Selection(state=State.SENT), act(monday)) == 0
    assert await state(ledger) == State.SENT
    (again,) = await claim(ledger, monday)
    assert (again.trigger, again.first_attempt_at) == ("Appointment/1", None)
    assert await ledger.verify_audit() is None


@pytest.mark.parametrize(
    ("selection", "chosen"),
    [
        (Selection(source="lab"), {"ServiceRequest/b", "ServiceRequest/c"}),
        (Selection(state=State.REJECTED), {"Appointment/a", "ServiceRequest/b"}),
        (Selection(reason="name-incomplete"), {"ServiceRequest/b"}),
        (Selection(source="lab", state=State.READY), {"ServiceRequest/c"}),
        (Selection(source="ehr", reason="name-incomplete"), set()),
    ],
)
async def test_an_act_is_on_what_fits_all_of_its_filter(
    ledger: SqlLedger, arrivals: Any, monday: datetime, selection: Selection, chosen: set[str]
) -> None:
    """Nobody who asks for a source, a state or a reason has another's changed."""
    lab = type(arrivals)("lab")
    calls = [
        arrivals.reject("Appointment/a"),
        lab.reject("ServiceRequest/b", "name-incomplete"),
        lab.call("ServiceRequest/c", phone="+12125550102"),
    ]
    await ledger.accept(calls, now=monday)
    assert await ledger.cancel(selection, act(monday)) == len(chosen)
    triggers = ("Appointment/a", "ServiceRequest/b", "ServiceRequest/c")
    assert {name for name in triggers if await state(ledger, name) == State.CANCELLED} == chosen


async def test_cancelled_is_the_operators_word(ledger: SqlLedger, arrivals: Any, monday: datetime) -> None:
    """Newer data does not undo it; a retry does, with the newest data."""
    await ready(ledger, arrivals, monday)
    assert await ledger.cancel(Selection(key="Appointment/0"), act(monday)) == 1
    await ledger.accept([arrivals.call("Appointment/0", version_id="2", task="Newer")], now=monday)
    assert await state(ledger) == "cancelled"
    assert await ledger.retry(Selection(key="Appointment/0"), act(monday)) == 1
    shown = await ledger.show("Appointment/0")
    assert (shown["state"], shown["request"]["task"]) == ("ready", "Newer")


async def test_a_retry_cannot_send_what_the_source_withdrew_meanwhile(
    ledger: SqlLedger, arrivals: Any, monday: datetime
) -> None:
    """The newest data may say that nobody is to be called."""
    await ready(ledger, arrivals, monday)
    await ledger.cancel(Selection(key="Appointment/0"), act(monday))
    await ledger.accept([arrivals.skip("Appointment/0", "patient-deceased", version_id="2")], now=monday)
    await ledger.retry(Selection(key="Appointment/0"), act(monday))
    assert await state(ledger) == "skipped"


async def test_a_refused_request_keeps_the_endpoints_words(
    ledger: SqlLedger, arrivals: Any, monday: datetime
) -> None:
    """They stand on the work list until somebody retries."""
    await ready(ledger, arrivals, monday)
    await settle(ledger, await begin(ledger, monday), monday, REFUSED)
    (item,) = await ledger.worklist()
    assert (item.state, item.reason, item.answer) == ("refused", "http-422", "no such project")
    assert await ledger.retry(Selection(state=State.REFUSED), act(monday)) == 1
    assert await state(ledger) == "ready"


async def test_an_intent_is_named_by_key_beginning_trigger_or_number(
    ledger: SqlLedger, arrivals: Any, monday: datetime
) -> None:
    """A beginning of several is refused with the keys it could mean."""
    await ready(ledger, arrivals, monday, 2)
    assert (await ledger.show("ehr|Patient/p-1"))["trigger"] == "Appointment/1"
    of_log = str((await ledger.show("Appointment/1"))["id"])
    assert (await ledger.show(of_log))["trigger"] == "Appointment/1"
    with pytest.raises(UsageError, match="several"):
        await ledger.show("ehr|Patient")
    for unknown in ("9" * 18, "9" * 40, "²"):
        with pytest.raises(UsageError, match="no intent"):
            await ledger.show(unknown)
    with pytest.raises(UsageError, match="no intent"):
        await ledger.show("ehr|Patient/p-%")
    with pytest.raises(UsageError):
        await ledger.cancel(Selection(), act(monday))


async def test_the_audit_shows_what_was_changed(ledger: SqlLedger, arrivals: Any, monday: datetime) -> None:
    """A row that is rewritten or taken out breaks the chain there."""
    await ready(ledger, arrivals, monday, 3)
    for number in range(3):
        await ledger.cancel(Selection(key=f"Appointment/{number}"), act(monday))
    assert await ledger.verify_audit() is None
    async with ledger._engine.begin() as connection:
        await connection.execute(text("UPDATE audit SET reason = 'other' WHERE number = 2"))
    assert await ledger.verify_audit() == 2
    async with ledger._engine.begin() as connection:
        await connection.execute(text("DELETE FROM audit WHERE number = 2"))
    assert await ledger.verify_audit() == 3


@pytest.mark.parametrize("column", ["at", "actor", "action", "subject", "reason"])
async def test_nothing_that_the_audit_tells_can_be_changed_unseen(
    ledger: SqlLedger, arrivals: Any, monday: datetime, column: str
) -> None:
    """Who did what to whom, when and why; nor can two rows change places, which both are true."""
    await ready(ledger, arrivals, monday, 2)
    await ledger.cancel(Selection(key="Appointment/0"), act(monday))
    await ledger.block("number", "+12125550000", Act("another", "asked us", monday + MINUTE))
    changed = text(
        f"UPDATE audit SET {column} = (SELECT {column} FROM audit WHERE number = 2) WHERE number = 1"
    )
    async with ledger._engine.begin() as connection:
        await connection.execute(changed)
    assert await ledger.verify_audit() == 1
    async with ledger._engine.begin() as connection:
        await connection.execute(text("DELETE FROM audit WHERE number = 1"))
        await connection.execute(text("UPDATE audit SET number = 1"))
    assert await ledger.verify_audit() == 1


@pytest.mark.parametrize(
    ("selection", "left"),
    [
        (Selection(reason="revoked-after-send"), 0),
        (Selection(reason="also-sent"), 2),
        (Selection(key="Appointment/0"), 1),
        (Selection(source="lab"), 2),
        (Selection(source="ehr", reason="revoked-after-send"), 0),
        (Selection(key="Appointment/1", reason="also-sent"), 2),
    ],
)
async def test_only_the_alarms_that_somebody_means_are_taken_off_the_list(
    ledger: SqlLedger, arrivals: Any, monday: datetime, selection: Selection, left: int
) -> None:
    """By alarm, by intent, or by both: of the others the vendor was not told."""
    await ready(ledger, arrivals, monday, 2)
    for claimed in await claim(ledger, monday):
        await ledger.write([StartTask(claimed, monday, monday + MINUTE, monday - MINUTE)])
        await settle(ledger, claimed, monday, SENT)
        await ledger.block("number", claimed.phone_number, act(monday))
    assert len(await ledger.worklist()) == 2
    assert await ledger.acknowledge(selection, act(monday)) == 2 - left
    assert len(await ledger.worklist()) == left


async def test_no_phone_number_is_kept_outside_of_payloads(
    ledger: SqlLedger, arrivals: Any, monday: datetime
) -> None:
    """The lane, the do-not-call list and the audit hold hashes."""
    await ledger.block("number", "+12125550000", act(monday))
    await ready(ledger, arrivals, monday)
    async with ledger._engine.begin() as connection:
        for query in ("SELECT lane FROM intents", "SELECT value FROM blocked", "SELECT subject FROM audit"):
            (value,) = (await connection.execute(text(query))).scalars()
            assert "5550000" not in value
    (refused,) = await ledger.write(
        [StartTask((await claim(ledger, monday))[0], monday, monday + MINUTE, monday)]
    )
    assert refused.refusal is Refusal.BLOCKED


PROJECT = "123e4567-e89b-12d3-a456-426614174000"


async def test_a_revocation_that_finds_it_being_sent_holds_when_nothing_was_processed(
    ledger: SqlLedger, arrivals: Any, monday: datetime
) -> None:
    """The patient died while the endpoint was too busy to take the request: nobody is phoned, nobody told."""
    await ready(ledger, arrivals, monday)
    claimed = await begin(ledger, monday)
    await ledger.accept([arrivals.skip("Appointment/0", "patient-deceased", version_id="2")], now=monday)
    await settle(ledger, claimed, monday, BUSY)
    shown = await ledger.show("Appointment/0")
    assert (shown["state"], shown["reason"]) == (State.SKIPPED, "patient-deceased")
    assert await claim(ledger, monday + MINUTE) == []
    assert await ledger.worklist() == []


async def test_what_changed_while_it_was_being_sent_is_sent_the_next_time(
    ledger: SqlLedger, arrivals: Any, monday: datetime
) -> None:
    """A number mended during an attempt that was not processed is the number called by the next."""
    await ready(ledger, arrivals, monday)
    claimed = await begin(ledger, monday)
    mended = arrivals.call("Appointment/0", phone="+12125559999", patient_id=patient(0), version_id="2")
    await ledger.accept([mended], now=monday)
    await settle(ledger, claimed, monday, BUSY)
    (again,) = await claim(ledger, monday + MINUTE)
    assert again.lane != claimed.lane
    assert b"+12125559999" in again.request


async def test_resending_goes_by_what_was_said_since(
    ledger: SqlLedger, arrivals: Any, monday: datetime
) -> None:
    """Nobody was called, and meanwhile nobody is to be: resending calls nobody."""
    await ready(ledger, arrivals, monday)
    await settle(ledger, await begin(ledger, monday), monday, LOST)
    await ledger.accept([arrivals.skip("Appointment/0", "entered-in-error", version_id="2")], now=monday)
    assert await ledger.resolve_resend(Selection(state=State.IN_DOUBT), act(monday)) == 1
    assert await state(ledger) == State.SKIPPED
    assert await claim(ledger, monday + MINUTE) == []


async def test_what_was_cancelled_in_doubt_is_not_retried_but_resent(
    ledger: SqlLedger, arrivals: Any, monday: datetime
) -> None:
    """Retrying everything cancelled must not phone again who may have been phoned."""
    await ready(ledger, arrivals, monday)
    await settle(ledger, await begin(ledger, monday), monday, LOST)
    assert await ledger.cancel(Selection(state=State.IN_DOUBT), act(monday)) == 1
    assert await ledger.retry(Selection(state=State.CANCELLED), act(monday)) == 0
    assert await state(ledger) == State.CANCELLED
    assert await ledger.resolve_resend(Selection(key="Appointment/0"), act(monday)) == 1
    assert await state(ledger) == State.READY


async def test_what_another_trigger_said_is_kept_for_when_it_speaks_again(
    ledger: SqlLedger, arrivals: Any, monday: datetime
) -> None:
    """An order is overruled while it is being sent; when its appointment was an error, it calls after all."""
    chain = {"intent": "ehr|Patient/p1|ServiceRequest/o1", "members": ("Appointment/a1", "ServiceRequest/o1")}
    await ledger.accept([arrivals.call("ServiceRequest/o1", patient_id=patient(1), **chain)], now=monday)
    claimed = await begin(ledger, monday)
    await ledger.accept([arrivals.skip("Appointment/a1", "already-booked", **chain)], now=monday)
    await settle(ledger, claimed, monday, BUSY)
    assert await state(ledger, "ServiceRequest/o1") == State.SKIPPED
    error = arrivals.skip("Appointment/a1", "entered-in-error", version_id="2", **chain)
    await ledger.accept([error], now=monday)
    assert await state(ledger, "ServiceRequest/o1") == State.READY
