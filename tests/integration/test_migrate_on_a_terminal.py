"""What is seen of a migration meanwhile: on a terminal of 80 columns, and in a file."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import pty
import re
import signal
import struct
import sys
import termios
import threading
import time
from typing import Any

import pytest
import structlog

from benchmarks.generator import Export
from fhir_bridge.cli.migrate_progress import Bars
from fhir_bridge.cli.stopping import stop_on_signals
from fhir_bridge.logs import set_up_logs

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a pseudo-terminal")

CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
STAGES = ("reading", "deciding", "loading", "sending")


class Terminal:
    """A pseudo-terminal of 80 columns, and all that was written there."""

    def __init__(self) -> None:
        self._ours, self.theirs = pty.openpty()
        fcntl.ioctl(self.theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.written = b""
        self._reading = threading.Thread(target=self._read)
        self._reading.start()

    def _read(self) -> None:
        try:
            while data := os.read(self._ours, 4096):
                self.written += data
        except OSError:  # so Linux tells that nobody can write any more
            return

    def text(self) -> str:
        """All of it, once nobody can write any more."""
        os.close(self.theirs)
        self._reading.join()
        os.close(self._ours)
        return self.written.decode()


def test_each_stage_fits_a_terminal_and_comes_to_its_end(
    bridge: Any, endpoint: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is done of what, to 100 %; without colour where NO_COLOR says so; calls are no bytes. While all
    is paused it waits, and goes on afterwards."""
    monkeypatch.delenv("COLUMNS")
    for name, value in {"TERM": "xterm-256color", "NO_COLOR": "1"}.items():
        monkeypatch.setenv(name, value)
    Export(40).write(bridge.folder / "export")
    bridge.settings(endpoint().url, 'min_gap = "0s"\n')
    assert bridge("pause", "--because", "not yet").code == 0
    terminal = Terminal()
    process = bridge.process(
        "migrate", "export", "--send", "--yes", "--processes", "2", stderr=terminal.theirs
    )
    for _ in range(3000):
        if b"held back: paused" in terminal.written or process.poll() is not None:
            break
        time.sleep(0.02)
    assert bridge("resume", "--because", "now").code == 0
    process.communicate(timeout=90)
    seen = terminal.text()
    assert process.returncode in (0, 1), seen
    assert not re.search(r"\x1b\[[0-9;]*m", seen.replace("\x1b[0m", "")), "colour"
    lines = [line for line in re.split(r"[\r\n]+", CONTROL.sub("", seen)) if line.strip()]
    assert max(map(len, lines)) <= 80
    for stage in STAGES:
        of_stage = [line for line in lines if line.startswith(stage)]
        assert " 0 %, " in of_stage[0]
        assert " 100 %, " in of_stage[-1], of_stage[-1]
        unit = "B" if stage != "sending" else r"\d"
        assert re.search(rf"\d of [\d.,]+ ?(k|M)?{unit}", of_stage[-1])
    assert re.search(r"took 200 decisions into the ledger", seen)


def test_in_a_file_it_is_told_line_by_line(
    bridge: Any, endpoint: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a control character; a stage that was told of is told to be at its end."""
    monkeypatch.setattr("fhir_bridge.cli.migrate_progress.EVERY", -1.0)
    Export(40).write(bridge.folder / "export")
    bridge.settings(endpoint().url, 'min_gap = "0s"\n')
    ran = bridge("migrate", "export", "--send", "--yes", "--processes", "1")
    assert ran.code in (0, 1), ran.err
    assert "\x1b" not in ran.err
    assert "\r" not in ran.err
    for stage in STAGES:
        told = [line for line in ran.err.splitlines() if line.startswith(f"{stage}: ")]
        assert told[-1].startswith(f"{stage}: 100 %, ")


def test_what_is_said_meanwhile_stands_above_the_bar(bridge: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An event of the log, and that a stop was heard: in lines of their own, without colour where that is
    not wanted."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", "1")
    terminal = Terminal()
    with os.fdopen(os.dup(terminal.theirs), "w") as stderr:
        monkeypatch.setattr(sys, "stderr", stderr)
        set_up_logs(logging.ERROR)
        with Bars() as bars:
            bars.begin("sending", 3)
            bars.tick()
            structlog.get_logger().error("held-back")
            asyncio.run(_stopped())
    seen = terminal.text()
    assert "\x1b[31m" not in seen
    for said in ("held-back", "stopping: "):
        [line] = [line for line in CONTROL.sub("", seen).split("\n") if said in line]
        assert "sending" not in line.rstrip("\r").rpartition("\r")[2], line


async def _stopped() -> None:
    with stop_on_signals() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(stop.event.wait(), 5)
