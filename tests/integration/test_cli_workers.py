"""Several `fhir-bridge worker` processes over one ledger on PostgreSQL; pause, resume and pilot."""

from __future__ import annotations

import os
import signal
import time
import tomllib
from collections.abc import Callable
from itertools import count
from typing import Any

import psycopg
import pytest

from tests.forks import Forked

BECAUSE = ("--because", "the test says so")
PEOPLE = 16


@pytest.fixture
def workers(bridge: Any) -> Callable[..., list[Forked]]:
    """Starts so many worker processes."""
    numbers = count()

    def start(many: int, *arguments: str) -> list[Forked]:
        named = [{**os.environ, "PGAPPNAME": f"worker-{next(numbers)}"} for _ in range(many)]
        return [bridge.process("worker", *arguments, env=environment) for environment in named]

    return start


@pytest.fixture
def site(
    bridge: Any, hospital: Any, endpoint: Any, postgres_database: Callable[..., str]
) -> Callable[..., Any]:
    """Intents of so many people in a ledger on PostgreSQL, none sent, and the endpoint they are for."""

    def make(*faults: str, people: int = PEOPLE, dispatch: str = "", timeout: str = "5s") -> Any:
        running = endpoint(*faults)
        ledger = f'\n[ledger]\nurl = "{postgres_database()}"\n'
        bridge.settings(running.url, dispatch + ledger, timeout=timeout)
        assert bridge("pause", *BECAUSE).code == 0
        bridge("submit", *(hospital.proposed(number) for number in range(1, people + 1)), "--wait", "0s")
        assert states(bridge) == {"ready": people}
        return running

    return make


def states(bridge: Any) -> dict[str, int]:
    """What `status --json` counts."""
    return dict(bridge("status", "--json").json["states"])


def ask(bridge: Any, statement: str) -> list[Any]:
    """What the ledger's database answers."""
    settings = tomllib.loads((bridge.folder / "bridge.toml").read_text())
    with psycopg.connect(settings["ledger"]["url"]) as connection:
        return connection.execute(statement).fetchall()


def at_work(bridge: Any) -> int:
    """How many workers have opened the ledger and look at it: by a connection of its own each."""
    who = "FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'worker-%'"
    return len(ask(bridge, f"SELECT 1 {who} GROUP BY application_name HAVING count(*) > 1"))


def wait_for(what: Callable[[], bool], seconds: float = 90) -> None:
    """Look until it is so."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.25)


def stop(processes: list[Forked], number: signal.Signals = signal.SIGTERM) -> list[str]:
    """Tell them to stop, and wait; gives what each logged."""
    for process in processes:
        process.send_signal(number)
    return [process.communicate(timeout=90)[1] for process in processes]


def test_three_workers_share_the_work(bridge: Any, site: Any, workers: Any) -> None:
    """Each intent has one task, more than one worker had a part in it, and each ended as it was told."""
    running = site("latency POST /v1/* seconds=0.1")
    processes = workers(3, "--concurrency", "2")
    wait_for(lambda: at_work(bridge) == 3)
    time.sleep(1)
    assert running.stats["requests"] == 0, "nobody obeys the pause"
    assert bridge("resume", *BECAUSE).code == 0
    wait_for(lambda: states(bridge) == {"sent": PEOPLE})
    logs = stop(processes)
    assert [process.returncode for process in processes] == [0] * 3
    assert running.stats["tasks"] == PEOPLE
    assert set(running.stats["tasks_by_patient"].values()) == {1}
    assert sum(log.count("task-created") for log in logs) == PEOPLE
    assert sum("task-created" in log for log in logs) >= 2
    assert not any("Sample" in log for log in logs)
    assert bridge("ledger", "check").code == 0


def test_a_pause_is_obeyed_by_all_within_a_second(bridge: Any, site: Any, workers: Any) -> None:
    """A second after the pause no attempt is begun, though all is due; after the resume all goes on."""
    running = site("latency POST /v1/* seconds=0.8")
    workers(3, "--concurrency", "1")
    wait_for(lambda: at_work(bridge) == 3)
    bridge("resume", *BECAUSE)
    wait_for(lambda: running.stats["tasks"] >= 2)
    assert bridge("pause", "--source", "default", *BECAUSE).code == 0
    wait_for(lambda: not ask(bridge, "SELECT 1 FROM attempts WHERE finished_at IS NULL"))
    before = running.stats
    assert before["tasks"] < PEOPLE
    time.sleep(1.5)
    assert running.stats["requests"] == before["requests"]
    (begun,) = ask(bridge, "SELECT max(started_at) - max(since) FROM attempts, pauses")
    assert begun[0] < 1_000_000, "microseconds after the pause"
    assert bridge("status", "--json").json["destination"]["paused_sources"] == ["default"]
    bridge("resume", "--source", "default", *BECAUSE)
    wait_for(lambda: running.stats["tasks"] >= before["tasks"] + 3)
    assert set(running.stats["tasks_by_patient"].values()) == {1}


def test_a_pause_holds_those_who_wait_for_their_turn(bridge: Any, site: Any, workers: Any) -> None:
    """With one request a second, the many that wait in line have passed every check before the pause."""
    running = site(people=6, dispatch='rate = "60/min"\n')
    workers(1)
    bridge("resume", *BECAUSE)
    wait_for(lambda: running.stats["requests"] >= 1)
    bridge("pause", *BECAUSE)
    time.sleep(1)
    before = running.stats["requests"]
    time.sleep(3)
    assert running.stats["requests"] == before


def test_what_a_killed_worker_claimed_is_sent_by_another(bridge: Any, site: Any, workers: Any) -> None:
    """What it was sending is in doubt when its lease runs out, and is not sent again."""
    running = site("hang-after POST /v1/task nth=1-2", people=8, dispatch='lease = "3s"\n', timeout="2s")
    (killed,) = workers(1, "--concurrency", "2")
    bridge("resume", *BECAUSE)
    wait_for(lambda: running.stats["tasks"] == 2)
    killed.kill()
    workers(2, "--concurrency", "2")
    wait_for(lambda: states(bridge) == {"in_doubt": 2, "sent": 6})
    assert running.stats["tasks"] == 8
    assert set(running.stats["tasks_by_patient"].values()) == {1}


def test_a_pause_of_a_source_there_is_none_of_is_refused(bridge: Any, endpoint: Any) -> None:
    """A slip of the pen in an emergency must not look like a success."""
    bridge.settings(endpoint().url)
    assert bridge("pause", "--source", "her", *BECAUSE).code == 2
    assert bridge("resume", *BECAUSE).code == 1


def test_only_the_pilots_numbers_are_called(bridge: Any, hospital: Any, endpoint: Any) -> None:
    """The others stay ready, say why, and are called when the pilot is over."""
    running = endpoint()
    bridge.settings(running.url, 'pilot = ["+12125550102"]\n')
    for number in range(1, 4):
        bridge("submit", hospital.proposed(number))
    assert states(bridge) == {"sent": 1, "ready": 2}
    assert [task["phone_number"] for task in running.tasks] == ["+12125550102"]
    assert bridge("status", "--json").json["reasons"] == {"not-in-pilot": 2}
    bridge.settings(running.url)
    assert bridge("retry", "--reason", "not-in-pilot", *BECAUSE).code == 0
    bridge("worker", "--drain")
    assert states(bridge) == {"sent": 3}
