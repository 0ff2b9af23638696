"""What single records say about whether anybody may call their person (mapping, sections 2 and 4).

A case asks this of its own trigger. Other calls of the same person may wait in the ledger, and a file may
bring no more than the news of a death: so every record at hand is asked, whether a trigger names it or not.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import msgspec
from msgspec import structs

from fhir_bridge.case.people import PersonRecord
from fhir_bridge.fhir.resource import Resource
from fhir_bridge.fhir.views import Appointment, Patient, is_appointment
from fhir_bridge.mapping.consents import denial, may_be_in_force
from fhir_bridge.mapping.losses import loss_class
from fhir_bridge.mapping.profile import Profile
from fhir_bridge.mapping.record_gates import RECORD_GATES
from fhir_bridge.mapping.statuses import status_of

OF_THE_PERSON = frozenset({"patient-deceased", "consent-denied", "restricted-record"})
"""Stops that hold whatever record somebody stands under. A record may be inactive, or a test, for there is
another one.
"""


class Statement(msgspec.Struct, frozen=True):
    """What one record says of its person.

    `names` are the identities the person has, also those merged into them; `record` is the record's lasting
    name and the rest its version (aware UTC); `stop` is the reason of the Skip that it means for every call
    of this person, None where it speaks against none. `same` are identities that it says are one person,
    where they are several. Without `names` it says nothing else.
    """

    names: tuple[str, ...]
    record: str
    stop: str | None
    version_id: str | None = None
    last_updated: datetime | None = None
    same: tuple[str, ...] = ()


def statements(records: Iterable[PersonRecord], profile: Profile, now: datetime) -> list[Statement]:
    """What the records say at `now` (aware), once each: of several contents that no version orders, one that
    speaks against calls."""
    by_record: dict[str, Statement] = {}
    for record in records:
        resource, stop = record.resource, _stop(record, profile, now)
        before = by_record.get(record.name)
        same = tuple(dict.fromkeys((*(before.same if before else ()), *record.same)))
        if before is None or stop is not None:
            names = record.names
            if stop in OF_THE_PERSON and names:
                # A call that waits may know no more of the person than a copy within its trigger.
                names = tuple(dict.fromkeys((*names, *record.numbers)))
            by_record[record.name] = Statement(
                names, record.name, stop, resource.version, record.updated_at, same
            )
        elif same != before.same:
            by_record[record.name] = structs.replace(before, same=same)
    return list(by_record.values())


def stops(records: Iterable[PersonRecord], profile: Profile, now: datetime) -> list[str]:
    """The reasons of those statements that speak against calls, for who only counts them."""
    found = {record.name: stop for record in records if (stop := _stop(record, profile, now)) is not None}
    return list(found.values())


def patient_stop(patient: Resource[Patient], profile: Profile) -> str | None:
    """Why nobody may call this patient, judged by their record alone; None where it says nothing of it."""
    verdicts = (gate(profile, patient) for gate in RECORD_GATES)
    return next((verdict.reason for verdict in verdicts if verdict), None)


def _stop(record: PersonRecord, profile: Profile, now: datetime) -> str | None:
    view = record.resource.view
    if is_appointment(view):
        return _death(record.resource, profile)  # type: ignore[arg-type]  # its view is an Appointment
    if record.is_merged:
        return None
    if isinstance(view, Patient):
        return patient_stop(record.resource, profile)  # type: ignore[arg-type]  # its view is a Patient
    denies = may_be_in_force(view, now, profile.source.zone) and denial(view) is not None
    return "consent-denied" if denies else None


def _death(appointment: Resource[Appointment], profile: Profile) -> str | None:
    """Whether it was lost because the patient died (section 3, row 15)."""
    status = status_of(appointment, profile)
    if status is None or status.code not in profile.triggers.lost:
        return None
    lost = loss_class(appointment, profile)
    return "patient-deceased" if lost is not None and lost.reason == "patient-deceased" else None
