"""Insurances that stand in a record more than once (mapping, section 6)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from fhir_bridge.case.case import Case
from fhir_bridge.mapping.decide import decide
from fhir_bridge.mapping.decision import Call
from fhir_bridge.mapping.profile import Profile

Json = dict[str, Any]


def coverage(id_: str, **more: Any) -> Json:
    """A medical insurance of Marigold's under an id."""
    return {
        "resourceType": "Coverage",
        "id": id_,
        "status": "active",
        "beneficiary": {"reference": "Patient/marigold"},
        "payor": [{"display": "Example Health Plan"}],
        "subscriberId": "M-1",
        **more,
    }


def test_an_insurance_recorded_twice_is_told_once(
    case_of: Callable[..., Case], us: Profile, now: datetime, proposed: Json, marigold: Json
) -> None:
    """Two Coverages that say the same are one insurance; another number is another one."""
    twice = (coverage("c1"), coverage("c2"), coverage("c3", subscriberId="M-2"))
    called = decide(case_of(proposed, marigold, *twice), us, now)
    assert isinstance(called, Call)
    assert called.patient.insurance is not None
    assert [one.member_id for one in called.patient.insurance.medical or ()] == ["M-1", "M-2"]
    taken = [entry for entry in called.lineage if entry.field.startswith("patient.insurance")]
    assert [entry.field for entry in taken] == [f"patient.insurance.medical[{i}]" for i in (0, 1)]
