"""What tests of every level share."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fhir_bridge.ledger.records import Arrival
from fhir_bridge.mapping.decision import Call, Lineage, Reject, Skip, Source, Subject
from fhir_bridge.task_api.models import PatientDraft, ScheduleAppointmentData, TaskDraft

MONDAY = datetime(2026, 11, 23, 15, tzinfo=UTC)
"""Monday 23 November 2026, 10:00 in New York."""


@pytest.fixture(scope="session")
def corpora() -> Path:
    """Third-party FHIR files to read (FHIR_BRIDGE_CORPORA, else ../shared/corpora beside the checkout)."""
    root = Path(__file__).parents[1]
    path = (root / os.environ.get("FHIR_BRIDGE_CORPORA", "../shared/corpora")).resolve()
    if not path.is_dir():
        pytest.skip("no corpora: set FHIR_BRIDGE_CORPORA to a folder of FHIR files")
    return path


@dataclass(frozen=True)
class Arrivals:
    """Makes decisions as intake hands them to the ledger, about made-up people."""

    source: str = "ehr"

    def subject(self, trigger: str, **given: Any) -> Subject:
        """What a decision about `Appointment/a1` is about: its own chain, its own patient."""
        name = trigger.partition("/")[2] or trigger
        told: dict[str, Any] = {
            "intent": f"{self.source}|Patient/p-{name}|{trigger}",
            "members": (trigger,),
            "patient": f"Patient/p-{name}",
            "version_id": "1",
            "last_updated": MONDAY,
        }
        return Subject(trigger, **{**told, **given})

    def call(self, trigger: str, *, phone: str = "+12125550101", task: str = "", **given: Any) -> Arrival:
        """A Call; keywords of Call go to it, all others to its Subject."""
        own = {key: given.pop(key) for key in ("valid_until", "patient_id", "zones") if key in given}
        decision = Call(
            self.subject(trigger, **given),
            TaskDraft(
                task=task or "Schedule an appointment",
                phone_number=phone,
                task_data=ScheduleAppointmentData(is_rescheduling=False),
            ),
            PatientDraft(phone_number=phone, first_name="Juniper", last_name="Sample"),
            **{"valid_until": MONDAY + timedelta(days=30), **own},
            lineage=(Lineage("task", (Source(trigger, "Appointment.serviceType"),), "sentence"),),
        )
        return self._arrival(trigger, decision)

    def skip(self, trigger: str, reason: str = "already-booked", **given: Any) -> Arrival:
        """A Skip."""
        return self._arrival(trigger, Skip(self.subject(trigger, **given), reason))

    def reject(self, trigger: str, reason: str = "phone-missing", **given: Any) -> Arrival:
        """A Reject."""
        return self._arrival(trigger, Reject(self.subject(trigger, **given), reason, "Patient.telecom"))

    def _arrival(self, trigger: str, decision: Call | Skip | Reject) -> Arrival:
        kind = trigger.partition("/")[0]
        return Arrival(self.source, decision, kind, body=b'{"resourceType":"%s"}' % kind.encode())


@pytest.fixture
def arrivals() -> Arrivals:
    """Decisions to hand to a ledger."""
    return Arrivals()


@pytest.fixture
def monday() -> datetime:
    """Monday 23 November 2026, 10:00 in New York, aware UTC: a moment at which people may be phoned."""
    return MONDAY
