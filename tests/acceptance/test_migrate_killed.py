"""A migration killed with -9 while it reads, decides, loads or sends, and run again, on both databases."""

from __future__ import annotations

import json
import shutil
import signal
import sqlite3
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from fhir_bridge.cli.main import run
from fhir_bridge.cli.migrate import STOPPED
from fhir_bridge.intake.bulk import partitioning, pieces
from tests.conftest import SETTINGS, Bridge, EndpointThread, Hospital
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
            os.kill(os.getpid(), signal.{signal})
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


Summary = dict[str, list[tuple[Any, ...]]]

TOLD = {
    "intents": "SELECT key, source, trigger, reason, identity FROM intents",
    "states": "SELECT key, state FROM intents",
    "triggers": "SELECT source, trigger, decision, reason FROM triggers",
    "members": "SELECT member, members.loss, key FROM members JOIN intents ON intents.id = intent_id",
    "inbox": "SELECT source, trigger, body FROM inbox",
}
"""All that a ledger says, but for ids and times."""


def summary(ledger: str) -> Summary:
    """What a ledger says, at a file or a URL."""
    connect = psycopg.connect if ledger.startswith("postgresql") else sqlite3.connect
    with closing(connect(ledger)) as database:  # type: ignore[operator]  # either will do
        return {name: sorted(map(tuple, database.execute(query))) for name, query in TOLD.items()}


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tangled export among thirty people of today, each with a number of their own."""
    folder = tmp_path_factory.mktemp("undisturbed")
    Tangle(20, 4, ties=20).write(folder / "export")
    hospital, numbers = Hospital(folder), range(1, PEOPLE + 1)
    people = [hospital.patient(number, id=f"h{number}") for number in numbers]
    wanted = [
        hospital.appointment(
            number, id=f"h{number}", participant=[{"actor": {"reference": f"Patient/h{number}"}}]
        )
        for number in numbers
    ]
    lines = "".join(json.dumps(one) + "\n" for one in (*wanted, *people))
    (folder / "export" / "z.ndjson").write_text(lines)
    return folder / "export"


@pytest.fixture(scope="module")
def undisturbed(export: Path) -> Summary:
    """What a ledger says after a run that nobody disturbs: the same decisions by the way of other machines,
    to another endpoint, and on SQLite."""
    (export.parent / "bridge.toml").write_text(
        SETTINGS.format(url="http://127.0.0.1:1", key="k", timeout="1s")
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(export.parent)
        assert run(["migrate", "export", "--out", "all", "--format", "arrivals", "--processes", "1"]) in (
            0,
            1,
        )
        assert run(["ledger", "load", "all"]) == 0
    return summary(str(export.parent / "fhir-bridge.db"))


@dataclass
class Site:
    """A folder with the export and settings, where its ledger is, and the endpoint."""

    bridge: Bridge
    ledger: str
    endpoint: EndpointThread

    def killed(self, stage: str, nth: int, number: signal.Signals = signal.SIGKILL) -> None:
        """The migration in a process of its own, which kills itself where it was nth times at a point; or
        stops itself, as a person or a service does."""
        program = KILLED.format(nth=nth, point=POINTS[stage], signal=number.name)
        process = self.bridge.process(*ARGUMENTS, program=program)
        _, errors = process.communicate(timeout=90)  # its processes hold its standard output too
        if number is signal.SIGKILL:
            assert process.returncode == -signal.SIGKILL, errors
        else:
            assert (process.returncode, STOPPED in errors) == (130, True), errors

    def run_again(self) -> None:
        """In this process, and so without others."""
        ran = self.bridge(*ARGUMENTS[:5], "1", *ARGUMENTS[6:])
        assert ran.code in (0, 1), ran.err

    @property
    def scratch(self) -> list[Path]:
        """What lies there."""
        return list((self.bridge.folder / "scratch").glob("*/*"))


@pytest.fixture(params=["sqlite", "postgresql"])
def site(request: pytest.FixtureRequest, bridge: Bridge, export: Path, endpoint: Any) -> Site:
    """A site on each database."""
    shutil.copytree(export, bridge.folder / "export")
    bridge.patch.setattr(pieces, "SMALLEST", SMALL)
    bridge.patch.setattr(partitioning, "_SMALL", SMALL)
    running = endpoint()
    on_disk = request.param == "sqlite"
    ledger: str = str(bridge.folder / "l.db") if on_disk else request.getfixturevalue("postgres_database")()
    more = f'max_in_flight = 4\nmin_gap = "0s"\nlease = "3s"\n[ledger]\nurl = "{ledger}"\n'
    bridge.settings(running.url, more, timeout="2s")
    return Site(bridge, ledger, running)


def test_killed_before_all_is_kept(site: Site, undisturbed: Summary) -> None:
    """Proves: killed while it reads, again while it decides, again while it loads, stopped there too, then
    run to its end, it makes the ledger of an undisturbed run and its tasks; nothing is sent before all is in,
    nor read twice."""
    site.killed("reading", 1)
    read = {path.name: path.stat().st_mtime_ns for path in site.scratch if path.name.startswith("read-")}
    assert read
    site.killed("deciding", 3)
    still = {path.name: path.stat().st_mtime_ns for path in site.scratch if path.name in read}
    assert still.items() <= read.items()
    site.killed("loading", 9)
    site.killed("loading", 12, signal.SIGTERM)
    assert not site.scratch
    assert 0 < len(summary(site.ledger)["intents"]) < len(undisturbed["intents"])
    assert site.endpoint.stats["tasks"] == 0
    site.run_again()
    ours = summary(site.ledger)
    assert {**ours, "states": None} == {**undisturbed, "states": None}
    became = [(key, "sent" if state == "ready" else state) for key, state in undisturbed["states"]]
    assert ours["states"] == became
    assert site.endpoint.stats["tasks"] == sum(state == "ready" for _, state in undisturbed["states"])
    assert not site.scratch


def test_killed_while_it_sends(site: Site, undisturbed: Summary) -> None:
    """Proves: what was on its way is in doubt, all else is sent, and nobody is phoned twice."""
    site.killed("sending", 7)
    time.sleep(3.2)  # its leases
    site.run_again()
    ours = summary(site.ledger)
    assert [row[:3] for row in ours["intents"]] == [row[:3] for row in undisturbed["intents"]]
    assert ours["triggers"] == undisturbed["triggers"]
    became = dict(ours["states"])
    calls = [key for key, state in undisturbed["states"] if state == "ready"]
    assert {became[key] for key in calls} <= {"sent", "in_doubt", "parked"}
    reasons = {row[0]: row[3] for row in ours["intents"]}
    kept_back = Counter(reasons[key] for key in calls if became[key] != "sent")
    assert kept_back.keys() <= {"lease-ran-out", "patient-in-doubt"}
    assert kept_back["lease-ran-out"] <= 4, "4 are in flight at once"
    assert len(calls) - kept_back.total() <= site.endpoint.stats["tasks"] <= len(calls)
    numbers = [task["phone_number"] for task in site.endpoint.tasks if "+12125550" in task["phone_number"]]
    assert len(numbers) == len(set(numbers)) >= PEOPLE - 8
