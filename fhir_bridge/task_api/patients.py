"""POST /v1/patient: the request, and the draft of it that mapping makes (task-api, CreatePatientRequest)."""

from __future__ import annotations

from typing import Any, Self

from fhir_bridge.task_api.people import Address, MemberInsurance
from fhir_bridge.task_api.wire import IsoDate, PhoneNumber, ResourceId, Sent, Text


class PrimaryCareProvider(Sent):
    """The patient's general practitioner and their practice."""

    name: Text | None = None
    practice: Text | None = None


class Insurance(Sent):
    """The patient's insurances by kind."""

    medical: tuple[MemberInsurance, ...] | None = None
    dental: tuple[MemberInsurance, ...] | None = None
    vision: tuple[MemberInsurance, ...] | None = None


class _PatientFields(Sent):
    phone_number: PhoneNumber
    first_name: Text
    last_name: Text
    address: Address | None = None
    email: Text | None = None
    date_of_birth: IsoDate | None = None
    primary_care_provider: PrimaryCareProvider | None = None
    insurance: Insurance | None = None


class CreatePatientRequest(_PatientFields):
    """The body of POST /v1/patient."""

    project_id: ResourceId


class PatientDraft(_PatientFields):
    """A patient as mapping knows them: everything but the project.

    `phone_number` is the number to call, a guardian's for a minor (mapping, section 5). `address` may be None
    only under the policy `omit` (mapping, section 6): the schema demands it, the vendor's own quick start
    sends none.
    """

    def to_wire(self, project_id: str | None = None) -> dict[str, Any]:
        """The request as JSON, `project_id` null while unknown (mapping, section 18)."""
        return {"project_id": project_id, **super().to_wire()}

    @classmethod
    def from_wire(cls, wire: dict[str, Any]) -> Self:
        """The draft out of a printed or sent request. Raises pydantic.ValidationError when it is none."""
        return cls.model_validate({key: value for key, value in wire.items() if key != "project_id"})
