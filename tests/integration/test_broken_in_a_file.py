"""A record in a file that nobody can read holds the calls that wait already, whichever command brings it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from tests.conftest import Bridge, Hospital

BECAUSE = ("--because", "looked at the chart")
HELD = ["Patient/p1"]

META = {"versionId": "3", "lastUpdated": "2026-11-23T08:00:00Z"}

BROKEN = {
    "a death that is cut off": '{"resourceType":"Patient","id":"p1","deceasedBool',
    "a death of a Pateint": '{"resourceType":"Pateint","id":"p1","deceasedBoolean":true}',
    "a denial in another encoding": '{"resourceType":"Consent","id":"c","status":"active",'
    '"patient":{"reference":"Patient/p1","display":"\xe9"}}',
    "a cancellation that names no patient": '{"resourceType":"Appointment","id":"a1","status":"cancel',
}
"""Lines of NDJSON, each of which may have stopped the call of Patient/p1."""


def by_submit(bridge: Bridge, name: str) -> int:
    """The third door."""
    return bridge("submit", name, "--wait", "0s").code


def by_migrate(bridge: Bridge, name: str) -> int:
    """The second."""
    return bridge("migrate", name, "--send", "--yes", "--work", "scratch", "--processes", "1").code


def by_load(bridge: Bridge, name: str) -> int:
    """The second, decided on elsewhere."""
    out = ("--out", "elsewhere.ndjson", "--format", "arrivals", "--work", "scratch", "--processes", "1")
    bridge("migrate", name, *out)
    return bridge("ledger", "load", "elsewhere.ndjson").code


DOORS = (by_submit, by_migrate, by_load)


async def ends_while_paused(_watch: object) -> bool:
    """In the place of a look at what is paused: a migration would wait until it is resumed."""
    return False


@pytest.fixture
def running(bridge: Bridge, hospital: Hospital, endpoint: Any) -> Any:
    """The endpoint; two persons wait in the ledger to be called, and all is paused."""
    running = endpoint()
    bridge.settings(running.url)
    bridge.patch.setattr("fhir_bridge.cli.migrate_send.ALL", timedelta(0))
    bridge.patch.setattr("fhir_bridge.cli.migrate_send._Watch.is_paused", ends_while_paused)
    assert bridge("pause", "--because", "we load first").code == 0
    bridge("submit", hospital.proposed(1), hospital.proposed(2), "--wait", "0s")
    assert bridge("status", "--json").json["states"] == {"ready": 2}
    return running


def write(bridge: Bridge, *lines: str | dict[str, Any], name: str = "later.ndjson") -> str:
    """A file of NDJSON in Latin-1, some lines of it as they are; gives its name."""
    text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
    (bridge.folder / name).write_text(text, encoding="latin-1")
    return name


def stands(bridge: Bridge, number: int = 1) -> tuple[str, str | None]:
    """State and reason of the call of a person."""
    shown = bridge("show", f"Appointment/a{number}", "--json").json
    return shown["state"], shown["reason"]


def messages(bridge: Bridge) -> list[dict[str, Any]]:
    """What of files waits for a person."""
    return [item for item in bridge("worklist", "--json").json if item["kind"] == "message"]


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_line_holds_the_call_that_waits_for_whom_it_names(
    bridge: Bridge, hospital: Hospital, running: Any, what: str, door: Callable[[Bridge, str], int]
) -> None:
    """By every command that writes decisions into the ledger; nobody else's call is held."""
    door(bridge, write(bridge, hospital.patient(9), BROKEN[what]))
    assert stands(bridge) == ("rejected", "record-unreadable")
    assert stands(bridge, 2)[0] == "ready"
    (item,) = messages(bridge)
    assert item["holds"] == HELD
