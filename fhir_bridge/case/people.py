"""The records at hand that may say whether anybody may call a person, with every name the person has."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec

from fhir_bridge.case.at_hand import AtHand
from fhir_bridge.case.editions import last_updated
from fhir_bridge.case.identity import stable_name
from fhir_bridge.case.patient import Patients
from fhir_bridge.fhir.resource import Resource
from fhir_bridge.fhir.views import Appointment, Consent, Patient


class PersonRecord(msgspec.Struct, frozen=True):
    """A Patient, Consent or Appointment that is about somebody. Few say anything that counts, so the rest is
    worked out when it is asked for. `is_merged`: a Patient whose place another record took."""

    resource: Resource[Patient] | Resource[Consent] | Resource[Appointment]
    people: Patients
    is_merged: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The identities of the person it is about, also those of records merged into theirs. One that was
        merged has none: the record that took its place counts."""
        if self.is_merged:
            return ()
        if isinstance(self.resource.view, Patient):
            return self.people.names_of(self.resource)
        return self.people.names_in(self.resource)

    @property
    def numbers(self) -> tuple[str, ...]:
        """By what else the person is known where their record stands within another resource."""
        return self.people.numbers_of(self.resource)

    @property
    def name(self) -> str:
        """The record's own, which lasts."""
        return stable_name(self.resource)

    @property
    def updated_at(self) -> datetime | None:
        """Aware UTC."""
        updated = last_updated(self.resource)
        return updated.astimezone(UTC) if updated else None

    @property
    def same(self) -> tuple[str, ...]:
        """All identities that a Patient says are one person."""
        return self.people.same_as(self.resource) if isinstance(self.resource.view, Patient) else ()


def person_records(at_hand: AtHand) -> Iterator[PersonRecord]:
    """Every one at hand; of Patients that were merged only those that say who they are now."""
    index, people = at_hand.index, at_hand.patients
    for patient in index.of(Patient):
        if people.merges.survivor(patient) is patient:
            yield PersonRecord(patient, people)
        elif len(people.same_as(patient)) > 1:
            yield PersonRecord(patient, people, is_merged=True)
    about: list[Resource[Consent] | Resource[Appointment]] = [*index.of(Consent), *index.of(Appointment)]
    for resource in about:
        if people.of(resource) is not None:
            yield PersonRecord(resource, people)
