"""What this proves: a server that `subscribe` subscribed to tells the real `serve`, and what it does not tell
is found, also when our side was killed in between; everybody is called once (intake, section 1).
"""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Bridge, Hospital
from tests.doubles.fhir_server import FhirServerDouble
from tests.doubles.notifying import Notifier
from tests.forks import Forked

pytestmark = pytest.mark.timeout(240)

TOPIC = "http://ehr.example/topic/appointments"
SOURCE = """
min_gap = 0
[sources.ehr]
base_url = "{url}"
timezone = "America/New_York"
hold = 0
{more}
[sources.ehr.client]
bearer = "token"
rate = "1000/s"
[sources.ehr.subscription]
endpoint = "http://127.0.0.1:{port}/fhir/ehr"
{subscription}
"""
WAIT = 45.0
"""Seconds until something must have come: a machine may be busy."""


@dataclass
class Clinic:
    """A hospital's server that posts, `serve` at a port of its own, the endpoint's tasks."""

    bridge: Bridge
    people: Hospital
    server: FhirServerDouble
    notifier: Notifier
    endpoint: Any
    port: int
    process: Forked | None = None

    def set(self, more: str, subscription: str) -> None:
        """Write bridge.toml."""
        told = SOURCE.format(url=self.server.url, port=self.port, more=more, subscription=subscription)
        self.bridge.settings(self.endpoint.url, told)

    def start(self) -> None:
        """`fhir-bridge serve`, up when this returns."""
        self.process = self.bridge.process("serve", "--port", str(self.port), stderr=self._log)
        assert "webhooks" in self.process.stdout.readline()

    def kill(self) -> None:
        """As a power cut does."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate(timeout=10)

    def stop(self) -> str:
        """As an operator does; gives its log."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=30)
        return self._log.read_text()

    def said_of(self, alarm: str) -> list[str]:
        """What its log says of an alarm until now."""
        lines = [json.loads(line) for line in self._log.read_text().splitlines() if line.startswith("{")]
        return [line["event"] for line in lines if line.get("alarm") == alarm]

    @property
    def _log(self) -> Path:
        return self.bridge.folder / "serve.log"

    def book(self, *numbers: int) -> None:
        """Somebody wants to see these people."""
        for number in numbers:
            self.server.records.put(self.people.patient(number), self.people.appointment(number))
        self.notifier.settled(WAIT)

    def called(self, *numbers: int) -> None:
        """Wait until each of these people has a task; nobody has two."""
        wanted = sorted(f"+1212555{100 + number:04}" for number in numbers)
        until(lambda: len(self.endpoint.tasks) >= len(wanted))
        assert sorted(task["phone_number"] for task in self.endpoint.tasks) == wanted


def until(true: Callable[[], bool]) -> None:
    """Wait for it, at most WAIT seconds."""
    deadline = time.monotonic() + WAIT
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.25)


@pytest.fixture
def clinic(bridge: Bridge, hospital: Hospital, endpoint: Any) -> Iterator[Any]:
    """Starts one; what still runs is killed at the end."""
    with contextlib.ExitStack() as running, socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        port = chosen.getsockname()[1]
        chosen.close()

        def start(form: str, version: str, **manners: Any) -> Clinic:
            server = FhirServerDouble(fhir_version=version)
            notifier = Notifier(server, form, wait=0.05, **manners)
            running.enter_context(server.running_in_thread())
            running.enter_context(notifier.running())
            made = Clinic(bridge, hospital, server, notifier, endpoint(), port)
            running.callback(lambda: made.process and made.process.poll() is None and made.kill())
            return made

        yield start


def test_what_a_server_gave_up_while_we_were_down_is_found(clinic: Any) -> None:
    """As Medplum does it: signed, plain R4, five tries and never again, wanting FHIR for an answer. After
    kill -9 and a start anew the search finds who was missed, and nobody is called twice.
    """
    at: Clinic = clinic("r4", "4.0.1", secret="s3cret")
    signed = 'vendor = "medplum"\n[sources.ehr.credentials.hmac]\nsecret = "s3cret"\nheader = "X-Signature"'
    at.set(signed, 'criteria = ["Appointment?"]\nsweep_every = "2s"')
    at.start()
    made = at.bridge("subscribe", "create")
    assert (made.code, "made: active" in made.out) == (0, True), made.err
    (subscription,) = at.server.records.of_type("Subscription")
    assert subscription["extension"][0]["valueString"] == "s3cret"
    at.book(1)
    at.called(1)
    until(lambda: at.bridge("sources", "--json").json[0]["waiting"] == 0)
    at.kill()
    at.book(2, 3)
    assert "200" not in at.notifier.deliveries[-10:]
    (subscription,) = at.server.records.of_type("Subscription")
    assert subscription["status"] == "active"
    at.start()
    at.called(1, 2, 3)
    log = at.stop()
    assert '"search-found-missed"' in log
    assert "s3cret" not in log and "Sample" not in log
    (told,) = at.bridge("sources", "--json").json
    assert (told["events"], told["missed"], told["searches"][0]["error"]) == (1, 0, None)
    assert told["searches"][0]["missed"] >= 2


def test_a_gap_in_the_numbers_is_fetched_while_we_run(clinic: Any) -> None:
    """R5, ids only: the handshake is answered, what is named is read, and what never came is asked for by its
    numbers. Nothing is searched for: sweep_every is 0. Then heartbeats stay out, and somebody is told.
    """
    at: Clinic = clinic("r5", "5.0.0")
    at.set('[sources.ehr.credentials]\nbearer = "s3cret"',
           f'topics = ["{TOPIC}"]\ncontent = "id-only"\nsweep_every = 0\nheartbeat = "2s"')  # fmt: skip
    at.start()
    made = at.bridge("subscribe", "create")
    assert (made.code, "made: active" in made.out) == (0, True), made.err
    at.notifier.losing = True
    at.book(1, 2)
    at.notifier.losing = False
    at.book(3)
    at.called(1, 2, 3)
    until(lambda: at.bridge("sources", "--json").json[0]["missed"] == 0)
    (subscription,) = at.server.records.of_type("Subscription")
    (asked,) = at.server.lines(f"GET Subscription/{subscription['id']}/$events")
    assert "eventsSinceNumber=1&eventsUntilNumber=2" in asked
    until(lambda: "heartbeat-overdue" in at.bridge("status").out)
    found = at.bridge("sources")
    assert (found.code, "heartbeat-overdue" in found.out, "subscribe activate" in found.out) == (
        1,
        True,
        True,
    )
    at.notifier.heartbeat(subscription["id"])
    until(lambda: at.bridge("sources", "--json").json[0]["findings"] == [])
    until(lambda: "source-alarm-over" in at.said_of("heartbeat-overdue"))
    assert at.said_of("heartbeat-overdue")[:2] == ["source-alarm", "source-alarm-over"]
    at.stop()
    (told,) = at.bridge("sources", "--json").json
    assert (told["state"], told["missed"]) == ("active", 0)
