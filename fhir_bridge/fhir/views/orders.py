"""Orders, and what proves that one was laboratory work."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fhir_bridge.fhir.datatypes import (
    Annotation,
    CodeableConcept,
    CodeableReference,
    Coding,
    Datatype,
    Identifier,
    Period,
    Reference,
    Timing,
)
from fhir_bridge.fhir.views.view import Concepts, References, View

if TYPE_CHECKING:
    from typing_extensions import TypeIs


class Requester(Datatype, frozen=True):
    """A reference; STU3's ReferralRequest.requester and ProcedureRequest.requester put it under `agent`."""

    reference: str | None = None
    type: str | None = None
    identifier: Identifier | None = None
    display: str | None = None
    agent: Reference | None = None
    on_behalf_of: Reference | None = None

    @property
    def target(self) -> Reference:
        """The reference to who asks, from whichever version's place."""
        return self.agent or Reference(self.reference, self.type, self.identifier, self.display)


class OrderParameter(Datatype, frozen=True):
    """R5: one detail of an order, as far as it tells two orders apart."""

    code: CodeableConcept | None = None
    value_codeable_concept: CodeableConcept | None = None
    value_string: str | None = None
    value_boolean: bool | None = None


class OrderDetail(Datatype, frozen=True):
    """ServiceRequest.orderDetail: a CodeableConcept up to R4B, in R5 a list of parameters."""

    text: str | None = None
    coding: tuple[Coding, ...] = ()
    parameter: tuple[OrderParameter, ...] = ()

    @property
    def concepts(self) -> Concepts:
        """What it says, from whichever version's place."""
        said: list[CodeableConcept | None] = [CodeableConcept(text=self.text, coding=self.coding)]
        for one in self.parameter:
            plain = one.value_string if one.value_boolean is None else str(one.value_boolean)
            said += (one.code, one.value_codeable_concept, CodeableConcept(text=plain))
        return tuple(concept for concept in said if concept is not None)


class Instruction(Datatype, frozen=True):
    """R5's ServiceRequest.patientInstruction."""

    instruction_markdown: str | None = None


class ServiceRequest(View, frozen=True, kw_only=True):
    """https://hl7.org/fhir/R4/servicerequest.html, and STU3's ReferralRequest and ProcedureRequest read as
    one."""

    status: str | None = None
    intent: str | None = None
    category: Concepts | CodeableConcept = ()
    type: CodeableConcept | None = None  # ReferralRequest
    priority: str | CodeableConcept | None = None  # DSTU2: a concept
    do_not_perform: bool | None = None
    code: CodeableReference | None = None
    service_requested: Concepts = ()  # ReferralRequest
    specialty: CodeableConcept | None = None  # ReferralRequest
    description: str | None = None  # ReferralRequest
    order_detail: tuple[OrderDetail, ...] = ()
    body_site: Concepts | CodeableConcept = ()  # DSTU2: one
    body_structure: Reference | None = None  # R5
    subject: Reference | None = None
    patient: Reference | None = None  # DSTU2
    encounter: Reference | None = None
    context: Reference | None = None  # STU3
    occurrence_date_time: str | None = None
    occurrence_period: Period | None = None
    occurrence_timing: Timing | None = None
    authored_on: str | None = None
    date: str | None = None  # DSTU2
    requester: Requester | None = None
    performer_type: CodeableConcept | None = None
    performer: References | Reference = ()  # ProcedureRequest: one
    recipient: References = ()  # ReferralRequest
    location_reference: References = ()  # R4
    location: tuple[CodeableReference, ...] = ()  # R5
    reason_code: Concepts = ()
    reason_reference: References = ()
    reason: tuple[CodeableReference, ...] | CodeableReference = ()  # R5; DSTU2 one
    insurance: References = ()
    specimen: References = ()
    note: tuple[Annotation, ...] = ()
    patient_instruction: str | tuple[Instruction, ...] | None = None  # R5: a list
    based_on: References = ()
    replaces: References = ()


class ReferralRequest(ServiceRequest, frozen=True, kw_only=True):
    """https://hl7.org/fhir/STU3/referralrequest.html"""


class ProcedureRequest(ServiceRequest, frozen=True, kw_only=True):
    """https://hl7.org/fhir/STU3/procedurerequest.html"""


class DiagnosticReport(View, frozen=True, kw_only=True):
    """As far as it proves that its order was laboratory work."""

    based_on: References = ()
    category: Concepts | CodeableConcept = ()


class Specimen(View, frozen=True, kw_only=True):
    """As far as it proves that its order was laboratory work."""

    request: References = ()


_ORDERS = frozenset({"ServiceRequest", "ReferralRequest", "ProcedureRequest"})


def is_order(view: View) -> TypeIs[ServiceRequest]:
    """Whether it is a ServiceRequest, or what STU3 had for it; see `is_appointment`."""
    return view.resource_type in _ORDERS
