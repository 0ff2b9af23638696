from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_bridge.errors import InputError
from fhir_bridge.fhir.documents import Document, read, read_file

PATIENT = {"resourceType": "Patient", "id": "p1"}
APPOINTMENT = {"resourceType": "Appointment", "id": "a1", "status": "proposed"}


def taken(content: Any, name: str = "test.json") -> Document:
    """The document of some JSON."""
    return read(json.dumps(content).encode(), name)


def labels(document: Document) -> list[str]:
    """What was read, in order."""
    return [resource.label for resource in document.resources]


def bundle(*entries: Any, **members: Any) -> dict[str, Any]:
    """A collection of entries."""
    return {"resourceType": "Bundle", "type": "collection", "entry": list(entries)} | members


BOTH = [
    bundle({"resource": PATIENT}, {"resource": APPOINTMENT}),
    bundle({"resource": bundle({"resource": PATIENT}, {"resource": APPOINTMENT})}),
    [PATIENT, APPOINTMENT],
    [{"resource": PATIENT}, {"resource": APPOINTMENT}],
    {
        "resourceType": "Parameters",
        "parameter": [{"part": [{"resource": PATIENT}]}, {"resource": APPOINTMENT}],
    },
    {
        "resourceType": "Parameters",
        "parameter": {"resource": bundle({"resource": PATIENT}, {"resource": APPOINTMENT})},
    },
    {
        "hook": "appointment-book",
        "prefetch": {"patient": PATIENT},
        "context": {"appointments": [APPOINTMENT]},
    },
    bundle({"resource": PATIENT}, None, {"resource": None}, {"fullUrl": 3, "resource": APPOINTMENT}),
]


BOTH.append(bundle(PATIENT, APPOINTMENT))
BOTH.append(bundle(PATIENT | {"request": 5}, {"resource": APPOINTMENT}))


@pytest.mark.parametrize("content", BOTH)
def test_finds_resources_in_every_wrapping(content: Any) -> None:
    """Two resources are two resources, however they come."""
    assert labels(taken(content)) == ["Patient/p1", "Appointment/a1"]


