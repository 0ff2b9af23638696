"""`fhir-bridge submit` with the emulated endpoint on loopback and a real ledger file."""

from __future__ import annotations

import json
import signal
import socket
import time
from typing import Any

import pytest

TROUBLE = [
    ("status-before POST /v1/task code=400", "refused", "http-400", 1, "`show` has its answer"),
    (
        "status-before POST /v1/patient code=400",
        "parked",
        "patient-refused",
        1,
        "the endpoint refused the patient",
    ),
    ("status-before POST /v1/task code=404", "refused", "http-404", 1, "is api.url right"),
    ("status-before POST /v1/task code=307", "refused", "http-307", 1, "redirect"),
    ("status-before POST /v1/task code=500", "in_doubt", "http-500", 1, "may have been processed"),
    ("status-before POST /v1/task code=429 retry-after=30", "ready", "retry", 5, "asked us to wait"),
    ("status-before POST /v1/task code=503 retry-after=30", "ready", "retry", 5, "tries again by itself"),
    ("hang-before POST /v1/task", "in_doubt", "answer-timeout", 1, "no answer came"),
    ("drop-before POST /v1/task", "in_doubt", "answer-failed", 1, "no answer came"),
    ("garbage POST /v1/task", "in_doubt", "unreadable-answer", 1, "cannot be read"),
    ("status-before code=401", "ready", "key-refused", 5, "correct api.key"),
]
"""Fault, the intent's state and reason, the exit code, and what it is called in plain words."""


def test_what_is_due_is_sent_and_counted(bridge: Any, hospital: Any, endpoint: Any) -> None:
    """--json has the shape that tools rely on; the endpoint has a task for each call."""
    running = endpoint()
    bridge.settings(running.url)
    booked = hospital.write("b.json", hospital.patient(3), hospital.appointment(3, status="booked"))
    ran = bridge("submit", hospital.proposed(1), hospital.proposed(2), booked, "--json")
    assert ran.code == 0
    assert ran.json == {"accepted": 3, "states": {"sent": 2, "skipped": 1}, "reasons": {"already-booked": 1}}
    assert sorted(task["phone_number"] for task in running.tasks) == ["+12125550101", "+12125550102"]
    assert (bridge.folder / "fhir-bridge.db").is_file()


def test_running_it_again_sends_nothing_twice(bridge: Any, hospital: Any, endpoint: Any) -> None:
    """The same files, and the same people under a changed file."""
    running = endpoint()
    bridge.settings(running.url)
    file = hospital.proposed()
    for _ in range(3):
        ran = bridge("submit", file, "--json")
        assert (ran.code, ran.json["states"]) == (0, {"sent": 1})
    assert running.stats["tasks"] == 1


def test_for_people_it_says_what_became_of_each(bridge: Any, hospital: Any, endpoint: Any) -> None:
    """Counts with words, within 80 columns; what was sent is no row of advice."""
    bridge.settings(endpoint().url)
    ran = bridge("submit", hospital.proposed())
    assert ran.out.splitlines()[:2] == ["accepted 1 trigger", "1 intent"]
    assert ran.out.splitlines()[2].split() == ["sent", "1"]
    assert ran.err == ""


def test_a_dry_run_prints_both_requests_and_keeps_nothing(bridge: Any, hospital: Any, endpoint: Any) -> None:
    """What would be sent is what is sent: the endpoint's copy differs by ids only."""
    running = endpoint()
    bridge.settings(running.url)
    file = hospital.proposed()
    ran = bridge("submit", file, "--dry-run", "--json")
    assert ran.code == 0
    [told] = ran.json["would_send"]
    assert set(told) == {"trigger", "intent", "valid_until", "patient", "request"}
    assert running.stats["requests"] == 0
    assert not (bridge.folder / "fhir-bridge.db").exists()
    bridge("submit", file)
    [task] = running.tasks
    assert task == {**told["request"], "patient_id": task["patient_id"]}
    words = bridge("submit", file, "--dry-run")
    assert "POST /v1/patient" in words.out
    assert "nothing was kept or sent" in words.err


