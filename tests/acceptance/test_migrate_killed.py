"""A migration killed with -9 while it reads, decides, loads or sends, and run again."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from fhir_bridge.intake.bulk import partitioning, pieces
from tests.integration.tangled import Tangle

PEOPLE = 30
SMALL = 20_000
"""Bytes worth a process and a partition, so that there are several of both."""

ARGUMENTS = ("migrate", "export", "--send", "--yes", "--processes", "2", "--work", "scratch", "--json")

KILLED = """
import os, signal
import fhir_bridge.intake.bulk.pieces as pieces, fhir_bridge.intake.bulk.partitioning as partitioning
import fhir_bridge.migration.loading as loading, fhir_bridge.migration.run as migration
import fhir_bridge.ledger.store, fhir_bridge.task_api.client
pieces.SMALLEST = partitioning._SMALL = 20000
loading.BATCH = 10
left = {nth}

def dying(of):
    def once_more(*given, **more):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return of(*given, **more)
    return once_more

{point} = dying({point})
from fhir_bridge.cli.main import main
main()
"""

POINTS = {
    "reading": "partitioning.Reader",
    "deciding": "migration.read_outcome",
    "loading": "fhir_bridge.ledger.store.SqlLedger.accept",
    "sending": "fhir_bridge.task_api.client.TaskApiClient.create_task",
}
"""What a migration comes to again and again in each of its stages."""


def summary(ledger: Path) -> dict[str, list[tuple[Any, ...]]]:
    """All that a ledger says, but for ids and times."""
    with closing(sqlite3.connect(ledger)) as database:
        told = {
            "intents": "SELECT key, source, trigger, reason, identity FROM intents",
            "states": "SELECT key, state FROM intents",
            "triggers": "SELECT source, trigger, decision, reason FROM triggers",
            "members": "SELECT member, members.loss, key FROM members JOIN intents ON intents.id = intent_id",
            "inbox": "SELECT source, trigger, body FROM inbox",
        }
        return {name: sorted(database.execute(query)) for name, query in told.items()}


@pytest.fixture
def export(bridge: Any, hospital: Any) -> None:
    """A tangled export among thirty people of today, each with a number of their own."""
    Tangle(20, 4, ties=20).write(bridge.folder / "export")
    people = [hospital.patient(number, id=f"h{number}") for number in range(1, PEOPLE + 1)]
    wanted = [
        hospital.appointment(
            number, id=f"h{number}", participant=[{"actor": {"reference": f"Patient/h{number}"}}]
        )
        for number in range(1, PEOPLE + 1)
    ]
    lines = "".join(json.dumps(one) + "\n" for one in (*wanted, *people))
    (bridge.folder / "export" / "z.ndjson").write_text(lines)


@pytest.fixture
def site(bridge: Any, export: None, endpoint: Any) -> Any:
    """An endpoint and the settings for it; gives the endpoint."""
    bridge.patch.setattr(pieces, "SMALLEST", SMALL)
    bridge.patch.setattr(partitioning, "_SMALL", SMALL)
    running = endpoint()
    bridge.settings(running.url, 'min_gap = "0s"\nlease = "3s"\n', timeout="2s")
    return running


def undisturbed(bridge: Any) -> dict[str, list[tuple[Any, ...]]]:
    """What a ledger says after a run that nobody disturbs, to another endpoint's pause: nothing is sent."""
    (bridge.folder / "other.toml").write_text(
        (bridge.folder / "bridge.toml").read_text() + '[ledger]\nurl = "undisturbed.db"\n'
    )
    load(bridge, "--config", "other.toml")
    return summary(bridge.folder / "undisturbed.db")


def load(bridge: Any, *config: str) -> None:
    """The same decisions by the way of other machines."""
    ran = bridge(*config, "migrate", "export", "--out", "all.nd", "--format", "arrivals", "--processes", "1")
    assert ran.code in (0, 1), ran.err
    assert bridge(*config, "ledger", "load", "all.nd").code == 0


def killed(bridge: Any, stage: str, nth: int) -> None:
    """The migration in a process of its own, which kills itself where it comes to a point the nth time."""
    process = bridge.process(*ARGUMENTS, program=KILLED.format(nth=nth, point=POINTS[stage]))
    _, errors = process.communicate(timeout=90)
    assert process.returncode == -signal.SIGKILL, errors


def run_again(bridge: Any) -> None:
    """In this process, and so without others."""
    ran = bridge(*ARGUMENTS[:5], "1", *ARGUMENTS[6:])
    assert ran.code in (0, 1), ran.err


@pytest.mark.parametrize(("stage", "nth"), [("reading", 1), ("deciding", 3)])
def test_killed_before_anything_is_kept(bridge: Any, site: Any, stage: str, nth: int) -> None:
    """Proves: run again it makes of the scratch that was left the ledger of an undisturbed run."""
    killed(bridge, stage, nth)
    assert any((bridge.folder / "scratch").glob("*/*"))
    assert not (bridge.folder / "fhir-bridge.db").exists() or site.stats["tasks"] == 0
    run_again(bridge)
    ours, theirs = summary(bridge.folder / "fhir-bridge.db"), undisturbed(bridge)
    assert {**ours, "states": None} == {**theirs, "states": None}
    assert ours["states"] == [(key, "sent" if state == "ready" else state) for key, state in theirs["states"]]
    assert site.stats["tasks"] == sum(state == "ready" for _, state in theirs["states"])
    assert not any((bridge.folder / "scratch").iterdir())


@pytest.mark.parametrize("nth", [3])
def test_killed_while_it_loads(bridge: Any, site: Any, nth: int) -> None:
    """Proves: what was in is not taken in twice, what was not comes in; nothing is sent before all is in."""
    killed(bridge, "loading", nth)
    assert site.stats["tasks"] == 0
    run_again(bridge)
    ours, theirs = summary(bridge.folder / "fhir-bridge.db"), undisturbed(bridge)
    assert {**ours, "states": None} == {**theirs, "states": None}
    assert site.stats["tasks"] == sum(state == "ready" for _, state in theirs["states"])


def test_killed_while_it_sends(bridge: Any, site: Any) -> None:
    """Proves: what was on its way is in doubt, all else is sent, and nobody is phoned twice."""
    killed(bridge, "sending", 7)
    time.sleep(3.2)  # its leases
    run_again(bridge)
    ours, theirs = summary(bridge.folder / "fhir-bridge.db"), undisturbed(bridge)
    assert [row[:3] for row in ours["intents"]] == [row[:3] for row in theirs["intents"]]
    assert ours["triggers"] == theirs["triggers"]
    became = dict(ours["states"])
    calls = [key for key, state in theirs["states"] if state == "ready"]
    assert {became[key] for key in calls} <= {"sent", "in_doubt", "parked"}
    sent = sum(became[key] == "sent" for key in calls)
    assert 7 <= sent <= site.stats["tasks"] <= len(calls)


def test_processes_of_a_killed_migration_end(bridge: Any, site: Any) -> None:
    """Proves: none waits for a parent that is gone, holding patient data."""
    program = KILLED.format(nth=2, point=POINTS["deciding"])
    process: subprocess.Popen[str] = bridge.process(*ARGUMENTS, program=program)
    process.communicate(timeout=90)  # its processes hold its standard output too
    assert process.returncode == -signal.SIGKILL
