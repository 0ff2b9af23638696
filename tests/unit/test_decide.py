from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from msgspec.structs import replace

from fhir_bridge.case.case import Case
from fhir_bridge.mapping.decide import decide
from fhir_bridge.mapping.decision import Call, Due, Reject, Skip, Subject
from fhir_bridge.mapping.gates import Blocked
from fhir_bridge.mapping.profile import Profile

Json = dict[str, Any]
CaseOf = Callable[..., Case]


def test_a_call_has_all_it_needs_to_be_sent(
    case_of: CaseOf, us: Profile, now: datetime, proposed: Json, marigold: Json
) -> None:
    """Task, patient, number, how long it makes sense, and where the called person may be."""
    found = decide(case_of(proposed, marigold), us, now)
    assert isinstance(found, Call)
    assert found.subject.trigger == "Appointment/a1"
    assert found.subject.intent == "default|Patient/marigold|Appointment/a1"
    assert found.task.phone_number == found.patient.phone_number == "+16465550101"
    assert found.valid_until > now
    assert "America/New_York" in found.zones
    fields = {entry.field for entry in found.lineage}
    assert {"task", "phone_number", "patient.phone_number", "patient.first_name", "decision"} <= fields


@pytest.mark.parametrize("status", ["booked", "nonsense"])
def test_a_brief_decision_is_the_same_otherwise(
    case_of: CaseOf, us: Profile, now: datetime, proposed: Json, marigold: Json, status: str
) -> None:
    """Who only counts decisions pays for no lineage and no intent, and counts the same ones."""
    case = case_of({**proposed, "status": status}, marigold)
    whole, brief = decide(case, us, now), decide(case, us, now, brief=True)
    assert whole.lineage
    assert brief == replace(whole, lineage=(), subject=Subject(whole.subject.trigger, None))


def test_a_brief_call_is_not_worded(
    case_of: CaseOf, us: Profile, now: datetime, proposed: Json, marigold: Json
) -> None:
    """Whom it is to, and how long it makes sense, is known all the same."""
    case = case_of(proposed, marigold)
    whole, brief = decide(case, us, now), decide(case, us, now, brief=True)
    assert isinstance(whole, Call)
    assert brief == Due(
        Subject("Appointment/a1", None),
        phone_number=whole.phone_number,
        valid_until=whole.valid_until,
        zones=whole.zones,
    )


def test_a_guardians_number_is_the_patients_too(
    case_of: CaseOf, us: Profile, now: datetime, proposed: Json, marigold: Json
) -> None:
    """mapping, section 5: one phone rings, and the sentence opens with whom to ask for."""
    mother = {
        "resourceType": "RelatedPerson",
        "id": "r1",
        "patient": {"reference": "Patient/marigold"},
        "relationship": [{"text": "Mother"}],
        "name": [{"given": ["Petunia"], "family": "Example"}],
        "telecom": [{"system": "phone", "value": "646-555-0102"}],
    }
    found = decide(case_of(proposed, {**marigold, "birthDate": "2015-01-01"}, mother), us, now)
    assert isinstance(found, Call)
    assert found.task.phone_number == found.patient.phone_number == "+16465550102"
    assert found.patient.first_name == "Marigold Ann"
    assert "Petunia Example" in (found.task.task_data.additional_context or "")
    numbers = [entry.sources[0].resource for entry in found.lineage if entry.field == "phone_number"]
    assert numbers == ["RelatedPerson/r1"]


def test_a_skip_tells_its_row_and_element(
    case_of: CaseOf, us: Profile, now: datetime, proposed: Json, marigold: Json
) -> None:
    """`explain` shows which row decided, and on what."""
    found = decide(case_of({**proposed, "status": "booked"}, marigold), us, now)
    assert isinstance(found, Skip)
    assert (found.reason, found.detail) == ("already-booked", "booked")
    (entry,) = found.lineage
    assert (entry.field, entry.rule, entry.sources[0].path) == ("decision", "row 11", "Appointment.status")


@pytest.mark.parametrize(
    ("change", "reason", "expression"),
    [
        ({"telecom": []}, "phone-missing", "Patient.telecom"),
        ({"name": [{"family": "Example"}]}, "name-incomplete", "Patient.name[0]"),
        ({"address": [{"city": "Springfield"}]}, "address-incomplete", "Patient.address[0]"),
    ],
)
def test_a_reject_names_the_element_to_look_at(
    case_of: CaseOf,
    us: Profile,
    now: datetime,
    proposed: Json,
    marigold: Json,
    change: Json,
    reason: str,
    expression: str,
) -> None:
    """As FHIRPath."""
    found = decide(case_of(proposed, {**marigold, **change}), us, now)
    assert isinstance(found, Reject)
    assert (found.reason, found.expression) == (reason, expression)


def test_an_unresolved_patient_is_named_where_the_trigger_names_them(
    case_of: CaseOf, us: Profile, now: datetime, proposed: Json, order: Json
) -> None:
    """The expression leads to the reference."""
    for trigger, expression in (
        (proposed, "Appointment.participant[0].actor"),
        (order, "ServiceRequest.subject"),
    ):
        found = decide(case_of(trigger), us, now)
        assert isinstance(found, Reject)
        assert (found.reason, found.expression) == ("patient-unresolved", expression)


