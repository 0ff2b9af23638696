"""What becomes of decisions that arrive: one intent a purpose, and what was sent is never changed."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from fhir_bridge.ledger.records import (
    Accepted,
    Act,
    Arrival,
    Change,
    Claimed,
    ReadBack,
    Selection,
    Sent,
    SettlePatient,
    SettleTask,
    StartPatient,
    StartTask,
)
from fhir_bridge.ledger.sending.claims import Claim
from fhir_bridge.ledger.states import State
from fhir_bridge.ledger.store import SqlLedger
from fhir_bridge.task_api.outcome import Outcome, OutcomeClass

MINUTE = timedelta(minutes=1)
A_PATIENT = Outcome(OutcomeClass.ACCEPTED, 201, id="00000000-0000-4000-8000-000000000001")
A_TASK = Outcome(OutcomeClass.ACCEPTED, 201, id="00000000-0000-4000-8000-000000000002")


async def take(ledger: SqlLedger, now: datetime, *arrivals: Arrival, **given: Any) -> list[Accepted]:
    """Accept, due at once unless a hold is given."""
    return await ledger.accept(arrivals, now=now, **given)


async def states(ledger: SqlLedger, now: datetime) -> dict[str, int]:
    """How many intents are in which state."""
    return (await ledger.status(now)).states


async def claim_one(ledger: SqlLedger, now: datetime) -> Claimed:
    """The one intent that is due."""
    (claimed,) = await ledger.claim(Claim("worker", now, now + MINUTE, 10))
    return claimed


async def start(ledger: SqlLedger, now: datetime) -> Claimed:
    """Claim the one intent that is due, create its patient, and commit the attempt to create its task."""
    claimed = await claim_one(ledger, now)
    begun = await ledger.write([StartPatient(claimed, now, now + MINUTE)])
    settled = SettlePatient(claimed, begun[0].number, A_PATIENT, now, now)
    started = await ledger.write([settled, StartTask(claimed, now, now + MINUTE, now)])
    assert started[1].done
    return claimed


async def send(ledger: SqlLedger, now: datetime, outcome: Outcome = A_TASK) -> Claimed:
    """Bring the one intent that is due to the state that the outcome leads to."""
    claimed = await start(ledger, now)
    await ledger.write([SettleTask(claimed, 1, outcome, now, now, due_at=now, poll_at=now)])
    return claimed


async def test_each_kind_of_decision_has_its_state(
    ledger: SqlLedger, arrivals: Any, monday: datetime
) -> None:
    """A Call is ready, a Skip skipped, a Reject rejected, and reasons are counted."""
    await take(
        ledger,
        monday,
        arrivals.call("Appointment/a"),
        arrivals.skip("Appointment/b"),
        arrivals.reject("Appointment/c"),
    )
    status = await ledger.status(monday)
    assert status.states == {"ready": 1, "skipped": 1, "rejected": 1}
    assert status.reasons == {"already-booked": 1, "phone-missing": 1}
    assert status.oldest_due == monday
    assert await ledger.waiting() == 1


async def test_accepting_again_changes_nothing(ledger: SqlLedger, arrivals: Any, monday: datetime) -> None:
    """The same trigger, nineteen times, is one intent that is due when it was."""
    await take(ledger, monday, arrivals.call("Appointment/a"), hold=MINUTE)
    for second in range(19):
        again = await take(
            ledger, monday + timedelta(seconds=second), arrivals.call("Appointment/a"), hold=MINUTE
        )
        assert again[0].change is Change.UNCHANGED
    assert (await ledger.status(monday)).next_due == monday + MINUTE
    assert await states(ledger, monday) == {"ready": 1}


async def test_a_hold_is_a_later_due_time_with_a_reason(
    ledger: SqlLedger, arrivals: Any, monday: datetime
) -> None:
    """Nothing is claimed within the hold; a revocation in it means that nobody is called."""
    await take(ledger, monday, arrivals.call("Appointment/a"), hold=MINUTE)
    assert (await ledger.status(monday)).reasons == {"hold": 1}
    assert await ledger.claim(Claim("w", monday, monday + MINUTE, 10)) == []
    await take(ledger, monday, arrivals.skip("Appointment/a", "entered-in-error", version_id="2"))
    assert await ledger.claim(Claim("w", monday + MINUTE, monday + 2 * MINUTE, 10)) == []
    assert await states(ledger, monday) == {"skipped": 1}


async def test_an_older_version_is_ignored(ledger: SqlLedger, arrivals: Any, monday: datetime) -> None:
    """A history that arrives newest first ends with the newest."""
    await take(ledger, monday, arrivals.skip("Appointment/a", version_id="10"))
    (answer,) = await take(ledger, monday, arrivals.call("Appointment/a", version_id="9"))
    assert answer.change is Change.OLDER
    assert await states(ledger, monday) == {"skipped": 1}


async def test_a_newer_version_takes_the_place_of_what_was_claimed(
    ledger: SqlLedger, arrivals: Any, monday: datetime
) -> None:
    """A worker that holds the old version cannot send it any more."""
    await take(ledger, monday, arrivals.call("Appointment/a", patient_id=A_PATIENT.id))
    claimed = await claim_one(ledger, monday)
    await take(ledger, monday, arrivals.call("Appointment/a", version_id="2", task="Schedule something else"))
    (refused,) = await ledger.write([StartTask(claimed, monday, monday + MINUTE, monday)])
    assert not refused.done
    assert b"something else" in (await claim_one(ledger, monday)).request


@pytest.mark.parametrize(
    "outcome", [A_TASK, Outcome(OutcomeClass.UNKNOWN, 500, "http-500")], ids=["sent", "in_doubt"]
)
async def test_a_newer_version_changes_nothing_about_what_was_sent(
    ledger: SqlLedger, arrivals: Any, monday: datetime, outcome: Outcome
) -> None:
    """What is sent or in doubt stays as it is, and is never ready again by itself."""
    await take(ledger, monday, arrivals.call("Appointment/a"))
    await send(ledger, monday, outcome)
    before = await states(ledger, monday)
    (answer,) = await take(
        ledger, monday, arrivals.call("Appointment/a", version_id="2", task="Schedule more")
    )
    assert answer.change is Change.TOO_LATE
    assert await states(ledger, monday) == before
    assert "more" not in (await ledger.show("Appointment/a"))["request"]["task"]


async def test_a_revocation_after_sending_is_an_alarm(
    ledger: SqlLedger, arrivals: Any, monday: datetime
) -> None:
    """The state stays, and the work list says that somebody must tell the vendor, until they say they did."""
    await take(ledger, monday, arrivals.call("Appointment/a"))
    await send(ledger, monday)
    await take(ledger, monday, arrivals.skip("Appointment/a", "patient-deceased", version_id="2"))
    (item,) = await ledger.worklist()
    assert (item.state, item.reason) == ("sent", "revoked-after-send")
    assert (await ledger.status(monday)).alarms == {"revoked-after-send": 1}
    told = Act("tester", "told the vendor", monday)
    assert await ledger.acknowledge(Selection(reason="payloads-cleared"), told) == 0
    assert await ledger.acknowledge(Selection(source="other", reason="revoked-after-send"), told) == 0
    assert await ledger.worklist(Selection(reason="revoked-after-send")) == [item]
    assert await ledger.acknowledge(Selection(reason="revoked-after-send"), told) == 1
    assert await ledger.worklist() == []
    assert (await ledger.show(item.key))["state"] == "sent"


async def test_a_booking_after_sending_is_no_alarm(
    ledger: SqlLedger, arrivals: Any, monday: datetime
) -> None:
    """The call did what it was for."""
    await take(ledger, monday, arrivals.call("Appointment/a"))
    await send(ledger, monday)
    await take(ledger, monday, arrivals.skip("Appointment/a", "already-booked", version_id="2"))
    assert await ledger.worklist() == []


async def test_order_and_appointment_are_one_intent(
    ledger: SqlLedger, arrivals: Any, monday: datetime
) -> None:
    """Whichever comes first, in one message or two, the Appointment's decision is the intent's."""
    chain = {"intent": "ehr|p|o", "patient": "Patient/p", "members": ("ServiceRequest/o", "Appointment/a")}
    await take(ledger, monday, arrivals.call("Appointment/a", task="Schedule the appointment", **chain))
    await take(ledger, monday, arrivals.call("ServiceRequest/o", task="Schedule the order", **chain))
    assert await states(ledger, monday) == {"ready": 1}
    assert (await ledger.show("ehr|p|o"))["request"]["task"] == "Schedule the appointment"


async def test_a_chain_takes_the_intent_of_a_known_member(
    ledger: SqlLedger, arrivals: Any, monday: datetime
) -> None:
    """An Appointment that was sent before its order was known is not called again under the order's key."""
    await take(ledger, monday, arrivals.call("Appointment/a"))
    await send(ledger, monday)
    order = arrivals.call("ServiceRequest/o", members=("ServiceRequest/o", "Appointment/a"))
    (answer,) = await take(ledger, monday, order)
    assert (answer.state, answer.change) == (State.SENT, Change.TOO_LATE)


