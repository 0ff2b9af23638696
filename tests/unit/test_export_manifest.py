"""Manifests as servers write them, and as they should not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_bridge.errors import FhirServerError
from fhir_bridge.intake.export.manifest import KINDS, ManifestFile, read_manifest
from fhir_bridge.intake.export.state import named

URL = "https://ehr.example/fhir/jobs/1"


def read(**elements: Any) -> list[ManifestFile]:
    """The files of a manifest."""
    return list(read_manifest(json.dumps({"transactionTime": "t", **elements}).encode(), URL).files)


def test_a_manifest_is_read_as_the_standard_has_it() -> None:
    """Three kinds of files, a moment, and whether a token is needed."""
    body = {
        "transactionTime": "2026-11-23T10:00:00Z",
        "request": "https://ehr.example/fhir/$export",
        "requiresAccessToken": False,
        "output": [{"type": "Patient", "url": "https://files.example/p?sig=1", "count": 3}],
        "deleted": [{"type": "Bundle", "url": "d"}],
        "error": [{"type": "OperationOutcome", "url": "/e"}],
        "link": [{"relation": "self", "url": "x"}, {"relation": "next", "url": "?page=2"}],
    }
    manifest = read_manifest(json.dumps(body).encode(), URL)
    assert manifest.transaction_time == "2026-11-23T10:00:00Z"
    assert not manifest.requires_access_token
    assert manifest.next == f"{URL}?page=2"
    assert [(file.kind, file.url, file.count) for file in manifest.files] == [
        ("output", "https://files.example/p?sig=1", 3),
        ("deleted", "https://ehr.example/fhir/jobs/d", None),
        ("error", "https://ehr.example/e", None),
    ]


def test_what_went_wrong_has_two_names() -> None:
    """`error`, and `outcome` in drafts of version 3; their files have names of their own."""
    found = read(error=[{"url": "a"}], outcome=[{"url": "b"}])
    assert [file.kind for file in found] == ["error", "error"]
    assert [part.name for part, _ in named(found)] == [
        "error/OperationOutcome.001.ndjson",
        "error/OperationOutcome.002.ndjson",
    ]


def test_what_is_not_as_it_should_be_counts_as_not_said() -> None:
    """A type that is no name, a count that is no number: the file is fetched all the same."""
    entries = [
        {"url": "a", "type": "../x", "count": "3"},
        {"url": "b", "count": -1},
        {"url": "c", "count": True},
    ]
    assert [(file.type, file.count) for file in read(output=entries)] == [("Resource", None)] * 3
    assert read(output=None, deleted=[]) == []
    assert read_manifest(b'{"output": [], "requiresAccessToken": "false"}', URL).requires_access_token


@pytest.mark.parametrize(
    ("elements", "place"),
    [
        ({"output": {}}, "output is no list"),
        ({"output": ["x"]}, "output[0] is no object"),
        ({"error": [{"url": "a"}, {"type": "Patient"}]}, "error[1].url is missing"),
        ({"output": [{"url": 3}]}, "output[0].url is missing"),
        ({"output": [{"url": "ftp://x/y"}]}, "output[0].url is no web address"),
        ({"output": [{"url": "https://x:99999/y"}]}, "output[0].url is no web address"),
        ({"link": [{"relation": "next"}]}, "link[0].url is missing"),
    ],
)
def test_a_file_without_an_address_is_an_error_that_names_the_element(
    elements: dict[str, Any], place: str
) -> None:
    """It could not be fetched, and would be lost."""
    with pytest.raises(FhirServerError) as error:
        read(**elements)
    assert place in str(error.value)


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"{}", b"<html>", b"\xff\xfe", b"[" * 5000])
def test_what_is_no_manifest_is_said_so(body: bytes) -> None:
    """With a code of its own."""
    with pytest.raises(FhirServerError) as error:
        read_manifest(body, URL)
    assert error.value.code == "export-manifest"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
ENTRIES = st.fixed_dictionaries({}, optional=dict.fromkeys(("type", "url", "count", "x"), VALUES))
MANIFESTS = st.fixed_dictionaries(
    {},
    optional={
        "transactionTime": VALUES,
        "requiresAccessToken": VALUES,
        "link": st.lists(ENTRIES, max_size=2) | VALUES,
        **{kind: st.lists(ENTRIES, max_size=3) | VALUES for kind in KINDS},
    },
)


@given(MANIFESTS)
def test_no_manifest_is_a_fault_of_ours(manifest: dict[str, Any]) -> None:
    """Unknown keys, wrong types, huge counts: read, or an error that says why; files have safe names."""
    try:
        found = read_manifest(json.dumps(manifest).encode(), URL)
    except FhirServerError as error:
        assert error.hint
        return
    names = [part.name for part, _ in named(found.files)]
    assert len({name.casefold() for name in names}) == len(names)
    assert all(name.replace("/", "", 1).replace(".", "").isalnum() for name in names)
    assert all(file.url.startswith(("https://", "http://")) for file in found.files)


@given(st.binary(max_size=60))
def test_no_bytes_are_a_fault_of_ours(body: bytes) -> None:
    """Whatever a proxy sends instead."""
    with pytest.raises(FhirServerError):
        read_manifest(body, URL)


def test_files_keep_their_names_when_their_addresses_are_signed_anew() -> None:
    """By what stays of the address; two that differ in nothing else by their order."""
    first = [ManifestFile("output", "Patient", f"https://f.example/p{n}?sig=1") for n in (1, 2, 2)]
    again = [ManifestFile("output", "Patient", f"https://f.example/p{n}?sig=2") for n in (1, 2, 2)]
    assert [part for part, _ in named(first)] == [part for part, _ in named(again)]
    assert [part.name for part, _ in named(first)] == [f"Patient.00{n}.ndjson" for n in (1, 2, 3)]
