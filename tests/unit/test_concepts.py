"""The words of a CodeableConcept, in the order of section 9, and never a code."""

import pytest

from fhir_bridge.fhir.datatypes import CodeableConcept, Coding
from fhir_bridge.mapping.concepts import concept_words
from fhir_bridge.mapping.profile import Profile

SNOMED = "http://snomed.info/sct"
SERVICE_TYPE = "http://terminology.hl7.org/CodeSystem/service-type"


def coding(
    code: str, display: str | None = None, system: str | None = None, selected: bool = False
) -> Coding:
    """A Coding in short."""
    return Coding(system, code, display, selected)


@pytest.mark.parametrize(
    ("concept", "text", "path"),
    [
        (CodeableConcept("Grommets", (coding("1", "Myringotomy"),)), "Grommets", "x.text"),
        (
            CodeableConcept(None, (coding("1", "First"), coding("2", "Second"))),
            "First",
            "x.coding[0].display",
        ),
        (
            CodeableConcept(None, (coding("1", "First"), coding("2", "Chosen", selected=True))),
            "Chosen",
            "x.coding[1].display",
        ),
        (CodeableConcept(None, (coding("1"), coding("2", "Second"))), "Second", "x.coding[1].display"),
        (CodeableConcept(None, (coding("50", system=SERVICE_TYPE),)), "audiology", "x.coding[0].code"),
        (CodeableConcept("50", (coding("50", system=SERVICE_TYPE),)), "audiology", "x.coding[0].code"),
        (
            CodeableConcept(
                "Well child visit (procedure)", (coding("1", "Well child visit (procedure)", SNOMED),)
            ),
            "Well child visit",
            "x.text",
        ),
        (
            CodeableConcept(None, (coding("1", "Urgent care clinic (environment)", SNOMED),)),
            "Urgent care clinic",
            "x.coding[0].display",
        ),
        (
            CodeableConcept(None, (coding("1", "Room (environment)", "http://rooms.example"),)),
            "Room (environment)",
            "x.coding[0].display",
        ),
        (CodeableConcept("CT of head (with contrast)"), "CT of head (with contrast)", "x.text"),
        (CodeableConcept("Ischemic chest pain (CMS/HCC)"), "Ischemic chest pain", "x.text"),
        (CodeableConcept("Angststörung"), "Angststörung", "x.text"),
        (CodeableConcept("COVID-19"), "COVID-19", "x.text"),
        (CodeableConcept("MRI"), "MRI", "x.text"),
    ],
)
def test_words_come_in_the_pages_order(us: Profile, concept: CodeableConcept, text: str, path: str) -> None:
    """Text, user-selected or first display, map; a SNOMED display loses its tag, another's does not."""
    words = concept_words(concept, "x", us, "service-type")
    assert words is not None
    assert (words.text, words.path) == (text, path)


@pytest.mark.parametrize(
    "text",
    ["", "  ", "12345", "Z00.00", "J44.9", "G0180", "207R00000X", "1.2.840.114350", "urn:oid:1.2.3",
     "null", "unknown", "XXXX", "{{reason}}", "Other", "(disorder)", "b7121f46-cf50-5cec-7cfb-5de8e42b82d2"],
)  # fmt: skip
def test_codes_tokens_and_nothings_are_no_words(us: Profile, text: str) -> None:
    """They are left out, not said."""
    assert concept_words(CodeableConcept(text), "x", us) is None


def test_the_maps_row_and_layer_are_kept_for_lineage(us: Profile) -> None:
    """A word from a map says which row gave it."""
    words = concept_words(
        CodeableConcept(None, (coding("50", system=SERVICE_TYPE),)), "x", us, "service-type"
    )
    assert words is not None
    assert words.map_row == "service-type 50"
    assert words.layer