async def test_two_chains_that_turn_out_to_be_one_are_one_call(
    ledger: SqlLedger, arrivals: Any, monday: datetime
) -> None:
    """Two unsent intents become one, and the other says that it was merged."""
    await take(ledger, monday, arrivals.call("Appointment/a"), arrivals.call("Appointment/b"))
    link = arrivals.call("ServiceRequest/o", members=("ServiceRequest/o", "Appointment/a", "Appointment/b"))
    await take(ledger, monday, link)
    status = await ledger.status(monday)
    assert (status.states, status.reasons) == ({"ready": 1, "skipped": 1}, {"merged": 1})


async def test_a_loss_is_an_intent_of_its_own(ledger: SqlLedger, arrivals: Any, monday: datetime) -> None:
    """What was called for once, and booked, is called for again when it was lost, once."""
    await take(ledger, monday, arrivals.call("Appointment/a"))
    await send(ledger, monday)
    await take(ledger, monday, arrivals.skip("Appointment/a", "already-booked", version_id="2"))
    lost = {"intent": "ehr|p|a|lost", "loss": "Appointment/a@2026-11-17T14:00:00Z", "patient": "Patient/p-a"}
    for version in ("3", "4"):
        await take(ledger, monday, arrivals.call("Appointment/a", version_id=version, **lost))
    assert await states(ledger, monday) == {"sent": 1, "ready": 1}


