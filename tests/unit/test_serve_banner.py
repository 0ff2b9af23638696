"""What `serve` says when it is up: all that an engineer needs to point an EHR at it."""

from __future__ import annotations

from pathlib import Path

from fhir_bridge.cli.serve import banner
from fhir_bridge.http_server.serving import Listening
from fhir_bridge.settings import Settings

PROJECT = "123e4567-e89b-12d3-a456-426614174000"
SETTINGS = Settings.model_validate(
    {
        "api": {"url": "https://api.example", "project_id": PROJECT, "key": "k3y"},
        "sources": {"ehr": {"credentials": {"bearer": "t0ken"}}},
    }
)


def said(at: Listening, *, works: bool = True) -> str:
    """The banner as one text."""
    return "\n".join(banner(SETTINGS, f"http://{at.host}:8080", at, works=works))


def test_it_says_the_address_the_credentials_and_where_tasks_are_sent() -> None:
    """And no secret: somebody will paste it into a ticket."""
    text = said(Listening("127.0.0.1", 8080))
    for part in (
        "http://127.0.0.1:8080/fhir/ehr",
        "must present: bearer",
        "sent to https://api.example",
        "/readyz",
    ):
        assert part in text
    assert "t0ken" not in text and "k3y" not in text


def test_it_says_what_is_missing() -> None:
    """A worker, https towards the world, a FHIR server to read from."""
    assert "until `fhir-bridge worker` runs" in said(Listening("127.0.0.1", 8080), works=False)
    assert "sent to https" not in said(Listening("127.0.0.1", 8080), works=False)
    assert "plain http" in said(Listening("0.0.0.0", 8080))
    assert "plain http" not in said(Listening("0.0.0.0", 8443, Path("c.pem"), Path("k.pem")))
    assert "nothing is fetched" in said(Listening("127.0.0.1", 8080))
