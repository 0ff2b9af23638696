"""The records at hand that may say whether anybody may call a person, with every name the person has."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec

from fhir_bridge.case.at_hand import AtHand
from fhir_bridge.case.editions import last_updated
from fhir_bridge.case.identity import stable_name
from fhir_bridge.fhir.resource import Resource
from fhir_bridge.fhir.views import Appointment, Consent, Patient


class PersonRecord(msgspec.Struct, frozen=True):
    """A Patient, Consent or Appointment; `names` are the identities of the person it is about, also those of
    records merged into theirs; `name` is the record's own, which lasts; `updated_at` is aware UTC. `same` are
    all identities that a Patient says are one person. One that was merged has no `names`: the record that
    took its place counts.
    """

    resource: Resource[Patient] | Resource[Consent] | Resource[Appointment]
    names: tuple[str, ...]
    name: str
    updated_at: datetime | None = None
    same: tuple[str, ...] = ()


def person_records(at_hand: AtHand) -> Iterator[PersonRecord]:
    """Every one at hand; of Patients that were merged only those that say who they are now."""
    index, people = at_hand.index, at_hand.patients
    for patient in index.of(Patient):
        same = people.same_as(patient)
        if people.survivor(patient) is patient:
            yield _record(patient, people.names_of(patient), same)
        elif len(same) > 1:
            yield _record(patient, (), same)
    about: list[Resource[Consent] | Resource[Appointment]] = [*index.of(Consent), *index.of(Appointment)]
    for resource in about:
        if names := people.names_in(resource):
            yield _record(resource, names)


def _record(
    resource: Resource[Patient] | Resource[Consent] | Resource[Appointment],
    names: tuple[str, ...],
    same: tuple[str, ...] = (),
) -> PersonRecord:
    updated = last_updated(resource)
    at = updated.astimezone(UTC) if updated else None
    return PersonRecord(resource, names, stable_name(resource), at, same)
