"""What the task API gives back: patients, tasks, calls, webhook events, all read forgivingly (task-api)."""

from __future__ import annotations

from datetime import date
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from fhir_bridge.task_api.wire import Instant, Received, ResourceId


class Created(Received):
    """The answer to both POSTs."""

    id: ResourceId


class TaskStatus(StrEnum):
    """How far a task is."""

    PENDING = "PENDING"
    IN_PROGRESS = "IN_PROGRESS"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def is_final(self) -> bool:
        """Whether nothing will change any more."""
        return self in (TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED)


class CallStatus(StrEnum):
    """How far a call is."""

    CREATED = "CREATED"
    IN_PROGRESS = "IN_PROGRESS"
    SUCCESS = "SUCCESS"
    FAILED = "FAILED"
    ENDED = "ENDED"


class Transcript(Received):
    """One turn of a call: what the agent (`assistant`) or the person called (`user`) said."""

    role: str
    content: str


# A status the vendor adds one day is kept as it came instead of making the whole answer unreadable.
AnyTaskStatus = Annotated[TaskStatus | str, Field(union_mode="left_to_right")]
AnyCallStatus = Annotated[CallStatus | str, Field(union_mode="left_to_right")]


class Call(Received):
    """One phone call made for a task; times are aware UTC."""

    id: str
    project_id: str | None = None
    patient_id: str | None = None
    status: AnyCallStatus
    call_outcome: str | None = None
    created_at: Instant | None = None
    updated_at: Instant | None = None
    recording_url: str | None = None
    transcripts: tuple[Transcript, ...] | None = None


class Task(Received):
    """A task as the endpoint shows it, its newest call or all of them; times are aware UTC."""

    id: str
    project_id: str | None = None
    patient_id: str | None = None
    status: AnyTaskStatus
    task_type: str | None = None
    task: str | None = None
    task_outcome: str | None = None
    created_at: Instant | None = None
    updated_at: Instant | None = None
    calls: tuple[Call, ...] | None = None
    has_more_calls: bool | None = None


class PatientAddress(Received):
    """A patient's address as the endpoint shows it."""

    street_name: str | None = None
    city: str | None = None
    state: str | None = None
    postal_code: str | None = None
    country_code: str | None = None


class PatientPrimaryCareProvider(Received):
    """A patient's general practitioner as the endpoint shows them."""

    name: str | None = None
    practice: str | None = None


class PatientSubscriber(Received):
    """The person who holds an insurance, as the endpoint shows them."""

    first_name: str | None = None
    last_name: str | None = None


class PatientMemberInsurance(Received):
    """One insurance as the endpoint shows it."""

    company_name: str | None = None
    member_id: str | None = None
    group_number: str | None = None
    plan_name: str | None = None
    phone_number: str | None = None
    relationship_to_subscriber: str | None = None
    primary_subscriber: PatientSubscriber | None = None


class PatientInsurance(Received):
    """A patient's insurances as the endpoint shows them."""

    medical: tuple[PatientMemberInsurance, ...] | None = None
    dental: tuple[PatientMemberInsurance, ...] | None = None
    vision: tuple[PatientMemberInsurance, ...] | None = None


class Patient(Received):
    """A patient as the endpoint shows them; times are aware UTC."""

    id: str
    project_id: str | None = None
    phone_number: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    address: PatientAddress | None = None
    email: str | None = None
    date_of_birth: date | None = None
    primary_care_provider: PatientPrimaryCareProvider | None = None
    insurance: PatientInsurance | None = None
    created_at: Instant | None = None
    updated_at: Instant | None = None


class WebhookEvent(Received):
    """`task.completed` or `call.completed`; unsigned, so only `task_id` is used, to read the task back."""

    event: Literal["task.completed", "call.completed"]
    task_id: ResourceId
    call_id: str | None = None
    timestamp: Instant | None = None
