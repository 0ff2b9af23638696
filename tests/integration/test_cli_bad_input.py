"""Bad input gets one clear line that names the file, and the line where it is known; nothing else is lost."""

from __future__ import annotations

import gzip
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PATIENT = '{"resourceType":"Patient","id":"p1"}'
DEEP = '{"resourceType":"Patient","x":' + "[" * 100_000 + "]" * 100_000 + "}"
XML = '<?xml version="1.0"?>\n<Patient xmlns="http://hl7.org/fhir"/>'

UNREADABLE: dict[str, tuple[bytes, str]] = {
    "not-json": (b"{\n  hello", "bad:2:3: not JSON"),
    "words": (b"hello there", "bad:1:1: not JSON"),
    "not-fhir": (b'{"a": 1}', "bad: not FHIR: no resourceType"),
    "a-number": (b"7", "bad: not FHIR"),
    "empty": (b"", "bad: empty"),
    "blank": (b" \n\t\n", "bad: empty"),
    "deep": (DEEP.encode(), "bad: nested too deeply"),
    "latin-1": ('{"resourceType":"Patient","id":"p",\n"name":[{"family":"Müller"}]}'.encode("latin-1"),
                "bad:2:21: not UTF-8"),
    "xml": (XML.encode(), "bad: this is XML"),
    "xml-with-mark": (b"\xef\xbb\xbf" + XML.encode(), "bad: this is XML"),
    "gzip": (gzip.compress(PATIENT.encode()), "bad: this is a gzip file; unpack it"),
    "zip": (b"PK\x03\x04rest", "bad: this is a zip file; unpack it"),
    "hl7-v2": (b"MSH|^~\\&|A|B", "bad: this is an HL7 v2 message"),
    "binary": (bytes(range(256)), "bad: "),
    "truncated-bundle": (b'{"resourceType":"Bundle","entry":[\n{"resource":' + PATIENT.encode() + b"},\n{",
                         "bad:3:2: not JSON: it ends too early"),
    "only-bad-lines": (b'{"resourceType":"Patient",}\n{"resourceType":"Patient",}\n', "bad:1: not JSON"),
}  # fmt: skip


@pytest.mark.parametrize("name", UNREADABLE)
def test_an_unreadable_file_is_one_line_and_exit_code_4(bridge: Any, name: str) -> None:
    """For `map`, `explain` and `validate` alike."""
    content, words = UNREADABLE[name]
    (bridge.folder / "bad").write_bytes(content)
    for command in ("map", "explain", "validate"):
        ran = bridge(command, "bad")
        assert ran.code == 4, command
        told = [line for line in ran.err.splitlines() if line.startswith("unreadable: ")]
        assert told[0].startswith(f"unreadable: {words}"), command
        assert len(told[0]) < 200


@pytest.mark.parametrize("name", UNREADABLE)
def test_the_other_files_of_the_call_are_still_mapped(bridge: Any, hospital: Any, name: str) -> None:
    """Before and after the bad one; the exit code says that a person must look. They are about other people
    than it names."""
    (bridge.folder / "bad").write_bytes(UNREADABLE[name][0].replace(b'"p1"', b'"p3"'))
    ran = bridge("map", hospital.proposed(1), "bad", hospital.proposed(2))
    assert ran.code == 1
    assert [request["phone_number"] for request in ran.json] == ["+12125550101", "+12125550102"]
    assert "unreadable: bad" in ran.err


def test_utf_16_and_a_byte_order_mark_are_read(bridge: Any, hospital: Any) -> None:
    """JSON of any Unicode encoding is JSON."""
    text = (bridge.folder / hospital.proposed()).read_text()
    for encoding in ("utf-16", "utf-16-le", "utf-32", "utf-8-sig"):
        (bridge.folder / "other.json").write_bytes(text.encode(encoding))
        ran = bridge("map", "other.json")
        assert (ran.code, len(ran.json)) == (0, 1), encoding


def no_such(folder: Path) -> None:
    """Nothing there."""


def empty_folder(folder: Path) -> None:
    """A folder in which no file is FHIR's."""
    (folder / "bad").mkdir()
    (folder / "bad" / "readme.txt").write_text("hello")


def unreadable_file(folder: Path) -> None:
    """A file that may not be opened; for root, who may everything, a link that leads to itself."""
    if os.geteuid():
        (folder / "bad").write_text(PATIENT)
        (folder / "bad").chmod(0)
    else:
        (folder / "bad").symlink_to("bad")


