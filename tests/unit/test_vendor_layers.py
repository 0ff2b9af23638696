"""What the vendors' layers say, each on records as that vendor writes them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import orjson
import pytest

from fhir_bridge import shipped
from fhir_bridge.case.at_hand import AtHand
from fhir_bridge.case.case import Case
from fhir_bridge.case.gather import gather, triggers
from fhir_bridge.errors import SettingsError
from fhir_bridge.fhir.documents import read
from fhir_bridge.mapping.decide import decide
from fhir_bridge.mapping.decision import Call, Decision, Reject, Skip
from fhir_bridge.mapping.profile import Profile, SourceFacts
from fhir_bridge.mapping.virtual import is_virtual
from fhir_bridge.mapping_run import resolution_rules
from fhir_bridge.profiles.load import load_profile, vendor_in

Json = dict[str, Any]
CANVAS_CONSENT = "http://schemas.canvasmedical.com/fhir/extensions/has-consent"


def vendor(name: str) -> Profile:
    """The profile of an American source with that vendor's system."""
    return load_profile(SourceFacts(vendor=name, zone=ZoneInfo("America/New_York")))


def case(profile: Profile, *resources: Json) -> Case:
    """The case of the first trigger of some resources, read and resolved by the profile's rules."""
    document = read(orjson.dumps(list(resources)), "test.json")
    at_hand = AtHand(document.resources, resolution_rules(profile))
    return gather(at_hand, triggers(at_hand, document.resources)[0], source="default")


@pytest.fixture
def decided(now: datetime) -> Callable[..., str]:
    """The reason of the decision about the first of some resources under a vendor's layer, or "call"."""

    def ask(name: str, *resources: Json) -> str:
        decision = decide(case(vendor(name), *resources), vendor(name), now)
        assert isinstance(decision, Call | Skip | Reject)
        return "call" if isinstance(decision, Call) else decision.reason

    return ask


def lost(proposed: Json, **more: Any) -> Json:
    """A cancelled appointment of last week."""
    times = {"start": "2026-11-17T14:00:00-05:00", "end": "2026-11-17T14:30:00-05:00"}
    return {**proposed, "status": "cancelled", **times, **more} | {"requestedPeriod": []}


def test_a_former_name_finds_its_layer() -> None:
    """Cerner is Oracle Health; a name that could be two products is refused, with those there are."""
    assert vendor("cerner").source.vendor == "oracle-health"
    assert vendor("cerner").layer_of("losses.reason_extensions") == "vendor oracle-health"
    with pytest.raises(SettingsError, match="athenahealth"):
        vendor("athenahealth")


def test_every_vendor_of_the_manual_has_a_layer_and_the_other_way_round() -> None:
    """docs/vendors.md has one heading for each layer, by its name."""
    folder = shipped.mappings() / "vendors"
    layers = {file.name.removesuffix(".yaml") for file in folder.iterdir()}
    manual = (Path(__file__).parents[2] / "docs" / "vendors.md").read_text(encoding="utf-8")
    assert {line.split("`")[1] for line in manual.splitlines() if line.startswith("## `")} == layers


@pytest.mark.parametrize(
    ("system", "is_patients"),
    [
        ("urn:oid:1.2.840.114350.1.13.861.1.7.2.698084", True),
        ("urn:oid:1.2.840.114350.1.13.0.1.7.2.698084", True),
        ("http://open.epic.com/FHIR/StructureDefinition/patient-fhir-id", True),
        ("urn:oid:1.2.840.114350.1.13.861.1.7.5.737384.6", False),
        ("urn:oid:1.2.840.114350.1.13.861.1.7.2.6980841", False),
        ("urn:oid:1X2.840.114350.1.13.861.1.7.2.698084", False),
        (None, False),
        ("", False),
    ],
)
def test_a_star_in_an_identifiers_system_stands_for_the_tenant(system: str | None, is_patients: bool) -> None:
    """Epic's OIDs carry the organization; those that practitioners have too name no patient."""
    assert resolution_rules(vendor("epic")).is_patient_system(system) is is_patients


def test_without_patient_systems_no_identifier_names_a_patient() -> None:
    """Nor does an absent one."""
    rules = resolution_rules(load_profile(SourceFacts()))
    assert not rules.is_patient_system("urn:x") and not rules.is_patient_system(None)


