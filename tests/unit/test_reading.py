from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_bridge.errors import InputError
from fhir_bridge.fhir.mending import mended
from fhir_bridge.fhir.reading import plain_view, read, resource_type
from fhir_bridge.fhir.resource import Origin, Resource
from fhir_bridge.fhir.views import VIEWS, ServiceRequest, View

ORIGIN = Origin("test.json")


def reading(**resource: Any) -> Resource[Any]:
    """A resource, by its elements, as it is read; a Patient unless told."""
    name = {"resourceType": resource.pop("resource_type", "Patient")}
    return read(json.dumps(name | resource).encode(), ORIGIN)


def test_good_fhir_is_read_without_a_note() -> None:
    """Nothing is said about what is as it should be."""
    patient = reading(id="p1", deceasedBoolean=False, active=True, name=[{"family": "Example"}])
    assert (patient.label, patient.notes) == ("Patient/p1", ())
    assert patient.view.deceased_boolean is False


@pytest.mark.parametrize(
    "spelling", ["DeceasedBoolean", "deceasedboolean", "Deceased", "deceased", "deceasedBoolean"]
)
def test_a_death_is_seen_however_it_is_spelt(spelling: str) -> None:
    """Nobody phones the family of a dead patient because of a capital letter."""
    assert reading(**{spelling: True}).view.deceased_boolean is True
    assert reading(**{spelling: "true"}).view.deceased_boolean is True


@pytest.mark.parametrize("spelling", ["DeceasedDateTime", "deceaseddatetime", "Deceased"])
def test_a_date_of_death_is_seen_however_it_is_spelt(spelling: str) -> None:
    """The same for the day."""
    assert reading(**{spelling: "2020-01-01"}).view.deceased_date_time == "2020-01-01"


@pytest.mark.parametrize("value", ["Y", "yes", 1, {"x": 1}, ["?"]])
def test_a_death_that_cannot_be_read_counts_as_one(value: Any) -> None:
    """Doubt means no call."""
    patient = reading(deceasedBoolean=value)
    assert patient.view.deceased_boolean is True
    assert "deceased-unreadable" in patient.notes


@pytest.mark.parametrize("value", [False, "false", "no", "N", "", None])
def test_alive_stays_alive(value: Any) -> None:
    """A denial is no death, in whatever form."""
    patient = reading(Deceased=value)
    assert not patient.view.deceased_boolean and patient.view.deceased_date_time is None


def test_misspelt_active_and_do_not_perform_are_seen() -> None:
    """Both decide whether anybody is called."""
    assert reading(Active=False).view.active is False
    assert reading(resource_type="ServiceRequest", DoNotPerform=True).view.do_not_perform is True
    assert reading(resource_type="ServiceRequest", donotperform="true").view.do_not_perform is True


@pytest.mark.parametrize("written", ["no", "N", "0", 0, "inactive", "FALSE", {"value": False}])
def test_active_in_any_form_but_yes_counts_as_inactive(written: Any) -> None:
    """What stands there and cannot be read phones nobody."""
    assert reading(active=written).view.active is False


@pytest.mark.parametrize("written", ["yes", 1, "1", "Y", "true ", "perhaps", [True]])
def test_do_not_perform_in_any_form_but_no_counts(written: Any) -> None:
    """Where an order says something about not being carried out, only a plain no lets it be."""
    assert reading(resource_type="ServiceRequest", doNotPerform=written).view.do_not_perform is True


@pytest.mark.parametrize("written", [None, "", " ", [], {}])
def test_an_empty_truth_value_says_nothing(written: Any) -> None:
    """A blank is no denial."""
    assert reading(active=written).view.active is None
    assert not reading(resource_type="ServiceRequest", doNotPerform=written).view.do_not_perform


@pytest.mark.parametrize("written", ["R", ["R"], [{"code": "R"}], {"code": "R"}])
def test_a_security_label_is_read_in_any_form(written: Any) -> None:
    """A bare text where a Coding should be is its code."""
    meta = reading(meta={"security": written}).view.meta
    assert meta is not None and [label.code for label in meta.security] == ["R"]


