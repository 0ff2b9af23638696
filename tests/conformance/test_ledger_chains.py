"""Chains whose members come in any order and batch: one call at most, and none that is not wanted."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from fhir_bridge.ledger.records import Arrival
from fhir_bridge.ledger.store import SqlLedger

LATER = timedelta(minutes=1)
ORDER, LOST = "ServiceRequest/s1", "Appointment/a1"
START = "@2026-11-20T10:00:00-05:00"


class Chain:
    """Decisions about one person, whatever the chain."""

    def __init__(self, arrivals: Any) -> None:
        self._arrivals = arrivals

    def call(self, trigger: str, *others: str, **given: Any) -> Arrival:
        """A Call of a trigger whose chain has these other members; a `loss` has a key of its own."""
        made: Arrival = self._arrivals.call(trigger, **self._about(trigger, others, given))
        return made

    def skip(self, trigger: str, reason: str, *others: str, **given: Any) -> Arrival:
        """A Skip likewise."""
        made: Arrival = self._arrivals.skip(trigger, reason, **self._about(trigger, others, given))
        return made

    def nobody(self, trigger: str, **given: Any) -> Arrival:
        """A trigger whose patient cannot be found."""
        about = {"intent": None, "patient": None, **given}
        made: Arrival = self._arrivals.reject(trigger, "patient-unresolved", **about)
        return made

    def _about(self, trigger: str, others: tuple[str, ...], given: dict[str, Any]) -> dict[str, Any]:
        root = next((each for each in (*others, trigger) if each.startswith("ServiceRequest")), trigger)
        key = "|".join(("ehr", "Patient/p1", root, *([given["loss"]] if "loss" in given else [])))
        return {"patient": "Patient/p1", "intent": key, "members": (trigger, *others), **given}


@pytest.fixture
def chain(arrivals: Any) -> Chain:
    """Decisions about one person."""
    return Chain(arrivals)


async def states(ledger: SqlLedger, now: datetime, *batches: list[Arrival]) -> dict[str, int]:
    """The intents by state, once the batches are taken in."""
    for number, batch in enumerate(batches):
        await ledger.accept(batch, now=now + number * LATER)
    return (await ledger.status(now)).states


@pytest.mark.parametrize("together", [True, False])
async def test_an_order_is_not_called_beside_its_appointment_that_was_booked_again(
    ledger: SqlLedger, chain: Chain, monday: datetime, together: bool
) -> None:
    """Lost, booked anew, and then the order comes alone: its chain is known to be booked."""
    told = [
        chain.call(LOST, ORDER, loss=LOST + START),
        chain.skip(LOST, "already-booked", ORDER, version_id="2"),
        chain.call(ORDER),
    ]
    batches = [told] if together else [[each] for each in told]
    assert await states(ledger, monday, *batches) == {"skipped": 1}


@pytest.mark.parametrize("together", [True, False])
async def test_a_loss_of_nobody_that_is_booked_again_takes_no_others_key(
    ledger: SqlLedger, chain: Chain, monday: datetime, together: bool
) -> None:
    """Its patient is found when it is no loss any more; then the order comes. Nothing is refused."""
    told = [
        chain.nobody(LOST, loss=LOST + START),
        chain.skip(LOST, "order-withdrawn", ORDER, version_id="2"),
        chain.call(ORDER),
        chain.call("ServiceRequest/s9"),
    ]
    batches = [told] if together else [[each] for each in told]
    found = await states(ledger, monday, *batches)
    assert found == {"ready": 2, "skipped": 1}


@pytest.mark.parametrize("together", [True, False])
async def test_what_is_lost_while_its_patient_is_unknown_is_kept(
    ledger: SqlLedger, chain: Chain, monday: datetime, together: bool
) -> None:
    """Both for a person to look at; found at last, the patient is called for the loss."""
    told = [chain.nobody(LOST), chain.nobody(LOST, loss=LOST + START, version_id="2")]
    batches = [told] if together else [[each] for each in told]
    assert "rejected" in await states(ledger, monday, *batches)
    found = [chain.call(LOST, loss=LOST + START, version_id="3", last_updated=monday + LATER)]
    assert (await states(ledger, monday + 9 * LATER, found))["ready"] == 1


@pytest.mark.parametrize("together", [True, False])
async def test_an_order_that_is_withdrawn_takes_back_every_loss_of_its_chain(
    ledger: SqlLedger, chain: Chain, monday: datetime, together: bool
) -> None:
    """Two appointments of one order were lost: nobody is phoned for either."""
    told = [
        chain.call(ORDER),
        chain.call(LOST, ORDER, loss=LOST + START),
        chain.call("Appointment/a2", ORDER, loss="Appointment/a2" + START),
        chain.skip(ORDER, "entered-in-error", version_id="2"),
    ]
    batches = [told] if together else [[each] for each in told]
    found = await states(ledger, monday, *batches)
    assert set(found) == {"skipped"}


@pytest.mark.parametrize("together", [True, False])
async def test_a_loss_that_comes_after_its_order_was_withdrawn_calls_nobody(
    ledger: SqlLedger, chain: Chain, monday: datetime, together: bool
) -> None:
    """Alone, without the order; until that is active again."""
    told = [
        chain.call(ORDER),
        chain.skip(ORDER, "entered-in-error", version_id="2"),
        chain.call(LOST, ORDER, loss=LOST + START),
    ]
    batches = [told] if together else [[each] for each in told]
    assert set(await states(ledger, monday, *batches)) == {"skipped"}
    again = [chain.call(ORDER, version_id="3", last_updated=monday + LATER)]
    assert (await states(ledger, monday + 9 * LATER, again))["ready"] >= 1


async def test_a_loss_with_another_order_that_is_active_is_still_called(
    ledger: SqlLedger, chain: Chain, monday: datetime
) -> None:
    """One of two orders was withdrawn."""
    told = [
        chain.call(ORDER),
        chain.call("ServiceRequest/s2"),
        chain.call(LOST, ORDER, "ServiceRequest/s2", loss=LOST + START),
        chain.skip(ORDER, "entered-in-error", version_id="2"),
    ]
    assert (await states(ledger, monday, *[[each] for each in told]))["ready"] == 1


@pytest.mark.parametrize("together", [True, False])
async def test_a_member_of_a_chain_that_was_joined_to_another_leads_to_the_joined_one(
    ledger: SqlLedger, chain: Chain, monday: datetime, together: bool
) -> None:
    """Two orders, joined by an appointment: what names either of them later is one call with both."""
    told = [
        chain.call("ServiceRequest/s2"),
        chain.call("Appointment/a2", ORDER, "Appointment/a3"),
        chain.call("ServiceRequest/s2", "Appointment/a3", version_id="2"),
        chain.call("Appointment/a9", ORDER),
    ]
    batches = [told] if together else [[each] for each in told]
    assert (await states(ledger, monday, *batches))["ready"] == 1


@pytest.mark.parametrize("together", [True, False])
async def test_what_moves_to_an_older_chain_takes_the_one_it_leaves_along(
    ledger: SqlLedger, chain: Chain, monday: datetime, together: bool
) -> None:
    """An appointment that turns out to belong to two orders is one call for both."""
    told = [
        chain.call("Appointment/a2", "ServiceRequest/s2"),
        chain.call("ServiceRequest/s3", "Appointment/a3"),
        chain.call("Appointment/a3"),
        chain.call("Appointment/a3", "ServiceRequest/s2", version_id="2"),
    ]
    batches = [told] if together else [[each] for each in told]
    assert (await states(ledger, monday, *batches))["ready"] == 1


@pytest.mark.parametrize("together", [True, False])
async def test_what_moved_into_a_loss_is_found_there_by_the_next(
    ledger: SqlLedger, chain: Chain, monday: datetime, together: bool
) -> None:
    """In one batch as in several: the other order of an appointment that stands in a loss joins it there."""
    told = [
        chain.call("Appointment/a2", ORDER),
        chain.call(LOST, ORDER, loss=LOST + START),
        chain.call("ServiceRequest/s2", "Appointment/a2"),
    ]
    batches = [told] if together else [[each] for each in told]
    assert (await states(ledger, monday, *batches))["ready"] == 1
