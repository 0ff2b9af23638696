from __future__ import annotations

from typing import Any

import orjson
import pytest

from fhir_bridge.case.at_hand import AtHand
from fhir_bridge.case.case import Case
from fhir_bridge.case.gather import gather, triggers
from fhir_bridge.case.index import REPLACES
from fhir_bridge.fhir.documents import read

Json = dict[str, Any]


def case_of(trigger: str, *resources: Json) -> Case:
    """The case of the trigger with that label."""
    document = read(orjson.dumps(list(resources)), "test.json")
    at_hand = AtHand(document.resources)
    (found,) = [one for one in triggers(at_hand, document.resources) if one.label == trigger]
    return gather(at_hand, found, source="default")


def visit(id_: str, based_on: str | None = None, patient: str = "p1", **elements: Any) -> Json:
    """An Appointment of a patient, perhaps based on an order."""
    order = {"basedOn": [{"reference": based_on}]} if based_on else {}
    actor = {"actor": {"reference": f"Patient/{patient}"}}
    return (
        {"resourceType": "Appointment", "id": id_, "status": "booked", "participant": [actor]}
        | order
        | elements
    )


def order(id_: str = "s1", **elements: Any) -> Json:
    """An order of that patient."""
    subject = {"reference": "Patient/p1"}
    return {"resourceType": "ServiceRequest", "id": id_, "status": "active", "subject": subject} | elements


def full_order(id_: str = "s1", **elements: Any) -> Json:
    """An order with all that names it whatever its id is."""
    return order(
        id_,
        **{
            "code": {"coding": [{"system": "http://snomed.info/sct", "code": "183519002"}]},
            "requester": {"reference": "Practitioner/d1"},
            "authoredOn": "2026-11-20T10:00:00Z",
        }
        | elements,
    )


def ids(case: Case) -> list[str | None]:
    """The Appointments of the chain."""
    return [one.view.id for one in case.chain.appointments]


def test_an_order_and_its_appointments_are_one_chain_from_wherever_it_is_seen() -> None:
    """The order is its root."""
    resources = [order(), visit("a1", "ServiceRequest/s1"), visit("a2", "ServiceRequest/s1"), visit("a3")]
    for trigger in ("ServiceRequest/s1", "Appointment/a1", "Appointment/a2"):
        chain = case_of(trigger, *resources).chain
        assert chain.root == "ServiceRequest/s1"
        assert chain.members == ("Appointment/a1", "Appointment/a2", "ServiceRequest/s1")
    assert case_of("Appointment/a3", *resources).chain.members == ("Appointment/a3",)


def test_an_order_that_is_only_named_still_joins_its_appointments() -> None:
    """And stands among the members, so that it is known when it comes."""
    resources = [visit("a1", "ServiceRequest/s9"), visit("a2", "ServiceRequest/s9")]
    for trigger in ("Appointment/a1", "Appointment/a2"):
        case = case_of(trigger, *resources)
        assert case.chain.root == "ServiceRequest/s9"
        assert case.chain.members == ("Appointment/a1", "Appointment/a2", "ServiceRequest/s9")
        assert case.order is not None and case.order.resource is None


@pytest.mark.parametrize(
    "replacing",
    [
        {"replaces": [{"reference": "Appointment/a1"}]},
        {"extension": [{"url": REPLACES, "valueReference": {"reference": "Appointment/a1"}}]},
    ],
)
def test_an_appointment_that_replaces_another_is_in_its_chain(replacing: Json) -> None:
    """R5's element, and R4's extension for it; the oldest names the chain."""
    resources = [visit("a2", created="2026-02-01", **replacing), visit("a1", created="2026-01-01")]
    for trigger in ("Appointment/a1", "Appointment/a2"):
        case = case_of(trigger, *resources)
        assert case.chain.root == "Appointment/a1"
        assert ids(case) == ["a1", "a2"]


def test_series_and_recurrences_are_context_not_chain() -> None:
    """The next visit of a series is another visit."""
    for element in ("previousAppointment", "originatingAppointment"):
        case = case_of(
            "Appointment/a2", visit("a1"), visit("a2", **{element: {"reference": "Appointment/a1"}})
        )
        assert ids(case) == ["a2"]
        assert [one.view.id for one in case.other_appointments] == ["a1"]


def test_replacing_leads_from_order_to_order() -> None:
    """A chain is all that touches."""
    resources = [
        full_order("s1"),
        visit("a1", "ServiceRequest/s1"),
        visit("a2", replaces=[{"reference": "Appointment/a1"}]),
        visit("a3", replaces=[{"reference": "Appointment/a2"}]),
    ]
    assert ids(case_of("ServiceRequest/s1", *resources)) == ["a1", "a2", "a3"]


def test_another_patients_appointment_is_not_in_the_chain() -> None:
    """Whatever it points to: it must neither stop nor cause this patient's call."""
    resources = [order(), visit("a1", "ServiceRequest/s1"), visit("a2", "ServiceRequest/s1", patient="p2")]
    assert ids(case_of("ServiceRequest/s1", *resources)) == ["a1"]


def test_stu3_referrals_are_orders() -> None:
    """`incomingReferral` is STU3's basedOn."""
    referral = order() | {"resourceType": "ReferralRequest"}
    stu3 = visit("a1", incomingReferral=[{"reference": "ReferralRequest/s1"}])
    case = case_of("Appointment/a1", stu3, referral)
    assert case.order is not None and case.order.path == "Appointment.incomingReferral[0]"
    assert case.chain.root == "ReferralRequest/s1"


def test_what_is_no_order_is_no_root() -> None:
    """An R5 Appointment may be based on a CarePlan, with many others."""
    case = case_of("Appointment/a1", visit("a1", "CarePlan/c1"), visit("a2", "CarePlan/c1"))
    assert case.order is None
    assert case.chain.members == ("Appointment/a1",)