@pytest.mark.parametrize("missed", [False, True])
async def test_a_loss_of_what_was_never_booked_is_no_second_call(
    ledger: SqlLedger, arrivals: Any, monday: datetime, missed: bool
) -> None:
    """The vendor is still to schedule it: an alarm, also when the call is over. Who did not come had one."""
    await take(ledger, monday, arrivals.call("Appointment/a"))
    claimed = await send(ledger, monday)
    sent = Sent(claimed.id, claimed.key, A_TASK.id or "")
    await ledger.record_polls([ReadBack(sent, "COMPLETED", None, final=True)], monday)
    lost = {"intent": "ehr|p|a|lost", "loss": "Appointment/a@2026-11-17T14:00:00Z", "patient": "Patient/p-a"}
    await take(ledger, monday, arrivals.call("Appointment/a", version_id="2", missed=missed, **lost))
    assert await states(ledger, monday) == ({"done": 1, "ready": 1} if missed else {"done": 1})
    assert (await ledger.status(monday)).alarms == ({} if missed else {"revoked-after-send": 1})


@pytest.mark.parametrize("loss_first", [True, False])
async def test_an_order_is_not_called_beside_its_lost_appointment(
    ledger: SqlLedger, arrivals: Any, monday: datetime, loss_first: bool
) -> None:
    """The chain's unsent first call gives way to the call about the loss, in whatever order they come."""
    chain = {"patient": "Patient/p", "members": ("ServiceRequest/o", "Appointment/a")}
    order = arrivals.call("ServiceRequest/o", intent="ehr|p|o", **chain)
    lost = arrivals.call("Appointment/a", intent="ehr|p|o|a@1", loss="Appointment/a@1", task="Again", **chain)
    for arrival in (lost, order) if loss_first else (order, lost):
        await take(ledger, monday, arrival)
    assert (await states(ledger, monday))["ready"] == 1
    assert (await claim_one(ledger, monday)).trigger == "Appointment/a"


