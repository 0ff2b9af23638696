from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from fhir_bridge.case.case import Case
from fhir_bridge.mapping.gates import Admitted, admit
from fhir_bridge.mapping.patient_request import patient_draft, patient_id
from fhir_bridge.mapping.profile import Profile
from fhir_bridge.mapping.recorder import Recorder
from fhir_bridge.mapping.verdict import Look

Json = dict[str, Any]
Drafted = tuple[Json, Recorder]


@pytest.fixture
def drafted(case_of: Callable[..., Case], us: Profile, now: datetime) -> Callable[..., Drafted]:
    """The patient request of a case as JSON without project, and what was remembered."""

    def draft(*resources: Json, profile: Profile = us) -> Drafted:
        recorder = Recorder()
        case = case_of(*resources)
        found = admit(Look(case, profile, now, recorder, "proposed"))
        assert isinstance(found, Admitted)
        made = patient_draft(case, found.patient, found.named, found.callee, profile, now, recorder)
        wire = made.to_wire()
        wire.pop("project_id", None)
        return wire, recorder

    return draft


def test_the_whole_patient(drafted: Any, proposed: Json, marigold: Json) -> None:
    """mapping, section 6: every field, and for each where it came from."""
    doctor = {"resourceType": "Practitioner", "id": "f", "name": [{"prefix": ["Dr."], "family": "Family"}]}
    email = {"system": "email", "value": "marigold@example.org"}
    full = {
        **marigold,
        "telecom": [*marigold["telecom"], email],
        "generalPractitioner": [{"reference": "Practitioner/f"}],
    }
    wire, recorder = drafted(proposed, full, doctor)
    assert wire == {
        "phone_number": "+16465550101",
        "first_name": "Marigold Ann",
        "last_name": "Example",
        "address": {
            "street_name": "12 Sample St, Apt 4",
            "city": "Springfield",
            "state": "NY",
            "postal_code": "12345",
            "country_code": "US",
        },
        "email": "marigold@example.org",
        "date_of_birth": "1985-04-12",
        "primary_care_provider": {"name": "Dr. Family"},
    }
    fields = {entry.field for entry in recorder.lineage}
    assert fields == {f"patient.{name}" for name in wire} - {"patient.phone_number"}


@pytest.mark.parametrize(
    ("change", "field", "value", "note"),
    [
        ({"birthDate": "1985-04"}, "date_of_birth", None, "birth-date-partial"),
        ({"birthDate": "12.4.1985"}, "date_of_birth", None, "date-unreadable"),
        ({"birthDate": None}, "date_of_birth", None, None),
        ({"name": [{"text": "Marigold Example"}]}, "first_name", "Marigold", "name-split"),
    ],
)
def test_what_is_not_whole_is_left_out_and_noted(
    drafted: Any,
    proposed: Json,
    marigold: Json,
    change: Json,
    field: str,
    value: str | None,
    note: str | None,
) -> None:
    """A date of birth only if full."""
    wire, recorder = drafted(proposed, {**marigold, **change})
    assert wire.get(field) == value
    assert {found.code for found in recorder.notes} == ({note} if note else set())


@pytest.mark.parametrize(
    "point",
    [
        {"system": "email", "value": "${email}"},
        {"system": "email", "use": "old", "value": "old@example.org"},
        {"system": "email", "value": "nobody"},
        {"system": "email", "value": "past@example.org", "period": {"end": "2020-01-01"}},
    ],
)
def test_a_mail_address_that_is_none_is_left_out(
    drafted: Any, proposed: Json, marigold: Json, point: Json
) -> None:
    """Email: first current."""
    good = {"system": "email", "value": "mailto:good@example.org"}
    assert "email" not in drafted(proposed, {**marigold, "telecom": [*marigold["telecom"], point]})[0]
    both = {**marigold, "telecom": [*marigold["telecom"], point, good]}
    assert drafted(proposed, both)[0]["email"] == "good@example.org"


def test_the_address_left_out_by_policy_is_noted(
    drafted: Any, proposed: Json, marigold: Json, profile_of: Callable[..., Profile]
) -> None:
    """The vendor's own quick start sends none."""
    without = {**marigold, "address": [{"city": "Springfield"}]}
    wire, recorder = drafted(proposed, without, profile=profile_of(incomplete_address="omit"))
    assert "address" not in wire
    assert [(note.code, note.path) for note in recorder.notes] == [
        ("address-incomplete", "Patient.address[0]")
    ]


@pytest.mark.parametrize(
    ("reference", "provider"),
    [
        ({"reference": "Organization/gp"}, {"practice": "Sample Surgery"}),
        ({"type": "Organization", "display": "Elsewhere Surgery"}, {"practice": "Elsewhere Surgery"}),
        ({"reference": "Practitioner/away", "display": "Family, Fay"}, {"name": "Fay Family"}),
        ({"display": "Family or Surgery"}, None),
        ({"reference": "Practitioner/away"}, None),
    ],
)
def test_a_general_practitioner_is_a_person_or_a_practice(
    drafted: Any, proposed: Json, marigold: Json, reference: Json, provider: Json | None
) -> None:
    """What may be either is left out."""
    surgery = {"resourceType": "Organization", "id": "gp", "name": "Sample Surgery"}
    wire, _ = drafted(proposed, {**marigold, "generalPractitioner": [reference]}, surgery)
    assert wire.get("primary_care_provider") == provider


