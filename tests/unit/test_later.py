"""Elements that are decoded when they are asked for, in whatever form they are."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_bridge.fhir.datatypes import CodeableConcept, CodeableReference, Coding
from fhir_bridge.fhir.later import KEPT, Later
from fhir_bridge.fhir.reading import plain_view, read
from fhir_bridge.fhir.resource import Origin
from fhir_bridge.fhir.views import Encounter, EncounterClass

ORIGIN = Origin("test.json")
LATER = {name: later for name, later in vars(Encounter).items() if isinstance(later, Later)}
WIRE = {field.name.removeprefix(KEPT): field.encode_name for field in msgspec.structs.fields(Encounter)}


def encounter(**elements: Any) -> Encounter:
    """A visit as it is read."""
    view = read(json.dumps({"resourceType": "Encounter", **elements}).encode(), ORIGIN).view
    assert isinstance(view, Encounter)
    return view


def test_what_is_there_is_read_each_time_it_is_asked_for() -> None:
    """A view does not change."""
    view = encounter(type=[{"text": "Check up"}], **{"class": {"code": "AMB"}})
    assert view.type == (CodeableConcept(text="Check up"),) == view.type
    assert view.class_ == EncounterClass(code="AMB")


@pytest.mark.parametrize("name", LATER)
def test_what_is_not_there_is_nothing(name: str) -> None:
    """As in any other view."""
    assert getattr(encounter(), name) in ((), None)
    assert getattr(encounter(**{WIRE[name]: None}), name) in ((), None)


@pytest.mark.parametrize(
    ("name", "written", "value"),
    [
        ("type", {"text": "Check up"}, (CodeableConcept(text="Check up"),)),
        ("type", "Check up", (CodeableConcept(text="Check up"),)),
        ("type", [{"coding": {"code": 7}}, None], (CodeableConcept(coding=(Coding(code="7"),)),)),
        ("class_", [{"code": 7}], (EncounterClass(code="7"),)),
        ("class_", "AMB", ()),
        (
            "service_type",
            [{"concept": {"text": "x"}}],
            (CodeableReference(concept=CodeableConcept(text="x")),),
        ),
        ("hospitalization", 17, None),
    ],
)
def test_what_is_out_of_form_is_mended_when_it_is_asked_for(name: str, written: Any, value: Any) -> None:
    """As mapping's section 16 has it, and the rest of the resource needs no mending for it."""
    raw = json.dumps({"resourceType": "Encounter", WIRE[name]: written}).encode()
    view = plain_view(raw)
    assert getattr(view, name) == value


@pytest.mark.parametrize("name", LATER)
@pytest.mark.parametrize("written", [b'"\xff"', b"[" * 900 + b"]" * 900])
def test_what_cannot_be_read_is_nothing(name: str, written: bytes) -> None:
    """Whoever asks has no failure to handle."""
    raw = b'{"resourceType":"Encounter","status":"finished","%s":%s}' % (WIRE[name].encode(), written)
    assert getattr(read(raw, ORIGIN).view, name) in ((), None)


ELEMENTS = st.sampled_from(["coding", "code", "text", "reference", "concept"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["coding", "code", "text", "reference", "concept"]), inner, max_size=3
        )
    ),
    max_leaves=8,
)


@given(st.sampled_from(sorted(LATER)), JSON)
def test_any_json_is_read_as_what_the_view_says(name: str, written: Any) -> None:
    """Of the type that its annotation promises."""
    value = getattr(encounter(status="finished", **{WIRE[name]: written}), name)
    assert msgspec.convert(msgspec.to_builtins(value), LATER[name].type) == value
