"""The real files that the rules of mapping, sections 15 and 16, were made for: each read as the rule says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fhir_bridge.case.at_hand import AtHand
from fhir_bridge.case.gather import gather, triggers
from fhir_bridge.errors import InputError
from fhir_bridge.fhir import dates
from fhir_bridge.fhir.datatypes import CodeableReference, Reference
from fhir_bridge.fhir.documents import Document, read_file
from fhir_bridge.fhir.resource import Resource
from fhir_bridge.fhir.views import Appointment, Encounter, Location, Patient, ServiceRequest, Specimen, View

CONVERSION = "gcp-version-conversion/mappings/fhirVersionConversion/testdata/resources"
MICROSOFT = "ms-fhir-server/src/Microsoft.Health.Fhir.Tests.Common/TestFiles"
BARS = "nhs-bars/specification/examples"


class Files:
    """The corpora, by path; one that is not there skips its test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, name: str) -> Path:
        """The file's path."""
        path = self.folder / name
        if not path.exists():
            pytest.skip(f"not in these corpora: {name}")
        return path

    def read(self, name: str) -> Document:
        """What the file holds."""
        return read_file(self.path(name))

    def one(self, name: str, label: str) -> Resource[Any]:
        """One resource of it, by Type/id."""
        return next(each for each in self.read(name).resources if each.label == label)


@pytest.fixture(scope="module")
def files(corpora: Path) -> Files:
    """Third-party files."""
    return Files(corpora)


NOTED = {
    f"{CONVERSION}/Appointment/R2ToR3.output.json": ("Appointment/example", "null-dropped"),
    f"{CONVERSION}/Appointment/R3ToR4.input.json": ("Appointment/example", "list-for-object"),
    f"{CONVERSION}/HealthcareService/R2ToR3.input.json": ("HealthcareService/example", "object-for-list"),
    "cds-hooks-docs/docs/hooks/appointment-book.md.block01.json": ("Appointment/apt1", "blank-dropped"),
    "hl7-r5-examples/r4b/r4-caredove-bundle.json": ("ServiceRequest/1", "number-for-string"),
    f"{BARS}/service_request/GET-success.json": (
        "ServiceRequest/71d2b38e-b81c-4894-a522-6a65265b1d58",
        "code-case",
    ),
}


@pytest.mark.parametrize("name", NOTED)
def test_noted(name: str, files: Files) -> None:
    """Codes in wrong case, an object for a list, a list for an object, numbers, blanks and nulls: read, with
    a note."""
    label, note = NOTED[name]
    assert note in files.one(name, label).notes


def test_an_object_for_a_list_keeps_what_it_says(files: Files) -> None:
    """An Appointment whose `reason` is an object, and its coding too, still says why."""
    name = "cds-hooks-docs/docs/hooks/appointment-book.md.block01.json"
    appointment = next(each for each in files.read(name).resources if each.notes)
    assert isinstance(appointment.view, Appointment)
    reason = appointment.view.reason
    assert isinstance(reason, CodeableReference)
    assert reason.words is not None
    assert [coding.display for coding in reason.words.coding] == ["Apnea"]


def test_a_number_for_an_id_is_the_id(files: Files) -> None:
    """`"id": 1` is what `Patient/1` refers to."""
    known = AtHand(files.read("hl7-r5-examples/r4b/r4-caredove-bundle.json").resources)
    (order,) = triggers(known, known.index.current)
    assert gather(known, order, source="x").patient is not None


@pytest.mark.parametrize(
    "name", ["GET-success.json", "POST-success.json", "../../examples1.2.0/service_request/PATCH-body.json"]
)
def test_a_name_with_a_capital_is_read(name: str, files: Files) -> None:
    """The NHS writes `PatientInstruction`: a view drops it, so the resource goes the slow way."""
    (order,) = files.read(f"{BARS}/service_request/{name}").resources
    assert isinstance(order.view, ServiceRequest)
    assert isinstance(order.view.patient_instruction, str)
    assert "ADVICE GIVEN" in order.view.patient_instruction


READ_IN = {
    "resource": ("davinci-crd/spec/fixtures/other_system_action.json", {"ServiceRequest"}),
    "other envelopes, context": ("cds-hooks-docs/docs/quickstart.md.block01.json", {"Patient"}),
    "other envelopes, prefetch": ("cds-hooks-docs/docs/specification/current.md.block04.json", {"Patient"}),
    "other envelopes, lists": ("fhirtogether/data/sample-import.json", {"Schedule", "Slot"}),
    "Parameters": (f"{MICROSOFT}/Normative/MemberMatch.json", {"Patient", "Coverage"}),
}


@pytest.mark.parametrize("envelope", READ_IN)
def test_read_in(envelope: str, files: Files) -> None:
    """`{"resource"}` wrappers, Parameters, other envelopes' contents."""
    name, kinds = READ_IN[envelope]
    assert kinds <= {each.view.resource_type for each in files.read(name).resources}


