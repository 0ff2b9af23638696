from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from fhir_bridge.case.case import Case
from fhir_bridge.mapping.losses import CANCELLATION_DATE
from fhir_bridge.mapping.profile import Profile
from fhir_bridge.mapping.recorder import Recorder
from fhir_bridge.mapping.triggers import TABLE, is_rescheduling, status_verdict, table_verdict
from fhir_bridge.mapping.verdict import Look

Json = dict[str, Any]
CaseOf = Callable[..., Case]


@pytest.fixture
def decided(
    case_of: CaseOf, us: Profile, now: datetime, marigold: Json
) -> Callable[..., tuple[int, str] | None]:
    """Row and reason that decide about the first of some resources, Marigold at hand; None: row 20."""

    def ask(*resources: Json, profile: Profile = us, **known: Any) -> tuple[int, str] | None:
        look = Look(case_of(*resources, marigold, **known), profile, now, Recorder())
        status, verdict = status_verdict(look.case.trigger, look.profile, look.recorder)
        if status is None:
            assert verdict is not None and verdict.wanted
            return 2, verdict.reason
        found = table_verdict(Look(look.case, profile, now, look.recorder, status.code))
        return None if found is None else (found[0], found[1].reason)

    return ask


CANCELLED = {"url": CANCELLATION_DATE, "valueDateTime": "2026-11-20"}


def lost(proposed: Json, **more: Any) -> Json:
    """A cancelled appointment of last week."""
    known = {"status": "cancelled", "start": "2026-11-17T14:00:00-05:00", "end": "2026-11-17T14:30:00-05:00"}
    return {**proposed, "created": "2026-09-01", **known, **more} | {"requestedPeriod": []}


def test_the_table_has_every_row_of_the_page_in_its_order() -> None:
    """mapping, section 3: rows 3 to 19 (1 has no case, 2 comes before all, 20 is what is left)."""
    assert [number for number, _, _ in TABLE] == list(range(3, 20))


def test_row_20_calls(decided: Any, proposed: Json, order: Json) -> None:
    """What no row keeps back is called for."""
    assert decided(proposed) is None
    assert decided(order) is None


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (None, (2, "status-missing")),
        ("", (2, "status-missing")),
        ("${status}", (2, "status-missing")),
        ("planned", (2, "status-unknown")),
        ("entered-in-error", (3, "entered-in-error")),
        ("booked", (11, "already-booked")),
        ("checked-in", (11, "already-booked")),
        ("Booked", (11, "already-booked")),
        ("waitlist", None),
    ],
)
def test_rows_2_3_and_11_go_by_the_status(
    decided: Any, proposed: Json, status: str | None, expected: Any
) -> None:
    """A status in another case is read; one of no edition is refused."""
    assert decided({**proposed, "status": status}) == expected


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"doNotPerform": True}, (4, "do-not-perform")),
        ({"status": "completed"}, (5, "not-active")),
        ({"status": "unknown"}, (5, "not-active")),
        ({"status": "draft", "doNotPerform": True}, (4, "do-not-perform")),
        ({"intent": "plan"}, (6, "not-an-order")),
        ({"intent": None}, (6, "not-an-order")),
        ({"intent": "Reflex-Order"}, None),
    ],
)
def test_rows_4_to_6_are_about_orders(decided: Any, order: Json, change: Json, expected: Any) -> None:
    """From top to bottom: doNotPerform before the status."""
    assert decided({**order, **change}) == expected


SNOMED, LOINC = "http://snomed.info/sct", "http://loinc.org"


