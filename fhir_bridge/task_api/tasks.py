"""POST /v1/task: the four kinds of request, told apart by `task_type` (task-api, CreateTaskRequest)."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import (
    Field,
    NonNegativeInt,
    TypeAdapter,
    model_serializer,
)

from fhir_bridge.task_api.people import MemberInsurance, Provider, Visit
from fhir_bridge.task_api.wire import IsoDate, PhoneNumber, ResourceId, Sent, Text


class ScheduleAppointmentData(Sent):
    """What the voice agent needs to schedule or reschedule; `speciality` is the vendor's spelling."""

    timeframe_availability: Text | None = None
    speciality_preferences: Text | None = None
    additional_context: Text | None = None
    previous_visits: tuple[Visit, ...] | None = None
    patient_status: Literal["new", "existing"] | None = None
    has_referral: bool | None = None
    referral: Provider | None = None
    is_rescheduling: bool | None = None
    existing_appointment: Text | None = None
    reschedule_reason: Text | None = None

    @model_serializer
    def _null_unless_rescheduling(self) -> dict[str, Any]:
        """The vendor's own request says null, not nothing, for these two when nothing is rescheduled."""
        wire = {name: value for name, value in vars(self).items() if value is not None}
        if not self.is_rescheduling:
            wire.setdefault("existing_appointment", None)
            wire.setdefault("reschedule_reason", None)
        return wire


class Service(Sent):
    """The service whose cover is to be verified."""

    description: Text | None = None
    cpt_codes: tuple[Text, ...] | None = None


class VerifyInsuranceData(Sent):
    """What the voice agent is told to verify that an insurance covers a service."""

    service: Service | None = None
    provider: Provider | None = None
    insurance: MemberInsurance | None = None
    additional_context: Text | None = None


class CaseInfo(Sent):
    """The insurer's case behind a reimbursement."""

    number: Text | None = None
    created_at: IsoDate | None = None


class BillAddress(Sent):
    """Where a bill comes from; its field names are not those of Address."""

    street: Text | None = None
    city: Text | None = None
    state: Text | None = None
    zip_code: Text | None = None
    country: Text | None = None


class Bill(Sent):
    """The bill to be reimbursed; `amount` is a text such as "$1,250.00"."""

    number: Text | None = None
    amount: Text | None = None
    phone_number: PhoneNumber | None = None
    address: BillAddress | None = None


class ReimbursementData(Sent):
    """What the voice agent is told to ask after a reimbursement."""

    case_info: CaseInfo | None = None
    bill: Bill | None = None
    reimbursement_status: Text | None = None
    payment_details: Text | None = None
    treatment_background: Text | None = None
    treatment_data: Text | None = None
    primary_insurance: MemberInsurance | None = None
    secondary_insurance: MemberInsurance | None = None
    provider: Provider | None = None
    additional_context: Text | None = None


class Question(Sent):
    """One question to ask, with a plausible answer."""

    index: NonNegativeInt
    question: Text
    answer: Text | None = None


class CustomTaskData(Sent):
    """What the voice agent is told for any other task."""

    additional_context: Text | None = None
    questions_to_ask: tuple[Question, ...] | None = None


class TaskRequest(Sent):
    """What all four kinds share; `task` is one sentence that tells the voice agent what to do."""

    task_type: str
    task: Text
    phone_number: PhoneNumber
    project_id: ResourceId
    patient_id: ResourceId


class ScheduleAppointmentRequest(TaskRequest):
    """Schedule or reschedule an appointment with a patient."""

    task_type: Literal["SCHEDULE_APPOINTMENT"] = "SCHEDULE_APPOINTMENT"
    task_data: ScheduleAppointmentData | None = None


class VerifyInsuranceRequest(TaskRequest):
    """Verify that an insurance covers a service."""

    task_type: Literal["VERIFY_INSURANCE"] = "VERIFY_INSURANCE"
    task_data: VerifyInsuranceData | None = None


class ReimbursementRequest(TaskRequest):
    """Ask after a reimbursement."""

    task_type: Literal["REIMBURSEMENT"] = "REIMBURSEMENT"
    task_data: ReimbursementData | None = None


class CustomTaskRequest(TaskRequest):
    """Anything else, described in words."""

    task_type: Literal["CUSTOM_TASK"] = "CUSTOM_TASK"
    task_data: CustomTaskData | None = None


CreateTaskRequest = Annotated[
    ScheduleAppointmentRequest | VerifyInsuranceRequest | ReimbursementRequest | CustomTaskRequest,
    Field(discriminator="task_type"),
]
"""The body of POST /v1/task: `task_type` decides the shape of `task_data`."""

_create_task_request: TypeAdapter[CreateTaskRequest] = TypeAdapter(CreateTaskRequest)


def create_task_request(wire: object) -> CreateTaskRequest:
    """The request out of a JSON object. Raises pydantic.ValidationError when it breaks the contract."""
    return _create_task_request.validate_python(wire)


class TaskDraft(Sent):
    """A SCHEDULE_APPOINTMENT request as mapping knows it: project and patient are settled before sending."""

    task: Text
    phone_number: PhoneNumber
    task_data: ScheduleAppointmentData

    def to_wire(self, project_id: str | None = None, patient_id: str | None = None) -> dict[str, Any]:
        """The request as JSON, ids null while unknown (mapping, section 18)."""
        return {
            "task_type": "SCHEDULE_APPOINTMENT",
            "task": self.task,
            "phone_number": self.phone_number,
            "project_id": project_id,
            "patient_id": patient_id,
            "task_data": self.task_data.to_wire(),
        }

    @classmethod
    def from_wire(cls, wire: dict[str, Any]) -> Self:
        """The draft out of a printed or sent request. Raises pydantic.ValidationError when it is none."""
        settled_later = ("task_type", "project_id", "patient_id")
        return cls.model_validate({key: value for key, value in wire.items() if key not in settled_later})