@pytest.mark.parametrize("status", ["proposed", "pending"])
def test_canvas_keeps_booked_appointments_under_other_names(
    decided: Any, proposed: Json, marigold: Json, status: str
) -> None:
    """An unconfirmed appointment has its time: nobody is phoned to make it."""
    assert decided("canvas", {**proposed, "status": status}, marigold) == "already-booked"
    assert decided("medplum", {**proposed, "status": status}, marigold) == "call"


@pytest.mark.parametrize(
    ("name", "status", "layers"),
    [("canvas", "proposed", ["vendor canvas"]), ("canvas", "booked", [None]), ("hapi", "booked", [None])],
)
def test_what_a_layer_reads_as_booked_names_the_layer(
    proposed: Json, marigold: Json, now: datetime, name: str, status: str, layers: list[str | None]
) -> None:
    """Who asks why a proposed one is booked is told who says so."""
    decision = decide(case(vendor(name), {**proposed, "status": status}, marigold), vendor(name), now)
    assert isinstance(decision, Skip) and decision.reason == "already-booked"
    assert [each.layer for each in decision.lineage] == layers


def test_canvas_names_the_appointment_that_took_anothers_place(
    decided: Any, proposed: Json, marigold: Json
) -> None:
    """In whichever record it stands, at hand or not; without the layer it is but a reference."""
    beside = {"reference": "Appointment/a2", "display": "Rescheduled Replacement Appointment"}
    moved = lost(proposed, supportingInformation=[beside])
    assert decided("canvas", moved, marigold) == "already-rebooked"
    assert decided("hapi", moved, marigold) == "call"
    other = {**beside, "display": "Co-scheduled Appointment"}
    assert decided("canvas", lost(proposed, supportingInformation=[other]), marigold) == "call"


def test_canvas_replacements_are_one_chain(proposed: Json, marigold: Json) -> None:
    """By the display in the newer record alone, so that they are one intent."""
    display = "Previously Rescheduled Appointment"
    newer = {
        **proposed,
        "id": "a2",
        "supportingInformation": [{"reference": "Appointment/a1", "display": display}],
    }
    chain = case(vendor("canvas"), lost(proposed), newer, marigold).chain
    assert chain.members == ("Appointment/a1", "Appointment/a2")
    assert case(vendor("hapi"), lost(proposed), newer, marigold).chain.members == ("Appointment/a1",)


@pytest.mark.parametrize(("consent", "expected"), [(False, "do-not-call"), (True, "call"), (None, "call")])
def test_canvas_numbers_without_consent_are_not_called(
    decided: Any, proposed: Json, marigold: Json, consent: bool | None, expected: str
) -> None:
    """Where it is the only number; another one is called instead."""
    mark = [] if consent is None else [{"url": CANVAS_CONSENT, "valueBoolean": consent}]
    number = {**marigold["telecom"][0], "extension": mark}
    wanted = lost(proposed)
    assert decided("canvas", wanted, {**marigold, "telecom": [number]}) == expected
    second = {"system": "phone", "use": "home", "value": "(646) 555-0102"}
    assert decided("canvas", wanted, {**marigold, "telecom": [number, second]}) == "call"


def test_a_text_consent_is_no_consent_to_a_call(proposed: Json, marigold: Json, now: datetime) -> None:
    """Where a site calls only with consent, Canvas's is none."""
    facts = SourceFacts(vendor="canvas", zone=ZoneInfo("America/New_York"))
    profile = load_profile(facts, None, {"consent": "opt-in"})
    number = {**marigold["telecom"][0], "extension": [{"url": CANVAS_CONSENT, "valueBoolean": True}]}
    decision = decide(case(profile, lost(proposed), {**marigold, "telecom": [number]}), profile, now)
    assert isinstance(decision, Skip) and decision.reason == "consent-missing"


@pytest.mark.parametrize(("value", "expected"), [(True, "patient-unresolved"), (False, "call")])
def test_hapi_makes_patients_up(
    decided: Any, proposed: Json, marigold: Json, value: bool, expected: str
) -> None:
    """A placeholder is nobody's record, whatever stands in it since; elsewhere it is any extension."""
    url = "http://hapifhir.io/fhir/StructureDefinition/resource-placeholder"
    made_up = {**marigold, "extension": [{"url": url, "valueBoolean": value}]}
    assert decided("hapi", proposed, made_up) == expected
    assert decided("medplum", proposed, made_up) == "call"