def concept(system: str, code: str, display: str | None = None) -> Json:
    """A CodeableConcept."""
    return {"coding": [{"system": system, "code": code, "display": display}]}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"category": [concept(SNOMED, "108252007")]}, (7, "not-schedulable")),
        ({"category": [{"text": "Lab"}], "code": {"text": "Lipids"}}, (7, "not-schedulable")),
        ({"category": [concept(SNOMED, "386053000")], "code": concept(LOINC, "58410-2")},
         (7, "not-schedulable")),
        ({"specimen": [{"reference": "Specimen/s"}]}, (7, "not-schedulable")),
        ({"category": [], "code": concept(LOINC, "99999-9", "Zinc [Mass/volume] in Serum or Plasma")},
         (7, "not-schedulable")),
        ({"category": [], "code": concept("http://a.example", "58410-2")}, (8, "not-schedulable-unknown")),
        ({"category": [], "code": {"coding": [{"code": "58410-2"}]}}, (8, "not-schedulable-unknown")),
        ({"category": [], "code": {"text": "Procedure"}}, (8, "not-schedulable-unknown")),
        ({"category": [], "code": {"text": "Scan Slide"}}, (7, "not-schedulable")),
        ({"category": [], "code": None}, (8, "not-schedulable-unknown")),
        ({"category": [], "code": {"text": "Colonoscopy"}}, None),
        ({"category": [], "code": {"text": "Mammography, both sides"}}, None),
        ({"category": [], "code": {"text": "Right total knee arthroplasty"}}, None),
        ({"category": [], "code": {"text": "Physical therapy"}}, None),
        ({"category": [], "code": concept(SNOMED, "73761001")}, None),
        ({"category": [], "code": {"text": "Culture after colonoscopy"}}, (8, "not-schedulable-unknown")),
    ],
)  # fmt: skip
def test_rows_7_and_8_ask_whether_the_patient_has_to_come(
    decided: Any, order: Json, change: Json, expected: Any
) -> None:
    """By category, else by code, else by words; words that say both prove nothing."""
    assert decided({**order, **change}) == expected


def test_row_7_sees_a_report_that_is_based_on_the_order(decided: Any, order: Json) -> None:
    """A DiagnosticReport proves that it was laboratory work."""
    report = {"resourceType": "DiagnosticReport", "id": "r", "basedOn": [{"reference": "ServiceRequest/o1"}]}
    assert decided({**order, "category": [], "code": {"text": "Spirometry"}}, report) == (
        7,
        "not-schedulable",
    )


def test_row_8_knows_a_referral_by_its_type(decided: Any, order: Json) -> None:
    """STU3's ReferralRequest needs no code."""
    referral = {**order, "resourceType": "ReferralRequest", "category": [], "code": None}
    assert decided(referral) is None


def test_row_9_waits_for_the_clinician(decided: Any, order: Json, profile_of: Callable[..., Profile]) -> None:
    """The layer says by which extension the state is told."""
    url = "https://ehr.example/state"
    layer = profile_of(**{"triggers.awaiting_triage": f"[{{url: {url!r}, values: [triage]}}]"})
    waiting = {**order, "extension": [{"url": url, "extension": [{"url": url, "valueCode": "TRIAGE"}]}]}
    assert decided(waiting, profile=layer) == (9, "awaiting-triage")
    assert decided(waiting) is None


@pytest.mark.parametrize("status", ["revoked", "completed", "entered-in-error"])
def test_row_10_goes_by_the_orders_status(decided: Any, proposed: Json, order: Json, status: str) -> None:
    """No order, no call; even before the Appointment's own status."""
    of_order = {**proposed, "basedOn": [{"reference": "ServiceRequest/o1"}]}
    assert decided(of_order, {**order, "status": status}) == (10, "order-withdrawn")
    assert decided({**of_order, "status": "booked"}, {**order, "status": status}) == (10, "order-withdrawn")
    assert decided(of_order, order) is None
    of_two = {**proposed, "basedOn": [{"reference": f"ServiceRequest/{name}"} for name in ("o1", "o2")]}
    assert decided(of_two, {**order, "status": status}, {**order, "id": "o2"}) is None, "one still wants it"


