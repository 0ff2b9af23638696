"""`fhir-bridge worker`: a process that sends what is due from the ledger until it is stopped."""

from __future__ import annotations

import signal
import socket
import time
from typing import Any

import httpx
import pytest


@pytest.fixture
def waiting(bridge: Any, hospital: Any, endpoint: Any) -> Any:
    """Six intents in the ledger, none sent, and the endpoint they are for, which takes a second for each."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    bridge.settings(f"http://127.0.0.1:{port}", timeout="10s")
    ran = bridge("submit", *(hospital.proposed(number) for number in range(1, 7)), "--wait", "0s", "--json")
    assert ran.json["states"] == {"ready": 6}
    return endpoint("latency POST /v1/task seconds=1", port=port)


def test_drain_sends_all_that_is_due_and_ends(bridge: Any, waiting: Any) -> None:
    """Exit code 0; each once; its log on standard error holds ids and codes."""
    process = bridge.process("worker", "--drain", "--concurrency", "3")
    out, errors = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "")
    assert waiting.stats["tasks"] == 6
    assert bridge("status", "--json").json["states"] == {"sent": 6}
    assert errors.count("task-created") == 6
    assert "Sample" not in errors


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_finishes_what_is_in_flight(
    bridge: Any, waiting: Any, number: signal.Signals, code: int
) -> None:
    """SIGTERM is how a service is stopped: 0. Nothing is in doubt, the rest is ready for the next worker."""
    process = bridge.process("worker", "--concurrency", "2")
    end = time.monotonic() + 90
    while waiting.stats["patients"] < 2:
        assert time.monotonic() < end
        time.sleep(0.05)
    process.send_signal(number)
    _, errors = process.communicate(timeout=90)
    assert process.returncode == code, errors
    assert "Traceback" not in errors
    states = bridge("status", "--json").json["states"]
    assert set(states) == {"sent", "ready"}
    assert sum(states.values()) == 6
    assert waiting.stats["tasks"] == states["sent"] >= 1


def test_drain_says_by_its_exit_code_what_it_leaves(bridge: Any, hospital: Any, endpoint: Any) -> None:
    """1 where something waits for a person, 5 where our key is refused."""
    running = endpoint("status-before POST /v1/task code=400")
    bridge.settings(running.url)
    bridge("submit", hospital.proposed(), "--wait", "0s")
    assert bridge("worker", "--drain").code == 1
    bridge.settings(running.url, key="wrong")
    bridge("submit", hospital.proposed(2), "--wait", "0s")
    assert bridge("worker", "--drain").code == 5
    assert bridge("status", "--json").json["states"] == {"refused": 1, "ready": 1}


def test_nothing_to_do_is_all_well(bridge: Any, endpoint: Any) -> None:
    """An empty ledger is made and drained."""
    bridge.settings(endpoint().url)
    assert bridge("worker", "--drain").code == 0


def test_it_does_not_start_without_endpoint_or_with_no_hands(bridge: Any) -> None:
    """Exit code 3 names what is missing, 2 a concurrency below one."""
    ran = bridge("worker", "--drain")
    assert ran.code == 3
    assert "api.key (FHIR_BRIDGE_API_KEY)" in ran.err
    assert bridge("worker", "--concurrency", "0").code == 2


def test_a_worker_alone_may_be_watched(bridge: Any, waiting: Any) -> None:
    """The pages that `serve` has, where it is told to; nothing about anybody, and no door for webhooks."""
    process = bridge.process("worker", "--metrics", "0")
    line = process.stdout.readline()
    url = line.split()[1].removesuffix("/healthz,")
    assert url.startswith("http://127.0.0.1:")
    with httpx.Client(trust_env=False) as client:
        assert client.get(f"{url}/healthz").json() == {"status": "ok"}
        assert client.get(f"{url}/readyz").status_code == 200
        told = client.get(f"{url}/metrics").text
        assert client.post(f"{url}/fhir/default", json={}).status_code == 404
    assert 'fhir_bridge_inbox_messages{state="failed"} 0.0' in told
    assert "default" not in told and "Sample" not in told
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=90)
    assert process.returncode == 0


def test_a_port_that_is_taken_ends_a_worker(bridge: Any, waiting: Any) -> None:
    """Before anything is sent; and what is no address is a usage error."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ran = bridge("worker", "--drain", "--metrics", f"127.0.0.1:{taken.getsockname()[1]}")
    assert (ran.code, "cannot listen on 127.0.0.1" in ran.err) == (3, True)
    assert waiting.stats["tasks"] == 0
    assert bridge("worker", "--metrics", "here").code == 2
