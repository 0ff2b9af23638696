"""A record in a file that nobody can read holds the calls that wait already, whichever command brings it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from tests.conftest import Bridge, Hospital

Json = dict[str, Any]
Door = Callable[[Bridge, str], int]

BECAUSE = ("--because", "looked at the chart")
ELSEWHERE = ("--work", "scratch", "--processes", "1")
META = {"versionId": "3", "lastUpdated": "2026-11-23T08:00:00Z"}

BROKEN = (
    '{"resourceType":"Patient","id":"p1","deceasedBool',
    '{"resourceType":"Pateint","id":"p2","deceasedBoolean":true}',
    '{"resourceType":"Consent","id":"c","patient":{"reference":"Patient/p3","display":"\xe9"}}',
    '{"resourceType":"Appointment","id":"a4","status":"cancel',
)
"""Lines of NDJSON: a death cut off, one of a misspelt type, a denial that is not UTF-8, a cancellation that
names no patient."""


def by_submit(bridge: Bridge, name: str) -> int:
    """The third door."""
    return bridge("submit", name, "--wait", "0s").code


def by_migrate(bridge: Bridge, name: str) -> int:
    """The second."""
    return bridge("migrate", name, "--send", "--yes", *ELSEWHERE).code


def by_load(bridge: Bridge, name: str) -> int:
    """The second, decided on elsewhere."""
    code = bridge("migrate", name, "--out", "elsewhere.ndjson", "--format", "arrivals", *ELSEWHERE).code
    return bridge("ledger", "load", "elsewhere.ndjson").code or code


DOORS = (by_submit, by_migrate, by_load)


async def ends_while_paused(_watch: object) -> bool:
    """In the place of a look at what is paused: a migration would wait until it is resumed."""
    return False


@pytest.fixture
def endpoint_of(bridge: Bridge, hospital: Hospital, endpoint: Any) -> Any:
    """The endpoint, and five persons who wait in the ledger to be called; all is paused."""
    running = endpoint()
    bridge.settings(running.url)
    bridge.patch.setattr("fhir_bridge.cli.migrate_send.ALL", timedelta(0))
    bridge.patch.setattr("fhir_bridge.cli.migrate_send._Watch.is_paused", ends_while_paused)
    assert bridge("pause", "--because", "we load first").code == 0
    bridge("submit", *map(hospital.proposed, range(1, 6)), "--wait", "0s")
    assert held(bridge) == []
    return running


def write(bridge: Bridge, *lines: str | Json, name: str = "later.ndjson") -> str:
    """A file of NDJSON in Latin-1, some lines of it as they are; gives its name."""
    text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
    (bridge.folder / name).write_text(text, encoding="latin-1")
    return name


def held(bridge: Bridge) -> list[str]:
    """The triggers whose calls do not wait to be made any more, all for one reason."""
    told = bridge("status", "--json").json
    assert set(told["reasons"]) <= {"record-unreadable"}
    rejected = [item for item in bridge("worklist", "--json").json if item["kind"] == "intent"]
    assert told["states"].get("rejected", 0) == len(rejected) == 5 - told["states"].get("ready", 0)
    return sorted(item["trigger"] for item in rejected)


def messages(bridge: Bridge) -> list[Json]:
    """What of files waits for a person."""
    return [item for item in bridge("worklist", "--json").json if item["kind"] == "message"]


@pytest.mark.parametrize("door", DOORS)
def test_a_broken_line_holds_the_call_that_waits_for_whom_it_names(
    bridge: Bridge, hospital: Hospital, endpoint_of: Any, door: Door
) -> None:
    """By every command that writes decisions into the ledger; nobody else's call is held. The same file again
    says nothing new."""
    noise = '{"resourceType":"Observation","id":"o","subject":{"reference":"Patient/p5"},"val'
    name = write(bridge, noise, hospital.patient(9), *BROKEN)
    for _ in range(2):
        assert door(bridge, name) == 1
        assert held(bridge) == [f"Appointment/a{number}" for number in (1, 2, 3, 4)]
        told = [(item["place"], item["reason"], item["holds"]) for item in messages(bridge)]
        assert told == [
            (f"{name}:3", "not-json", ["Patient/p1"]),
            (f"{name}:4", "type-misspelt", ["Patient/p2"]),
            (f"{name}:5", "encoding", ["Patient/p3"]),
            (f"{name}:6", "not-json", ["Patient/p4"]),
        ]


@pytest.mark.parametrize("door", DOORS)
def test_the_line_that_was_mended_lets_the_call_go_on(
    bridge: Bridge, hospital: Hospital, endpoint_of: Any, door: Door
) -> None:
    """In the next run, and nobody need look any more."""
    broken = json.dumps(hospital.patient(1, meta=META)).replace('"Patient"', '"Pateint"')
    door(bridge, write(bridge, broken, hospital.patient(9)))
    assert held(bridge) == ["Appointment/a1"]
    assert door(bridge, write(bridge, hospital.patient(1, meta=META), hospital.patient(9))) in (0, 1)
    assert (held(bridge), messages(bridge)) == ([], [])


@pytest.mark.parametrize("door", DOORS)
def test_a_file_of_which_nothing_can_be_read_holds_too(bridge: Bridge, endpoint_of: Any, door: Door) -> None:
    """The exit code says that nothing could be read; that nobody is called whom it names is sure already."""
    assert door(bridge, write(bridge, BROKEN[0], name="cancelled.json")) == 4
    assert held(bridge) == ["Appointment/a1"]


@pytest.mark.parametrize("door", DOORS)
def test_who_stands_in_a_bundle_beside_a_record_that_names_nobody_is_held(
    bridge: Bridge, hospital: Hospital, endpoint_of: Any, door: Door
) -> None:
    """It may be about anybody there; it is one message, wherever in the Bundle it is torn."""
    torn = {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": {"resourceType": 5}}] * 3}
    torn["entry"] += [{"resource": hospital.patient(2)}]  # type: ignore[operator]
    door(bridge, write(bridge, torn, name="bundle.json"))
    assert held(bridge) == ["Appointment/a2"]
    (item,) = messages(bridge)
    assert (item["place"], item["holds"]) == ("bundle.json", ["Patient/p2"])


@pytest.mark.parametrize("door", DOORS)
def test_lines_that_name_nobody_are_one_thing_to_look_at_for_each_file(
    bridge: Bridge, hospital: Hospital, endpoint_of: Any, door: Door
) -> None:
    """Nobody can be held for them; a thousand of them are no thousand rows."""
    nobody = [f'{{"resourceType":"Consent","id":"c{number}","sta' for number in range(30)]
    door(bridge, write(bridge, hospital.patient(9), *nobody))
    assert held(bridge) == []
    (item,) = messages(bridge)
    assert (item["place"], item["holds"]) == ("later.ndjson", ["?"])


def test_a_preview_writes_nothing(bridge: Bridge, hospital: Hospital, endpoint_of: Any) -> None:
    """Whatever cannot be read."""
    name = write(bridge, hospital.patient(9), *BROKEN)
    before = (bridge.folder / "fhir-bridge.db").read_bytes()
    bridge("map", name)
    bridge("submit", name, "--dry-run")
    bridge("migrate", name, *ELSEWHERE)
    bridge("migrate", name, "--send", "--yes", "--max-errors", "0", *ELSEWHERE)
    assert (bridge.folder / "fhir-bridge.db").read_bytes() == before
    assert (held(bridge), messages(bridge)) == ([], [])


def test_somebody_looks_and_settles_what_a_file_said(
    bridge: Bridge, hospital: Hospital, endpoint_of: Any
) -> None:
    """The work list says where it stands and what to do; settled one by one or all at once, what was held
    goes."""
    ran = bridge("submit", write(bridge, hospital.patient(9), *BROKEN), "--wait", "0s")
    assert "4 broken parts may speak against calls" in ran.err
    told = bridge("worklist").out
    assert "later.ndjson:3" in told
    assert "mend it there and run the file again" in told
    assert "may speak against calling Patient/p1, who wait for it: mend it, or look at the chart" in told
    first = messages(bridge)[0]["key"]
    assert bridge("retry", "--message", first, *BECAUSE).code == 1
    assert bridge("replay").out == ""
    assert bridge("resolve", "--message", first, *BECAUSE).code == 0
    assert held(bridge) == [f"Appointment/a{number}" for number in (2, 3, 4)]
    assert bridge("resolve", "--messages", *BECAUSE).code == 2
    assert bridge("resolve", "--messages", "--reason", "encoding", "--yes", *BECAUSE).code == 0
    assert held(bridge) == ["Appointment/a2", "Appointment/a4"]
    bridge("resume", "--because", "all loaded")
    bridge("worker", "--drain")
    assert endpoint_of.stats["tasks"] == 3
    assert bridge("audit", "verify").code == 0
