"""What the ledger keeps of a decision."""

from __future__ import annotations

import pytest

from fhir_bridge.ledger.arrivals.content import skip_told, standing_of
from fhir_bridge.ledger.records import Arrival
from fhir_bridge.mapping.decision import Lineage, Note, Skip, Source, Subject

SALT = bytes(range(32))
ROW = Lineage("decision", (Source("Appointment/a1/_history/1", "Appointment.status"),), "row 11")
KNOWN = Subject("Appointment/a1", "ehr|Patient/p1|Appointment/a1", patient="Patient/p1")
UNKNOWN = Subject("Appointment/a1", None)


@pytest.mark.parametrize(
    "decision",
    [
        Skip(KNOWN, "already-booked"),
        Skip(KNOWN, "already-booked", "booked", lineage=(ROW,)),
        Skip(UNKNOWN, "no-patient"),
        Skip(KNOWN, "already-booked", notes=(Note("npi-invalid", "Practitioner/d1"),) * 40),
    ],
)
def test_a_skip_is_told_the_same_on_the_short_way(decision: Skip) -> None:
    """Both ways keep the same bytes under the same fingerprint, so that either knows what the other wrote."""
    standing = standing_of(Arrival("ehr", decision, "Appointment"), SALT)
    assert skip_told(decision, SALT) == (standing.content, standing.fingerprint)
