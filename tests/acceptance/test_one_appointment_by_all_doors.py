"""The same appointments by every door, in every order, from processes that share one ledger."""

from __future__ import annotations

import json
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

import httpx
import pytest

from tests.conftest import Bridge, EndpointThread, Hospital

DOORS = ("submit", "webhook", "migrate")
STORIES = ("told", "withdrawn", "booked", "deleted", "withdrawn before", "booked before", "deleted before")
"""What is said of an appointment: the same by all three doors; or between the first and the last, or before
both, that it is not wanted any more, in one of three ways."""

SOURCE = """\
[sources.ehr]
jurisdiction = "US"
timezone = "America/New_York"
hold = "0s"
[sources.ehr.credentials]
bearer = "token"
"""
WRITTEN = datetime.now(UTC) - timedelta(hours=20)
CHANGED = datetime.now(UTC) - timedelta(hours=2)

Json = dict[str, Any]


@dataclass(frozen=True)
class Told:
    """One appointment of a person of their own, its story and the order of the doors it comes by."""

    number: int
    story: str
    doors: tuple[str, ...]

    def message(self, hospital: Hospital, turn: int) -> Json:
        """What is said of it at a turn (0 to 2), as a Bundle."""
        ending = self.story.removesuffix(" before")
        if self.story == "told" or turn != (0 if self.story.endswith("before") else 1):
            return self._bundle(hospital, "1", WRITTEN, "proposed")
        if ending != "deleted":
            status = {"withdrawn": "entered-in-error", "booked": "booked"}[ending]
            return self._bundle(hospital, "2", CHANGED, status)
        entry = {
            "request": {"method": "DELETE", "url": f"Appointment/a{self.number}"},
            "response": {"status": "204", "lastModified": CHANGED.isoformat()},
        }
        return {"resourceType": "Bundle", "type": "history", "entry": [entry]}

    def _bundle(self, hospital: Hospital, version: str, written: datetime, status: str) -> Json:
        meta = {"versionId": version, "lastUpdated": written.isoformat()}
        appointment = hospital.appointment(self.number, status=status, meta=meta)
        entries = [{"resource": each} for each in (hospital.patient(self.number), appointment)]
        return {"resourceType": "Bundle", "type": "collection", "entry": entries}


EVERY = [
    Told(number, story, doors)
    for number, (story, doors) in enumerate(
        ((story, doors) for story in STORIES for doors in permutations(DOORS)), 1
    )
]


@dataclass
class Site:
    """The bridge in a folder of its own, its webhooks at `url`, and the endpoint."""

    bridge: Bridge
    hospital: Hospital
    endpoint: EndpointThread
    url: str

    def turn(self, number: int, *, sending: bool) -> None:
        """Everybody is told of by the door whose turn it is, all doors at once. While all is paused a
        migration waits: it is interrupted where it has kept everything."""
        files: dict[str, list[str]] = {}
        posted: list[Told] = []
        for told in EVERY:
            door = told.doors[number]
            if door == "webhook":
                posted.append(told)
                continue
            name = f"{door}-{number}-{told.number}.json"
            (self.bridge.folder / name).write_text(json.dumps(told.message(self.hospital, number)))
            files.setdefault(door, []).append(name)
        submit = self.bridge.process("submit", *files["submit"], "--wait", "30s" if sending else "0s")
        migrate = self.bridge.process(
            "migrate", *files["migrate"], "--send", "--yes", "--processes", "1", "--work", "scratch"
        )
        self._post(posted, number)
        if not sending:
            # On a busy machine lines come before it that say how far it is.
            assert any("took" in line for line in iter(migrate.stderr.readline, "")), migrate.communicate()
            migrate.send_signal(signal.SIGINT)
        for process, code in ((submit, 0), (migrate, 0 if sending else 130)):
            _, errors = process.communicate(timeout=90)
            assert process.returncode == code, errors
        # The second is said of one that had kept everything and was about to look what to send.
        assert sending or "the same command" in errors or "stopped at once" in errors
        self.until(lambda: not self.status["inbox"].get("received"))

    def _post(self, posted: list[Told], turn: int) -> None:
        with httpx.Client(
            base_url=self.url, headers={"Authorization": "Bearer token"}, trust_env=False
        ) as to:
            for told in posted:
                message = told.message(self.hospital, turn)
                if message["type"] == "history":
                    request = to.build_request("DELETE", f"/fhir/ehr/Appointment/a{told.number}")
                else:
                    request = to.build_request("POST", "/fhir/ehr", json=message)
                # Where all doors write at once on a busy machine a sender may be told to come again.
                for _ in range(20):
                    if (answer := to.send(request)).status_code != 503:
                        break
                    time.sleep(0.5)
                assert answer.status_code == 200, answer.text

    @property
    def status(self) -> Json:
        """What `status` says."""
        told: Json = self.bridge("status", "--json").json
        return told

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait for what processes do."""
        end = time.monotonic() + 90
        while not condition():
            assert time.monotonic() < end, self.status
            time.sleep(0.5)


@contextmanager
def serving(bridge: Bridge) -> Iterator[str]:
    """`fhir-bridge serve` in a process, with its own worker; its address."""
    process = bridge.process("serve", "--port", "0")
    try:
        first = process.stdout.readline()
        assert " at " in first, process.communicate()[1]
        yield first.split(" at ")[1].split(";")[0].strip()
    finally:
        process.terminate()
        process.communicate(timeout=30)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_one_appointment_by_all_doors_is_one_call_or_none(
    bridge: Bridge, hospital: Hospital, endpoint: Any, database: str, request: pytest.FixtureRequest
) -> None:
    """Proves: whichever door is first, second and last, an appointment that is told three times is one task;
    one that was withdrawn, booked or deleted before it was sent is none, also where its first version comes
    by another door afterwards; while everything is paused nobody is called at all."""
    running = endpoint()
    on_disk = database == "sqlite"
    ledger = "l.db" if on_disk else request.getfixturevalue("postgres_database")()
    bridge.settings(running.url, f'[ledger]\nurl = "{ledger}"\n{SOURCE}')
    assert bridge("pause", "--because", "we watch the doors").code == 0
    with serving(bridge) as url:
        site = Site(bridge, hospital, running, url)
        site.turn(0, sending=False)
        site.turn(1, sending=False)
        assert running.stats["tasks"] == 0
        assert bridge("resume", "--because", "all is told").code == 0
        wanted = {f"+121255501{told.number:02}" for told in EVERY if told.story == "told"}
        site.until(lambda: running.stats["tasks"] >= len(wanted))
        site.turn(2, sending=True)
        site.until(lambda: not {"ready", "sending"} & site.status["states"].keys())
    assert Counter(task["phone_number"] for task in running.tasks) == Counter(dict.fromkeys(wanted, 1))
    assert sum(site.status["states"].values()) == len(EVERY)
