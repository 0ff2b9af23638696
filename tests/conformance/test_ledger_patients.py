"""Patients in doubt or refused, resolved many at a time."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update

from fhir_bridge.errors import UsageError
from fhir_bridge.ledger.database.tables import patients
from fhir_bridge.ledger.records import Act, CrosswalkEntry, Selection, SettlePatient, StartPatient
from fhir_bridge.ledger.sending.claims import Claim
from fhir_bridge.ledger.states import State
from fhir_bridge.ledger.store import SqlLedger
from fhir_bridge.task_api.outcome import Outcome, OutcomeClass

MINUTE, MONTH = timedelta(minutes=1), timedelta(days=30)
KNOWN = "00000000-0000-4000-9000-000000000007"
REFUSED = Outcome(OutcomeClass.REFUSED, 404, error="not-found")
LOST = Outcome(OutcomeClass.UNKNOWN, 500, error="server-error")


@pytest.fixture
async def stuck(ledger: SqlLedger, arrivals: Any, monday: datetime) -> SqlLedger:
    """Three patients were refused, one is in doubt, and one's record names somebody else by now."""
    calls = [arrivals.call(f"Appointment/{n}", phone=f"+1212555{n:04d}") for n in range(5)]
    await ledger.accept(calls, now=monday)
    for claimed in await ledger.claim(Claim("w", monday, monday + MINUTE, 5)):
        (begun,) = await ledger.write([StartPatient(claimed, monday, monday + MINUTE)])
        outcome = LOST if claimed.trigger in ("Appointment/3", "Appointment/4") else REFUSED
        await ledger.write([SettlePatient(claimed, begun.number, outcome, monday, monday)])
    async with ledger._writing() as connection:
        other = update(patients).where(patients.c.identity == "Patient/p-4")
        await connection.execute(other.values(error="patient-changed"))
    return ledger


@pytest.mark.parametrize(
    ("selection", "count"),
    [
        (Selection(reason="patient-refused"), 3),
        (Selection(reason="not-found"), 3),
        (Selection(reason="patient-in-doubt"), 1),
        (Selection(source="ehr"), 4),
        (Selection(source="ehr", reason="patient-changed"), 1),
        (Selection(source="lab"), 0),
    ],
)
async def test_patients_are_created_again_by_source_or_reason(
    stuck: SqlLedger, monday: datetime, selection: Selection, count: int
) -> None:
    """What was counted is what is done; who may be somebody else only where that is the reason named."""
    assert await stuck.stuck_patients(selection) == (count, count)
    act = Act("tester", "the address was wrong", monday)
    assert await stuck.resend_patients(selection, act) == (count, count)
    claimed = await stuck.claim(Claim("v", monday + MINUTE, monday + 2 * MINUTE, 9))
    assert len(claimed) == count
    assert await stuck.stuck_patients(selection) == (0, 0)
    assert await stuck.verify_audit() is None


async def test_only_a_patient_who_is_stuck_is_resolved(stuck: SqlLedger, monday: datetime) -> None:
    """Not one of the same name at another source, nor one who is created by now: a second would be made."""
    act = Act("tester", "the vendor said so", monday)
    assert await stuck.resolve_patient("lab", "Patient/p-0", KNOWN, act) == -1
    assert await stuck.resolve_patient("ehr", "Patient/p-0", KNOWN, act) == 1
    assert await stuck.resolve_patient("ehr", "Patient/p-0", None, act) == -1
    (claimed,) = await stuck.claim(Claim("v", monday, monday + MINUTE, 9))
    assert (claimed.trigger, claimed.patient.api_id) == ("Appointment/0", KNOWN)


@pytest.mark.parametrize("how", ["resolved", "imported", "created again"])
async def test_what_retention_has_cleared_is_not_brought_back_with_its_patient(
    stuck: SqlLedger, arrivals: Any, monday: datetime, how: str
) -> None:
    """Its request is gone: no worker could send it, and would stumble over it. What came since is."""
    later = monday + 4 * MONTH
    of_somebody = {"patient": "Patient/p-0", "phone": "+12125550099"}
    await stuck.accept([arrivals.call("Appointment/9", **of_somebody)], now=later - MINUTE)
    async with stuck._writing() as connection:
        refused = update(patients).where(patients.c.identity == "Patient/p-0")
        await connection.execute(refused.values(state="refused", error="not-found"))
    await stuck.accept([], now=later - MINUTE)
    assert (await stuck.clear_payloads(later, MONTH)).unfinished == 5
    selection, act = Selection(reason="not-found"), Act("tester", "the address was wrong", later)
    assert await stuck.stuck_patients(selection) == (1, 1)
    if how == "resolved":
        assert await stuck.resolve_patient("ehr", "Patient/p-0", KNOWN, act) == 1
    elif how == "imported":
        entry = CrosswalkEntry("ehr", "Patient/p-0", KNOWN, 2)
        assert (await stuck.import_patients([entry], act)).brought_back == 1
    else:
        assert await stuck.resend_patients(selection, act) == (1, 1)
    claimed = await stuck.claim(Claim("v", later, later + MINUTE, 9))
    assert [each.trigger for each in claimed] == ["Appointment/9"]
    assert (await stuck.show("Appointment/0"))["state"] == State.PARKED


async def test_a_patient_who_is_being_created_is_begun_by_no_second_call(
    ledger: SqlLedger, arrivals: Any, monday: datetime
) -> None:
    """Both were claimed while the patient was new, one after the other: the second is given back, and what is
    begun with it is begun."""
    calls = [
        arrivals.call(f"Appointment/{n}", patient="Patient/p", phone=f"+1212555000{n}") for n in range(2)
    ]
    await ledger.accept([*calls, arrivals.call("Appointment/other", phone="+12125550009")], now=monday)
    claimed = [each for _ in range(3) for each in await ledger.claim(Claim("w", monday, monday + MINUTE, 1))]
    starts = {each.trigger: StartPatient(each, monday, monday + MINUTE) for each in claimed}
    (first,) = await ledger.write([starts["Appointment/0"]])
    (alone,) = await ledger.write([starts["Appointment/1"]])
    second, other = await ledger.write([starts["Appointment/1"], starts["Appointment/other"]])
    assert (first.done, alone.done, second.done, other.done) == (True, False, False, True)


async def test_a_filter_is_asked_for(stuck: SqlLedger) -> None:
    """Nothing at all is no filter, and neither are intents' keys and states."""
    for selection in (Selection(), Selection(key="x"), Selection(source="ehr", state=State.PARKED)):
        with pytest.raises(UsageError, match="by source or reason"):
            await stuck.stuck_patients(selection)