def test_the_clock_can_be_set_only_where_nothing_is_sent(bridge: Any, hospital: Any) -> None:
    """--now with --dry-run decides as of then; without, it is refused before anything is read."""
    bridge.settings("http://127.0.0.1:9")
    file = hospital.proposed()
    late = bridge("submit", file, "--dry-run", "--now", "2099-01-01T00:00:00Z", "--json")
    assert (late.code, late.json) == (0, {"would_send": []})
    ran = bridge("submit", file, "--now", "2099-01-01T00:00:00Z")
    assert (ran.code, ran.out) == (2, "")
    assert "--now is only for --dry-run" in ran.err
    assert not (bridge.folder / "fhir-bridge.db").exists()


def test_several_sources_demand_to_say_which(bridge: Any, hospital: Any, endpoint: Any) -> None:
    """The source is part of the intent's key, so it is never guessed; one alone is that one."""
    running = endpoint()
    bridge.settings(running.url, '[sources.north]\ntimezone="UTC"\n[sources.south]\n')
    file = hospital.proposed()
    ran = bridge("submit", file)
    assert ran.code == 2
    assert "say which with --source" in ran.err
    assert "north, south" in ran.err
    assert bridge("submit", file, "--source", "north").code == 0
    assert bridge("show", "Appointment/a1", "--json").json["source"] == "north"


@pytest.mark.parametrize(("fault", "state", "reason", "code", "words"), TROUBLE)
def test_trouble_at_the_endpoint_is_said_and_kept(
    bridge: Any, hospital: Any, endpoint: Any, fault: str, state: str, reason: str, code: int, words: str
) -> None:
    """The exit code, the words and what `status` shows; nothing is lost, and nothing sent twice."""
    running = endpoint(fault)
    bridge.settings(running.url, timeout="1s")
    file = hospital.proposed()
    ran = bridge("submit", file, "--wait", "2s")
    said = " ".join(ran.out.split())
    assert ran.code == code, said
    assert words in said
    status = bridge("status", "--json")
    assert status.json["states"] == {state: 1}
    assert status.json["reasons"] == {reason: 1}
    assert status.code == code
    assert bridge("submit", file, "--wait", "0s", "--json").json["states"] == {state: 1}
    assert running.stats["tasks"] <= 1