def test_an_incomplete_home_gives_way_to_a_complete_address(
    drafted: Any, proposed: Json, marigold: Json
) -> None:
    """The first complete one in the order they count."""
    complete = {**marigold["address"][0], "use": "temp"}
    wire, _ = drafted(proposed, {**marigold, "address": [{"use": "home", "city": "Elsewhere"}, complete]})
    assert wire["address"]["city"] == "Springfield"


def test_the_sites_own_identifier_is_the_task_apis_id(
    case_of: Callable[..., Case],
    proposed: Json,
    marigold: Json,
    profile_of: Callable[..., Profile],
    us: Profile,
) -> None:
    """mapping, section 6: an identifier whose system the site names."""
    system, value = "https://api.example/patient", "123e4567-e89b-12d3-a456-426614174000"
    identifiers = [{"system": system, "value": "1"}, {"system": system, "value": value}]
    patient = case_of(proposed, {**marigold, "identifier": identifiers}).patient
    assert patient is not None
    site = profile_of(**{"patient.task_api_system": system})
    recorder = Recorder()
    assert patient_id(patient, site, recorder) == value
    assert [(note.code, note.path) for note in recorder.notes] == [
        ("patient-id-invalid", "Patient.identifier[0].value")
    ]
    assert recorder.lineage[0].sources[0].path == "Patient.identifier[1].value"
    assert patient_id(patient, us, recorder) is None


def coverage(**more: Any) -> Json:
    """An insurance of Marigold's."""
    return {
        "resourceType": "Coverage",
        "id": more.pop("id", "c1"),
        "status": "active",
        "type": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "HMO"}]},
        "beneficiary": {"reference": "Patient/marigold"},
        "subscriberId": "M-1",
        "payor": [{"display": "Example Health"}],
        **more,
    }


def test_an_insurance_in_full(drafted: Any, proposed: Json, marigold: Json) -> None:
    """Group and plan by class, the company by reference, the holder by name."""
    classes = "http://terminology.hl7.org/CodeSystem/coverage-class"
    holder = {"resourceType": "Patient", "id": "basil", "name": [{"given": ["Basil"], "family": "Example"}]}
    company = {
        "resourceType": "Organization",
        "id": "payer",
        "name": "Example Health Plan",
        "telecom": [{"system": "phone", "value": "212-736-5000"}],
    }
    relationship = {
        "system": "http://terminology.hl7.org/CodeSystem/subscriber-relationship",
        "code": "spouse",
    }
    full = coverage(
        payor=[{"reference": "Organization/payer"}],
        subscriber={"reference": "Patient/basil"},
        relationship={"coding": [relationship]},
        **{
            "class": [
                {"type": {"coding": [{"system": classes, "code": "group"}]}, "value": "G-7"},
                {
                    "type": {"coding": [{"system": classes, "code": "plan"}]},
                    "value": "P7",
                    "name": "Gold Plan",
                },
            ]
        },
    )
    wire, recorder = drafted(proposed, marigold, full, holder, company)
    assert wire["insurance"] == {
        "medical": [
            {
                "company_name": "Example Health Plan",
                "member_id": "M-1",
                "group_number": "G-7",
                "plan_name": "Gold Plan",
                "phone_number": "+12127365000",
                "relationship_to_subscriber": "SPOUSE",
                "primary_subscriber": {"first_name": "Basil", "last_name": "Example"},
            }
        ]
    }
    assert "patient.insurance.medical[0]" in {entry.field for entry in recorder.lineage}


ACT = "http://terminology.hl7.org/CodeSystem/v3-ActCode"


@pytest.mark.parametrize(
    ("change", "kinds"),
    [
        ({}, ["medical"]),
        ({"type": {"coding": [{"system": ACT, "code": "DENTAL"}]}}, ["dental"]),
        ({"type": {"text": "Family plan"}}, ["medical"]),
        ({"status": "cancelled"}, []),
        ({"period": {"end": "2026-01-01"}}, []),
        ({"period": {"start": "2027-01-01"}}, ["medical"]),
        ({"payor": [{"reference": "Patient/marigold"}]}, []),
        ({"type": {"text": "NO_INSURANCE"}}, []),
        ({"kind": "self-pay"}, []),
        ({"beneficiary": {"reference": "Patient/somebody-else"}}, []),
    ],
)
def test_which_insurances_are_told(
    drafted: Any, proposed: Json, marigold: Json, change: Json, kinds: list[str]
) -> None:
    """Active, period not over, not self-pay; an unknown type is medical."""
    wire, _ = drafted(proposed, marigold, coverage(**change))
    assert list(wire.get("insurance", {})) == kinds


def test_an_unknown_type_of_insurance_is_noted(drafted: Any, proposed: Json, marigold: Json) -> None:
    """Medical by assumption, and said to be."""
    _, recorder = drafted(proposed, marigold, coverage(type={"text": "Family plan"}))
    assert [note.code for note in recorder.notes] == ["coverage-type-unknown"]
