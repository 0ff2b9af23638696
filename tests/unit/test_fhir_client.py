"""The parts of the FHIR client that ask nobody: addresses, paths, pages, waits, refusals, scopes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from random import Random

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_bridge.errors import FhirServerError, SettingsError
from fhir_bridge.fhir_client.addresses import base_address, below, is_below
from fhir_bridge.fhir_client.answers import issues, refusal
from fhir_bridge.fhir_client.many import answers_of
from fhir_bridge.fhir_client.pages import page_of
from fhir_bridge.fhir_client.politeness import Limits, backoff, retry_after
from fhir_bridge.fhir_client.references import resource_path
from fhir_bridge.fhir_client.smart import covers
from fhir_bridge.fhir_client.stored import stored

BASE = base_address("https://ehr.example/fhir/")
NOW = datetime(2026, 11, 23, 15, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://ehr.example/fhir", "https://ehr.example/fhir"),
        ("https://ehr.example:443/fhir?_getpages=1", "https://ehr.example:443/fhir?_getpages=1"),
        ("Patient/p1", "https://ehr.example/fhir/Patient/p1"),
        ("/fhir/Patient?page=2", "https://ehr.example/fhir/Patient?page=2"),
    ],
)
def test_what_is_below_the_base_is_the_servers_own(text: str, url: str) -> None:
    """Relative or absolute, the default port said or not."""
    assert str(below(BASE, text, "a link")) == url.replace(":443", "")


@pytest.mark.parametrize(
    "text",
    [
        "http://ehr.example/fhir/Patient",
        "https://ehr.example:8443/fhir/Patient",
        "https://ehr.example.evil.example/fhir",
        "https://ehr.example@evil.example/fhir",
        "https://evil.example/fhir",
        "https://ehr.example/fhirs",
        "https://ehr.example/fhir/../admin",
        "https://ehr.example/fhir/%2e%2e/admin",
        "../admin",
        "//evil.example/fhir",
        "javascript:alert(1)",
        "https://[",
    ],
)
def test_what_is_elsewhere_is_foreign(text: str) -> None:
    """By scheme, port, host or path."""
    with pytest.raises(FhirServerError) as error:
        below(BASE, text, "a link")
    assert error.value.code == "foreign-link"


@given(st.text(max_size=60))
def test_no_reference_leads_below_another_host(text: str) -> None:
    """Whatever its text, what is let through is on the base's own host and path."""
    try:
        url = below(BASE, text, "a link")
    except FhirServerError:
        return
    assert url.host == "ehr.example" and url.scheme == "https" and is_below(url, BASE)
    assert url.path == "/fhir" or url.path.startswith("/fhir/")


@given(st.text(max_size=40), st.text(max_size=40))
def test_no_id_makes_a_path_of_its_own(kind: str, id_: str) -> None:
    """A path is a type and an id, or an error."""
    try:
        path = resource_path(kind, id_)
    except FhirServerError:
        return
    assert path == f"{kind}/{id_}" and path.count("/") == 1
    assert str(below(BASE, f"{BASE}/{path}", "a read")) == f"{BASE}/{path}"


@pytest.mark.parametrize("url", ["https://ehr.example/fhir?x=1", "https://ehr.example/#a", "ehr.example", ""])
def test_a_base_is_an_address_and_nothing_else(url: str) -> None:
    """Without a query."""
    with pytest.raises(SettingsError):
        base_address(url)


def test_retry_after_is_seconds_or_a_date() -> None:
    """A date that is over is no wait; what cannot be read says nothing."""
    assert retry_after("120", NOW) == 120
    assert retry_after(format_datetime(NOW + timedelta(seconds=90), usegmt=True), NOW) == 90
    assert retry_after(format_datetime(NOW - timedelta(hours=1), usegmt=True), NOW) == 0
    assert [retry_after(text, NOW) for text in (None, "", "soon", "-5", "1.5")] == [None] * 5


