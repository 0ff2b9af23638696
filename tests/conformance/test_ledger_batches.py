"""What holds for one arrival holds for many of its kind in one transaction."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from fhir_bridge.ledger.records import Change
from fhir_bridge.ledger.store import SqlLedger


async def test_many_intents_are_decided_again_in_one_batch(
    ledger: SqlLedger, arrivals: Any, monday: datetime
) -> None:
    """Newer versions of two triggers that arrive together each change their own intent."""
    labels = ("Appointment/a", "Appointment/b")
    await ledger.accept([arrivals.call(label) for label in labels], now=monday)
    newer = [arrivals.skip(label, version_id="2") for label in labels]
    accepted = await ledger.accept(newer, now=monday)
    assert [one.change for one in accepted] == [Change.DECIDED_AGAIN] * 2
    assert (await ledger.status(monday)).states == {"skipped": 2}