def test_athenaone_blocks_patients(decided: Any, proposed: Json, marigold: Json) -> None:
    """By a security label that says nothing elsewhere; its other two are everybody's."""
    labels = {code: {**marigold, "meta": {"security": [{"code": code}]}} for code in ("PDS", "R", "HTEST")}
    assert decided("athenaone", proposed, labels["PDS"]) == "restricted-record"
    assert decided("epic", proposed, labels["PDS"]) == "call"
    assert decided("athenaone", proposed, labels["R"]) == "restricted-record"
    assert decided("athenaone", proposed, labels["HTEST"]) == "patient-test"


def test_oracle_says_in_a_comment_why_it_was_cancelled(proposed: Json, marigold: Json, now: datetime) -> None:
    """In words that decide like any reason, or that the agent is told; the coded reason goes before."""

    def asked(comment: str, **more: Any) -> Decision:
        url = "https://fhir-ehr.cerner.com/r4/StructureDefinition/action-comment"
        record = lost(proposed, extension=[{"url": url, "valueString": comment}], **more)
        return decide(case(vendor("oracle-health"), record, marigold), vendor("oracle-health"), now)

    told = asked("Scanner out of service")
    assert isinstance(told, Call) and told.task.task_data.reschedule_reason == "Scanner out of service"
    elsewhere = asked("Patient treated elsewhere")
    assert isinstance(elsewhere, Skip) and elsewhere.reason == "treated-elsewhere"
    coded = asked("see note", cancelationReason={"text": "Provider is ill"})
    assert isinstance(coded, Call) and coded.task.task_data.reschedule_reason == "Provider is ill"
    empty = asked("")
    assert isinstance(empty, Call) and empty.task.task_data.reschedule_reason is None


def test_oracle_may_call_about_what_no_application_may_move(
    decided: Any, proposed: Json, marigold: Json
) -> None:
    """Every cancelled one of Oracle's is not reschedulable: that is of the API, not of the person."""
    url = "https://fhir-ehr.cerner.com/r4/StructureDefinition/is-reschedulable"
    record = lost(proposed, extension=[{"url": url, "valueBoolean": False}])
    assert decided("oracle-health", record, marigold) == "call"


def test_oracles_video_visits_have_meeting_rooms(proposed: Json, marigold: Json) -> None:
    """A contained service that takes part makes the visit virtual, whatever the visit is called."""
    room = {
        "resourceType": "HealthcareService",
        "id": "28",
        "type": [{"text": "Patient Virtual Meeting Room"}],
    }
    seat = {"actor": {"reference": "#28"}, "status": "accepted"}
    visit = {**proposed, "contained": [room], "participant": [*proposed["participant"], seat]}
    profile = vendor("oracle-health")
    element = is_virtual(case(profile, visit, marigold), profile)
    assert element is not None and element[1] == "type[0]"
    assert is_virtual(case(vendor("epic"), visit, marigold), vendor("epic")) is None


def test_medplum_refers_to_its_service(proposed: Json, marigold: Json) -> None:
    """In an extension of serviceType, as R5 does in serviceType itself."""
    refers = {
        "url": "https://medplum.com/fhir/service-type-reference",
        "valueReference": {"reference": "HealthcareService/skin"},
    }
    visit = {**proposed, "serviceType": [{"extension": [refers]}]}
    service = {"resourceType": "HealthcareService", "id": "skin", "specialty": [{"text": "Dermatology"}]}
    found = case(vendor("medplum"), visit, marigold, service)
    assert [each.label for each in found.services] == ["HealthcareService/skin"]
    assert case(vendor("hapi"), visit, marigold, service).services == ()


@pytest.mark.parametrize("name", ["meditech", "athenapractice"])
def test_a_vendor_nothing_public_is_known_of_changes_nothing(name: str) -> None:
    """Its layer is there, and empty."""
    plain = load_profile(SourceFacts(zone=ZoneInfo("America/New_York")))
    assert vendor(name).layers == plain.layers


@pytest.mark.parametrize(
    ("software", "layer"),
    [
        ("medplum 5.2.13-fd453f2", "medplum"),
        ("HAPI FHIR Server 7.2.0", "hapi"),
        ("Epic August 2026", "epic"),
        ("Cerner Millennium", "oracle-health"),
        ("Oracle Health Millennium Platform", "oracle-health"),
        ("Epicentre", None),
        ("FHIR Server 1.4.0", None),
        ("", None),
    ],
)
def test_a_vendor_is_known_by_what_its_server_calls_itself(software: str, layer: str | None) -> None:
    """By whole words, and never guessed from parts of one."""
    assert vendor_in(software) == layer
