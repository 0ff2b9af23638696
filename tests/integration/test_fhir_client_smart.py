"""SMART Backend Services against an authorization server that checks every assertion."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from joserfc.jwk import ECKey, RSAKey
from pydantic import SecretStr

from fhir_bridge.errors import FhirServerError, SettingsError
from fhir_bridge.fhir_client.keys import signing_key
from fhir_bridge.fhir_client.politeness import Limits
from fhir_bridge.fhir_client.server import FhirServer
from fhir_bridge.fhir_client.smart import BackendServices, read_scopes
from tests.doubles.faults import Fault
from tests.doubles.fhir_server import FhirServerDouble
from tests.doubles.smart import SmartDouble

QUICK = Limits(rate=None, backoff=0.01, backoff_cap=0.02, timeout=2.0, patience=5.0)
EC = ECKey.generate_key("P-384")
RSA = RSAKey.generate_key(2048)


def pem(key: ECKey | RSAKey) -> SecretStr:
    """The private key in PEM."""
    return SecretStr(key.as_pem(private=True).decode())


@pytest.fixture
async def smart() -> AsyncIterator[tuple[SmartDouble, FhirServerDouble]]:
    """An EHR with one patient that knows the client `bridge` by two keys."""
    smart = SmartDouble()
    smart.register("bridge", EC, "ec-1")
    smart.register("bridge", RSA, "rsa-1")
    double = FhirServerDouble(guard=smart, more=smart.routes())
    double.records.put({"resourceType": "Patient", "id": "p1"})
    async with double.running():
        yield smart, double


def client(double: FhirServerDouble, key: SecretStr, kid: str | None = "ec-1", **given: Any) -> FhirServer:
    """A client that shows itself as `bridge`."""
    given = {"client_id": "bridge", **given}
    services = BackendServices(double.url, given.pop("client_id"), signing_key(key, kid), **given)
    return FhirServer(double.url, authorization=services, limits=QUICK)


async def refused(coroutine: Any) -> FhirServerError:
    """The error that it ends in."""
    with pytest.raises(FhirServerError) as error:
        await coroutine
    return error.value


@pytest.mark.parametrize(
    ("key", "kid"),
    [
        (pem(EC), "ec-1"),
        (pem(RSA), "rsa-1"),
        (SecretStr(json.dumps({**EC.as_dict(private=True), "kid": "ec-1"})), None),
    ],
    ids=["ES384 from PEM", "RS384 from PEM", "ES384 from JWK with its own kid"],
)
async def test_the_key_says_how_it_signs(smart: Any, key: SecretStr, kid: str | None) -> None:
    """The endpoint verifies it; one token does for many reads."""
    authority, double = smart
    async with client(double, key, kid) as server:
        await asyncio.gather(*(server.read("Patient", "p1") for _ in range(3)))
        await server.read("Patient", "p1")
    assert (authority.granted, authority.refused) == (["system/*.read"], [])


async def test_a_token_is_renewed_before_it_ends_and_after_a_401(smart: Any) -> None:
    """Each with an assertion of its own; a server that forgot its tokens is asked for one more, once."""
    authority, double = smart
    authority.life = 0.5
    async with client(double, pem(EC)) as server:
        await server.read("Patient", "p1")
        await asyncio.sleep(0.42)
        await server.read("Patient", "p1")
        assert len(authority.granted) == 2
        assert not double.lines()[2:], "the second token came before a 401 did"
        authority.forget_tokens()
        await server.read("Patient", "p1")
        assert len(authority.granted) == 3
    assert authority.refused == []


async def test_a_server_that_takes_no_token_is_not_asked_for_ever(smart: Any) -> None:
    """One more token, then the refusal stands."""
    authority, double = smart
    double.faults.append(Fault("Patient/p1", 401, times=None))
    async with client(double, pem(EC)) as server:
        assert (await refused(server.read("Patient", "p1"))).code == "unauthorized"
    assert len(authority.granted) == 2
    assert len(double.requests) == 2


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({"client_id": "stranger"}, "invalid_client"),
        ({"kid": "unknown"}, "invalid_client"),
        ({"kid": "rsa-1"}, "invalid_client"),
        ({"scope": "system/Patient.write"}, "invalid_scope"),
    ],
)
async def test_a_refused_assertion_says_what_to_do(smart: Any, given: dict[str, str], word: str) -> None:
    """By OAuth's own code; the description, which repeats the request, is left out."""
    _, double = smart
    async with client(double, pem(EC), **given) as server:
        error = await refused(server.read("Patient", "p1"))
    assert error.code == "token-refused" and error.hint
    assert str(error) == f"token endpoint: HTTP 400 ({word})"
    assert double.requests == []


