"""A Skip that nothing else is known of takes one row, and is still all that an intent is."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select

from fhir_bridge.ledger.database.tables import intents, triggers
from fhir_bridge.ledger.records import Act, Change, Selection
from fhir_bridge.ledger.states import State
from fhir_bridge.ledger.store import SqlLedger

LABEL = "Appointment/a1"
KEY = f"ehr|Patient/p1|{LABEL}"
ORDER = {"intent": "ehr|Patient/p1|ServiceRequest~1", "patient": "Patient/p1"}
"""Two orders of one patient that nothing tells apart have one key, which names neither."""


async def rows(ledger: SqlLedger) -> tuple[int, int]:
    """How many intents have a row, and how many triggers."""
    async with ledger._reading() as connection:
        counts = [await connection.execute(select(func.count()).select_from(t)) for t in (intents, triggers)]
    first, second = (int(count.scalar_one()) for count in counts)
    return first, second


def about(label: str = LABEL, **given: Any) -> dict[str, Any]:
    """What a decision about this trigger of p1 is about."""
    return {"patient": "Patient/p1", "intent": f"ehr|Patient/p1|{label}"} | given


async def test_it_opens_no_intent_and_is_shown_as_one(
    ledger: SqlLedger, arrivals: Any, monday: datetime
) -> None:
    """By its trigger, its key or a beginning of it; what an operator does to intents leaves it as it is."""
    (accepted,) = await ledger.accept([arrivals.skip(LABEL, **about())], now=monday)
    assert (accepted.key, accepted.state, accepted.change) == (KEY, State.SKIPPED, Change.NEW)
    assert await rows(ledger) == (0, 1)
    for named in (LABEL, KEY, "ehr|Patient/p1|App"):
        shown = await ledger.show(named)
        assert (shown["key"], shown["state"], shown["reason"]) == (KEY, "skipped", "already-booked")
        assert [each["trigger"] for each in shown["triggers"]] == [LABEL] == shown["members"]
        assert (shown["identity"], shown["attempts"], shown["patient"]) == ("Patient/p1", [], None)
    act = Act("tester", "to see", monday)
    assert await ledger.cancel(Selection(key=LABEL), act) == await ledger.retry(Selection(key=KEY), act) == 0


async def test_it_is_counted(ledger: SqlLedger, arrivals: Any, monday: datetime) -> None:
    """With all that is skipped, and among the intents that somebody asks for."""
    taken = [
        arrivals.skip(LABEL, **about()),
        arrivals.skip("ServiceRequest/s1", "not-active", **ORDER),
        arrivals.skip("Appointment/a2", "no-patient", patient=None, intent=None),
        arrivals.call("Appointment/a3"),
    ]
    keys = [each.key for each in await ledger.accept(taken, now=monday)]
    assert await rows(ledger) == (1, 4)
    reasons = {"already-booked": 1, "not-active": 1, "no-patient": 1}
    for only in (None, keys):
        status = await ledger.status(monday, only)
        assert (status.states, status.reasons) == ({"skipped": 3, "ready": 1}, reasons)
    assert (await ledger.status(monday, keys[1:2])).reasons == {"not-active": 1}
    assert (await ledger.status(monday, ["ehr|Patient/p2|Appointment/a1"])).states == {}


async def test_what_comes_again_changes_nothing_and_a_newer_version_takes_its_place(
    ledger: SqlLedger, arrivals: Any, monday: datetime
) -> None:
    """It stands alone as long as it is a Skip, and an older version is left aside."""
    known = arrivals.skip(LABEL, **about(version_id="2"))
    await ledger.accept([known], now=monday)
    assert [each.change for each in await ledger.accept([known], now=monday)] == [Change.UNCHANGED]
    old = arrivals.call(LABEL, **about(version_id="1"))
    assert [each.change for each in await ledger.accept([old], now=monday)] == [Change.OLDER]
    newer = arrivals.skip(LABEL, "patient-moved", **about(version_id="3"))
    assert [each.change for each in await ledger.accept([newer], now=monday)] == [Change.DECIDED_AGAIN]
    assert await rows(ledger) == (0, 1)
    assert (await ledger.show(LABEL))["version_id"] == "3"


async def test_it_becomes_an_intent_when_somebody_is_to_be_called(
    ledger: SqlLedger, arrivals: Any, monday: datetime
) -> None:
    """Under the key that it had; and stays one when nobody is any more."""
    await ledger.accept([arrivals.skip(LABEL, **about(version_id="1"))], now=monday)
    (called,) = await ledger.accept([arrivals.call(LABEL, **about(version_id="2"))], now=monday)
    assert (called.key, called.state, called.change) == (KEY, State.READY, Change.DECIDED_AGAIN)
    await ledger.accept([arrivals.skip(LABEL, **about(version_id="3"))], now=monday)
    assert await rows(ledger) == (1, 1)
    assert (await ledger.status(monday)).states == {"skipped": 1}


async def test_it_speaks_in_the_chain_that_it_turns_out_to_belong_to(
    ledger: SqlLedger, arrivals: Any, monday: datetime
) -> None:
    """An appointment that is booked stops the call of its order, which comes later and names it."""
    await ledger.accept([arrivals.skip(LABEL, **about())], now=monday)
    order = about("ServiceRequest/s1", members=("ServiceRequest/s1", LABEL))
    (accepted,) = await ledger.accept([arrivals.call("ServiceRequest/s1", **order)], now=monday)
    assert (accepted.state, accepted.reason) == (State.SKIPPED, "already-booked")
    assert await rows(ledger) == (1, 2)
    assert (await ledger.show("ServiceRequest/s1"))["members"] == [LABEL, "ServiceRequest/s1"]


async def test_it_is_known_by_the_key_that_another_trigger_has_too(
    ledger: SqlLedger, arrivals: Any, monday: datetime
) -> None:
    """Two orders that nothing tells apart are one intent; what one says of the person holds for both."""
    await ledger.accept([arrivals.skip("ServiceRequest/s1", "consent-denied", **ORDER)], now=monday)
    assert await rows(ledger) == (0, 1)
    (accepted,) = await ledger.accept([arrivals.call("ServiceRequest/s2", **ORDER)], now=monday)
    assert (accepted.state, accepted.reason) == (State.SKIPPED, "consent-denied")
    assert len((await ledger.show("ServiceRequest/s1"))["triggers"]) == 2


async def test_its_payload_is_cleared_when_its_time_is_over(
    ledger: SqlLedger, arrivals: Any, monday: datetime
) -> None:
    """Key and state stay, and a newer version is decided on as before."""
    await ledger.accept([arrivals.skip(LABEL, **about(version_id="1"))], now=monday)
    keep, later = timedelta(days=30), monday + timedelta(days=31)
    assert (await ledger.clear_payloads(monday + timedelta(days=29), keep)).intents == 0
    assert (await ledger.clear_payloads(later, keep)).intents == 1
    assert (await ledger.clear_payloads(later, keep)).intents == 0
    async with ledger._reading() as connection:
        assert (await connection.execute(select(triggers.c.content))).scalars().all() == [None]
    assert (await ledger.show(KEY))["state"] == "skipped"
    (called,) = await ledger.accept([arrivals.call(LABEL, **about(version_id="2"))], now=later)
    assert (called.key, called.state) == (KEY, State.READY)
