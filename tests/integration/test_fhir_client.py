"""Reading from a FHIR server over real sockets: reads, searches, faults, and what must never be followed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import SecretStr

from fhir_bridge.errors import FhirServerError, SettingsError
from fhir_bridge.fhir_client.authorization import basic, static_bearer
from fhir_bridge.fhir_client.politeness import Limits
from fhir_bridge.fhir_client.server import FhirServer
from tests.doubles.faults import Fault
from tests.doubles.fhir_server import Bearer, FhirServerDouble

QUICK = Limits(rate=None, backoff=0.01, backoff_cap=0.02, timeout=2.0, patience=5.0)
JUNIPER = {"resourceType": "Patient", "id": "p1", "name": [{"family": "Sample", "given": ["Juniper"]}]}


@pytest.fixture
async def double() -> AsyncIterator[FhirServerDouble]:
    """A server with one patient and 25 of their encounters."""
    double = FhirServerDouble()
    double.records.put(JUNIPER)
    for number in range(25):
        subject = {"reference": "Patient/p1"}
        double.records.put({"resourceType": "Encounter", "id": f"e{number}", "subject": subject})
    async with double.running():
        yield double


def client(double: FhirServerDouble, **given: Any) -> FhirServer:
    """A client of the double that does not wait long."""
    return FhirServer(double.url, **{"limits": QUICK, **given})


async def refused(coroutine: Any) -> FhirServerError:
    """The error that it ends in."""
    with pytest.raises(FhirServerError) as error:
        await coroutine
    return error.value


async def pages(server: FhirServer, *parameters: tuple[str, str], limit: int | None = None) -> list[Any]:
    """The entries of a search of Encounters, page by page."""
    found = [json.loads(page) async for page in server.search("Encounter", parameters, limit=limit)]
    return [[entry["resource"]["id"] for entry in page["entry"]] for page in found]


# -- reading --


async def test_a_resource_is_read_and_so_is_a_version_of_it(double: FhirServerDouble) -> None:
    """The current one, or the one that is asked for."""
    double.records.change("Patient/p1", active=False)
    async with client(double) as server:
        assert json.loads(await server.read("Patient", "p1"))["active"] is False
        assert "active" not in json.loads(await server.read("Patient", "p1", "1"))


async def test_what_is_not_there_and_what_is_no_more_are_told_apart(double: FhirServerDouble) -> None:
    """And neither message quotes what the server says of a person."""
    double.records.remove("Patient/p1")
    async with client(double) as server:
        gone, unknown = (
            await refused(server.read("Patient", "p1")),
            await refused(server.read("Patient", "x")),
        )
    assert (gone.code, gone.status, unknown.code) == ("gone", 410, "not-found")
    assert str(gone) == "read of Patient: HTTP 410 (error deleted)"


async def test_an_id_makes_no_path_of_its_own(double: FhirServerDouble) -> None:
    """What a message calls an id is somebody else's text; nothing is asked."""
    async with client(double) as server:
        for id_ in ("../metadata", "p1/$everything", "p1?x=y", "..", "%2e%2e", ""):
            assert (await refused(server.read("Patient", id_))).code == "bad-reference"
    assert double.requests == []


async def test_reads_of_one_resource_at_one_time_are_one_request(double: FhirServerDouble) -> None:
    """Who gives up takes nothing away from the others."""
    double.faults.append(Fault("Patient/p1", seconds=0.1))
    async with client(double) as server:
        first = asyncio.create_task(server.read("Patient", "p1"))
        others = [asyncio.create_task(server.read("Patient", "p1")) for _ in range(4)]
        await asyncio.sleep(0.05)
        first.cancel()
        assert len(set(await asyncio.gather(*others))) == 1
        assert len(double.requests) == 1
        await server.read("Patient", "p1")
    assert len(double.requests) == 2


