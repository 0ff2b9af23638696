from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from fhir_bridge.errors import InputError
from fhir_bridge.fhir.validation import validate
from fhir_bridge.fhir.versions import guess

PARTICIPANT = [{"status": "accepted"}]


def found(**resource: Any) -> list[tuple[str, str]]:
    """The element and kind of each issue."""
    name = {"resourceType": resource.pop("resource_type", "Appointment")}
    return [(issue.element, issue.type) for issue in validate(json.dumps(name | resource).encode())]


@pytest.mark.parametrize(
    ("resource", "version"),
    [
        ({"resourceType": "Appointment", "cancelationReason": {}}, "R4"),
        ({"resourceType": "Appointment", "cancellationReason": {}}, "R5"),
        ({"resourceType": "Appointment", "serviceType": [{"concept": {}}]}, "R5"),
        ({"resourceType": "Appointment", "incomingReferral": []}, "STU3"),
        ({"resourceType": "Encounter", "class": [{}]}, "R5"),
        ({"resourceType": "Encounter", "class": {"code": "AMB"}}, "R4"),
        ({"resourceType": "Encounter", "reason": [{"text": "x"}]}, "STU3"),
        ({"resourceType": "ServiceRequest", "code": {"concept": {}}}, "R5"),
        ({"resourceType": "ServiceRequest", "code": {"text": "x"}}, "R4"),
        ({"resourceType": "ReferralRequest"}, "STU3"),
        ({"resourceType": "Patient"}, "R4"),
        ({"resourceType": "Appointment", "cancellationReason": {}, "cancelationReason": {}}, "R4"),
    ],
)
def test_elements_tell_the_version(resource: dict[str, Any], version: str) -> None:
    """Whatever the folder or profile says; R4 where nothing tells or everything contradicts."""
    assert guess(resource) == version


def test_conforming_resources_have_no_issues() -> None:
    """Nor do they for what only looks odd: noshow, extensions on primitives, an absent given name."""
    assert found(status="noshow", participant=PARTICIPANT) == []
    assert found(status="cancelled", cancellationReason={"text": "x"}, participant=PARTICIPANT) == []
    extension = {"extension": [{"url": "http://example.org/x", "valueString": "y"}]}
    patient = {
        "birthDate": "1980-01-01",
        "_birthDate": extension,
        "name": [{"given": ["a", None], "_given": [None, extension]}],
    }
    assert found(resource_type="Patient", **patient) == []
    assert (
        found(resource_type="ReferralRequest", status="active", intent="order", subject={"display": "x"})
        == []
    )


def test_issues_name_element_and_kind_and_never_the_value() -> None:
    """A value may be a patient's."""
    issues = validate(
        b'{"resourceType":"Patient","birthDate":"SECRET","secret":{},"name":{"family":"SECRET"}}'
    )
    assert {issue.element for issue in issues} == {"Patient.birthDate", "Patient.secret", "Patient.name"}
    assert "SECRET" not in repr(issues)
    assert found(participant=[{"statuss": "accepted"}])[0][0].startswith("Appointment.participant[0]")


def test_a_type_no_version_has_is_an_issue() -> None:
    """Not a crash, and not an import of whatever the name says."""
    assert found(resource_type="Banana") == [("Banana.resourceType", "unknown-resource-type")]
    assert found(resource_type="os.path") == [("os.path.resourceType", "unknown-resource-type")]


@pytest.mark.parametrize("raw", [b"", b"[]", b"{}", b"{", b'{"resourceType": 1}'])
def test_what_is_no_resource_is_refused(raw: bytes) -> None:
    """With the place."""
    with pytest.raises(InputError, match=r"^x\.json"):
        validate(raw, "x.json")


def test_reading_and_gathering_import_nothing_heavy() -> None:
    """Mapping a file must start at once: what is heavy waits until it is asked for."""
    heavy = ("pydantic", "httpx", "sqlalchemy", "fhir", "structlog")
    code = (
        "import sys, fhir_bridge.case.gather, fhir_bridge.fhir.documents, fhir_bridge.fhir.validation;"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
