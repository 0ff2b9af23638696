"""Appointments, and the slots and schedules they stand in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from fhir_bridge.fhir.datatypes import (
    Annotation,
    CodeableConcept,
    CodeableReference,
    Datatype,
    Extension,
    Period,
    Reference,
)
from fhir_bridge.fhir.views.view import Concepts, References, View

if TYPE_CHECKING:
    from typing_extensions import TypeIs


class AppointmentParticipant(Datatype, frozen=True, forbid_unknown_fields=True):
    """Who or what takes part."""

    type: Concepts = ()
    actor: Reference | None = None
    required: str | bool | None = None  # R5: true or false
    status: str | None = None
    period: tuple[Period, ...] | Period | None = None
    id: str | None = None


class VirtualService(Datatype, frozen=True):
    """R5's VirtualServiceDetail, as far as it says that the visit is virtual."""


class RecurrenceTemplate(Datatype, frozen=True):
    """R5's recurrence, as far as its time zone."""

    timezone: CodeableConcept | None = None


class Element(Datatype, frozen=True):
    """What stands beside a primitive element, under its name with an underscore."""

    extension: tuple[Extension, ...] = ()


class Appointment(View, frozen=True, kw_only=True):
    """https://hl7.org/fhir/R4/appointment.html"""

    status: str | None = None
    cancelation_reason: CodeableConcept | None = None  # R4
    cancellation_reason: CodeableConcept | None = None  # R5
    cancellation_date: str | None = None  # R5
    service_type: tuple[CodeableReference, ...] = ()
    specialty: Concepts = ()
    appointment_type: CodeableConcept | None = None
    reason_code: Concepts = ()  # R4
    reason_reference: References = ()  # R4
    reason: tuple[CodeableReference, ...] | CodeableReference = ()  # R5; STU3 as concepts; DSTU2 one
    indication: References = ()  # STU3
    priority: int | CodeableConcept | None = None  # R5: a concept
    description: str | None = None
    replaces: References = ()  # R5
    virtual_service: tuple[VirtualService, ...] = ()  # R5
    supporting_information: References = ()
    start: str | None = None
    start_element: Element | None = msgspec.field(default=None, name="_start")
    end: str | None = None
    minutes_duration: int | None = None
    requested_period: tuple[Period, ...] = ()
    slot: References = ()
    created: str | None = None
    comment: str | None = None  # R4
    note: tuple[Annotation, ...] = ()  # R5
    patient_instruction: str | tuple[CodeableReference, ...] | None = None  # R5: a list
    based_on: References = ()
    incoming_referral: References = ()  # STU3
    subject: Reference | None = None  # R5
    recurrence_template: tuple[RecurrenceTemplate, ...] = ()  # R5
    participant: tuple[AppointmentParticipant, ...] = ()


class Slot(View, frozen=True, kw_only=True):
    """https://hl7.org/fhir/R4/slot.html"""

    service_type: tuple[CodeableReference, ...] = ()
    specialty: Concepts = ()
    schedule: Reference | None = None
    status: str | None = None
    start: str | None = None
    end: str | None = None


class Schedule(View, frozen=True, kw_only=True):
    """https://hl7.org/fhir/R4/schedule.html"""

    service_type: tuple[CodeableReference, ...] = ()
    specialty: Concepts = ()
    actor: References = ()


def is_appointment(view: View) -> TypeIs[Appointment]:
    """Whether it is one, as `isinstance` tells at ten times the price: it has to ask msgspec's metaclass."""
    return view.resource_type == "Appointment"
