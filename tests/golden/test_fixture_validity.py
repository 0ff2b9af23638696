"""The made-up hospital is itself good FHIR, so that a story fails for its own reason and no other."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path
from typing import Any

import phonenumbers
import pytest

PACKAGES = {"R4": "fhir.resources.R4B", "R5": "fhir.resources", "STU3": "fhir.resources.STU3"}
"""fhir.resources has no plain R4; R4B is the nearest, and equal in all that the stories use."""

FICTION = re.compile(
    r"\+1\d{3}55501\d{2}"  # North America: 555-0100 to 555-0199
    r"|\+442079460\d{3}"  # Ofcom's London numbers for drama
    r"|\+493023125\d{3}"  # the Bundesnetzagentur's Berlin numbers for drama
    r"|\+3319900\d{4}"  # Arcep's numbers for audiovisual works
    r"|\+6125550\d{4}"  # the ACMA's Sydney numbers for creative works
)

NOBODY = {"+1 012 555 0104"}
"""Possible by its length, but no area begins with 0: the story of numbers that cannot be."""


def phone_values(element: Any) -> list[str]:
    """Every number in a resource, at whatever depth, as it is written."""
    if isinstance(element, list):
        return [value for part in element for value in phone_values(part)]
    if not isinstance(element, dict):
        return []
    own = [element["value"]] if element.get("system") in ("phone", "sms") else []
    return own + phone_values(list(element.values()))


def resources(path: Path) -> list[dict[str, Any]]:
    """What one input file holds: the resources of its lines, or the one it is."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ndjson":
        return [json.loads(line) for line in text.splitlines()]
    return [json.loads(text)]


def numbers_in(path: Path) -> list[str]:
    """The numbers of one file; a line that is no JSON has none."""
    found: list[str] = []
    for text in (
        path.read_text(encoding="utf-8").splitlines()
        if path.suffix == ".ndjson"
        else [path.read_text("utf-8")]
    ):
        try:
            found += phone_values(json.loads(text))
        except json.JSONDecodeError:
            continue
    return found


def leaf_resources(resource: dict[str, Any]) -> list[dict[str, Any]]:
    """A Bundle's resources one by one, so that an error names the one it is about; else the resource."""
    if resource["resourceType"] == "Bundle":
        return [entry["resource"] for entry in resource["entry"]]
    return [resource]


def check(story: Any) -> None:
    """Parses every input and context resource in the story's FHIR version. Raises ValueError."""
    package = PACKAGES[story.told["fhir"]]
    for path in [*story.inputs, *story.context]:
        for read in resources(path):
            for resource in leaf_resources(read):
                kind = resource["resourceType"]
                module = importlib.import_module(f"{package}.{kind.lower()}")
                getattr(module, kind).model_validate(resource)


def test_fhir_is_valid_unless_the_story_says_why_not(story: Any) -> None:
    """Resources parse with fhir.resources; `valid = false` gives its reason and is no way round the check."""
    if story.told.get("valid", True):
        check(story)
        return
    assert story.told["why"]
    with pytest.raises(ValueError):
        check(story)


def test_json_is_tidy(story: Any) -> None:
    """Files for people are indented by two spaces; NDJSON has one resource a line."""
    for path in [*story.inputs, *story.context, story.folder / "expected" / "decisions.json"]:
        text = path.read_text(encoding="utf-8")
        assert text.endswith("\n"), path.name
        if path.suffix == ".json":
            assert text == json.dumps(json.loads(text), indent=2, ensure_ascii=False) + "\n", path.name


def test_nobody_real_can_be_called(story: Any) -> None:
    """Every number in a story that could be dialled is one that is reserved for fiction."""
    region = story.told["set"]["jurisdiction"]
    called = [each["request"]["phone_number"] for each in story.expected if each["decision"] == "call"]
    written = [value for path in [*story.inputs, *story.context] for value in numbers_in(path)]
    for value in [*called, *written]:
        try:
            number = phonenumbers.parse(value, region)
        except phonenumbers.NumberParseException:
            continue  # a mask or a template token: nobody's number
        number.extension = None
        if phonenumbers.is_possible_number(number):
            e164 = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
            assert FICTION.fullmatch(e164) or value in NOBODY, value


def test_a_story_says_what_happens_and_why(story: Any) -> None:
    """The README has the title of story.toml and then three to eight lines that cite the specification."""
    lines = (story.folder / "README.md").read_text(encoding="utf-8").splitlines()
    assert lines[0] == f"# {story.told['title']}"
    body = [line for line in lines[1:] if line.strip()]
    assert 2 <= len(body) <= 8
    assert re.search(r"row|section", "\n".join(body))