async def test_a_search_gives_page_after_page(double: FhirServerDouble) -> None:
    """To the end, or until there is enough."""
    async with client(double) as server:
        found = await pages(server, ("patient", "p1"))
        assert [len(page) for page in found] == [10, 10, 5]
        assert [len(page) for page in await pages(server, ("patient", "p1"), limit=12)] == [10, 10]
        assert [len(page) for page in await pages(server, ("patient", "p1"), ("_count", "3"), limit=3)] == [3]


@pytest.mark.parametrize(
    "url",
    [
        "https://elsewhere.example/fhir/Encounter?page=2",
        "http://127.0.0.1:1/fhir/Encounter?page=2",
        "/other/Encounter?page=2",
        "/fhir/../admin?page=2",
        "/fhir-of-others/Encounter",
        "//elsewhere.example/fhir/Encounter",
        "http://user@127.0.0.1/fhir",
    ],
)
async def test_a_next_page_elsewhere_is_not_followed(double: FhirServerDouble, url: str) -> None:
    """Another host, port or path is none of the server's own."""
    bundle = {"resourceType": "Bundle", "link": [{"relation": "next", "url": url}]}
    double.faults.append(Fault("Encounter", 200, json.dumps(bundle).encode()))
    async with client(double, authorization=static_bearer(SecretStr("token"))) as server:
        assert (await refused(pages(server))).code == "foreign-link"
    assert len(double.requests) == 1


async def test_a_relative_next_page_is_followed_and_a_circle_is_not(double: FhirServerDouble) -> None:
    """Below the base; the same page again ends it."""
    bundle = {"resourceType": "Bundle", "link": [{"relation": "next", "url": "Encounter?page=2"}]}
    double.faults.append(Fault("Encounter", 200, json.dumps(bundle).encode(), times=None))
    async with client(double) as server:
        assert (await refused(pages_of(server))).code == "paging-loop"
    assert double.lines() == ["GET Encounter", "GET Encounter?page=2"]


async def pages_of(server: FhirServer) -> list[bytes]:
    """All pages of Encounters, as they are."""
    return [page async for page in server.search("Encounter", ())]


async def test_a_refused_parameter_is_named_by_code_and_not_by_value(double: FhirServerDouble) -> None:
    """The server's own words quote a patient: they are left out."""
    double.rejects.add("status")
    async with client(double) as server:
        error = await refused(pages(server, ("patient", "p1"), ("status", "finished")))
    assert (error.code, error.status) == ("http-400", 400)
    assert str(error) == "search of Encounter by patient, status: HTTP 400 (error invalid)"


async def test_an_operation_and_the_capabilities_are_read(double: FhirServerDouble) -> None:
    """The statement only once."""
    double.faults.append(Fault(r"\$events", 200, b'{"resourceType": "Bundle"}'))
    async with client(double) as server:
        parameters = [("eventsSinceNumber", "3")]
        assert await server.operation("Subscription/1/$events", parameters) == b'{"resourceType": "Bundle"}'
        supports = await server.supports()
        await server.supports()
    assert double.lines() == ["GET Subscription/1/$events?eventsSinceNumber=3", "GET metadata"]
    assert (supports.fhir_version, supports.software) == ("4.0.1", "double 1")
    assert supports.lacks("Basic") and supports.lacks("Patient", "history-type")
    assert not supports.lacks("Patient", "read")


# -- what we keep there --


async def test_a_subscription_is_created_changed_and_deleted(double: FhirServerDouble) -> None:
    """With its id and versions; changed only where it is as it was known; deleted twice without complaint."""
    subscription = {"resourceType": "Subscription", "status": "requested"}
    async with client(double) as server:
        made = await server.create("Subscription", json.dumps(subscription).encode())
        changed = {**subscription, "id": made.id, "status": "off"}
        body = json.dumps(changed).encode()
        assert (await server.update("Subscription", made.id, body, if_version=made.version)).version == "2"
        late = await refused(server.update("Subscription", made.id, body, if_version=made.version))
        await server.delete("Subscription", made.id)
        await server.delete("Subscription", made.id)
    assert (made.version, late.code) == ("1", "version-conflict")
    assert double.records.get(f"Subscription/{made.id}") is None