def test_a_contained_appointment_belongs_to_its_containers_chain() -> None:
    """It can say that the order is already booked."""
    holder = order(contained=[visit("inner")])
    case = case_of("ServiceRequest/s1", holder, visit("a1", "ServiceRequest/s1"))
    assert case.chain.members == ("Appointment/a1", "ServiceRequest/s1", "ServiceRequest/s1#inner")
    assert len(case.chain.appointments) == 2


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ({"created": "2026-01-01"}, {"created": "2026-01-02"}),
        ({"start": "2026-01-01T09:00:00Z"}, {"start": "2026-01-01T04:30:00-05:00"}),
        ({"created": "2026-01-01"}, {}),
        ({}, {}),
    ],
)
def test_without_an_order_the_oldest_appointment_is_the_root(older: Json, newer: Json) -> None:
    """By created, else start, else id."""
    first = visit("a1", **older)
    second = visit("a2", replaces=[{"reference": "Appointment/a1"}], **newer)
    assert case_of("Appointment/a2", second, first).chain.root == "Appointment/a1"


def root(resource: Json) -> str:
    """The root of one resource alone in its message."""
    return case_of(f"{resource['resourceType']}/{resource['id']}", resource).chain.root


def test_the_same_order_placed_twice_has_one_root_in_one_message_or_in_two() -> None:
    """Same patient, code, requester and day: one call. The ids stay members."""
    first, second = full_order("s1"), full_order("s2", authoredOn="2026-11-20T16:45:00Z", status="on-hold")
    assert root(first) == root(second)
    assert root(first).startswith("ServiceRequest~")
    both = [case_of(label, first, second).chain for label in ("ServiceRequest/s1", "ServiceRequest/s2")]
    assert both[0].root == both[1].root == root(first)
    assert [chain.members for chain in both] == [("ServiceRequest/s1",), ("ServiceRequest/s2",)]


@pytest.mark.parametrize(
    "different",
    [
        {"subject": {"reference": "Patient/p2"}},
        {"code": {"coding": [{"system": "http://snomed.info/sct", "code": "306206005"}]}},
        {"code": {"text": "Something else"}},
        {"requester": {"reference": "Practitioner/d2"}},
        {"authoredOn": "2026-11-21"},
        {"occurrenceDateTime": "2026-12-01"},
        {"occurrencePeriod": {"start": "2026-12-01"}},
        {"occurrenceTiming": {"repeat": {"dayOfWeek": ["mon"]}}},
        {"performerType": {"coding": [{"system": "http://snomed.info/sct", "code": "17561000"}]}},
        {"orderDetail": [{"text": "left"}]},
        {"bodySite": [{"text": "left knee"}]},
    ],
)
def test_orders_that_differ_in_what_they_ask_for_are_two(different: Json) -> None:
    """Nobody's referral vanishes in somebody else's, or in another one of their own."""
    assert root(full_order("s1")) != root(full_order("s2", **different))


@pytest.mark.parametrize("missing", ["code", "requester", "authoredOn", "subject"])
def test_an_order_that_does_not_say_enough_is_known_by_its_id(missing: str) -> None:
    """Equal only if everything that makes it equal is known."""
    said = {name: value for name, value in full_order("s1").items() if name != missing}
    assert root(said) == "ServiceRequest/s1"


def test_an_appointment_without_an_id_is_known_by_its_contents_not_by_its_file() -> None:
    """The same file read from another folder is not another call."""
    nameless = {name: value for name, value in visit("x").items() if name != "id"}
    roots = set()
    for file in ("here.json", "there.json"):
        document = read(orjson.dumps(nameless), file)
        at_hand = AtHand(document.resources)
        roots.add(gather(at_hand, triggers(at_hand, document.resources)[0], source="s").chain.root)
    assert len(roots) == 1
    assert roots.pop().startswith("Appointment~")


def test_two_messages_that_use_one_urn_for_two_visits_have_two_chains() -> None:
    """Neither visit vanishes in the other's chain, and no URN becomes a member that would join them later."""
    entries = []
    for patient in ("p1", "p2"):
        nameless = {name: value for name, value in visit("x", patient=patient).items() if name != "id"}
        nameless["basedOn"] = [{"reference": "urn:uuid:gone"}]
        entries.append({"resourceType": "Bundle", "entry": [{"fullUrl": "urn:uuid:1", "resource": nameless}]})
    document = read(b"\n".join(map(orjson.dumps, entries)), "x.ndjson")
    at_hand = AtHand(document.resources)
    chains = [gather(at_hand, one, source="s").chain for one in triggers(at_hand, document.resources)]
    assert len(chains) == 2
    assert [len(chain.appointments) for chain in chains] == [1, 1]
    assert not set(chains[0].members) & set(chains[1].members)


def test_laboratory_evidence_is_named_with_its_place() -> None:
    """A specimen on the order, one taken for it, a report based on it."""
    based = {"reference": "ServiceRequest/s1"}
    case = case_of(
        "ServiceRequest/s1",
        order(specimen=[{"reference": "Specimen/x"}]),
        {"resourceType": "DiagnosticReport", "id": "d", "basedOn": [based]},
        {"resourceType": "Specimen", "id": "m", "request": [based]},
        {"resourceType": "DiagnosticReport", "id": "other", "basedOn": [{"reference": "ServiceRequest/s2"}]},
    )
    assert case.laboratory_evidence == (
        ("ServiceRequest/s1", "ServiceRequest.specimen"),
        ("DiagnosticReport/d", "DiagnosticReport.basedOn[0]"),
        ("Specimen/m", "Specimen.request[0]"),
    )
    assert case_of("ServiceRequest/s1", order()).laboratory_evidence == ()
