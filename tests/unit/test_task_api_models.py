import json
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from fhir_bridge.task_api.bodies import patient_body, task_body
from fhir_bridge.task_api.models import (
    Address,
    Call,
    CreatePatientRequest,
    CustomTaskRequest,
    Patient,
    PatientDraft,
    Provider,
    ReimbursementRequest,
    ScheduleAppointmentData,
    ScheduleAppointmentRequest,
    Task,
    TaskDraft,
    TaskStatus,
    VerifyInsuranceRequest,
    Visit,
    WebhookEvent,
    create_task_request,
    problems,
)

SEED = Path(__file__).parents[2] / "fixtures" / "seed-request.json"
PROJECT = "123e4567-e89b-12d3-a456-426614174000"
PATIENT = "123e4567-e89b-12d3-a456-426614174001"
TASK = "123e4567-e89b-12d3-a456-426614174002"
PHONE = "+15555555555"

PROVIDER = {
    "name": "Dr. Adam Careful",
    "npi": "1234567893",
    "specialty": "Cardiology",
    "facility": "Burgers University Medical Center",
    "address": {
        "street_name": "1 Burgers Plaza",
        "city": "Boston",
        "state": "MA",
        "postal_code": "02115",
        "country_code": "US",
    },
    "phone_number": PHONE,
}
INSURANCE = {
    "company_name": "Burgers Health",
    "member_id": "M-1",
    "group_number": "G-1",
    "plan_name": "Gold",
    "phone_number": PHONE,
    "relationship_to_subscriber": "SPOUSE",
    "primary_subscriber": {"first_name": "Ada", "last_name": "Quine"},
}
PATIENT_REQUEST = {
    "project_id": PROJECT,
    "phone_number": PHONE,
    "first_name": "Ada",
    "last_name": "Quine",
    "address": PROVIDER["address"],
    "email": "ada@example.org",
    "date_of_birth": "1980-02-29",
    "primary_care_provider": {"name": "Dr. Adam Careful", "practice": "Burgers Family Practice"},
    "insurance": {"medical": [INSURANCE], "dental": [{}], "vision": []},
}
TASK_DATA: dict[str, tuple[type, dict[str, Any]]] = {
    "VERIFY_INSURANCE": (
        VerifyInsuranceRequest,
        {
            "service": {"description": "MRI of the knee", "cpt_codes": ["73721"]},
            "provider": PROVIDER,
            "insurance": INSURANCE,
            "additional_context": "Ask for the reference number.",
        },
    ),
    "REIMBURSEMENT": (
        ReimbursementRequest,
        {
            "case_info": {"number": "C-1", "created_at": "2024-11-12"},
            "bill": {
                "number": "B-1",
                "amount": "$1,250.00",
                "phone_number": PHONE,
                "address": {
                    "street": "1 Burgers Plaza",
                    "city": "Boston",
                    "state": "MA",
                    "zip_code": "02115",
                    "country": "US",
                },
            },
            "reimbursement_status": "open",
            "payment_details": "by check",
            "treatment_background": "knee injury",
            "treatment_data": "MRI",
            "primary_insurance": INSURANCE,
            "secondary_insurance": {"company_name": "Second Health"},
            "provider": PROVIDER,
            "additional_context": "Ask when it will be paid.",
        },
    ),
    "CUSTOM_TASK": (
        CustomTaskRequest,
        {
            "additional_context": "After the visit.",
            "questions_to_ask": [
                {"index": 0, "question": "How do you feel?", "answer": "Well"},
                {"index": 1, "question": "Any pain?"},
            ],
        },
    ),
}


def seed() -> dict[str, Any]:
    """The example request of the vendor's reference."""
    wire: dict[str, Any] = json.loads(SEED.read_text(encoding="utf-8"))
    return wire


def test_the_vendors_own_example_goes_through_key_for_key() -> None:
    """The contract: its values, its keys, its order, and its two nulls."""
    request = create_task_request(seed())
    assert isinstance(request, ScheduleAppointmentRequest)
    assert json.dumps(request.to_wire()) == json.dumps(seed())
    assert json.loads(request.to_json()) == seed()


@pytest.mark.parametrize("task_type", TASK_DATA)
def test_every_kind_of_task_goes_through_key_for_key(task_type: str) -> None:
    """`task_type` decides the shape of `task_data`, and every key of the contract is known."""
    kind, data = TASK_DATA[task_type]
    wire = {
        "task_type": task_type,
        "task": "Call",
        "phone_number": PHONE,
        "project_id": PROJECT,
        "patient_id": PATIENT,
        "task_data": data,
    }
    request = create_task_request(wire)
    assert type(request) is kind
    assert request.to_wire() == wire
    del wire["task_data"]
    assert create_task_request(wire).to_wire() == wire


def test_a_patient_goes_through_key_for_key() -> None:
    """Every key of the contract is known."""
    assert CreatePatientRequest.model_validate(PATIENT_REQUEST).to_wire() == PATIENT_REQUEST


