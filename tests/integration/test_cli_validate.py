"""`fhir-bridge validate`: advice on conformance, by element and kind, never with a value."""

from __future__ import annotations

from typing import Any

from fhir.resources.R4B.operationoutcome import OperationOutcome


def test_what_conforms_is_all_well(bridge: Any, hospital: Any) -> None:
    """Exit code 0, nothing on standard output, the number checked on standard error."""
    ran = bridge("validate", hospital.proposed())
    assert (ran.code, ran.out, ran.err) == (0, "", "checked 2 resources: 0 do not conform\n")


def test_each_finding_names_file_resource_and_element(bridge: Any, hospital: Any) -> None:
    """Exit code 1; the value stays out, for it may be a patient's."""
    sloppy = hospital.patient(birthDate="CANARY", favourite="CANARY")
    ran = bridge("validate", hospital.write("sloppy.json", sloppy))
    assert ran.code == 1
    said = " ".join(ran.out.split())
    assert "sloppy.json" in said
    assert "Patient/p1" in said
    assert "Patient.birthDate" in said
    assert "Patient.favourite" in said
    assert "CANARY" not in ran.out + ran.err
    assert "1 do not conform" in ran.err


def test_for_machines_it_is_an_operation_outcome(bridge: Any, hospital: Any) -> None:
    """FHIR's own form, that conforms itself; also where nothing is wrong."""
    bad = hospital.write("bad.json", hospital.patient(birthDate=5))
    (bridge.folder / "worse.json").write_text("{")
    ran = bridge("validate", bad, "worse.json", "--json")
    outcome = OperationOutcome.model_validate(ran.json)
    assert [issue.severity for issue in outcome.issue] == ["error", "fatal"]
    assert outcome.issue[0].expression == ["Patient.birthDate"]
    sound = bridge("validate", hospital.proposed(), "--json")
    assert sound.json["issue"][0]["severity"] == "information"


def test_types_that_the_bridge_does_not_read_are_counted(bridge: Any, hospital: Any) -> None:
    """They are not checked, and it says so."""
    ran = bridge("validate", hospital.write("b.json", hospital.patient(), {"resourceType": "Medication"}))
    assert ran.code == 0
    assert "not checked, for the bridge does not read them: Medication 1" in ran.err


def test_it_advises_and_forbids_nothing(bridge: Any, hospital: Any) -> None:
    """What does not conform is mapped all the same."""
    file = hospital.write("s.json", hospital.patient(favourite="x"), hospital.appointment())
    assert bridge("validate", file).code == 1
    assert (bridge("map", file).code, len(bridge("map", file).json)) == (0, 1)