@pytest.mark.parametrize("written", [{"status": "Booked"}, {"Status": "booked"}, {"status": " booked "}])
def test_a_status_in_another_form_is_read(written: dict[str, str]) -> None:
    """ "Booked" is booked."""
    assert reading(resource_type="Appointment", **written).view.status == "booked"


@pytest.mark.parametrize("written", [{"status": "Booked"}, {"Status": "booked"}])
def test_another_case_is_noted(written: dict[str, str]) -> None:
    """The operator learns what the source gets wrong."""
    assert reading(resource_type="Appointment", **written).notes == ("code-case",)


@pytest.mark.parametrize("name", ["Encounter", "Coverage", "Appointment", "ServiceRequest", "Consent"])
def test_a_status_under_another_name_is_read(name: str) -> None:
    """A visit that was cancelled was none, whatever letters say so."""
    assert reading(resource_type=name, Status="Cancelled").view.status == "cancelled"


@pytest.mark.parametrize("name", sorted(VIEWS))
@pytest.mark.parametrize("label", ["Security", "SECURITY", "Tag", "TAG"])
def test_labels_under_another_name_are_read_of_every_type(name: str, label: str) -> None:
    """They keep people out."""
    meta = reading(resource_type=name, meta={label: [{"code": "R"}]}).view.meta
    assert meta is not None and [one.code for one in (*meta.security, *meta.tag)] == ["R"]


@pytest.mark.parametrize("name", sorted(VIEWS))
def test_the_type_may_stand_anywhere(name: str) -> None:
    """Some servers write the id first; that is no reason for a slower way."""
    view = plain_view(json.dumps({"id": "x1", "text": {"status": "empty"}, "resourceType": name}).encode())
    assert isinstance(view, VIEWS[name])
    assert (view.resource_type, view.id) == (name, "x1")


@pytest.mark.parametrize("name", ["ReferralRequest", "ProcedureRequest"])
def test_orders_of_stu3_are_orders(name: str) -> None:
    """One view reads them all, and each keeps its name."""
    order = reading(resource_type=name, id="o1", status="active")
    assert isinstance(order.view, ServiceRequest)
    assert order.label == f"{name}/o1"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b'{"resourceType":"Observation","status":"final"}', "Observation"),
        (b'{"status":"final","resourceType":"Observation"}\n', "Observation"),
        (b'{"resourceType":"Observation","status":"final"', None),
        (b'{"resourceType":"Observation","status":"fin', None),
        (b'{"resourceType":"Observation","status":"final"}}', None),
        (b'{"resourceType":"Observation","resourceType":"Patient"}', None),
        (b'{"resourceType":"Banana"}', None),
        (b'{"resourceType":"Bundle"}', None),
        (b"[]", None),
        (b"", None),
    ],
)
def test_what_is_passed_over_is_named_where_it_is_whole(text: bytes, told: str | None) -> None:
    """A broken export does not go unnoticed because its lines are noise."""
    assert plain_view(text) == told


def test_a_resource_type_in_another_case_is_known() -> None:
    """The type is a name like any other."""
    appointment = reading(resource_type="appointment", status="proposed")
    assert appointment.view.resource_type == "Appointment"
    assert appointment.notes == ("code-case",)


