"""Where a chaos run happens: made-up people, settings with short leases, an endpoint that fails by a script,
and the bridge's commands in processes of their own.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from tests.acceptance.chaos_evidence import Exchange
from tests.acceptance.chaos_process import NO_POINT, be_killed
from tests.forks import FORKS, PROGRAM, Forked

ROOT = Path(__file__).parents[2]
PROJECT = "123e4567-e89b-12d3-a456-426614174000"
MAX_IN_FLIGHT = 4
LEASE = 4.0
"""Seconds: longer than any request, short enough to be waited for."""

SETTINGS = f"""\
[api]
url = "{{url}}"
project_id = "{PROJECT}"
key = "key"
timeout = "1500ms"

[dispatch]
calling_hours = "off"
min_gap = "300ms"
max_in_flight = {MAX_IN_FLIGHT}
lease = "{LEASE:.0f}s"

[dispatch.retry]
base = "100ms"
cap = "2s"

[dispatch.breaker]
open_for = "1s"

[ledger]
url = "{{ledger}}"
"""

FAULTS = """\
latency POST seconds=0.08
drop-before POST share=0.01
drop-after POST share=0.01
reset-after POST share=0.005
hang-before POST share=0.004 seconds=30
hang-after POST share=0.004 seconds=30
status-before POST code=429 retry-after=1 share=0.004
status-before POST code=503 retry-after=1 share=0.005
status-before POST code=500 share=0.005
status-after POST code=502 share=0.005
garbage POST share=0.007
truncated POST share=0.007
""".splitlines()


def family(number: int) -> str:
    """A name for each, in letters, by which the endpoint's patients are known again."""
    letters = ""
    for _ in range(4):
        number, digit = divmod(number, 26)
        letters = chr(ord("a") + digit) + letters
    return f"Sample{letters}"


def trigger(number: int) -> str:
    """The appointment of the person with this number."""
    return f"Appointment/a{number}"


def bundle(numbers: range, lanes: int) -> dict[str, Any]:
    """These people, each with a proposed appointment; on `lanes` telephones, so some share one."""
    today = datetime.now(UTC).date()
    home = {"city": "New York", "state": "NY", "postalCode": "10001", "country": "US"}
    window = {"start": str(today + timedelta(days=7)), "end": str(today + timedelta(days=20))}
    resources: list[dict[str, Any]] = []
    for number in numbers:
        phone = f"(212) 555-{number % lanes:04}"
        person = {
            "resourceType": "Patient",
            "id": f"p{number}",
            "name": [{"family": family(number), "given": ["Juniper"]}],
            "birthDate": "1980-01-01",
            "telecom": [{"system": "phone", "use": "mobile", "value": phone}],
            "address": [{"line": ["12 Sample St"], **home}],
        }
        visit = {
            "resourceType": "Appointment",
            "id": f"a{number}",
            "status": "proposed",
            "created": str(today),
            "requestedPeriod": [window],
            "participant": [{"actor": {"reference": f"Patient/p{number}"}, "status": "accepted"}],
        }
        resources += [person, visit]
    entries = [{"resource": resource} for resource in resources]
    return {"resourceType": "Bundle", "type": "collection", "entry": entries}


@dataclass(slots=True)
class Running:
    """One process of the bridge. `log` is what its entry script wrote of it."""

    role: str
    process: BaseProcess
    log: Path
    output: Path
    ended_at: float = 0.0

    async def wait(self, patience: float | None) -> int:
        """Its exit code, -9 where it was killed: by itself, or by us when the patience (seconds) was over.

        Only the sentinel is waited for in a thread. Two threads that ask for the exit code at once (starting
        a process asks for everyone's) lose it to each other: the fork server tells it once, one reads 255.
        """
        await asyncio.to_thread(connection.wait, [self.process.sentinel], patience)
        if self.process.exitcode is None:
            self.kill()
        self.ended_at = time.time()
        assert self.process.exitcode is not None
        return self.process.exitcode

    def kill(self) -> None:
        """Kill -9, from outside, and wait until it is gone."""
        self.process.kill()
        self.process.join()

    def told(self) -> list[dict[str, Any]]:
        """The lines of its log."""
        return [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []

    def exchanges(self) -> Iterator[Exchange]:
        """Its requests for tasks; what it died over ended with it."""
        begun: dict[str, deque[float]] = defaultdict(deque)
        for line in self.told():
            if "began" in line:
                begun[line["began"]].append(line["at"])
            elif "ended" in line:
                yield Exchange(line["ended"], begun[line["ended"]].popleft(), line["at"])
        for number, moments in begun.items():
            yield from (Exchange(number, moment, self.ended_at) for moment in moments)


@dataclass(slots=True)
class Site:
    """A folder with bridge.toml, one endpoint at one port, and all processes that ran here."""

    folder: Path
    ledger: str
    url: str = ""
    processes: list[Running] = field(default_factory=list)
    _endpoint: Forked | None = None
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    @property
    def storage(self) -> Path:
        """What the endpoint has made, in SQLite; it survives the endpoint."""
        return self.folder / "endpoint.db"

    async def start(self, role: str, *command: str, point: str = NO_POINT, nth: int = 0) -> Running:
        """Start a command that is to die at this point, or at none."""
        name = f"{next(self._numbers):05}-{role}"
        log, output = self.folder / f"{name}.log", self.folder / f"{name}.txt"
        config = str(self.folder / "bridge.toml")
        words = (str(log), str(output), point, nth, "--config", config, *command)
        process = FORKS.Process(target=be_killed, args=words, daemon=True)
        process.start()
        running = Running(role, process, log, output)
        self.processes.append(running)
        return running

    async def start_endpoint(self, *faults: str, seed: int = 0) -> None:
        """The sandbox in a process of its own, at the port it had before; first use writes the settings."""
        script = self.folder / "faults.json"
        script.write_text(json.dumps({"seed": seed, "rules": list(faults)}))
        port = self.url.rpartition(":")[2] or "0"
        options = ("--port", port, "--faults", str(script), "--storage", str(self.storage))
        command = ("sandbox", *options, "--call-seconds", "0.3")
        self._endpoint = Forked(PROGRAM, command, ROOT, os.environ, stderr=Path(os.devnull))
        said = await asyncio.to_thread(self._endpoint.stdout.readline)
        if not self.url:
            self.url = next(word for word in said.split() if word.startswith("http")).strip(",()")
            settings = SETTINGS.format(url=self.url, ledger=self.ledger)
            (self.folder / "bridge.toml").write_text(settings)

    async def kill_endpoint(self) -> None:
        """Kill -9: what it had made is kept, what it was about to answer is not."""
        assert self._endpoint is not None
        self._endpoint.kill()
        await asyncio.to_thread(self._endpoint.communicate)

    async def close(self) -> None:
        """End what still runs."""
        for running in self.processes:
            running.kill()
        await self.kill_endpoint()