def test_row_12_finds_the_chains_booked_appointment(decided: Any, proposed: Json, order: Json) -> None:
    """Not over, or kept and created later; one kept long before the trigger was made settles nothing."""
    of_order = {**proposed, "basedOn": [{"reference": "ServiceRequest/o1"}]}
    booked = {**of_order, "id": "a2", "status": "booked", "start": "2026-12-03T10:00:00Z"} | {
        "requestedPeriod": []
    }
    kept = {**booked, "status": "fulfilled", "start": "2026-11-22T10:00:00Z", "created": "2026-11-21"}
    before = {**kept, "created": "2026-10-01", "start": "2026-10-10T10:00:00Z"}
    assert decided(of_order, order, booked) == (12, "already-booked")
    assert decided(order, of_order, booked) == (12, "already-booked")
    assert decided(of_order, order, kept) == (12, "already-booked")
    assert decided(of_order, order, before) is None
    undated = {name: value for name, value in before.items() if name != "created"}
    assert decided(order, of_order, undated) == (12, "already-booked"), "it came of the order"
    assert decided(of_order, order, undated) is None


def test_row_13_is_a_slot_offer(decided: Any, proposed: Json, order: Json) -> None:
    """Nobody is named at all; somebody who is named only by a token is somebody."""
    room = {"actor": {"reference": "Location/l1"}}
    token = {"actor": {"reference": "Patient/${id}"}}
    assert decided({**proposed, "participant": [room]}) == (13, "no-patient")
    assert decided({**order, "subject": None}) == (13, "no-patient")
    assert decided({**proposed, "participant": [token]}) is None


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"requestedPeriod": [{"start": "2026-11-01", "end": "2026-11-22"}]}, (14, "window-passed")),
        ({"requestedPeriod": [{"start": "2026-11-01", "end": "2026-11-23"}]}, None),
        ({"requestedPeriod": [{"start": "2026-11-01"}]}, None),
        ({"requestedPeriod": [], "start": "2026-11-22T10:00:00-05:00"}, (14, "window-passed")),
        ({"requestedPeriod": [], "start": "2026-11-24T10:00:00-05:00"}, None),
        ({"requestedPeriod": [{"end": "2026-11-01"}], "start": "2026-12-01T09:00:00Z"}, None),
        ({"requestedPeriod": []}, None),
    ],
)
def test_row_14_wants_every_window_past(decided: Any, proposed: Json, change: Json, expected: Any) -> None:
    """A period without an end never passes; today lasts until midnight on the source's clock."""
    assert decided({**proposed, **change}) == expected


REASONS = "http://terminology.hl7.org/CodeSystem/appointment-cancellation-reason"


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        (concept(REASONS, "pat-dec"), (15, "patient-deceased")),
        (concept(REASONS, "pat-mv"), (15, "patient-moved")),
        ({"text": "Patient passed away"}, (15, "patient-deceased")),
        ({"text": "Being treated elsewhere"}, (15, "treated-elsewhere")),
        ({"coding": [{"code": "x", "display": "Patient passed away"}]}, (15, "patient-deceased")),
        ({"text": "Her husband predeceased her"}, None),
        ({"text": "Patient moved the appointment"}, None),
        (concept(REASONS, "oth-err"), (16, "booked-in-error")),
        ({"text": "Booked by mistake"}, (16, "booked-in-error")),
        ({"text": "Error at reception, machine broken"}, None),
        ({"text": "Doctor is ill"}, None),
    ],
)
def test_rows_15_and_16_read_the_reason(decided: Any, proposed: Json, reason: Json, expected: Any) -> None:
    """R4 and R5 spell the element differently."""
    assert decided(lost(proposed, cancelationReason=reason)) == expected
    assert decided(lost(proposed, cancellationReason=reason)) == expected
    assert decided({**proposed, "cancelationReason": reason}) is None


