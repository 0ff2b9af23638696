"""The way to a FHIR server: its certificate, ours, and a proxy between."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trustme
from pydantic import SecretStr

from fhir_bridge.errors import FhirServerError, SettingsError
from fhir_bridge.fhir_client.authorization import static_bearer
from fhir_bridge.fhir_client.politeness import Limits
from fhir_bridge.fhir_client.route import Route
from fhir_bridge.fhir_client.server import FhirServer
from tests.doubles.fhir_server import FhirServerDouble
from tests.doubles.serving import Tls

QUICK = Limits(rate=None, tries=1, timeout=2.0)


class Papers:
    """An authority, and certificates of its making, as files."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        self.authority = self._written(folder / "ca.pem", authority.cert_pem)
        server = authority.issue_cert("localhost", "ehr.example")
        self.server = self._written(folder / "server.pem", *server.cert_chain_pems)
        self.server_key = self._written(folder / "server.key", server.private_key_pem)
        ours = authority.issue_cert("bridge.example")
        self.ours = self._written(folder / "ours.pem", *ours.cert_chain_pems)
        self.our_key = self._written(folder / "ours.key", ours.private_key_pem)
        strange = trustme.CA().issue_cert("bridge.example")
        self.strange = self._written(folder / "strange.pem", strange.private_key_and_cert_chain_pem)

    def tls(self, *, mutual: bool = False) -> Tls:
        """What the server shows, and whether it wants to see ours."""
        return Tls(self.server, self.server_key, self.authority if mutual else None)

    def _written(self, file: Path, *blobs: trustme.Blob) -> Path:
        file.write_bytes(b"".join(blob.bytes() for blob in blobs))
        return file


@pytest.fixture
def papers(tmp_path: Path) -> Papers:
    """An authority of this test's own."""
    return Papers(tmp_path)


@pytest.fixture
def ehr() -> FhirServerDouble:
    """A server with one patient."""
    double = FhirServerDouble()
    double.records.put({"resourceType": "Patient", "id": "p1"})
    return double


async def read(url: str, route: Route) -> str:
    """`read`, or the code of the error."""
    async with FhirServer(
        url, route=route, limits=QUICK, authorization=static_bearer(SecretStr("token"))
    ) as server:
        try:
            await server.read("Patient", "p1")
        except FhirServerError as error:
            return error.code
    return "read"


async def test_only_a_server_that_is_trusted_is_read(papers: Papers, ehr: FhirServerDouble) -> None:
    """By the authorities of network.ca_bundle, and under the name of its certificate."""
    async with ehr.running(papers.tls()):
        assert await read(ehr.url, Route(ca_bundle=papers.authority)) == "read"
        assert await read(ehr.url, Route()) == "tls"
        other_name = ehr.url.replace("localhost", "127.0.0.1")
        assert await read(other_name, Route(ca_bundle=papers.authority)) == "tls"
    assert len(ehr.requests) == 1, "no request, and no token, before the certificate is trusted"


async def test_a_server_may_want_our_certificate(papers: Papers, ehr: FhirServerDouble) -> None:
    """One of an authority it trusts; in one file with its key, or in two."""
    both = Route(ca_bundle=papers.authority, certificate=papers.ours, key=papers.our_key)
    strange = Route(ca_bundle=papers.authority, certificate=papers.strange)
    async with ehr.running(papers.tls(mutual=True)):
        assert await read(ehr.url, both) == "read"
        for route in (Route(ca_bundle=papers.authority), strange):
            assert await read(ehr.url, route) in ("tls", "unreachable")
    assert len(ehr.requests) == 1


async def test_files_that_cannot_be_used_are_named(papers: Papers, tmp_path: Path) -> None:
    """When the program starts, not at the first read."""
    unusable = (
        Route(ca_bundle=tmp_path / "absent.pem"),
        Route(certificate=papers.ours),
        Route(certificate=papers.ours, key=papers.server_key),
        Route(proxy=SecretStr("socks5://user:pass@proxy.example")),
    )
    for route in unusable:
        with pytest.raises(SettingsError) as error:
            FhirServer("https://ehr.example/fhir", route=route)
        assert "pass@" not in str(error.value)


@contextlib.asynccontextmanager
async def tunnelling(port: int, heads: list[bytes]) -> AsyncIterator[str]:
    """A proxy that tunnels whatever it is asked for to a port of this machine; `heads` are the requests it
    got."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        onward, back = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await asyncio.gather(_pour(reader, back), _pour(onward, writer))

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"http://user:pass@127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def _pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


async def test_a_proxy_carries_what_it_cannot_read(papers: Papers, ehr: FhirServerDouble) -> None:
    """It is asked for a tunnel, with its own password; the token goes inside. This machine is reached
    without it."""
    heads: list[bytes] = []
    async with ehr.running(papers.tls()):
        port = int(ehr.origin.rpartition(":")[2])
        async with tunnelling(port, heads) as proxy:
            route = Route(proxy=SecretStr(proxy), ca_bundle=papers.authority)
            assert await read("https://ehr.example/fhir", route) == "read"
            assert await read(ehr.url, route) == "read"
    assert len(heads) == 1 and heads[0].startswith(b"CONNECT ehr.example:443 ")
    assert b"Basic dXNlcjpwYXNz" in heads[0] and b"Bearer" not in heads[0]


async def test_a_proxy_that_refuses_is_told_from_a_server_that_does() -> None:
    """With the setting to look at."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        proxy = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        assert await read("https://ehr.example/fhir", Route(proxy=SecretStr(proxy))) == "proxy"