@pytest.mark.parametrize("make", [no_such, empty_folder, unreadable_file])
def test_what_cannot_be_opened_is_named(bridge: Any, hospital: Any, make: Callable[[Path], None]) -> None:
    """A missing file, a folder without files, one that may not be read: alone 4, among others 1."""
    make(bridge.folder)
    alone = bridge("map", "bad")
    assert (alone.code, alone.err.splitlines()[0].startswith("unreadable: bad: ")) == (4, True)
    among = bridge("map", "bad", hospital.proposed())
    assert (among.code, len(among.json)) == (1, 1)


def test_an_empty_folder_of_context_stops_nobody(bridge: Any, hospital: Any) -> None:
    """It is named, and the exit code says that a person must look."""
    (bridge.folder / "context").mkdir()
    ran = bridge("map", hospital.proposed(), "--context", "context")
    assert (ran.code, len(ran.json)) == (1, 1)
    assert "unreadable: context: no file in it ends in .json" in ran.err


def test_a_bad_line_of_ndjson_costs_only_itself(bridge: Any, hospital: Any) -> None:
    """Named with its number; the lines around it are mapped."""
    lines = [
        json.dumps(hospital.patient()),
        '{"resourceType": "Patient",',
        json.dumps(hospital.appointment()),
    ]
    (bridge.folder / "export.ndjson").write_text("\n".join(lines))
    ran = bridge("map", "export.ndjson")
    assert (ran.code, len(ran.json)) == (1, 1)
    assert "unreadable: export.ndjson:2: not JSON" in ran.err


def test_a_bad_entry_of_a_bundle_costs_only_itself(bridge: Any, hospital: Any) -> None:
    """One without a resource, one that is no resource: named by their numbers, and the others are mapped, for
    what was broken decides about no call."""
    entries: list[Any] = [
        {"fullUrl": "https://ehr.example/Observation/1"},
        {"resource": {"id": "x"}, "fullUrl": "https://ehr.example/Observation/x"},
        {"resource": 7, "fullUrl": "https://ehr.example/Observation/7"},
    ]
    entries += [{"resource": hospital.patient()}, {"resource": hospital.appointment()}]
    bundle = {"resourceType": "Bundle", "type": "collection", "entry": entries}
    ran = bridge("map", hospital.write("bundle.json", bundle))
    assert (ran.code, len(ran.json)) == (1, 1)
    for number in (0, 1, 2):
        assert f"unreadable: bundle.json entry {number}: not FHIR" in ran.err


def test_an_answer_to_a_transaction_has_entries_without_resources(bridge: Any, hospital: Any) -> None:
    """Such an entry has a response or a request instead, as FHIR demands (bdl-5): nothing is missing."""
    entries = [{"response": {"status": "201"}}, {"resource": hospital.patient()}]
    bundle = {"resourceType": "Bundle", "type": "transaction-response", "entry": entries}
    assert bridge("map", hospital.write("bundle.json", bundle)).code == 0


def test_of_a_status_that_stands_twice_the_one_counts_that_calls_nobody(bridge: Any, hospital: Any) -> None:
    """JSON readers differ in which they take, so a person looks; `validate` names it."""
    text, once = json.dumps(hospital.appointment()), '"status": "proposed"'
    (bridge.folder / "a.json").write_text(text.replace(once, f'"status": "x", {once}', 1))
    patient = hospital.write("patient.json", hospital.patient())
    decision = bridge("map", "a.json", patient, "--format", "decisions").lines[0]
    assert (decision["decision"], decision["reason"]) == ("reject", "status-missing")
    ran = bridge("validate", "a.json")
    assert ran.code == 1
    assert "Appointment.status" in ran.out
    assert "duplicate" in ran.out


def test_a_hundred_megabytes_are_read_in_seconds(bridge: Any, hospital: Any) -> None:
    """A Bundle of that size is no different; one huge text in a resource neither."""
    file = bridge.folder / "large.json"
    filler = json.dumps({"resource": {"resourceType": "Binary", "id": "b", "data": "A" * 1_000_000}}).encode()
    ends = [json.dumps({"resource": each}).encode() for each in (hospital.patient(), hospital.appointment())]
    with file.open("wb") as out:
        out.write(b'{"resourceType":"Bundle","type":"collection","entry":[' + ends[0])
        for _ in range(100):
            out.write(b"," + filler)
        out.write(b"," + ends[1] + b"]}")
    assert file.stat().st_size > 100_000_000
    started = time.monotonic()
    ran = bridge("map", "large.json")
    assert (ran.code, len(ran.json)) == (0, 1)
    assert time.monotonic() - started < 10
    with file.open("ab") as out:
        out.write(b"}")
    assert bridge("map", "large.json").code == 4
    file.unlink()