def test_row_17_in_the_chain(decided: Any, proposed: Json, order: Json) -> None:
    """A live one that came after the loss, or that is still to come."""
    based_on = {"basedOn": [{"reference": "ServiceRequest/o1"}]}
    waiting = {**proposed, **based_on, "id": "a2", "status": "waitlist", "created": "2026-11-19"}
    gone = lost(proposed, **based_on, cancellationDate="2026-11-17")
    assert decided(gone, order, waiting) == (17, "already-rebooked")
    assert decided(gone, order, {**waiting, "status": "cancelled"}) is None
    earlier = {**waiting, "created": "2026-11-02"}
    assert decided(gone, order, earlier) == (17, "already-rebooked"), "it calls by itself"
    assert decided(gone, order, {**earlier, "requestedPeriod": [{"end": "2026-11-10"}]}) is None
    assert decided(waiting, order, gone) is None


@pytest.mark.parametrize(
    ("same", "start", "expected"),
    [
        ({"specialty": [concept(SNOMED, "394579002")]}, "2026-12-08T15:00:00Z", (17, "already-rebooked")),
        ({"specialty": [concept(SNOMED, "394579002")]}, "2026-11-17T19:00:00Z", None),
        ({"specialty": [concept(SNOMED, "394579002")]}, "2026-11-17T19:00:01Z", (17, "already-rebooked")),
        ({"specialty": [concept(SNOMED, "394802001")]}, "2026-12-08T15:00:00Z", None),
        ({}, "2026-12-08T15:00:00Z", None),
    ],
)
def test_row_17_without_a_chain(decided: Any, proposed: Json, same: Json, start: str, expected: Any) -> None:
    """The same specialty, later than the lost start, compared as instants."""
    cardiology = lost(proposed, specialty=[concept(SNOMED, "394579002")])
    other = {**proposed, "id": "a2", "status": "booked", "start": start, **same} | {"requestedPeriod": []}
    assert decided(cardiology, other) == expected
    assert decided(cardiology, {**other, "status": "cancelled"}) is None
    of_others = [
        {**one, "basedOn": [{"reference": f"ServiceRequest/{n}"}]}
        for n, one in enumerate((cardiology, other))
    ]
    assert decided(*of_others) is None, "each belongs to an order of its own"


def test_row_17_knows_the_practitioner(decided: Any, proposed: Json) -> None:
    """The same person sees the patient later."""
    doctor = [*proposed["participant"], {"actor": {"reference": "Practitioner/adam"}}]
    other = {
        **proposed,
        "id": "a2",
        "status": "booked",
        "start": "2026-12-08T15:00:00Z",
        "participant": doctor,
    }
    assert decided(lost(proposed, participant=doctor), other) == (17, "already-rebooked")
    assert decided(lost(proposed), other) is None


