"""docs/versions.md says of every element that is read what it is called where; and each is read as it stands
there."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest

from fhir_bridge.fhir.later import KEPT
from fhir_bridge.fhir.reading import read
from fhir_bridge.fhir.resource import Origin
from fhir_bridge.fhir.views import VIEWS

ROOT = Path(__file__).parents[2]
VERSIONS = ("STU3", "R4, R4B", "R5")

PRIMITIVES: dict[str, Any] = {
    "text": "x",
    "number": 1,
    "true or false": True,
    "Decimal": 1.5,
    "datetime": "2026-01-01T00:00:00Z",
    "date": "2026-01-01",
    "time": "10:00:00",
}


@pytest.fixture(scope="module")
def names() -> ModuleType:
    """The script that makes the page; it is no part of the package."""
    spec = importlib.util.spec_from_file_location("version_names", ROOT / "scripts" / "version_names.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_page_is_what_the_views_and_the_standard_say(names: ModuleType) -> None:
    """A view's element that no version has fails here, and one that is new there is on the page."""
    assert (ROOT / "docs" / "versions.md").read_text("utf-8") == names.page(), "run `make docs`"


def test_every_element_of_every_view_is_on_the_page(names: ModuleType) -> None:
    """Under its resource's heading, in the table or besides it."""
    sections = (ROOT / "docs" / "versions.md").read_text("utf-8").split("\n## ")
    told = {section.split("\n")[0].split(",")[0]: section for section in sections}
    for name, view in names.resources():
        for element in [*names.read_by(view, name), *names.NOT_OF_THESE.get(name, ())]:
            assert f"`{element}`" in told[name], f"{name}.{element}"


def sample(names: ModuleType, version: str, model: Any, struct: type[msgspec.Struct], depth: int = 5) -> Any:
    """An object with each element that is read of it, in the form this version gives it."""
    filled = {}
    there = names.elements(version, model)
    for field in msgspec.structs.fields(struct):
        element = there.get(field.encode_name)
        if element is None or field.encode_name in ("extension", "contained", "resourceType") or not depth:
            continue
        if element.model is None:
            value = PRIMITIVES[element.type]
        else:
            inner = names.inner_struct(struct, field.encode_name)
            value = sample(names, version, element.model, inner, depth - 1)
        filled[field.encode_name] = [value] if element.is_list else value
    return filled


def unread(written: Any, value: Any, path: str) -> list[str]:
    """The elements that are in the JSON and did not reach the view."""
    if isinstance(written, list):
        return unread(written[0], value[0], path) if value else [path]
    if not isinstance(written, dict) or not isinstance(value, msgspec.Struct):
        return [] if value not in (None, ()) else [path]
    fields = msgspec.structs.fields(type(value))
    by_name = {field.encode_name: field.name.removeprefix(KEPT) for field in fields}
    found = ((name, inner, getattr(value, by_name[name])) for name, inner in written.items())
    return [each for name, inner, got in found for each in unread(inner, got, f"{path}.{name}")]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", VIEWS)
def test_each_version_is_read_as_it_stands(names: ModuleType, name: str, version: str) -> None:
    """Every element, with its parts, reaches the view without mending: no version is the sloppy form of
    another."""
    model = names.model(version, name)
    if model is None:
        assert name in (*names.ORDERS["STU3"], "ServiceRequest")
        return
    written = sample(names, version, model, VIEWS[name])
    resource = read(json.dumps({"resourceType": name, **written}).encode(), Origin("sample"))
    assert resource.notes == ()
    assert unread(written, resource.view, name) == []
