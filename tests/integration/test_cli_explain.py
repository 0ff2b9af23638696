"""`fhir-bridge explain`: why each decision was made, and where every value came from."""

from __future__ import annotations

from typing import Any


def test_each_value_of_a_call_names_its_elements_and_rule(bridge: Any, hospital: Any) -> None:
    """For machines: the decision's own keys, and each field's value beside its lineage."""
    ran = bridge("explain", hospital.proposed(), "--json")
    assert ran.code == 0
    [told] = ran.json
    assert told["decision"] == "call"
    found = {entry["field"]: entry for entry in told["lineage"]}
    assert found["phone_number"]["value"] == told["request"]["phone_number"] == "+12125550101"
    assert found["phone_number"]["sources"][0]["resource"].startswith("Patient/p1")
    assert found["patient.last_name"]["value"] == "Sample"
    assert all(entry["rule"] for entry in told["lineage"])


def test_a_rejection_says_where_to_look_and_what_would_change_it(bridge: Any, hospital: Any) -> None:
    """In words and as JSON; exit code 1, for a person is needed."""
    file = hospital.proposed(telecom=[])
    ran = bridge("explain", file)
    assert ran.code == 1
    for words in ("REJECT", "phone-missing", "because", "look at", "Patient.telecom", "to change"):
        assert words in ran.out
    [told] = bridge("explain", file, "--json").json
    assert told["meaning"]["to_change"]
    assert told["expression"] == "Patient.telecom"


def test_for_people_values_are_words_and_no_json(bridge: Any, hospital: Any) -> None:
    """Lists with commas, objects by name, yes and no; every source is named."""
    ran = bridge("explain", hospital.proposed())
    assert "city: New York" in ran.out
    assert "task_data.is_rescheduling  no" in ran.out
    assert not set("{}") & set(ran.out)
    assert ": \n" not in ran.out
    assert ran.err == ""


def test_one_trigger_can_be_asked_for(bridge: Any, hospital: Any) -> None:
    """--trigger; one that is not there is usage, and says how to find it."""
    files = [hospital.proposed(number) for number in (1, 2)]
    assert [each["trigger"] for each in bridge("explain", *files, "--json").json] == [
        "Appointment/a1",
        "Appointment/a2",
    ]
    ran = bridge("explain", *files, "--trigger", "Appointment/a2", "--json")
    assert [each["trigger"] for each in ran.json] == ["Appointment/a2"]
    none = bridge("explain", *files, "--trigger", "Appointment/a3")
    assert (none.code, none.out) == (2, "")
    assert "no trigger Appointment/a3" in none.err


def test_it_takes_the_options_of_map(bridge: Any, hospital: Any) -> None:
    """--now, --set, --context and standard input mean the same."""
    hospital.write("context/patient.json", hospital.patient())
    hospital.write("a.json", hospital.appointment())
    text = (bridge.folder / "a.json").read_bytes()
    arguments = ("--context", "context", "--set", "timezone=America/New_York", "--json")
    assert bridge("explain", "-", *arguments, stdin=text).json[0]["decision"] == "call"
    late = bridge("explain", "a.json", *arguments, "--now", "2099-01-01T00:00:00Z")
    assert late.json[0]["reason"] == "window-passed"


def test_nothing_to_explain_says_so(bridge: Any, hospital: Any) -> None:
    """A file without triggers: an empty list for machines, a line for people."""
    file = hospital.write("p.json", hospital.patient())
    assert bridge("explain", file, "--json").json == []
    ran = bridge("explain", file)
    assert (ran.code, ran.out) == (0, "")
    assert "no-trigger: 1 without Appointment or order: p.json" in ran.err


def test_a_note_says_what_was_done_about_it(bridge: Any, hospital: Any) -> None:
    """In words, under its code and element, and as `meaning` for machines."""
    file = hospital.proposed(gender=None, active="true")
    [told] = bridge("explain", file, "--json").json
    assert {note["code"] for note in told["notes"]} == {"string-for-number"}
    assert all(note["meaning"] for note in told["notes"])
    assert "note string-for-number: Patient/p1: Patient" in (out := bridge("explain", file).out)
    assert "it was read as one" in out


def test_a_decision_names_the_section_of_the_page(bridge: Any, hospital: Any) -> None:
    """So that an analyst can read why the rule is what it is."""
    assert (
        "decided by  gate (section 4), on Patient/p1"
        in bridge("explain", hospital.proposed(active=False)).out
    )