@pytest.mark.parametrize(
    ("change", "known", "expected"),
    [
        ({"start": "2026-10-20T10:00:00Z"}, {}, (18, "reschedule-window-passed")),
        ({"start": "2026-10-25T10:00:00Z"}, {}, None),
        ({"start": "2026-10-24T15:00:00Z"}, {}, None),
        ({"start": "2026-10-24T14:59:50Z"}, {}, (18, "reschedule-window-passed")),
        ({"start": "2026-10-01T10:00:00Z", "cancellationDate": "2026-11-20"}, {}, None),
        ({"start": "2026-10-01T10:00:00Z", "extension": [CANCELLED]}, {}, None),
        ({"start": "2026-10-01T10:00:00Z"}, {"first_cancelled_at": datetime(2026, 11, 20, tzinfo=UTC)}, None),
        ({"start": "2026-10-01T10:00:00Z"}, {"reported_at": datetime(2026, 11, 20, tzinfo=UTC)}, None),
        ({"start": "2027-02-01T10:00:00Z"}, {}, None),
        ({"status": "no-show", "start": "2026-10-20T10:00:00Z"}, {}, (18, "reschedule-window-passed")),
        ({"start": None, "end": None, "created": "2026-10-01"}, {}, (18, "reschedule-window-passed")),
        ({"start": None, "end": None, "created": None}, {}, None),
    ],
)
def test_row_18_counts_from_the_newer_of_start_and_loss(
    decided: Any, proposed: Json, change: Json, known: Json, expected: Any
) -> None:
    """reschedule_within is 30 days; a future appointment that was cancelled is inside."""
    assert decided(lost(proposed, **change), **known) == expected


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"authoredOn": "2026-05-20"}, (19, "trigger-too-old")),
        ({"authoredOn": "2026-06-01"}, None),
        ({"authoredOn": "2026-05-27T15:00:00Z"}, None),
        ({"authoredOn": "2026-05-27T14:59:50Z"}, (19, "trigger-too-old")),
        (
            {"authoredOn": "2026-01-20", "occurrencePeriod": {"start": "2026-11-01", "end": "2027-01-31"}},
            None,
        ),
        (
            {"authoredOn": "2026-01-20", "meta": {"lastUpdated": "2026-11-22T00:00:00Z"}},
            (19, "trigger-too-old"),
        ),
        ({"authoredOn": None, "meta": {"lastUpdated": "2026-11-22T00:00:00Z"}}, None),
        ({"authoredOn": None, "meta": {"lastUpdated": "2025-11-22T00:00:00Z"}}, (19, "trigger-too-old")),
        ({"authoredOn": None}, None),
        ({"authoredOn": "soon"}, None),
    ],
)
def test_row_19_takes_the_newest_date_but_not_a_servers_load(
    decided: Any, order: Json, change: Json, expected: Any
) -> None:
    """lastUpdated counts only where nothing else does."""
    assert decided({**order, **change}) == expected


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, (17, "already-rebooked")),
        ({"status": "noshow"}, (17, "already-rebooked")),
        ({"status": "entered-in-error"}, None),
        ({"cancelationReason": {"text": "Booked by mistake"}}, None),
        ({"replaces": [{"reference": "Appointment/elsewhere"}]}, None),
    ],
)
def test_row_17_leaves_the_call_to_what_replaced_it_though_that_was_lost_too(
    decided: Any, proposed: Json, change: Json, expected: Any
) -> None:
    """One visit that was lost twice is one call; what was never meant replaces nothing."""
    second = lost(proposed, id="a2", replaces=[{"reference": "Appointment/a1"}])
    assert decided(lost(proposed), {**second, **change}) == expected
    assert (
        decided({**second, **change, "status": "cancelled", "cancelationReason": None}, lost(proposed))
        is None
    )


def test_row_20_reschedules_what_was_lost_and_what_replaces(
    case_of: CaseOf, us: Profile, now: datetime, proposed: Json, order: Json
) -> None:
    """Else it schedules."""
    replaces = {"replaces": [{"reference": "Appointment/a0"}]}
    url = "http://hl7.org/fhir/5.0/StructureDefinition/extension-Appointment.replaces"
    in_r4 = {"extension": [{"url": url, "valueReference": {"reference": "Appointment/a0"}}]}

    def rescheduling(trigger: Json, status: str) -> bool:
        return is_rescheduling(Look(case_of(trigger), us, now, Recorder(), status))

    assert rescheduling(lost(proposed), "cancelled")
    assert rescheduling({**proposed, **replaces}, "proposed")
    assert rescheduling({**proposed, **in_r4}, "proposed")
    assert not rescheduling(proposed, "proposed")
    assert not rescheduling(order, "active")


def test_a_layer_may_read_a_booked_one_as_lost(
    decided: Any, proposed: Json, profile_of: Callable[..., Profile]
) -> None:
    """Row 2's status map looks at extensions too."""
    url = "https://ehr.example/outcome"
    row = f"[{{status: booked, becomes: cancelled, mark: {{url: {url!r}, values: [pending reschedule]}}}}]"
    layer = profile_of(**{"triggers.appointment_status_map": row})
    pending = lost(proposed, status="booked", extension=[{"url": url, "valueString": "Pending Reschedule"}])
    assert decided(pending, profile=layer) is None
    assert decided(pending) == (11, "already-booked")
    for said in ([], [{"url": url, "valueString": "Confirmed"}]):
        assert decided({**pending, "extension": said}, profile=layer) == (11, "already-booked")
