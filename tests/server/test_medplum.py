"""The bridge against a FHIR server that we did not write: what it asks is understood, and the answers are.

What our own double does is what we believe of servers; here Medplum's router, its search and its subscription
criteria say what they do.
"""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fhir_bridge.fetching.searching import TYPES
from tests.conftest import Bridge, Hospital
from tests.server.conftest import TOKEN, Medplum

PEOPLE = 12
CONDITIONS = 45
"""More than two of Medplum's pages."""
WAIT = 30.0
SOURCE = """
min_gap = 0
[sources.ehr]
vendor = "medplum"
base_url = "{base}"
timezone = "America/New_York"
hold = "{hold}"
[sources.ehr.credentials]
{credentials}
[sources.ehr.client]
bearer = "{token}"
rate = "1000/s"
[sources.ehr.subscription]
endpoint = "http://127.0.0.1:{port}/fhir/ehr"
sweep_every = "1s"
fetch_every = "1s"
{more}
"""


@pytest.fixture
def port() -> int:
    """One that nobody listens at."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture
def told(bridge: Bridge, medplum: Medplum, endpoint: Any, port: int) -> Callable[..., Any]:
    """Writes bridge.toml, and gives the endpoint."""

    def settings(
        more: str = "", hold: str = "0", token: str = TOKEN, credentials: str = 'bearer = "s3cret"'
    ) -> Any:
        running = endpoint()
        given = {"more": more, "hold": hold, "token": token, "credentials": credentials}
        text = SOURCE.format(base=medplum.base.rstrip("/"), port=port, **given)
        bridge.settings(running.url, text)
        return running

    return settings


@pytest.fixture
def serving(bridge: Bridge, port: int) -> Callable[[], Any]:
    """`serve` in a process of its own, up within."""

    @contextlib.contextmanager
    def up() -> Iterator[None]:
        process = bridge.process("serve", "--port", str(port))
        assert "webhooks" in process.stdout.readline()
        try:
            yield
        finally:
            process.terminate()
            process.communicate(timeout=20)

    return up


def lost(hospital: Hospital, number: int = 1) -> dict[str, Any]:
    """An appointment of tomorrow that was cancelled today, as a client gives it: without an id."""
    start = datetime.now(UTC) + timedelta(days=1)
    times = {"start": start.isoformat(), "end": (start + timedelta(minutes=30)).isoformat()}
    given = hospital.appointment(number, status="cancelled", **times)
    return {name: value for name, value in given.items() if name not in ("id", "meta", "requestedPeriod")}


def until(true: Callable[[], object]) -> None:
    """Wait for something, and fail where it does not come."""
    deadline = time.monotonic() + WAIT
    while not true():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.1)


def test_check_finds_nothing_to_mend_and_names_a_wrong_key(bridge: Bridge, told: Any) -> None:
    """Every search in its first way."""
    told()
    bridge("subscribe", "create")
    ran = bridge("check", "ehr")
    assert ran.code == 0, ran.out
    assert "medplum 5" in ran.out
    assert ran.out.count("in way 1 of") == len(TYPES)
    told(token="another")
    ran = bridge("check", "ehr")
    assert (ran.code, "HTTP 401" in ran.out) == (5, True)


def test_a_crawl_fetches_what_migrate_decides_as_map_does(
    bridge: Bridge, hospital: Hospital, medplum: Medplum, told: Any
) -> None:
    """Page by page, since an instant, and with practitioners and their roles."""
    told()
    practitioner = {"reference": "Practitioner/d1"}
    everybody = [
        *(hospital.patient(number) for number in range(PEOPLE)),
        *(hospital.appointment(number) for number in range(PEOPLE)),
        *(
            {"resourceType": "Condition", "id": f"c{number}", "subject": {"reference": "Patient/p1"}}
            for number in range(CONDITIONS)
        ),
        {"resourceType": "Practitioner", "id": "d1", "name": [{"family": "Careful"}]},
        {"resourceType": "PractitionerRole", "id": "r1", "practitioner": practitioner},
    ]
    everybody[PEOPLE]["participant"].append({"actor": practitioner, "status": "accepted"})
    for each in everybody:
        each["meta"] = {"versionId": "1", "lastUpdated": "2026-01-01T00:00:00Z"}
    medplum.seed(*everybody)
    ran = bridge("export", "ehr", "--to", "exports/first", "--crawl")
    assert ran.code == 0, ran.err
    assert sum("_offset=" in line for line in medplum.asked) == 2
    assert len(ids(bridge.folder / "exports/first", "Condition")) == CONDITIONS
    assert ids(bridge.folder / "exports/first", "PractitionerRole") == ["r1"]
    migrated = bridge("migrate", "exports/first", "--json").json
    assert migrated["decisions"] == {"call": PEOPLE}
    hospital.write("all.json", *everybody)
    mapped = bridge("map", "all.json", "--source", "ehr", "--format", "decisions").lines
    fetched = bridge("map", "exports/first", "--source", "ehr", "--format", "decisions").lines
    assert sorted(map(essence, mapped)) == sorted(map(essence, fetched))

    changed = {**hospital.appointment(3), "comment": "after ten"}
    medplum.update(changed)
    ran = bridge("export", "ehr", "--to", "exports/second", "--crawl", "--since-last")
    assert ran.code == 0, ran.err
    assert ids(bridge.folder / "exports/second", "Appointment") == ["a3"]


def ids(folder: Path, kind: str) -> list[str]:
    """Of a type, once each."""
    lines = [line for file in folder.glob(f"{kind}.*.ndjson") for line in file.read_text().splitlines()]
    return sorted({json.loads(line)["id"] for line in lines})


def states(bridge: Bridge) -> Any:
    """How many intents are in each."""
    return bridge("status", "--json").json["states"]


def essence(decision: Any) -> str:
    """A decision without where it was read."""
    return json.dumps(
        {name: decision[name] for name in ("trigger", "decision", "reason", "intent", "request")}
    )


def test_a_subscription_is_made_kept_and_taken_away(bridge: Bridge, medplum: Medplum, told: Any) -> None:
    """Active, as Medplum tells no other; never twice; with an end that is renewed."""
    told('lifetime = "2h"')
    assert bridge("subscribe", "create").out.count("made: active") == 2
    assert bridge("subscribe", "create").out.count("was there already") == 2
    before = {each["id"]: each["end"] for each in medplum.every("Subscription")}
    assert len(before) == 2
    time.sleep(1.1)  # an end is told to the second
    assert bridge("subscribe", "renew").code == 0
    after = medplum.every("Subscription")
    assert all(each["end"] > before[each["id"]] and each["status"] == "active" for each in after)
    assert after[0]["channel"]["header"] == ["Authorization: Bearer s3cret"]
    assert bridge("subscribe", "delete", "--all", "--because", "the test is over").code == 0
    assert medplum.every("Subscription") == []


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("content", "credentials"),
    [
        ("full-resource", 'hmac = { secret = "a secret that Medplum signs with", header = "X-Signature" }'),
        ("empty", 'bearer = "s3cret"'),
    ],
    ids=["full-resource, signed", "empty"],
)
def test_what_it_tells_and_what_it_does_not_becomes_one_call_each(
    bridge: Bridge,
    hospital: Hospital,
    medplum: Medplum,
    told: Any,
    serving: Any,
    content: str,
    credentials: str,
) -> None:
    """News with a body, news without; silence that a search finds; a deletion that shows before the call."""
    api = told(f'content = "{content}"', hold="3s", credentials=credentials)
    medplum.seed(*(hospital.patient(number) for number in (1, 2, 3)))
    with serving():
        assert bridge("subscribe", "create").code == 0
        medplum.create(lost(hospital, 1))
        until(lambda: api.stats["tasks"] == 1)
        medplum.be_silent(True)
        medplum.create(lost(hospital, 2))
        until(lambda: api.stats["tasks"] == 2)
        medplum.be_silent(False)
        withdrawn = medplum.create(lost(hospital, 3))
        until(lambda: states(bridge) == {"sent": 2, "ready": 1})
        medplum.be_silent(True)
        medplum.delete(f"Appointment/{withdrawn['id']}")
        until(lambda: states(bridge) == {"sent": 2, "skipped": 1})
    assert api.stats["tasks"] == 2
    assert {task["phone_number"] for task in api.tasks} == {"+12125550101", "+12125550102"}
    assert bridge("sources").code == 0
