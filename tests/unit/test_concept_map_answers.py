"""The shipped ConceptMaps, asked through the bridge's own loader, answer as an engineer would expect."""

import pytest

from fhir_bridge.fhir.datatypes import Coding
from fhir_bridge.mapping.profile import SourceFacts
from fhir_bridge.mapping.terminology import Terminology
from fhir_bridge.profiles.load import load_profile

THO = "http://terminology.hl7.org/CodeSystem"
SNOMED = "http://snomed.info/sct"
NUCC = "http://nucc.org/provider-taxonomy"
ROLE = f"{THO}/v3-RoleCode"


@pytest.fixture(scope="module")
def terms() -> Terminology:
    """Every layer as shipped, for a source of which nothing is known."""
    return load_profile(SourceFacts()).terms


@pytest.mark.parametrize(
    ("map_name", "system", "code", "words"),
    [
        ("specialty", SNOMED, "394579002", "Cardiology"),
        ("specialty", SNOMED, "308471005", "Cardiology"),
        ("specialty", NUCC, "225100000X", "Physical therapy"),
        ("specialty", f"{THO}/service-type", "165", "Cardiology"),
        ("service-type", f"{THO}/service-type", "65", "physical therapy"),
        ("service-type", SNOMED, "73761001", "colonoscopy"),
        ("appointment-type", f"{THO}/v2-0276", "FOLLOWUP", "follow-up appointment"),
        ("encounter-class", f"{THO}/v3-ActCode", "AMB", "office visit"),
        ("relationship", ROLE, "MTH", "mother"),
        ("cancellation-reason", f"{THO}/appointment-cancellation-reason", "oth-weath", "Bad weather"),
        ("priority", "http://hl7.org/fhir/request-priority", "asap", "as soon as possible"),
    ],
)
def test_well_known_codes_have_words(
    terms: Terminology, map_name: str, system: str, code: str, words: str
) -> None:
    """Codes that every hospital sends are said as one would say them."""
    word = terms.word(map_name, Coding(system=system, code=code))
    assert word is not None
    assert word.text == words


@pytest.mark.parametrize(
    ("map_name", "system", "code", "kind"),
    [
        ("cancellation-class", f"{THO}/appointment-cancellation-reason", "pat-dec", "patient-deceased"),
        ("order-category", SNOMED, "108252007", "laboratory"),
        ("order-code", SNOMED, "183519002", "referral"),
        ("coverage-type", f"{THO}/coverage-selfpay", "pay", "self-pay"),
        ("subscriber-relationship", ROLE, "DAUC", "DEPENDENT"),
        ("guardian-relationship", ROLE, "ADOPTM", "guardian"),
        ("participant-type", f"{THO}/v3-ParticipationType", "PPRF", "lead"),
        ("interpreter-required", SNOMED, "373066001", "required"),
        ("visit-exclusion", SNOMED, "185317003", "telephone"),
    ],
)
def test_well_known_codes_have_a_class(
    terms: Terminology, map_name: str, system: str, code: str, kind: str
) -> None:
    """Codes on which a decision hangs are in the class it asks for."""
    found = terms.kind(map_name, Coding(system=system, code=code))
    assert found is not None
    assert found.text == kind


@pytest.mark.parametrize(
    ("map_name", "system", "code", "words"),
    [
        ("appointment-type", "http://hl7.org/fhir/v2/0276", "FOLLOWUP", "follow-up appointment"),
        ("encounter-class", "http://hl7.org/fhir/v3/ActCode", "VR", "virtual visit"),
        ("service-type", "http://hl7.org/fhir/service-type", "57", "immunization"),
        ("specialty", "urn:oid:2.16.840.1.113883.6.101", "207RC0000X", "Cardiology"),
        ("relationship", "urn:oid:2.16.840.1.113883.5.111", "GRMTH", "grandmother"),
        ("discharge-disposition", "http://www.nubc.org/patient-discharge", "01", "Discharged home"),
    ],
)
def test_older_names_and_oids_find_the_same_words(
    terms: Terminology, map_name: str, system: str, code: str, words: str
) -> None:
    """What STU3 systems and converted documents send is worded like the codes of today."""
    word = terms.word(map_name, Coding(system=system, code=code))
    assert word is not None
    assert word.text == words


@pytest.mark.parametrize("tenant", ["0", "362"])
def test_a_wildcard_system_serves_every_tenant(terms: Terminology, tenant: str) -> None:
    """An order type is the same in every installation of the vendor, whatever its number in the system."""
    system = f"urn:oid:1.2.840.114350.1.13.{tenant}.1.7.10.798268.30"
    found = terms.kind("order-category", Coding(system=system, code="7"))
    assert found is not None
    assert found.text == "laboratory"


@pytest.mark.parametrize("code", ["GRMTH", "STPFTH", "GUADLTM", "NMTHF", "SIB", "AUNT", "HPOWATT"])
def test_only_parents_and_guardians_are_called_for_a_minor(terms: Terminology, code: str) -> None:
    """Relatives without parental standing are not among those who may be called."""
    assert terms.kind("guardian-relationship", Coding(system=ROLE, code=code)) is None
    assert terms.word("relationship", Coding(system=ROLE, code=code)) is not None


@pytest.mark.parametrize(
    ("map_name", "system", "code"),
    [
        ("specialty", SNOMED, "394733009"),
        ("cancellation-reason", f"{THO}/appointment-cancellation-reason", "other"),
        ("discharge-disposition", f"{THO}/discharge-disposition", "exp"),
        ("priority", "http://hl7.org/fhir/request-priority", "routine"),
        ("service-type", f"{THO}/service-type", "562"),
    ],
)
def test_codes_that_say_nothing_have_no_words(
    terms: Terminology, map_name: str, system: str, code: str
) -> None:
    """ "Other", a death, a routine priority and a test message are never said."""
    assert terms.word(map_name, Coding(system=system, code=code)) is None