def test_a_bundles_deletions_are_no_resources(files: Files) -> None:
    """A transaction's DELETE takes away, and gives nothing to map."""
    document = files.read("hl7-r4-examples/Bundle-bundle-transaction.json")
    assert "Patient/234" in document.deleted
    assert "Patient/234" not in {each.label for each in document.resources}


@pytest.mark.parametrize("name", ["davinci-crd/input/resources/CRDServiceResponse2.json"])
def test_given_up_only_when_no_object_with_a_resource_type(name: str, files: Files) -> None:
    """Cards without a resource are no FHIR, and that is said."""
    with pytest.raises(InputError) as caught:
        files.read(name)
    assert caught.value.code == "not-fhir"


def test_dates_with_an_odd_fraction(files: Files) -> None:
    """`13:30:00:00-06:00` is half past one."""
    appointment = files.one(
        "davinci-crd/spec/fixtures/appointment_book_hook_request.json", "Appointment/apt2"
    )
    moment = dates.parse(appointment.view.end)
    assert moment is not None
    assert (moment.value.hour, moment.value.minute, moment.noted) == (13, 30, ("date-mended",))


def test_a_date_that_cannot_be_read_is_left_out(files: Files) -> None:
    """`#todayDate`, a template's token in a period, costs nothing but itself."""
    name = "nhs-pds/tests/functional/data/responses/valid_patient_post_response.json"
    text = files.path(name).read_text("utf-8")
    assert "#todayDate" in text
    assert dates.parse("#todayDate") is None
    people = [each.view for each in files.read(name).resources if isinstance(each.view, Patient)]
    assert [bool(person.name) for person in people] == [True]


# -- section 15 --

RESOLVED: dict[str, tuple[str, str, str, type[View]]] = {
    "contained": ("hl7-r4-examples/ServiceRequest-lipid.json", "ServiceRequest/lipid", "specimen", Specimen),
    "absolute on the source's own base": (
        "davinci-crd/input/resources/CRDServiceRequest.json",
        "Encounter/987",
        "subject",
        Patient,
    ),
}


@pytest.mark.parametrize("rule", RESOLVED)
def test_resolved(rule: str, files: Files) -> None:
    """What the reference names is at hand, and found."""
    name, label, element, kind = RESOLVED[rule]
    known = AtHand(files.read(name).resources)
    holder = next(each for each in known.index.current if each.label == label)
    value = getattr(holder.view, element)
    reference = value if isinstance(value, Reference) else value[0]
    link = known.follow(holder, element, reference, kind)
    assert link.resource is not None
    assert link.notes == ()


def test_full_url_and_urn(files: Files) -> None:
    """Every Encounter of an Australian document names its subject by the fullUrl, a URN."""
    name = "au-fhir-test-data/au-fhir-test-data-set/au-patient-summary/Bundle-aups-gpvisit-retrieval.json"
    known = AtHand(files.read(name).resources)
    encounters = known.index.of(Encounter)
    assert encounters
    for each in encounters:
        assert each.view.subject is not None
        assert each.view.subject.reference is not None
        assert each.view.subject.reference.startswith("urn:uuid:")
        assert known.follow(each, "subject", each.view.subject, Patient).resource is not None


def test_a_patient_by_identifier_alone(files: Files) -> None:
    """The French Appointment names its actors by identifier: nobody is at hand, and each is told apart."""
    known = AtHand(files.read("ans-sas-fr/main/ig/Appointment-1.json").resources)
    (appointment,) = known.index.of(Appointment)
    named = [each.actor for each in appointment.view.participant if each.actor]
    assert [actor for actor in named if actor.reference is None and actor.identifier is not None]
    for actor in named:
        link = known.follow(appointment, "x", actor, View)
        assert link.resource is None
        assert link.notes == ("reference-unresolved",)


def test_a_stranger_base_is_not_resolved(files: Files) -> None:
    """A performer on another server is nobody at hand, whatever the id."""
    known = AtHand(files.read("hl7-r5-examples/r4b/r4-caredove-bundle.json").resources)
    (order,) = known.index.of(ServiceRequest)
    performer = order.view.performer
    reference = performer if isinstance(performer, Reference) else performer[0]
    assert (reference.reference or "").startswith("https://")
    assert known.follow(order, "performer", reference, View).resource is None


def test_other_type_is_no_answer(files: Files) -> None:
    """A reference to a patient is no place of care."""
    known = AtHand(files.read("davinci-crd/input/resources/CRDServiceRequest.json").resources)
    encounter = next(each for each in known.index.of(Encounter) if each.view.subject)
    assert encounter.view.subject is not None
    link = known.follow(encounter, "subject", encounter.view.subject, Location)
    assert link.resource is None
    assert link.notes == ("reference-other-type",)