async def test_a_create_is_never_sent_twice(double: FhirServerDouble) -> None:
    """It may have been kept."""
    double.faults.append(Fault("POST", 503, times=None))
    async with client(double) as server:
        assert (await refused(server.create("Subscription", b"{}"))).code == "overloaded"
    assert len(double.requests) == 1


# -- credentials --


async def test_a_token_or_a_password_is_shown_to_the_server(double: FhirServerDouble) -> None:
    """Without it nothing is answered, and the error says what to look at."""
    double.guard = Bearer("right")
    async with client(double) as server:
        error = await refused(server.read("Patient", "p1"))
    assert error.code == "unauthorized" and "client" in str(error.hint)
    async with client(double, authorization=static_bearer(SecretStr("right"))) as server:
        await server.read("Patient", "p1")
    async with client(double, authorization=basic("bridge", SecretStr("s3cret"))) as server:
        await refused(server.read("Patient", "p1"))
    assert double.requests[-1].headers["authorization"] == "Basic YnJpZGdlOnMzY3JldA=="


async def test_credentials_never_go_to_another_host(double: FhirServerDouble) -> None:
    """Neither by a redirect nor by an address that the server gave, such as one that was signed before."""
    other = FhirServerDouble(base="/files")
    other.faults.append(Fault("part", 200, b"{}", times=None))
    async with other.running(), client(double, authorization=static_bearer(SecretStr("token"))) as server:
        part = f"{other.url}/part"
        double.faults.append(Fault("moved", 302, headers={"location": part}, times=None))
        assert (await refused(server.operation("moved"))).code == "foreign-link"
        assert (await refused(server.request("GET", part))).code == "foreign-link"
        assert other.requests == []
        for url in (part, "moved"):
            assert (await server.request("GET", url, elsewhere=True)).status_code == 200
            async with server.stream("GET", url, elsewhere=True) as response:
                assert [piece async for piece in response.aiter_bytes()] == [b"{}"]
    assert len(other.requests) == 4
    assert all("authorization" not in asked.headers for asked in other.requests)
    assert all("authorization" in asked.headers for asked in double.requests)


async def test_a_reference_is_fetched_from_its_own_server_or_a_listed_one(
    double: FhirServerDouble,
) -> None:
    """From anywhere else it is not even asked for: a message must not make us knock at inner doors."""
    other = FhirServerDouble(base="/directory")
    other.records.put({"resourceType": "Practitioner", "id": "d1"})
    async with other.running():
        token = static_bearer(SecretStr("token"))
        async with client(double, authorization=token, other_bases=[other.url]) as server:
            assert b"Juniper" in await server.fetch("Patient/p1")
            assert b"Juniper" in await server.fetch(f"{double.url}/Patient/p1")
            assert b"d1" in await server.fetch(f"{other.url}/Practitioner/d1")
            for foreign in (
                "http://169.254.169.254/latest/meta-data",
                f"{other.origin}/elsewhere/Practitioner/d1",
                f"{other.url}/../secret",
                "file:///etc/passwd",
                "https://ehr.example/fhir/Patient/p1",
            ):
                assert (await refused(server.fetch(foreign))).code == "foreign-link", foreign
    assert other.lines() == ["GET Practitioner/d1"]
    assert "authorization" not in other.requests[0].headers


# -- politeness --


async def test_a_read_is_asked_again_when_the_server_says(double: FhirServerDouble) -> None:
    """After 429 by Retry-After, in seconds or as a date; after 502 and 503 by itself."""
    date = "Wed, 21 Oct 2015 07:28:00 GMT"
    double.faults += [
        Fault("", 429, headers={"retry-after": "0"}),
        Fault("", 503, headers={"retry-after": date}),
        Fault("", 502),
    ]
    async with client(double) as server:
        await server.read("Patient", "p1")
    assert len(double.requests) == 4


