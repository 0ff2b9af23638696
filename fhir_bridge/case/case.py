"""A case: one trigger with all it needs, resolved (mapping, section 1). Plain data to the mapping: nothing
here does I/O.

Long because it is one class: whatever a rule may ask of a case is looked up here.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TypeVar, cast

import msgspec

from fhir_bridge.case import places
from fhir_bridge.case.at_hand import AtHand
from fhir_bridge.case.chain import Chain
from fhir_bridge.case.identity import stable_name
from fhir_bridge.case.links import Link, Participant, Party
from fhir_bridge.case.once import once
from fhir_bridge.case.patient import CasePatient
from fhir_bridge.fhir import references
from fhir_bridge.fhir.datatypes import Reference
from fhir_bridge.fhir.resource import Resource
from fhir_bridge.fhir.views import (
    Appointment,
    Consent,
    Coverage,
    Encounter,
    HealthcareService,
    Location,
    Patient,
    RelatedPerson,
    ServiceRequest,
    Slot,
    View,
    is_order,
)

__all__ = ["Case", "Chain", "Link", "Participant", "Party", "Trigger"]

V = TypeVar("V", bound=View)
Trigger = Resource[Appointment] | Resource[ServiceRequest]


class Case(msgspec.Struct, frozen=True, eq=False, dict=True):
    """One trigger and what belongs to it; each property is worked out when first asked for, from what is at
    hand.

    `reported_at` is when the source told us (aware UTC), `first_cancelled_at` when the ledger first saw the
    Appointment cancelled (aware UTC). `history_complete` and `chain_complete` say that a search or an export
    was known to bring all of the patient's visits, all of the chain. `unanswered` is what the source was
    asked that may speak against a call, and did not tell.
    """

    source: str
    trigger: Trigger
    at_hand: AtHand
    reported_at: datetime | None = None
    first_cancelled_at: datetime | None = None
    history_complete: bool = False
    chain_complete: bool = False
    unanswered: tuple[str, ...] = ()

    @property
    def is_order(self) -> bool:
        """Whether the trigger is an order (ServiceRequest, ReferralRequest, ProcedureRequest)."""
        return is_order(self.trigger.view)

    @once
    def trigger_name(self) -> str:
        """The trigger's name as it stays from message to message, for keys; its label is what people read."""
        return stable_name(self.trigger)

    def follow(
        self, holder: Resource[View], path: str, reference: Reference | None, kind: type[V]
    ) -> Link[V] | None:
        """Follow a reference to a resource of that kind (mapping, section 15); None only where there is
        none."""
        return None if reference is None else self.at_hand.follow(holder, path, reference, kind)

    # -- the patient (mapping, section 5) --

    @once
    def _subject(self) -> CasePatient | None:
        return self.at_hand.patients.of(self.trigger)

    @property
    def patient_reference(self) -> Reference | None:
        """The reference that names the patient; None where none does (mapping, section 3, row 13)."""
        return self._subject.link.reference if self._subject else None

    @property
    def patient_number(self) -> tuple[str, str] | None:
        """System and value by which alone the patient is named: beside the reference, or in it where it is a
        search (`Patient?identifier=system|value`). None where more names it, or the record is at hand."""
        reference = self.patient_reference
        if reference is None or self.patient is not None:
            return None
        target = references.parse(reference.reference)
        if target is not None and not (target.system and target.value):
            return None
        if target is not None and target.type == "Patient":
            return target.system or "", target.value or ""
        own = reference.identifier
        return (own.system, own.value) if own is not None and own.system and own.value else None

    @property
    def patient_path(self) -> str:
        """The FHIRPath of that reference, for instance `Appointment.participant[0].actor`; empty without
        one."""
        return self._subject.link.path if self._subject else ""

    @property
    def patient(self) -> Resource[Patient] | None:
        """The patient's record, merges followed; None where it is not at hand."""
        return self._subject.patient if self._subject else None

    @property
    def patient_merge_broken(self) -> bool:
        """Whether the record says it was replaced by one that cannot be followed."""
        return bool(self._subject and self._subject.merge_broken)

    @property
    def patient_doubtful(self) -> bool:
        """Whether the reference to the patient has a type that is none of FHIR's, so that it is not certain
        whom it means."""
        return bool(self._subject and self._subject.link.is_doubtful)

    def may_be_anothers(self, resource: Resource[View]) -> bool:
        """Whether something that is found under this patient does not name them for certain."""
        found = self.at_hand.patients.of(resource)
        return found is not None and found.link.is_doubtful

    @property
    def patient_contradicted(self) -> bool:
        """Whether the identifier beside the reference to the patient is another patient's."""
        return bool(self._subject and self._subject.contradicted)

    @property
    def patient_identity(self) -> str | None:
        """Who the patient is, for the intent's key: `Patient/p1`, `identifier:<16 hex>`,
        `Type/id#fragment`."""
        return self._subject.identity if self._subject else None

    @property
    def patient_names(self) -> tuple[str, ...]:
        """Every identity the patient has: also those of the records that were merged into theirs, and those
        that theirs says are the same person."""
        people = self.at_hand.patients
        same = () if self.patient is None else people.same_as(self.patient)
        return (*people.names_in(self.trigger), *same)

    @property
    def patient_notes(self) -> tuple[str, ...]:
        """Codes noted on the way to the patient, such as `reference-untyped` or `patient-merge-followed`."""
        return self._subject.notes if self._subject else ()

    @property
    def copies_of_patient(self) -> tuple[Resource[Patient], ...]:
        """Other records at hand that are the patient's by their id, or share an identifier with one that is
        contained or has no id."""
        return tuple(self.at_hand.same_person.copies(self.patient)) if self.patient else ()

    @property
    def linked_with_patient(self) -> tuple[Resource[Patient], ...]:
        """Other records at hand that are linked with the patient's as of the same person."""
        return self.at_hand.same_person.linked(self.patient) if self.patient else ()

    @property
    def related_persons(self) -> tuple[Resource[RelatedPerson], ...]:
        """The RelatedPersons at hand of this patient."""
        return self.at_hand.of_patient(RelatedPerson, self.patient_identity)

    @property
    def coverages(self) -> tuple[Resource[Coverage], ...]:
        """The Coverages at hand whose beneficiary this patient is."""
        return self.at_hand.of_patient(Coverage, self.patient_identity)

    @property
    def consents(self) -> tuple[Resource[Consent], ...]:
        """The Consents at hand of this patient."""
        return self.at_hand.of_patient(Consent, self.patient_identity)

    @property
    def encounters(self) -> tuple[Resource[Encounter], ...]:
        """The Encounters at hand of this patient, whatever their status."""
        return self.at_hand.of_patient(Encounter, self.patient_identity)

    # -- the chain (mapping, section 2) --

    @once
    def orders(self) -> tuple[Link[ServiceRequest], ...]:
        """The trigger itself as an order, else the orders it is based on (STU3 `incomingReferral`), in its
        words' order."""
        return self.at_hand.chains.orders_of(self.trigger)

    @once
    def order(self) -> Link[ServiceRequest] | None:
        """The first order at hand, else the first named; None where there is none."""
        return next((link for link in self.orders if link.resource), next(iter(self.orders), None))

    @once
    def chain(self) -> Chain:
        """The orders and Appointments that are one piece of work, and the root that names it."""
        return self.at_hand.chains.of(self.trigger, complete=self.chain_complete)

    @once
    def chain_appointments(self) -> tuple[Resource[Appointment], ...]:
        """The chain's Appointments at hand, the trigger included, oldest first."""
        return self.at_hand.chains.appointments_of(self.trigger)

    @once
    def other_appointments(self) -> tuple[Resource[Appointment], ...]:
        """The patient's Appointments at hand that are not in the chain."""
        inside = {id(one) for one in self.chain_appointments}
        of_patient = self.at_hand.of_patient(Appointment, self.patient_identity)
        return tuple(found for found in of_patient if id(found) not in inside)

    def follow_up_orders(self, encounter: Resource[Encounter]) -> tuple[Resource[ServiceRequest], ...]:
        """The orders at hand that were placed in this encounter."""
        return self.at_hand.ordered_in(encounter)

    @once
    def laboratory_evidence(self) -> tuple[tuple[str, str], ...]:
        """What proves that the order was laboratory work: (label, FHIRPath) pairs (mapping, section 3)."""
        return self.at_hand.chains.laboratory_evidence(self._order_at_hand)

    @property
    def contents(self) -> tuple[Trigger, ...]:
        """The trigger, or every content of it where no version orders them."""
        return cast("tuple[Trigger, ...]", self.at_hand.index.same(self.trigger))

    @once
    def duplicate_triggers(self) -> tuple[str, ...]:
        """Where several contents of the trigger stand that no version orders; else empty."""
        return self.at_hand.places_of(self.trigger)

    @once
    def duplicate_places(self) -> tuple[str, ...]:
        """Where several contents of the trigger, or of the patient, stand that no version orders; else
        empty."""
        patient = self._subject.link if self._subject else None
        return self.duplicate_triggers or (self.at_hand.places_named(patient) if patient else ())

    @property
    def versions_disagree(self) -> bool:
        """Whether there are several contents because versionId and lastUpdated contradict each other."""
        return self.at_hand.versions_disagree(self.trigger, self._subject.link if self._subject else None)

    @once
    def unreadable(self) -> tuple[str, ...]:
        """Where something stands that cannot be read, and may be of this patient or chain: their death, a
        denial, a cancellation, what was booked instead."""
        if not self.at_hand.unread:
            return ()
        return tuple(map(str, self.at_hand.unread.about(set(self._labels()), self.trigger.origin)))

    def _labels(self) -> Iterator[str]:
        """Every `Type/id` by which a text may speak of the patient or of a member of the chain."""
        yield from (self.trigger.label, *self.chain.members, *self.patient_names)
        yield from (one.label for one in (self.patient, *self.copies_of_patient) if one is not None)
        named = references.parse(self.patient_reference.reference) if self.patient_reference else None
        if named is not None and named.label:
            yield named.label

    # -- people and places --

    def party(self, holder: Resource[View], path: str, reference: Reference | None) -> Party | None:
        """Who a reference leads to, with role, organization and places; None only where there is no
        reference."""
        return None if reference is None else self.at_hand.parties.party(holder, path, reference)

    @once
    def requester(self) -> Party | None:
        """Who asked for the order; None where no order is at hand or it does not say."""
        order = self._order_at_hand
        return self.at_hand.parties.requester(order) if order else None

    @once
    def performers(self) -> tuple[Party, ...]:
        """Who is to perform the order (STU3 `recipient`)."""
        order = self._order_at_hand
        return self.at_hand.parties.performers(order) if order else ()

    @once
    def participants(self) -> tuple[Participant, ...]:
        """The Appointment's participants in order; empty for an order."""
        if self.is_order:
            return ()
        return self.at_hand.parties.participants(cast("Resource[Appointment]", self.trigger))

    @once
    def primary_care(self) -> tuple[Party, ...]:
        """The patient's `generalPractitioner`s."""
        return self.at_hand.parties.primary_care(self.patient) if self.patient else ()

    @once
    def slots(self) -> tuple[Resource[Slot], ...]:
        """The Slots at hand that the Appointment names."""
        return places.slots(self.at_hand.resolver, self.trigger)

    @once
    def services(self) -> tuple[Resource[HealthcareService], ...]:
        """The HealthcareServices at hand: participants, R5 `serviceType`, then the Slots' Schedules'
        actors."""
        return places.services(self.at_hand.resolver, self.trigger, self.participants, self.slots)

    @once
    def locations(self) -> tuple[Resource[Location], ...]:
        """The places of care at hand: participants, the order's, then the services'."""
        order = self._order_at_hand
        return places.locations(self.at_hand.resolver, order, self.participants, self.services)

    @property
    def _order_at_hand(self) -> Resource[ServiceRequest] | None:
        return self.order.resource if self.order else None
