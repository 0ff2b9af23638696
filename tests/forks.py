"""A server that forks processes of the bridge: what each would load by itself takes a second of a core."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import connection
from pathlib import Path
from typing import IO

FORKS = multiprocessing.get_context("forkserver")
"""One server for each process of pytest."""

# Without pytest loaded before, assertions in what it loads would be rewritten again in each fork.
FORKS.set_forkserver_preload(
    [
        "pytest",
        "tests.acceptance.chaos_process",
        "tests.acceptance.watched_process",
        "tests.acceptance.worker_process",
        "fhir_bridge.app.doors",
        "fhir_bridge.cli.export",
        "fhir_bridge.cli.migrate",
        "fhir_bridge.migration.run",
        "fhir_bridge.sandbox.server",
        "uvicorn.protocols.http.h11_impl",
        "aiosqlite",
        "alembic.command",
        "rich._emoji_codes",
    ]
)

PROGRAM = "from fhir_bridge.cli.main import main; main()"

_ASKING = threading.Lock()
"""The server says an exit code once, and starting a process asks for everyone's: of two threads that ask at
once one reads 255."""


class Forked:
    """A program in a forked process, with what tests use of `subprocess.Popen`.

    `python -c` with these arguments, in a folder and an environment of its own, without what loading costs.
    `stderr` is a file that standard error goes to the end of, or an open descriptor; without one it is read
    as standard output is.
    """

    def __init__(
        self,
        program: str,
        arguments: Sequence[str],
        folder: Path,
        environment: Mapping[str, str],
        stderr: Path | int | None = None,
    ) -> None:
        reads, said = FORKS.Pipe(duplex=False)
        self.stdout = _text(reads)
        self.stderr = None
        if stderr is None:
            reads, errors = FORKS.Pipe(duplex=False)
            self.stderr = _text(reads)
        elif isinstance(stderr, int):
            errors = connection.Connection(os.dup(stderr))
        else:
            errors = connection.Connection(os.open(stderr, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
        words = (program, list(arguments), str(folder), dict(environment), said, errors)
        self._process = FORKS.Process(target=_run, args=words)
        with _ASKING:
            self._process.start()
        said.close()
        errors.close()
        assert self._process.pid
        self.pid = self._process.pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Its exit code, -9 where signal 9 ended it, None while it runs."""
        if self.returncode is None:
            with _ASKING:
                self.returncode = self._process.exitcode
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code. Raises subprocess.TimeoutExpired after so many seconds."""
        if self.returncode is None and not connection.wait([self._process.sentinel], timeout):
            raise subprocess.TimeoutExpired("a forked process", timeout or 0)
        code = self.poll()
        assert code is not None
        return code

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """What it says until its end: standard output and error. One that takes longer is killed."""
        with ThreadPoolExecutor(2) as reading:
            said, errors = (reading.submit(_rest, stream) for stream in (self.stdout, self.stderr))
            try:
                self.wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill()
                raise
            return said.result(), errors.result()

    def send_signal(self, number: int) -> None:
        """Unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """As a service is stopped."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """As a power cut does."""
        self.send_signal(signal.SIGKILL)


def _text(end: connection.Connection) -> IO[str]:
    """The reading end of a pipe as text; it holds the descriptor from now on."""
    stream = os.fdopen(os.dup(end.fileno()), encoding="utf-8")
    end.close()
    return stream


def _rest(stream: IO[str] | None) -> str:
    if stream is None or stream.closed:
        return ""
    with stream:
        return stream.read()


def _run(
    program: str,
    arguments: list[str],
    folder: str,
    environment: dict[str, str],
    said: connection.Connection,
    errors: connection.Connection,
) -> None:
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for number, end in ((1, said), (2, errors)):
        os.dup2(end.fileno(), number)
        end.close()
    sys.argv = ["-c", *arguments]
    exec(program, {"__name__": "__main__"})