@pytest.mark.parametrize(
    "wrapped", [PATIENT, {"resource": PATIENT}, bundle({"resource": PATIENT}), [PATIENT]]
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_reads_the_encodings_json_may_have(wrapped: Any, encoding: str) -> None:
    """A byte order mark, or Windows' UTF-16, is no reason to fail."""
    assert labels(read(json.dumps(wrapped).encode(encoding), "test.json")) == ["Patient/p1"]


def test_a_character_that_fhir_does_not_have_is_replaced() -> None:
    """No database keeps U+0000 in a text; it is replaced alike wherever the same record comes from."""
    document = taken({**PATIENT, "id": "p\0"})
    assert labels(document) == ["Patient/p\ufffd"]
    assert b"u0000" not in document.resources[0].raw


def test_a_bundle_gives_each_entry_its_full_url_and_number() -> None:
    """Both name a resource that has no id."""
    document = taken(
        bundle({"fullUrl": "urn:uuid:1", "resource": {"resourceType": "Patient"}}, {"resource": APPOINTMENT})
    )
    assert labels(document) == ["urn:uuid:1", "Appointment/a1"]
    assert [resource.origin.entry for resource in document.resources] == [0, 1]


def test_resources_without_id_in_nested_bundles_keep_apart() -> None:
    """Two triggers must not become one because each is the first of its Bundle."""
    nameless = {"resourceType": "Appointment"}
    inner = bundle({"resource": nameless})
    document = taken(bundle({"resource": inner}, {"resource": inner}))
    assert len(set(labels(document))) == 2


def test_one_entry_that_is_no_resource_costs_only_itself() -> None:
    """And is listed with its number."""
    document = taken(bundle({"resource": 17}, {"resource": PATIENT}, {"resource": {"resourceType": 5}}))
    assert labels(document) == ["Patient/p1"]
    assert [str(problem).split(": ")[0] for problem in document.problems] == [
        "test.json entry 0",
        "test.json entry 2",
    ]


def test_types_no_view_reads_are_counted() -> None:
    """Noise is passed over, not lost."""
    document = taken(bundle({"resource": {"resourceType": "Observation"}}, {"resource": PATIENT}))
    assert document.others == {"Observation": 1}


def test_ndjson_lists_bad_lines_and_keeps_the_others() -> None:
    """Each line for itself, with its number; blank lines and CRLF are nothing."""
    lines = [json.dumps(PATIENT), '{"resourceType": "Patient", ', "", json.dumps(APPOINTMENT), "[1]"]
    document = read("\r\n".join(lines).encode(), "export.ndjson")
    assert labels(document) == ["Patient/p1", "Appointment/a1"]
    assert [resource.origin.line for resource in document.resources] == [1, 4]
    assert [str(problem).split(": ")[0] for problem in document.problems] == [
        "export.ndjson:2",
        "export.ndjson:5",
    ]


def test_ndjson_is_known_though_its_first_line_is_broken() -> None:
    """A file is not given up for how it begins."""
    document = read(b'{"resourceType": "Pa\n' + json.dumps(PATIENT).replace(" ", "").encode(), "x.ndjson")
    assert labels(document) == ["Patient/p1"]
    assert len(document.problems) == 1


def test_a_broken_line_is_listed_whatever_its_type() -> None:
    """Also of a type that is passed over: the export is broken there."""
    lines = json.dumps(PATIENT).encode() + b'\n{"resourceType":"Observation","id":'
    document = read(lines, "x.ndjson")
    assert labels(document) == ["Patient/p1"]
    assert [problem.code for problem in document.problems] == ["not-json"]


def test_one_line_in_another_encoding_is_listed() -> None:
    """Latin-1 in the middle of an export."""
    lines = json.dumps(PATIENT).encode() + b"\n" + '{"resourceType":"Patient","id":"José"}'.encode("latin-1")
    document = read(lines, "x.ndjson")
    assert labels(document) == ["Patient/p1"]
    assert [problem.code for problem in document.problems] == ["encoding"]


@pytest.mark.parametrize(
    ("data", "code", "place"),
    [
        (b"", "empty", "test.json: "),
        (b" \n ", "empty", "test.json: "),
        (b"\xef\xbb\xbf", "empty", "test.json: "),
        (b'<Patient xmlns="http://hl7.org/fhir"/>', "xml", "test.json: "),
        (b'<?xml version="1.0"?><Bundle/>', "xml", "test.json: "),
        (gzip.compress(b"{}", mtime=0), "compressed", "test.json: "),
        (b"MSH|^~\\&|", "hl7v2", "test.json: "),
        (b'{"resourceType":\n  "Patient",,}', "not-json", "test.json:2:13: "),
        (b'{"resourceType": "Patient",\n', "not-json", "test.json:2:1: "),
        (b'{"a": 1}', "not-fhir", "test.json: "),
        (b"[]", "not-fhir", "test.json: "),
        (b'"hello"', "not-fhir", "test.json: "),
        (b"hello", "not-json", "test.json:1:"),
        ('{"resourceType":"Patient","id":"José"}'.encode("latin-1"), "encoding", "test.json"),
        (
            b'{"resourceType":"Patient","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
            "too-deep",
            "test.json: ",
        ),
        (b'{"resource":' * 500 + b"1" + b"}" * 500, "too-deep", "test.json: "),
        (
            b'{"cards":[{"suggestions":[{"resource":{"resourceType":"Appointment"}}]}]}',
            "not-fhir",
            "test.json: ",
        ),
    ],
)
def test_what_cannot_be_read_says_why_and_where(data: bytes, code: str, place: str) -> None:
    """One line, the file first, and what to do about it."""
    with pytest.raises(InputError) as caught:
        read(data, "test.json")
    assert caught.value.code == code
    assert str(caught.value).startswith(place)
    assert "\n" not in str(caught.value)


def test_what_a_history_says_is_deleted_is_not_read_from_its_older_entries() -> None:
    """A deleted Appointment calls for nothing; the deletion is kept as a trace."""
    gone = {
        "request": {"method": "DELETE", "url": "Appointment/a1"},
        "response": {"lastModified": "2026-02-01T00:00:00Z"},
    }
    document = taken(bundle(gone, {"resource": APPOINTMENT}, {"resource": PATIENT}, type="history"))
    assert labels(document) == ["Patient/p1"]
    assert document.deleted == {"Appointment/a1": "2026-02-01T00:00:00Z"}


def test_a_deletion_counts_for_every_line_of_an_export() -> None:
    """Bulk Data lists deletions as Bundles, one a line."""
    gone = bundle({"request": {"method": "DELETE", "url": "Appointment/a1"}}, type="transaction")
    lines = "\n".join(json.dumps(one) for one in (APPOINTMENT, gone, PATIENT))
    assert labels(read(lines.encode(), "x.ndjson")) == ["Patient/p1"]


def test_what_was_written_again_after_its_deletion_is_read() -> None:
    """By lastUpdated after lastModified."""
    gone = {
        "request": {"method": "DELETE", "url": "Appointment/a1"},
        "response": {"lastModified": "2026-02-01T00:00:00Z"},
    }
    again = APPOINTMENT | {"meta": {"lastUpdated": "2026-02-02T00:00:00Z"}}
    assert labels(taken(bundle({"resource": again}, gone, type="history"))) == ["Appointment/a1"]


def test_an_empty_bundle_is_fhir_with_nothing_in_it() -> None:
    """A search without results is no error."""
    assert labels(taken(bundle())) == []


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """The operator sees which."""
    with pytest.raises(InputError, match="no-such-file"):
        read_file(tmp_path / "no-such-file.json")


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=8)
    | st.sampled_from(["Bundle", "Patient", "Parameters"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "resourceType",
                    "entry",
                    "resource",
                    "parameter",
                    "part",
                    "fullUrl",
                    "request",
                    "context",
                    "id",
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=25,
)


@given(VALUES)
def test_any_json_is_read_or_refused_clearly(content: Any) -> None:
    """Whatever the shape: resources, or an InputError that names the file."""
    try:
        taken(content)
    except InputError as error:
        assert str(error).startswith("test.json")


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused_clearly(data: bytes) -> None:
    """Nothing but an InputError is ever raised."""
    try:
        read(data, "test.json")
    except InputError as error:
        assert str(error).startswith("test.json")