def test_an_endpoint_that_is_down_costs_nothing(bridge: Any, hospital: Any, endpoint: Any) -> None:
    """Exit code 5, the intents wait, and are sent once it is up."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    bridge.settings(f"http://127.0.0.1:{port}")
    files = [hospital.proposed(number) for number in (1, 2)]
    ran = bridge("submit", *files, "--wait", "1s")
    assert ran.code == 5
    assert "unreachable" in ran.out
    assert "2 intents not sent yet" in ran.err
    assert bridge("status", "--json").json["states"] == {"ready": 2}
    running = endpoint(port=port)
    assert bridge("submit", *files, "--wait", "20s", "--json").json["states"] == {"sent": 2}
    assert running.stats["tasks"] == 2


def test_a_wrong_key_holds_everything_back(bridge: Any, hospital: Any, endpoint: Any) -> None:
    """Exit code 5 says to correct the key; with the right one the same call sends."""
    running = endpoint()
    bridge.settings(running.url, key="wrong")
    file = hospital.proposed()
    ran = bridge("submit", file, "--wait", "2s")
    assert ran.code == 5
    assert "correct api.key" in " ".join(ran.out.split())
    assert "wrong" not in ran.out + ran.err
    bridge.settings(running.url)
    assert bridge("submit", file, "--wait", "10s", "--json").json["states"] == {"sent": 1}


def test_an_unreadable_file_among_others_stops_nobody(bridge: Any, hospital: Any, endpoint: Any) -> None:
    """The others are sent, the exit code says that a person must look; alone it is 4."""
    running = endpoint()
    bridge.settings(running.url)
    (bridge.folder / "bad.json").write_text("{")
    ran = bridge("submit", "bad.json", hospital.proposed(), "--json")
    assert (ran.code, ran.json["states"]) == (1, {"sent": 1})
    assert "unreadable: bad.json:1:2: not JSON" in ran.err
    alone = bridge("submit", "bad.json", "--json")
    assert (alone.code, alone.out) == (4, "")
    assert running.stats["tasks"] == 1


def test_what_is_rejected_waits_for_a_person(bridge: Any, hospital: Any, endpoint: Any) -> None:
    """Exit code 1; with better data the same trigger is sent."""
    bridge.settings(endpoint().url)
    ran = bridge("submit", hospital.proposed(telecom=[]))
    assert ran.code == 1
    assert "phone-missing" in ran.out
    assert bridge("submit", hospital.proposed(), "--json").json["states"] == {"sent": 1}


def test_what_may_not_be_called_at_this_hour_is_kept(bridge: Any, hospital: Any, endpoint: Any) -> None:
    """All well, exit code 0: a worker sends it when the hours begin."""
    running = endpoint()
    bridge.settings(running.url)
    text = (bridge.folder / "bridge.toml").read_text().replace('calling_hours = "off"', "")
    closed = '[dispatch.calling_hours]\nweekday = "closed"\nweekend = "closed"\n'
    (bridge.folder / "bridge.toml").write_text(text + closed)
    ran = bridge("submit", hospital.proposed())
    assert ran.code in (0, 1)
    assert running.stats["tasks"] == 0
    states = bridge("status", "--json").json["states"]
    assert states in ({"ready": 1}, {"parked": 1})


def test_a_missing_setting_stops_it_before_anything_is_kept(bridge: Any, hospital: Any) -> None:
    """Exit code 3, naming every missing key and its variable."""
    ran = bridge("submit", hospital.proposed())
    assert (ran.code, ran.out) == (3, "")
    for name in ("api.url (FHIR_BRIDGE_API_URL)", "api.key (", "api.project_id ("):
        assert name in ran.err


def test_a_ledger_of_another_destination_is_refused(bridge: Any, hospital: Any, endpoint: Any) -> None:
    """Exit code 3: what was sent there is not known here."""
    bridge.settings(endpoint().url)
    assert bridge("submit", hospital.proposed()).code == 0
    bridge.settings(endpoint().url)
    ran = bridge("submit", hospital.proposed())
    assert ran.code == 3
    assert "this ledger belongs to" in ran.err


def test_a_ledger_that_cannot_be_opened_is_exit_code_6(bridge: Any, hospital: Any, endpoint: Any) -> None:
    """Before anything is sent."""
    running = endpoint()
    bridge.settings(running.url, '[ledger]\nurl = "no/such/folder/ledger.db"\n')
    ran = bridge("submit", hospital.proposed())
    assert (ran.code, ran.out) == (6, "")
    assert "ledger.db cannot be opened" in ran.err
    assert running.stats["requests"] == 0


def test_no_duration_is_usage(bridge: Any, hospital: Any) -> None:
    """--wait needs a unit."""
    ran = bridge("submit", hospital.proposed(), "--wait", "60")
    assert ran.code == 2
    assert "60s, 90m or 4h" in ran.err


def test_ctrl_c_finishes_what_is_in_flight(bridge: Any, hospital: Any, endpoint: Any) -> None:
    """Exit code 130; what was in flight is settled, what was not yet sent is ready."""
    running = endpoint("latency POST /v1/task seconds=2")
    bridge.settings(running.url, "max_in_flight = 1\n", timeout="10s")
    files = [hospital.proposed(number) for number in range(1, 5)]
    process = bridge.process("submit", *files, "--json")
    until(lambda: running.stats["patients"] >= 1)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=30)
    assert process.returncode == 130, errors
    assert "stopping: what is in flight is finished" in errors
    assert "Traceback" not in errors
    states = json.loads(out)["states"]
    assert sum(states.values()) == 4
    assert states["sent"] == running.stats["tasks"] >= 1
    assert states["ready"] >= 1
    assert set(states) == {"sent", "ready"}


def until(condition: Any, seconds: float = 20) -> None:
    """Waits until something has come about."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.05)