async def test_when_one_is_asked_to_wait_all_do(double: FhirServerDouble) -> None:
    """The limit is the server's, not one question's."""
    double.faults.append(Fault("Patient", 429, headers={"retry-after": "2"}))
    loop = asyncio.get_running_loop()
    async with client(double) as server:
        waiting = asyncio.create_task(server.read("Patient", "p1"))
        await asyncio.sleep(0.5)
        began = loop.time()
        await server.read("Encounter", "e1")
        assert loop.time() - began > 0.9
        await waiting


async def test_a_server_that_never_has_time_is_left_alone(double: FhirServerDouble) -> None:
    """After a few tries, or at once where it wants us to wait longer than we do."""
    double.faults.append(Fault("Patient", 503, times=None))
    double.faults.append(Fault("Encounter", 429, headers={"retry-after": "3600"}, times=None))
    async with client(double) as server:
        assert (await refused(server.read("Patient", "p1"))).code == "overloaded"
        assert (await refused(pages(server))).code == "rate-limited"
    assert (len(double.lines("GET Patient")), len(double.lines("GET Encounter"))) == (4, 1)


async def test_only_so_many_are_asked_at_once_and_no_more_a_second(double: FhirServerDouble) -> None:
    """Whoever asks: the limits are the server's."""
    double.faults.append(Fault("Encounter", seconds=0.03, times=None))
    limits = Limits(rate=100.0, max_in_flight=2)
    loop = asyncio.get_running_loop()
    async with client(double, limits=limits) as server:
        began = loop.time()
        await asyncio.gather(*(server.read("Encounter", f"e{number}") for number in range(12)))
        took = loop.time() - began
    assert double.most_at_once == 2
    assert took >= 0.11


# -- servers that are out of reach, or none --


async def test_silence_ends_in_a_timeout(double: FhirServerDouble) -> None:
    """Of the head and of the body alike."""
    double.faults.append(Fault("", seconds=5.0, times=None))
    limits = Limits(rate=None, timeout=0.2, tries=1)
    async with client(double, limits=limits) as server:
        assert (await refused(server.read("Patient", "p1"))).code == "timeout"


async def test_nobody_there_and_no_such_host_are_told_apart() -> None:
    """Each with what to do."""
    for url, code in (
        ("http://127.0.0.1:1/fhir", "unreachable"),
        ("https://ehr.invalid/fhir", "unknown-host"),
    ):
        async with FhirServer(url, limits=QUICK) as server:
            error = await refused(server.read("Patient", "p1"))
        assert error.code == code and error.hint


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"<html>log in</html>", "text/html"),
        (b"not json", "application/fhir+json"),
        (b'{"a": 1}', "application/json"),
        (b'{"resourceType": "Pat', "application/fhir+json"),
        (b"", "application/fhir+json"),
    ],
)
async def test_an_answer_that_is_no_fhir_says_so(
    double: FhirServerDouble, body: bytes, content_type: str
) -> None:
    """A log-in page, an empty answer, half an answer."""
    double.faults.append(Fault("", 200, body, {"content-type": content_type}, times=None))
    async with client(double) as server:
        assert (await refused(server.read("Patient", "p1"))).code == "not-fhir"
        assert (await refused(pages(server))).code == "not-fhir"
        assert (await refused(server.capabilities())).code == "not-fhir"


async def test_plain_http_is_refused_except_on_this_machine() -> None:
    """Before anything is asked."""
    for url in (
        "http://ehr.example/fhir",
        "ftp://ehr.example",
        "https://user:pw@ehr.example/fhir",
        "nothing",
    ):
        with pytest.raises(SettingsError):
            FhirServer(url)