async def test_a_clock_that_is_wrong_is_thought_of(smart: Any) -> None:
    """The assertion has ended before it arrives."""
    authority, double = smart
    authority.skew = 3600
    async with client(double, pem(EC)) as server:
        error = await refused(server.read("Patient", "p1"))
    assert authority.refused == ["invalid_grant: exp"] and "clock" in str(error.hint)


async def test_the_token_url_may_be_set_and_need_not_be_found(smart: Any) -> None:
    """A server without a configuration: what is set does; without it, the error says so."""
    authority, double = smart
    authority.base = "/elsewhere"
    double.more[:] = authority.routes()
    url = f"{double.origin}/oauth/token"
    async with FhirServerDouble(guard=authority, records=double.records).running() as bare:
        async with client(bare, pem(EC)) as server:
            error = await refused(server.read("Patient", "p1"))
        assert error.code == "smart-configuration" and "token_url" in str(error.hint)
        async with client(bare, pem(EC), token_url=url) as server:
            await server.read("Patient", "p1")


async def test_no_token_travels_in_the_clear(smart: Any) -> None:
    """A configuration that names an endpoint without https is not followed."""
    _, double = smart
    double.faults.append(Fault("", times=None))
    services = BackendServices(
        double.url, "bridge", signing_key(pem(EC)), token_url="http://ehr.example/token"
    )
    async with FhirServer(double.url, authorization=services, limits=QUICK) as server:
        assert (await refused(server.read("Patient", "p1"))).code == "smart-configuration"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not a key",
        "{}",
        '{"kty": "EC"}',
        EC.as_pem(private=False).decode(),
        json.dumps(RSA.as_dict(private=False)),
        ECKey.generate_key("P-256").as_pem(private=True).decode(),
    ],
    ids=["nothing", "words", "empty JWK", "half a JWK", "public PEM", "public JWK", "P-256"],
)
def test_what_is_no_private_key_for_smart_is_refused_unseen(text: str) -> None:
    """Before anything is asked, with how to make one."""
    with pytest.raises(SettingsError) as error:
        signing_key(SecretStr(text))
    assert "openssl" in str(error.value.hint)
    assert not text or text not in str(error.value)


def test_without_a_kid_the_key_is_known_by_its_thumbprint() -> None:
    """RFC 7638: the same from PEM and from JWK."""
    jwk = {name: value for name, value in EC.as_dict(private=True).items() if name != "kid"}
    assert signing_key(pem(EC)).key_id == signing_key(SecretStr(json.dumps(jwk))).key_id == EC.thumbprint()
    assert "PRIVATE" not in repr(signing_key(pem(EC)))


@pytest.mark.parametrize(
    ("supported", "asked"),
    [
        ([], "system/*.read"),
        (["openid", "system/*.read"], "system/*.read"),
        (["system/*.read", "system/*.rs"], "system/*.rs"),
        (["system/Patient.read", "system/Patient.write", "user/*.read"], "system/Patient.read"),
        (["system/Patient.rs", "system/Encounter.s"], "system/Patient.rs system/Encounter.s"),
        (["launch"], "system/*.read"),
    ],
)
def test_what_is_asked_for_is_to_read(supported: list[str], asked: str) -> None:
    """As the server spells it, and never to write."""
    assert read_scopes(supported) == asked