async def test_a_trigger_without_patient_keeps_its_intent_when_mended(
    ledger: SqlLedger, arrivals: Any, monday: datetime
) -> None:
    """A reject that no patient could be found for leaves the work list under the key it now has."""
    await take(
        ledger, monday, arrivals.reject("Appointment/a", "patient-unresolved", intent=None, patient=None)
    )
    (answer,) = await take(ledger, monday, arrivals.call("Appointment/a", version_id="2"))
    assert answer == Accepted("ehr|Patient/p-a|Appointment/a", State.READY, None, Change.DECIDED_AGAIN)
    assert await states(ledger, monday) == {"ready": 1}


async def test_a_migrations_skips_leave_no_row_unless_something_is_known(
    ledger: SqlLedger, arrivals: Any, monday: datetime
) -> None:
    """A Skip of an unknown trigger is a count of the report; one of a known trigger revokes."""
    (answer,) = await take(ledger, monday, arrivals.skip("Appointment/a"), keep_skips=False)
    assert answer.change is Change.NOT_KEPT
    await take(ledger, monday, arrivals.call("Appointment/b"))
    await take(ledger, monday, arrivals.skip("Appointment/b", version_id="2"), keep_skips=False)
    assert await states(ledger, monday) == {"skipped": 1}


async def test_another_patient_after_sending_is_an_alarm(
    ledger: SqlLedger, arrivals: Any, monday: datetime
) -> None:
    """An appointment that turns out to be somebody else's was about the wrong person."""
    await take(ledger, monday, arrivals.call("Appointment/a"))
    await send(ledger, monday)
    await take(ledger, monday, arrivals.call("Appointment/a", version_id="2", patient="Patient/other"))
    (item,) = await ledger.worklist(Selection())
    assert item.reason == "patient-changed-after-send"


async def test_a_decision_that_had_to_wait_is_not_forgotten(
    ledger: SqlLedger, arrivals: Any, monday: datetime
) -> None:
    """An Appointment's call that a gate on its order overruled, by way of a retry, counts again
    when that is lifted.
    """
    chain = {"intent": "ehr|p|o", "patient": "Patient/p", "members": ("ServiceRequest/o", "Appointment/a")}
    order = "ServiceRequest/o"
    appointment = arrivals.call("Appointment/a", task="The appointment's", **chain)
    await take(ledger, monday, appointment, arrivals.call(order, task="The order's", **chain))
    somebody = Act("tester", "because", monday)
    await ledger.cancel(Selection(key="ehr|p|o"), somebody)
    await take(ledger, monday, arrivals.skip(order, "patient-deceased", version_id="2", **chain))
    await ledger.retry(Selection(key="ehr|p|o"), somebody)
    assert await states(ledger, monday) == {"skipped": 1}
    await take(ledger, monday, arrivals.call(order, version_id="3", task="The order's", **chain))
    shown = await ledger.show("ehr|p|o")
    assert (shown["state"], shown["request"]["task"]) == ("ready", "The appointment's")