def test_a_task_type_decides_what_task_data_may_hold() -> None:
    """A bill is nothing for a task that schedules."""
    with pytest.raises(ValidationError) as caught:
        create_task_request({**seed(), "task_data": TASK_DATA["REIMBURSEMENT"][1]})
    assert "SCHEDULE_APPOINTMENT.task_data.bill: extra_forbidden" in problems(caught.value)


@pytest.mark.parametrize("task_type", ["INSURANCE_REIMBURSEMENT", "", None])
def test_an_unknown_task_type_is_refused(task_type: str | None) -> None:
    """One of the vendor's samples writes a name its schema does not know."""
    with pytest.raises(ValidationError):
        create_task_request({**seed(), "task_type": task_type})


def test_keys_without_a_value_are_left_out() -> None:
    """Nothing goes as null but the two keys the example sends so."""
    data = ScheduleAppointmentData(has_referral=False, referral=Provider(name="Dr. Adam Careful"))
    assert data.to_wire() == {
        "has_referral": False,
        "referral": {"name": "Dr. Adam Careful"},
        "existing_appointment": None,
        "reschedule_reason": None,
    }


@pytest.mark.parametrize("is_rescheduling", [None, False])
def test_the_two_keys_of_a_rescheduling_are_null_when_there_is_none(is_rescheduling: bool | None) -> None:
    """As in the vendor's own example; in bytes as in values."""
    data = ScheduleAppointmentData(is_rescheduling=is_rescheduling)
    assert data.to_wire()["existing_appointment"] is None
    assert b'"existing_appointment":null,"reschedule_reason":null' in data.to_json()


def test_a_rescheduling_leaves_out_what_is_unknown_about_it() -> None:
    """Then null would say that there was no old appointment."""
    data = ScheduleAppointmentData(is_rescheduling=True, existing_appointment="Tue 10 Dec 2024, 9:00 AM")
    assert data.to_wire() == {"is_rescheduling": True, "existing_appointment": "Tue 10 Dec 2024, 9:00 AM"}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("task",), ""),
        (("task",), " \n"),
        (("task",), None),
        (("phone_number",), "5555555555"),
        (("phone_number",), "+05555555"),
        (("phone_number",), "+1 555 555 5555"),
        (("phone_number",), "+15555555555\n"),
        (("phone_number",), "+١٢٣٤٥٦٧"),
        (("phone_number",), "+1234567890123456"),
        (("project_id",), "project-1"),
        (("patient_id",), None),
        (("patient_id",), "123e4567e89b12d3a456426614174001"),
        (("unknown",), "x"),
        (("task_data", "speciality_preferences"), ""),
        (("task_data", "specialty_preferences"), "Cardiology"),
        (("task_data", "patient_status"), "returning"),
        (("task_data", "has_referral"), "perhaps"),
        (("task_data", "previous_visits"), [{"date": "2024-13-01"}]),
        (("task_data", "previous_visits"), [{"date": "2024-11"}]),
        (("task_data", "previous_visits"), [{"date": 1}]),
        (("task_data", "previous_visits"), [{"date": "2024-11-12T00:00:00"}]),
        (("task_data", "previous_visits"), [{"reason": "x"}]),
        (("task_data", "referral", "npi"), ""),
        (("task_data", "referral", "address", "state"), None),
        (("task_data", "referral", "address", "country_code"), "USA"),
    ],
)
def test_what_the_contract_does_not_allow_is_never_built(path: tuple[str, ...], value: object) -> None:
    """A blank text, a wrong number or a key the endpoint does not know is our error, not the endpoint's."""
    wire = seed()
    place = wire
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(ValidationError) as caught:
        create_task_request(wire)
    assert any(path[-1] in problem for problem in problems(caught.value))


def test_the_seeds_provider_is_legal_though_its_npi_fails_the_check_digit() -> None:
    """Only mapping judges what it takes out of FHIR; the wire takes any text."""
    assert Provider(npi="0987654321", phone_number=PHONE).to_wire()["npi"] == "0987654321"


def test_an_address_has_all_five_parts() -> None:
    """Four fifths of an address are none."""
    with pytest.raises(ValidationError) as caught:
        Address.model_validate({"street_name": "1 Burgers Plaza"})
    assert len(problems(caught.value)) == 4


def test_a_task_draft_waits_for_project_and_patient() -> None:
    """Mapping knows neither: printed they are null, sent they must be UUIDs."""
    draft = TaskDraft.from_wire(seed())
    assert draft.to_wire() == {**seed(), "project_id": None, "patient_id": None}
    assert draft.to_wire(PROJECT, PATIENT) == seed()
    assert json.loads(task_body(draft.to_json(), PROJECT, PATIENT)) == seed()
    assert TaskDraft.from_wire(json.loads(json.dumps(draft.to_wire()))) == draft
    with pytest.raises(ValueError, match="not a UUID"):
        task_body(draft.to_json(), PROJECT, "")
    with pytest.raises(ValueError, match="not a draft"):
        task_body(b"null", PROJECT, PATIENT)


