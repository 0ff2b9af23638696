from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fhir_bridge.case.case import Case
from fhir_bridge.mapping.people import Callee, NoCallee, callee_of, is_minor
from fhir_bridge.mapping.profile import Profile

Json = dict[str, Any]
ROLE = "http://terminology.hl7.org/CodeSystem/v3-RoleCode"


@pytest.fixture
def called(
    case_of: Callable[..., Case], us: Profile, now: datetime, proposed: Json
) -> Callable[..., Callee | NoCallee]:
    """Whom to call about a patient, with other resources at hand."""

    def ask(patient: Json, *others: Json, profile: Profile = us) -> Callee | NoCallee:
        case = case_of(proposed, patient, *others)
        assert case.patient is not None
        return callee_of(case, case.patient, profile, now)

    return ask


def related(code: str | None = "MTH", text: str | None = None, **more: Any) -> Json:
    """Somebody related to Marigold, with a number."""
    coding = [{"system": ROLE, "code": code}] if code else []
    return {
        "resourceType": "RelatedPerson",
        "id": "r1",
        "patient": {"reference": "Patient/marigold"},
        "relationship": [{"coding": coding, "text": text}],
        "name": [{"given": ["Petunia"], "family": "Example"}],
        "telecom": [{"system": "phone", "value": "646-555-0102"}],
        **more,
    }


@pytest.mark.parametrize(
    ("born", "minor"),
    [
        ("2008-11-24", True),
        ("2008-11-23", False),
        ("2020", True),
        ("2008", True),
        ("2008-11", True),
        ("2008-10", False),
        ("1980", False),
        (None, False),
        ("${birthDate}", False),
    ],
)
def test_age_is_taken_at_now_and_doubt_protects(
    case_of: Callable[..., Case],
    us: Profile,
    now: datetime,
    proposed: Json,
    marigold: Json,
    born: str,
    minor: bool,
) -> None:
    """mapping, section 5: unknown is adult; a partial date counts as its last day."""
    case = case_of(proposed, {**marigold, "birthDate": born})
    assert case.patient is not None
    assert is_minor(case.patient, us, now) is minor


def test_an_adult_is_called_themselves(called: Any, marigold: Json) -> None:
    """Whoever is related to them."""
    found = called(marigold, related())
    assert isinstance(found, Callee)
    assert (found.phone.e164, found.is_patient) == ("+16465550101", True)


@pytest.mark.parametrize("code", ["MTH", "FTH", "GUARD", "PRN", "ADOPTM", "PRNFOST"])
def test_a_minors_guardian_is_called(called: Any, marigold: Json, code: str) -> None:
    """By code of v3 RoleCode."""
    found = called({**marigold, "birthDate": "2015-01-01"}, related(code))
    assert isinstance(found, Callee)
    assert (found.phone.e164, found.name, found.is_patient) == ("+16465550102", "Petunia Example", False)
    assert found.relationship


@pytest.mark.parametrize(
    "person",
    [
        related("GRMTH"),
        related("STPMTH"),
        related(None, "Grandmother"),
        related(None, "Step mother"),
        related(active=False),
        related(period={"end": "2026-01-01"}),
        related(period={"end": "last summer"}),
        related(period={"start": "2027-01-01"}),
        related(telecom=[]),
        related(patient={"reference": "Patient/somebody-else"}),
    ],
)
def test_nobody_else_is_called_for_a_minor(called: Any, marigold: Json, person: Json) -> None:
    """Nor the minor themselves."""
    found = called({**marigold, "birthDate": "2015-01-01"}, person)
    assert isinstance(found, NoCallee)
    assert (found.reason, found.path) == ("minor-without-guardian", "birthDate")


@pytest.mark.parametrize(
    "change",
    [
        {"relationship": [{"text": "Grandmother"}]},
        {"relationship": [{"coding": [{"system": ROLE, "code": "EMC"}], "text": "Emergency contact"}]},
        {"relationship": []},
        {"period": {"end": "2026-01-01"}},
        {"period": {"end": "last summer"}},
    ],
)
def test_no_other_contact_is_called_for_a_minor(called: Any, marigold: Json, change: Json) -> None:
    """A contact of the patient is a guardian by what is said of them, while that holds."""
    father = {
        "relationship": [{"text": "Father"}],
        "name": {"text": "Basil Example"},
        "telecom": [{"system": "phone", "value": "646-555-0103"}],
    }
    child = {**marigold, "birthDate": "2015-01-01"}
    assert isinstance(called({**child, "contact": [father]}), Callee)
    found = called({**child, "contact": [{**father, **change}]})
    assert isinstance(found, NoCallee) and found.reason == "minor-without-guardian"


def test_a_minor_comes_of_age_by_the_sources_clock(
    case_of: Callable[..., Case], us: Profile, proposed: Json, marigold: Json
) -> None:
    """At three in the morning in London it is still the day before in New York."""
    case = case_of(proposed, {**marigold, "birthDate": "2008-11-24"})
    assert case.patient is not None
    eve = datetime(2026, 11, 24, 3, tzinfo=UTC)
    assert is_minor(case.patient, us, eve)
    assert not is_minor(case.patient, us, eve + timedelta(hours=2))


def test_a_guardian_with_an_impossible_number_is_named_as_such(called: Any, marigold: Json) -> None:
    """A person must mend the number, not find a guardian."""
    bad = related(telecom=[{"system": "phone", "value": "12"}])
    found = called({**marigold, "birthDate": "2015-01-01"}, bad)
    assert isinstance(found, NoCallee)
    assert found.reason == "phone-invalid"
    assert found.holder.label == "RelatedPerson/r1"


def test_words_name_a_guardian_too_and_contacts_come_after(called: Any, marigold: Json) -> None:
    """Patient.contact likewise."""
    contact = {
        "relationship": [{"text": "Father"}],
        "name": {"text": "Basil Example"},
        "telecom": [{"system": "phone", "value": "646-555-0103"}],
    }
    child = {**marigold, "birthDate": "2015-01-01", "contact": [contact]}
    by_contact = called(child)
    by_relation = called(child, related(None, "Mother"))
    assert isinstance(by_contact, Callee) and isinstance(by_relation, Callee)
    assert (by_contact.name, by_contact.path) == ("Basil Example", "contact[0].")
    assert by_relation.name == "Petunia Example"


def test_a_guardians_number_is_read_by_their_own_address(called: Any, marigold: Json) -> None:
    """mapping, section 5: region from the person's address."""
    abroad = related(
        telecom=[{"system": "phone", "value": "020 7946 0018"}], address=[{"use": "home", "country": "GBR"}]
    )
    found = called({**marigold, "birthDate": "2015-01-01"}, abroad)
    assert isinstance(found, Callee) and found.phone.e164 == "+442079460018"


def test_a_number_marked_by_the_vendor_gives_way_to_another(
    called: Any, marigold: Json, profile_of: Callable[..., Profile]
) -> None:
    """do-not-call only where the marked number is the only one."""
    url = "https://ehr.example/consent-to-call"
    layer = profile_of(**{"gates.do_not_call_marks": f"[{{url: {url!r}, values: ['false']}}]"})
    marked = {**marigold["telecom"][0], "extension": [{"url": url, "valueBoolean": False}]}
    other = {"system": "phone", "use": "home", "value": "646-555-0109"}
    only = called({**marigold, "telecom": [marked]}, profile=layer)
    both = called({**marigold, "telecom": [marked, other]}, profile=layer)
    assert isinstance(only, NoCallee) and only.reason == "do-not-call"
    assert isinstance(both, Callee) and both.phone.e164 == "+16465550109"
