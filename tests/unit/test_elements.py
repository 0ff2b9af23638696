"""The table of element names is FHIR's."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from fhir_bridge.fhir.elements import ELEMENTS

PARTS = {
    "AppointmentParticipant": "appointment", "ConsentProvision": "consent", "PatientContact": "patient",
    "PatientLink": "patient", "TimingRepeat": "timing",
}  # fmt: skip


def models(name: str) -> Iterator[Any]:
    """What fhir.resources calls a type in STU3, R4B and R5."""
    for version in ("STU3.", "R4B.", ""):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                module = importlib.import_module(f"fhir.resources.{version}{PARTS.get(name, name.lower())}")
            except ImportError:
                continue
        if model := getattr(module, name, None):
            yield model


@pytest.mark.parametrize("name", sorted(ELEMENTS))
def test_every_element_of_every_version_is_known(name: str) -> None:
    """What is FHIR's is never taken for a misspelt name."""
    found = list(models(name))
    assert found
    for model in found:
        own = {field.alias or key for key, field in model.model_fields.items()}
        own = {each for each in own if not each.startswith("_")} - {"resource_type", "resourceType"}
        assert own <= ELEMENTS[name]
