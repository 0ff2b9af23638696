"""`fhir-bridge` in a process that kills itself at one fault point: its own code, wrapped from outside.

At the nth time that it comes to its point it sends itself SIGKILL. A fault point lies before and after each
commit of the ledger, and before, during and after each request; `-` is none. To its log it appends one JSON
line each: the token that it claims under, when a task's request began and ended, and at which point it died.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import signal
import sys
import time
from contextvars import ContextVar
from random import Random
from typing import Any

from sqlalchemy.engine.default import DefaultDialect

# Loaded once by the server that forks these processes: what each would load on its own takes a second.
from fhir_bridge.cli import settle, submit, worker  # noqa: F401
from fhir_bridge.cli.main import main
from fhir_bridge.ledger.database.direct import DirectTransactions
from fhir_bridge.ledger.store import SqlLedger
from fhir_bridge.task_api.client import TaskApiClient

NO_POINT = "-"

LEDGER_METHODS = (
    *("accept", "claim", "write", "release", "rescue", "take_polls", "record_polls", "change_gate"),
    *("retry", "cancel"),
)
"""Each is one transaction; `write` is called by what is in the batch."""

COMMITTING: ContextVar[tuple[str, ...]] = ContextVar("committing", default=())


def around_commit(*names: str) -> tuple[str, ...]:
    """The two fault points of each of these transactions."""
    return tuple(f"{when} the commit of {name}" for name in names for when in ("before", "after"))


def around_send(*calls: str) -> tuple[str, ...]:
    """The three fault points of each of these requests."""
    moments = ("{} committed, not sent", "{} under way", "{} answered, not settled")
    return tuple(moment.format(call) for call in calls for moment in moments)


IN_INTAKE = around_commit("accept", "release")
IN_OPERATION = around_commit("cancel", "retry")
IN_WORK = (
    *around_commit("claim", "StartPatient", "SettlePatient", "StartTask", "SettleTask", "Defer"),
    *around_commit("rescue", "take_polls", "record_polls"),
    *around_send("create_patient", "create_task"),
)


class Fate:
    """Where this process is to die, and what it writes down on the way."""

    def __init__(self, log: str, point: str, nth: int) -> None:
        # One write a line: whatever kills the process, a line is there or is not.
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._point = point
        self._left = nth
        self._rng = Random(f"{point}{nth}")

    def note(self, **told: Any) -> None:
        """Append a line, with the time of day in seconds."""
        os.write(self._log, json.dumps({"at": time.time(), **told}).encode() + b"\n")

    def at(self, point: str) -> None:
        """Die here if it is time."""
        if self._comes_to(point):
            self.die()

    def soon(self, point: str, within: float) -> None:
        """Die within so many seconds from here if it is time: while something is under way."""
        if self._comes_to(point):
            asyncio.get_running_loop().call_later(self._rng.uniform(0, within), self.die)

    def die(self) -> None:
        """Kill -9."""
        self.note(died=self._point)
        os.kill(os.getpid(), signal.SIGKILL)

    def _comes_to(self, point: str) -> bool:
        if point != self._point:
            return False
        self._left -= 1
        return self._left == 0


def watch_commits(fate: Fate) -> None:
    """Fault points before and after each commit of a transaction that may write."""
    commit = DefaultDialect.do_commit

    def do_commit(self: DefaultDialect, connection: Any) -> None:
        names = COMMITTING.get()
        for name in names:
            fate.at(f"before the commit of {name}")
        commit(self, connection)  # type: ignore[no-untyped-call]
        for name in names:
            fate.at(f"after the commit of {name}")

    DefaultDialect.do_commit = do_commit  # type: ignore[method-assign]
    DirectTransactions.run = _carried(DirectTransactions.run)  # type: ignore[method-assign]
    for name in LEDGER_METHODS:
        setattr(SqlLedger, name, _named(fate, name, getattr(SqlLedger, name)))


def _carried(run: Any) -> Any:
    """The ledger's thread knows nothing of what the event loop is about: it is told with the transaction."""

    async def carried(self: DirectTransactions, body: Any, options: Any) -> Any:
        names = COMMITTING.get()

        def named(connection: Any) -> Any:
            COMMITTING.set(names)
            return body(connection)

        return await run(self, named, options)

    return carried


def _named(fate: Fate, name: str, method: Any) -> Any:
    @functools.wraps(method)
    async def named(self: SqlLedger, *given: Any, **more: Any) -> Any:
        if name == "claim":
            fate.note(token=given[0].token)
        names = sorted({type(item).__name__ for item in given[0]}) if name == "write" else [name]
        before = COMMITTING.set(tuple(names))
        try:
            return await method(self, *given, **more)
        finally:
            COMMITTING.reset(before)

    return named


def watch_requests(fate: Fate) -> None:
    """Fault points before, during and after each POST."""
    for call in ("create_patient", "create_task"):
        setattr(TaskApiClient, call, _sending(fate, call, getattr(TaskApiClient, call)))


def _sending(fate: Fate, call: str, method: Any) -> Any:
    committed, under_way, answered = around_send(call)

    @functools.wraps(method)
    async def sending(self: TaskApiClient, request: bytes, **more: Any) -> Any:
        fate.at(committed)
        fate.soon(under_way, within=0.15)
        called = json.loads(request)["phone_number"]
        if call == "create_task":
            fate.note(began=called)
        outcome = await method(self, request, **more)
        if call == "create_task":
            fate.note(ended=called)
        fate.at(answered)
        return outcome

    return sending


def be_killed(log: str, output: str, point: str, nth: int, *command: str) -> None:
    """Run a command to its end, or to its fate; what it says goes to the file `output`."""
    said = os.open(output, os.O_WRONLY | os.O_CREAT, 0o600)
    for stream in (1, 2):
        os.dup2(said, stream)
    fate = Fate(log, point, nth)
    watch_commits(fate)
    watch_requests(fate)
    sys.argv = ["fhir-bridge", *command]
    main()
