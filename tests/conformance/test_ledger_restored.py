"""A ledger that was restored from a backup calls nobody whom it may have called since."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from fhir_bridge.errors import UsageError
from fhir_bridge.ledger.operation.checking import check_ledger
from fhir_bridge.ledger.records import Act, Refusal, Selection, StartTask
from fhir_bridge.ledger.sending.claims import Claim
from fhir_bridge.ledger.store import SqlLedger
from tests.conformance.conftest import DESTINATION

MINUTE = timedelta(minutes=1)
KNOWN = {"patient_id": "00000000-0000-4000-8000-000000000001"}


async def test_what_waits_is_in_doubt_and_nothing_goes(
    location: str, ledger: SqlLedger, arrivals: Any, monday: datetime
) -> None:
    """Also what a worker holds; what was decided otherwise stays, and the ledger is whole."""
    await ledger.accept(
        [
            arrivals.call("Appointment/a", **KNOWN),
            arrivals.call("Appointment/b", phone="+12125550199"),
            arrivals.skip("Appointment/s"),
        ],
        now=monday,
    )
    (claimed, _) = await ledger.claim(Claim("w", monday, monday + MINUTE, 2))
    act = Act("tester", "disk broken", monday)
    assert await ledger.restored(monday, act) == 2
    assert (await ledger.write([StartTask(claimed, monday, monday + MINUTE, monday)]))[0].done is False
    status = await ledger.status(monday)
    assert (status.states, status.reasons["restored"]) == ({"in_doubt": 2, "skipped": 1}, 2)
    assert status.destination["held_back_because"] == "paused"
    assert (await check_ledger(location, **DESTINATION)).problems == []
    await ledger.accept([arrivals.call("Appointment/a", version_id="9", **KNOWN)], now=monday + MINUTE)
    assert (await ledger.status(monday)).states == {"in_doubt": 2, "skipped": 1}, "a new version calls nobody"
    assert await ledger.restored(monday, act) == 0
    await ledger.resume("", act)
    assert await ledger.resolve_resend(Selection(reason="restored"), act) == 2
    assert len(await ledger.claim(Claim("w", monday + MINUTE, monday + 2 * MINUTE, 2))) == 2


async def test_nobody_else_is_called_at_a_number_that_may_have_been_called_since(
    ledger: SqlLedger, arrivals: Any, monday: datetime
) -> None:
    """A child's call comes in, and the mother's was perhaps made after the backup: it waits for the gap."""
    act = Act("tester", "disk broken", monday)
    await ledger.accept([arrivals.call("Appointment/a", **KNOWN)], now=monday)
    await ledger.restored(monday, act)
    await ledger.resume("", act)
    await ledger.accept([arrivals.call("Appointment/b", **KNOWN)], now=monday)
    (claimed,) = await ledger.claim(Claim("w", monday, monday + MINUTE, 2))
    (start,) = await ledger.write([StartTask(claimed, monday, monday + MINUTE, monday - MINUTE)])
    assert (start.refusal, start.called_at) == (Refusal.RECENTLY_CALLED, monday)


async def test_a_ledger_that_called_since_is_no_backup(
    ledger: SqlLedger, arrivals: Any, monday: datetime
) -> None:
    """Nothing changes."""
    await ledger.accept(
        [arrivals.call("Appointment/a", **KNOWN), arrivals.call("Appointment/b", phone="+12125550199")],
        now=monday,
    )
    (claimed, _) = await ledger.claim(Claim("w", monday, monday + MINUTE, 2))
    assert (await ledger.write([StartTask(claimed, monday, monday + MINUTE, monday)]))[0].done
    with pytest.raises(UsageError, match="no backup of that time"):
        await ledger.restored(monday - MINUTE, Act("tester", "oops", monday))
    status = await ledger.status(monday)
    assert (status.states, status.destination["held_back_because"]) == ({"ready": 1, "sending": 1}, None)