def test_a_patient_draft_waits_for_its_project() -> None:
    """Printed the project is null, sent it must be a UUID."""
    draft = PatientDraft.from_wire(PATIENT_REQUEST)
    assert draft.to_wire() == {**PATIENT_REQUEST, "project_id": None}
    assert json.loads(patient_body(draft.to_json(), PROJECT)) == PATIENT_REQUEST
    assert PatientDraft.from_wire(json.loads(json.dumps(draft.to_wire()))) == draft
    with pytest.raises(ValueError, match="not a UUID"):
        patient_body(draft.to_json(), 'project-1"')


def test_a_patient_may_be_sent_without_an_address() -> None:
    """The policy `omit`: then the key is left out, not null."""
    draft = PatientDraft(phone_number=PHONE, first_name="Ada", last_name="Quine")
    assert "address" not in json.loads(patient_body(draft.to_json(), PROJECT))


def test_models_cannot_be_changed() -> None:
    """What was decided is what is sent."""
    draft = TaskDraft.from_wire(seed())
    with pytest.raises(ValidationError):
        draft.phone_number = "+16175550100"


def test_a_date_may_be_given_as_a_date() -> None:
    """Mapping has one at hand."""
    assert Visit(date=date(2024, 11, 12)).to_wire() == {"date": "2024-11-12"}


def test_neither_reprs_nor_errors_show_a_value() -> None:
    """They end in logs and tracebacks."""
    draft = PatientDraft.from_wire(PATIENT_REQUEST)
    with pytest.raises(ValidationError) as caught:
        PatientDraft.from_wire({**PATIENT_REQUEST, "phone_number": "Quine's number"})
    said = f"{draft} {draft!r} {caught.value} {caught.value!r} {problems(caught.value)}"
    assert "Quine" not in said
    assert "5555555" not in said
    assert problems(caught.value) == ["phone_number: string_pattern_mismatch"]


def test_what_the_endpoint_gives_back_is_read_forgivingly() -> None:
    """A key, a status or a blank the vendor adds one day makes no answer unreadable."""
    task = Task.model_validate_json(
        json.dumps(
            {
                "id": TASK,
                "status": "ESCALATED",
                "task_outcome": "",
                "created_at": "2024-03-21T15:30:00",
                "calls": [{"id": "c", "status": "SUCCESS", "transcripts": None, "sentiment": 1}],
                "has_more_calls": False,
                "priority": 7,
            }
        )
    )
    assert task.status == "ESCALATED"
    assert task.created_at == datetime(2024, 3, 21, 15, 30, tzinfo=UTC)
    assert isinstance(task.calls, tuple)
    assert isinstance(task.calls[0], Call)
    patient = Patient.model_validate(
        {"id": PATIENT, **PATIENT_REQUEST, "address": {"city": "", "planet": "Earth"}}
    )
    assert patient.address is not None
    assert (patient.id, patient.address.city) == (PATIENT, "")


@pytest.mark.parametrize("status", TaskStatus)
def test_a_task_is_over_when_completed_failed_or_cancelled(status: TaskStatus) -> None:
    """Only then is there an outcome to bring back."""
    task = Task.model_validate({"id": TASK, "status": status.value})
    assert task.status is status
    assert status.is_final == (status.value in {"COMPLETED", "FAILED", "CANCELLED"})


def test_a_webhooks_time_without_a_zone_is_utc() -> None:
    """The vendor's own example has none; one with a zone is brought to UTC."""
    event = {"event": "call.completed", "task_id": TASK, "call_id": "c", "timestamp": "2024-03-21T15:30:00"}
    assert WebhookEvent.model_validate(event).timestamp == datetime(2024, 3, 21, 15, 30, tzinfo=UTC)
    zoned = WebhookEvent.model_validate({**event, "timestamp": "2024-03-21T15:30:00-04:00"}).timestamp
    assert zoned == datetime(2024, 3, 21, 19, 30, tzinfo=UTC)
    assert zoned.utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    "change", [{"event": "task.deleted"}, {"task_id": "../patient/1"}, {"task_id": None}]
)
def test_a_webhook_that_names_no_task_is_refused(change: dict[str, Any]) -> None:
    """Its task id becomes part of an address."""
    event = {"event": "call.completed", "task_id": TASK}
    with pytest.raises(ValidationError):
        WebhookEvent.model_validate({**event, **change})


def test_the_models_bring_in_no_http_client() -> None:
    """`map` starts fast because it never talks to the endpoint (performance)."""
    code = (
        "import sys, fhir_bridge.task_api.models as m; print([n for n in sys.argv[1:] if n in sys.modules])"
    )
    heavy = ["httpx", "httpcore", "anyio", "starlette", "sqlalchemy", "structlog", "fhir.resources"]
    run = subprocess.run([sys.executable, "-c", code, *heavy], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
