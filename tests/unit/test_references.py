from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_bridge.fhir.references import Target, base_of, parse, type_named

EHR = "https://ehr.example/fhir"


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("Patient/p1", Target(type="Patient", id="p1")),
        ("/Patient/p1", Target(type="Patient", id="p1")),
        ("patient/p1", Target(type="Patient", id="p1")),
        ("Patient/p1/_history/3", Target(type="Patient", id="p1", version="3")),
        ("Patient/p1|2", Target(type="Patient", id="p1")),
        (f"{EHR}/Patient/p1", Target(url=f"{EHR}/Patient/p1", base=EHR, type="Patient", id="p1")),
        (
            f"{EHR}/Patient/p1/_history/3",
            Target(url=f"{EHR}/Patient/p1", base=EHR, type="Patient", id="p1", version="3"),
        ),
        ("#pat", Target(fragment="pat")),
        ("#", Target(fragment="")),
        ("urn:uuid:3f", Target(url="urn:uuid:3f")),
        ("urn:oid:1.2.3", Target(url="urn:oid:1.2.3")),
        ("p1", Target(id="p1")),
        ("Patient/{{patientId}}", Target(type="Patient", id="{{patientId}}")),
        ("Patient/${id}", Target(type="Patient", id="${id}")),
        ("Patient/<id>", Target(type="Patient", id="<id>")),
        (
            "Practitioner?identifier=http://hl7.org/fhir/sid/us-npi|1234567893",
            Target(type="Practitioner", system="http://hl7.org/fhir/sid/us-npi", value="1234567893"),
        ),
        ("", None),
        (None, None),
        ("  ", None),
        ("Dr. Adam Careful", None),
    ],
)
def test_takes_references_apart(text: str | None, target: Target | None) -> None:
    """Every shape of https://hl7.org/fhir/R4/references.html#literal, and what real systems write for it."""
    assert parse(text) == target


def test_a_type_may_be_named_by_its_url() -> None:
    """Reference.type is a URI in FHIR; some write the definition's."""
    assert type_named("http://hl7.org/fhir/StructureDefinition/Patient") == "Patient"
    assert type_named("patient") == "Patient"
    assert type_named("CarePlan") == "CarePlan"
    assert type_named(None) is None


def test_the_base_is_what_stands_before_type_and_id() -> None:
    """A fullUrl that does not end in the resource's own Type/id shows no base."""
    assert base_of(f"{EHR}/Patient/p1", "Patient", "p1") == EHR
    assert base_of(f"{EHR}/Patient/p1", "Patient", "p2") is None
    assert base_of("urn:uuid:p1", "Patient", "p1") is None
    assert base_of(None, "Patient", None) is None


@given(st.text(max_size=60))
def test_never_raises(text: str) -> None:
    """Any text is a target or nothing; a label always has both halves."""
    target = parse(text)
    assert target is None or target.label is None or (target.type and target.id)