@given(st.integers(0, 50), st.integers())
def test_a_wait_never_exceeds_its_cap(attempt: int, seed: int) -> None:
    """However often it was tried."""
    limits = Limits()
    assert 0 <= backoff(attempt, limits, Random(seed)) <= limits.backoff_cap


def test_a_refusal_tells_codes_and_never_words() -> None:
    """Severity, code, detail and element; not text, diagnostics or an expression that quotes."""
    body = b"""{"resourceType": "OperationOutcome", "issue": [
        {"severity": "error", "code": "invalid", "diagnostics": "Juniper Sample",
         "details": {"text": "Juniper", "coding": [{"code": "MSG_PARAM_UNKNOWN", "display": "Juniper"}]},
         "expression": ["Patient.name"]},
        {"severity": "warning", "code": "Juniper Sample", "expression": ["Patient.where(id='Juniper')"]}]}"""
    error = refusal(422, body, "read of Patient")
    assert str(error) == (
        "read of Patient: HTTP 422 (error invalid MSG_PARAM_UNKNOWN at Patient.name; warning)"
    )
    assert (error.code, error.status) == ("http-422", 422)
    assert issues(b"<html>") == issues(b'{"resourceType": "Patient"}') == issues(b'{"issue": 3}') == []


def test_a_page_counts_what_was_searched_for() -> None:
    """What came along, and what the server has to say, are no matches."""
    entries = b"".join(b'{"search": {"mode": "%s"}},' % mode for mode in (b"include", b"outcome", b"match"))
    page = page_of(b'{"resourceType": "Bundle", "entry": [%s{}]}' % entries)
    assert page is not None and (page.matches, page.next) == (2, None)
    assert page_of(b'{"resourceType": "Patient"}') is None and page_of(b"[]") is None


@pytest.mark.parametrize(
    ("body", "headers", "expected"),
    [
        (b'{"resourceType": "Subscription", "id": "s", "meta": {"versionId": "2"}}', {}, ("s", "2")),
        (b"", {"location": "https://ehr.example/fhir/Subscription/s/_history/3"}, ("s", "3")),
        (b"", {"location": "Subscription/s", "etag": 'W/"4"'}, ("s", "4")),
        (b'{"resourceType": "OperationOutcome"}', {"location": "/fhir/Subscription/s"}, ("s", None)),
    ],
)
def test_where_it_is_kept_is_found(
    body: bytes, headers: dict[str, str], expected: tuple[str, str | None]
) -> None:
    """In the body, in Location, in ETag; servers differ."""
    found = stored(httpx.Response(201, content=body, headers=headers), "create")
    assert (found.id, found.version) == expected


def test_where_it_is_kept_must_be_said() -> None:
    """Else nobody could take it away again."""
    with pytest.raises(FhirServerError):
        stored(httpx.Response(201), "create")


def test_a_batch_answers_each_or_is_no_answer() -> None:
    """In order; fewer answers than questions answer none of them."""
    bundle = b"""{"resourceType": "Bundle", "entry": [
        {"resource": {"resourceType": "Patient", "id": "p1"}, "response": {"status": "200 OK"}},
        {"response": {"status": "404"}}, {}]}"""
    paths = ["Patient/p1", "Patient/p2", "Patient/p3"]
    answers = answers_of(bundle, paths)
    assert answers is not None and answers[0] == b'{"resourceType": "Patient", "id": "p1"}'
    assert [getattr(answer, "code", None) for answer in answers] == [None, "not-found", "not-found"]
    assert answers_of(bundle, paths[:2]) is None and answers_of(b"{}", []) is None


@pytest.mark.parametrize(
    ("scope", "is_read"),
    [
        ("system/*.read", True),
        ("openid system/Patient.rs", True),
        ("system/Patient.r", True),
        ("system/*.*", True),
        ("system/Patient.cruds?category=x", True),
        ("system/Patient.s", False),
        ("system/Patient.write", False),
        ("system/Encounter.read", False),
        ("", False),
    ],
)
def test_a_scope_covers_what_it_lets_us_read(scope: str, is_read: bool) -> None:
    """In either version of SMART's spelling."""
    assert covers(scope, "Patient") is is_read