def test_one_id_with_two_contents_is_rejected_with_both_places(
    case_of: CaseOf, us: Profile, now: datetime, proposed: Json, marigold: Json
) -> None:
    """Never "last one wins"."""
    found = decide(case_of(proposed, {**proposed, "status": "booked"}, marigold), us, now)
    assert isinstance(found, Reject)
    assert found.reason == "duplicate-id"
    assert found.detail is not None and found.detail.count("test.json entry") == 2


def test_versions_of_unclear_age_are_rejected_unless_each_ends_the_matter(
    case_of: CaseOf, us: Profile, now: datetime, proposed: Json, marigold: Json
) -> None:
    """One of them wants the call, and nobody can say which is the newer."""
    later = {"versionId": "1", "lastUpdated": "2026-11-20T10:00:00Z"}
    wanted = {**proposed, "meta": {"versionId": "2", "lastUpdated": "2026-11-10T10:00:00Z"}}
    booked, ended = ({**proposed, "status": status, "meta": later} for status in ("booked", "fulfilled"))
    found = decide(case_of(wanted, booked, marigold), us, now)
    assert isinstance(found, Reject) and found.reason == "versions-disagree"
    found = decide(case_of({**wanted, "status": "booked"}, ended, marigold), us, now)
    assert isinstance(found, Skip)


def test_a_patient_with_two_contents_is_rejected_only_where_somebody_would_be_called(
    case_of: CaseOf, us: Profile, now: datetime, proposed: Json, marigold: Json
) -> None:
    """The expression leads to the reference; a booked one needs nobody to look."""
    other = {**marigold, "telecom": []}
    wanted = decide(case_of(proposed, marigold, other), us, now)
    booked = decide(case_of({**proposed, "status": "booked"}, marigold, other), us, now)
    assert isinstance(wanted, Reject)
    assert (wanted.reason, wanted.expression) == ("duplicate-id", "Appointment.participant[0].actor")
    assert wanted.detail is not None and wanted.detail.count("test.json entry") == 2
    assert isinstance(booked, Skip) and booked.reason == "already-booked"


def test_no_patient_means_no_intent(case_of: CaseOf, us: Profile, now: datetime, proposed: Json) -> None:
    """A slot offer is for nobody."""
    found = decide(case_of({**proposed, "participant": []}), us, now)
    assert isinstance(found, Skip)
    assert (found.reason, found.subject.intent) == ("no-patient", None)


def test_an_order_and_its_appointment_are_one_intent(
    case_of: CaseOf, us: Profile, now: datetime, proposed: Json, order: Json, marigold: Json
) -> None:
    """mapping, section 2: the order is the root."""
    wanted = {**proposed, "basedOn": [{"reference": "ServiceRequest/o1"}]}
    by_order = decide(case_of(order, wanted, marigold), us, now)
    by_appointment = decide(case_of(wanted, order, marigold), us, now)
    assert by_order.subject.intent == by_appointment.subject.intent
    assert (
        by_order.subject.members == by_appointment.subject.members == ("Appointment/a1", "ServiceRequest/o1")
    )


def test_each_loss_is_an_intent_of_its_own(
    case_of: CaseOf, us: Profile, now: datetime, proposed: Json, marigold: Json
) -> None:
    """Root, lost appointment and lost start, the start as an instant however it is written."""
    lost = {**proposed, "status": "cancelled", "start": "2026-11-20T09:00:00-05:00"}
    in_utc = {**lost, "start": "2026-11-20T14:00:00Z"}
    again = {**lost, "start": "2026-11-21T14:00:00Z"}
    keys = [decide(case_of(one, marigold), us, now).subject.intent for one in (proposed, lost, in_utc, again)]
    assert keys[1] == keys[2] == "default|Patient/marigold|Appointment/a1|Appointment/a1@2026-11-20T14:00:00Z"
    assert len(set(keys)) == 3


def test_the_lost_slot_does_not_end_the_call(
    case_of: CaseOf, us: Profile, now: datetime, proposed: Json, marigold: Json
) -> None:
    """A cancelled appointment of tomorrow is still to be rescheduled the day after."""
    lost = {**proposed, "status": "cancelled", "start": "2026-11-24T09:00:00-05:00"} | {"requestedPeriod": []}
    found = decide(case_of(lost, marigold), us, now)
    assert isinstance(found, Call)
    assert found.task.task_data.is_rescheduling
    assert found.valid_until > datetime.fromisoformat("2026-12-20T00:00:00Z")


def test_the_do_not_call_list_is_obeyed(
    case_of: CaseOf, us: Profile, now: datetime, proposed: Json, marigold: Json
) -> None:
    """Read at mapping."""
    found = decide(case_of(proposed, marigold), us, now, Blocked(numbers=frozenset({"+16465550101"})))
    assert isinstance(found, Skip) and found.reason == "do-not-call"


def test_an_extension_of_the_number_is_said(
    case_of: CaseOf, us: Profile, now: datetime, proposed: Json, marigold: Json
) -> None:
    """mapping, section 5: E.164 has no place for it."""
    telecom = [{"system": "phone", "use": "home", "value": "646-555-0101 ext. 42"}]
    found = decide(case_of(proposed, {**marigold, "telecom": telecom}), us, now)
    assert isinstance(found, Call)
    assert "42" in (found.task.task_data.additional_context or "")


def test_same_input_same_bytes(
    case_of: CaseOf, us: Profile, now: datetime, proposed: Json, order: Json, marigold: Json
) -> None:
    """mapping, section 14."""
    wanted = {**proposed, "basedOn": [{"reference": "ServiceRequest/o1"}]}
    first, second = (decide(case_of(wanted, order, marigold), us, now) for _ in range(2))
    assert first == second