@pytest.mark.parametrize(
    ("resource", "element", "value", "note"),
    [
        ({"name": {"family": "Example"}}, "name[0].family", "Example", "object-for-list"),
        ({"name": [{"family": ["Van", "Dam"]}]}, "name[0].family", "Van Dam", "list-for-object"),
        ({"name": [{"given": "Ann"}]}, "name[0].given[0]", "Ann", "object-for-list"),
        ({"name": [{"given": ["Ann", None]}]}, "name[0].given", ("Ann",), "null-dropped"),
        ({"name": "Ann Example"}, "name[0].text", "Ann Example", "text-for-object"),
        ({"id": 17}, "id", "17", "number-for-string"),
        ({"telecom": [{"rank": "1"}]}, "telecom[0].rank", 1, "string-for-number"),
        ({"telecom": [{"value": 5550100}]}, "telecom[0].value", "5550100", "number-for-string"),
        ({"active": "True"}, "active", True, "string-for-number"),
        ({"birthDate": ["1980-01-01"]}, "birth_date", "1980-01-01", "list-for-object"),
        ({"birthDate": ["1980-01-01", "1981-01-01"]}, "birth_date", None, "element-dropped"),
        ({"birthDate": {"year": 1980}}, "birth_date", None, "element-dropped"),
        ({"telecom": [{"use": "Old"}], "id": 1}, "telecom[0].use", "old", "code-case"),
    ],
)
def test_mends_what_a_view_refuses(resource: dict[str, Any], element: str, value: Any, note: str) -> None:
    """One element out of form costs neither the resource nor its other elements."""
    patient = reading(**{"gender": "female", "language": "en"} | resource)
    found: Any = patient.view
    for step in element.replace("[", ".").replace("]", "").split("."):
        found = found[int(step)] if step.isdigit() else getattr(found, step)
    assert found == value
    assert note in patient.notes
    assert patient.view.language == "en"


def test_contained_resources_outlive_the_mending() -> None:
    """They stay bytes until a reference asks for them."""
    mended_one = reading(resource_type="Appointment", id=1, contained={"resourceType": "Patient", "id": "p"})
    assert [json.loads(bytes(raw)) for raw in mended_one.view.contained] == [
        {"resourceType": "Patient", "id": "p"}
    ]


@pytest.mark.parametrize(
    "raw", [b"[]", b"{}", b"1", b'"x"', b'{"resourceType": 1}', b'{"resourceType": "*"}', b"{"]
)
def test_gives_up_only_what_has_no_resource_type(raw: bytes) -> None:
    """And says where it stood."""
    with pytest.raises(InputError, match=r"^test\.json:"):
        read(raw, ORIGIN)


def test_the_error_does_not_show_the_input() -> None:
    """Errors are logged; patients are not."""
    with pytest.raises(InputError) as caught:
        read(b'{"name": "Marigold", "x": {,}}', ORIGIN)
    assert "Marigold" not in str(caught.value)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


@st.composite
def crooked(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """A resource of a known type whose elements hold anything at all."""
    name = draw(st.sampled_from(sorted(VIEWS)))
    elements = sorted({_camel(field) for field in VIEWS[name].__struct_fields__} - {"resourceType"})
    return name, draw(st.dictionaries(st.sampled_from(elements), JSON, max_size=5))


def _camel(name: str) -> str:
    first, *rest = name.rstrip("_").split("_")
    return first + "".join(part.capitalize() for part in rest)


@settings(max_examples=300)
@given(crooked())
def test_any_json_in_any_element_is_mended(given_: tuple[str, dict[str, Any]]) -> None:
    """A resource with a type is never given up, whatever its elements hold."""
    name, elements = given_
    resource = read(json.dumps({"resourceType": name} | elements).encode(), ORIGIN)
    assert isinstance(resource.view, VIEWS[name])


@given(crooked())
def test_mending_says_the_same_of_the_same_bytes(given_: tuple[str, dict[str, Any]]) -> None:
    """It builds anew: the bytes are what they were, and give the same view again."""
    name, elements = given_
    raw = json.dumps({"resourceType": name} | elements).encode()
    before = copy.copy(raw)
    first, second = mended(raw, VIEWS[name], name), mended(raw, VIEWS[name], name)
    assert raw == before
    assert first[1] == second[1]
    assert isinstance(first[0], View)


@given(st.binary(max_size=200) | st.text(max_size=100).map(lambda text: text.encode()))
def test_bytes_raise_nothing_but_input_errors(raw: bytes) -> None:
    """The caller has one kind of failure to handle."""
    try:
        read(raw, ORIGIN)
    except InputError:
        return
    assert resource_type(raw)
