"""What this proves: `serve` speaks https by itself, and says which file is wrong where it cannot."""

from __future__ import annotations

import signal
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from tests.conftest import Bridge
from tests.forks import Forked

SOURCE = '[sources.ehr.credentials]\nbearer = "token"\n'
APPOINTMENT = {"resourceType": "Appointment", "id": "a1", "status": "booked"}
END = b"-----END CERTIFICATE-----"


@dataclass(frozen=True)
class Papers:
    """A certificate for this machine, its key, and the authority that it is trusted by, as files."""

    certificate: Path
    key: Path
    authority: Path


@pytest.fixture
def papers(tmp_path: Path) -> Papers:
    """Made for this test."""
    authority = trustme.CA()
    made = authority.issue_cert("127.0.0.1")
    found = Papers(tmp_path / "chain.pem", tmp_path / "key.pem", tmp_path / "ca.pem")
    found.certificate.write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
    found.key.write_bytes(made.private_key_pem.bytes())
    found.authority.write_bytes(authority.cert_pem.bytes())
    return found


@pytest.fixture
def served(bridge: Bridge, papers: Papers) -> tuple[Forked, str]:
    """`serve` with that certificate in a process of its own, and its URL."""
    bridge.settings("http://127.0.0.1:1", SOURCE)
    words = ("--tls-cert", papers.certificate.name, "--tls-key", papers.key.name)
    process = bridge.process("serve", "--port", "0", "--no-worker", *words)
    return process, process.stdout.readline().split(" at ")[1].split(";")[0]


def test_a_notification_over_https_is_kept(
    bridge: Bridge, papers: Papers, served: tuple[Forked, str]
) -> None:
    """By a sender that trusts the authority; who speaks plain http to it is hung up on."""
    process, url = served
    assert url.startswith("https://127.0.0.1:")
    with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=10) as plain:
        plain.sendall(b"POST /fhir/ehr HTTP/1.1\r\nHost: bridge\r\nContent-Length: 2\r\n\r\n{}")
        assert plain.recv(1) == b""
    context = ssl.create_default_context(cafile=papers.authority)
    answer = httpx.post(
        f"{url}/fhir/ehr",
        json=APPOINTMENT,
        headers={"Authorization": "Bearer token"},
        verify=context,
        trust_env=False,
    )
    assert (answer.status_code, answer.json()["resourceType"]) == (200, "OperationOutcome")
    process.send_signal(signal.SIGTERM)
    _, log = process.communicate(timeout=20)
    assert (process.returncode, "Traceback" in log) == (0, False)
    assert bridge("status", "--json").json["inbox"]["received"] == 1


def encrypted(key: Path) -> bytes:
    """The same key under a passphrase."""
    loaded = load_pem_private_key(key.read_bytes(), None)
    return loaded.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"word"))


def test_a_certificate_that_cannot_be_used_is_told_by_its_file(bridge: Bridge, papers: Papers) -> None:
    """Exit code 3, which file, what is wrong with it and what to do; nobody is asked for a passphrase."""
    bridge.settings("http://127.0.0.1:1", SOURCE)
    other = trustme.CA().issue_cert("127.0.0.1").private_key_pem.bytes()
    whole = papers.certificate.read_bytes()
    spoilt = {
        "other.pem": other,
        "encrypted.pem": encrypted(papers.key),
        "der.pem": ssl.PEM_cert_to_DER_cert(whole.decode()[: whole.index(END) + len(END)]),
        "cut.pem": whole[:200] + b"\n" + END + b"\n",
        "empty.pem": b"",
    }  # fmt: skip
    for name, content in spoilt.items():
        Path(name).write_bytes(content)
    chain, key = papers.certificate.name, papers.key.name
    for certificate, its_key, says, does in (
        (chain, "other.pem", "the key other.pem is not that of the first certificate", "stands first"),
        (chain, "encrypted.pem", "the key encrypted.pem is under a passphrase", "openssl pkey"),
        ("der.pem", key, "der.pem holds no certificate in PEM", "openssl x509 -inform der"),
        ("cut.pem", key, "the certificate cut.pem or its key key.pem is damaged", "say which"),
        ("empty.pem", key, "empty.pem holds no certificate", "openssl"),
        (key, chain, "key.pem holds no certificate", "openssl"),
        (chain, chain, "chain.pem holds no private key", "openssl"),
    ):
        ran = bridge("serve", "--port", "0", "--no-worker", "--tls-cert", certificate, "--tls-key", its_key)
        assert (ran.code, says in ran.err, does in ran.err) == (3, True, True), (says, ran.err)
    assert bridge("serve", "--port", "0", "--tls-cert", chain).code == 2
    assert bridge("serve", "--port", "0", "--tls-cert", "nowhere.pem", "--tls-key", key).code == 2
