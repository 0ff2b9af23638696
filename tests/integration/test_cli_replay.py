"""`replay`: what would be decided otherwise, from the command line."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fhir_bridge.app.doors import processor_of
from fhir_bridge.app.ledgers import ledger_of
from fhir_bridge.app.servers import fhir_servers
from fhir_bridge.ledger.sources.messages import Received
from fhir_bridge.settings import load_settings
from tests.conftest import Bridge, Hospital

NOW = datetime.now(UTC) - timedelta(minutes=5)


def keep(folder: Path, *bodies: dict[str, Any]) -> None:
    """Messages that came five minutes ago, processed."""

    async def process() -> None:
        loaded = load_settings(environ={}, working_folder=folder)
        async with ledger_of(loaded) as ledger, fhir_servers(loaded.settings) as servers:
            await ledger.receive([Received("ehr", json.dumps(body).encode(), NOW) for body in bodies])
            await processor_of(loaded, ledger, servers, lambda: NOW).drain(asyncio.Event())

    asyncio.run(process())


def bundle(*resources: dict[str, Any]) -> dict[str, Any]:
    """A message with these resources."""
    return {"resourceType": "Bundle", "type": "history", "entry": [{"resource": each} for each in resources]}


@pytest.fixture
def kept(bridge: Bridge, hospital: Hospital) -> Bridge:
    """A ledger with one message that calls and one that a later version replaced."""
    bridge.settings("http://127.0.0.1:1", "[sources.ehr]\n")
    first = hospital.appointment(2, meta={"versionId": "1"})
    later = hospital.appointment(2, meta={"versionId": "2"}, status="booked")
    keep(
        bridge.folder,
        bundle(hospital.appointment(1), hospital.patient(1)),
        bundle(first, hospital.patient(2)),
        bundle(later, hospital.patient(2)),
    )
    return bridge


def test_what_is_decided_as_it_was_says_so(kept: Bridge) -> None:
    """Exit code 0; a version that another one replaced is not compared."""
    ran = kept("replay", "--json")
    assert ran.code == 0, ran.err
    assert [(each["trigger"], each["comparison"]) for each in ran.json] == [
        ("Appointment/a1", "same"),
        ("Appointment/a2", "superseded"),
        ("Appointment/a2", "same"),
    ]


def test_a_rule_that_changes_a_decision_is_seen_before_it_is_used(kept: Bridge) -> None:
    """Exit code 1, the decisions then and now; nothing is kept of it."""
    ran = kept("replay", "--set", "consent=opt-in", "--json")
    assert ran.code == 1
    changed = [each for each in ran.json if each["comparison"] == "differs"]
    assert [(each["then"], each["now"]) for each in changed] == [("call", "skip consent-missing")]
    assert kept("status", "--json").json["states"] == {"ready": 1, "skipped": 1}
    told = kept("replay", "--set", "consent=opt-in")
    assert "differs\n  then  call\n  now   skip consent-missing\n" in told.out
    assert "Juniper" not in told.out + told.err
    assert "--fetch" not in told.err
    with (kept.folder / "bridge.toml").open("a") as settings:
        settings.write('base_url = "https://ehr.example/fhir"\n')
    assert "--fetch" in kept("replay", "--set", "consent=opt-in").err


def test_a_field_that_changes_is_named_and_not_shown(kept: Bridge) -> None:
    """The request's fields by their names: values are patient data."""
    ran = kept("replay", "--set", "timezone=Asia/Tokyo", "--set", "context.limit=1", "--json")
    assert all(set(each) >= {"trigger", "then", "now", "fields"} for each in ran.json)
    assert "555" not in ran.out


def test_a_range_a_message_or_a_file_can_be_named(kept: Bridge, hospital: Hospital) -> None:
    """--since and --until, --id, FILE; an unknown trigger of a file is new."""
    assert kept("replay", "--since", datetime.now(UTC).isoformat(), "--json").json == []
    assert len(kept("replay", "--until", datetime.now(UTC).isoformat(), "--json").json) == 3
    assert len(kept("replay", "--id", "1", "--json").json) == 1
    name = hospital.write("told.json", hospital.appointment(7), hospital.patient(7))
    ran = kept("replay", name, "--source", "ehr", "--json")
    assert (ran.code, [each["comparison"] for each in ran.json]) == (1, ["new"])
    broken = hospital.folder / "broken.json"
    broken.write_text('{"resourceType":"Bundle","entry":5}')
    ran = kept("replay", str(broken), "--json")
    assert [(each["comparison"], each["now"]) for each in ran.json] == [
        ("unreadable", "notification-element")
    ]
