"""The memory of a migration, all its processes together, while the export grows to two gigabytes.

Takes some minutes and four gigabytes of disk: `make bench ARGS=migrate-memory`; MIGRATE_MEMORY_MB gives
another size.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.generator import NOW, Export
from benchmarks.measure import Row

MEGABYTES = int(os.environ.get("MIGRATE_MEMORY_MB", "2048"))
PER_PATIENT = 29_900
"""Bytes of the export for each patient."""

MOST = 300


def rows() -> Iterator[Row]:
    """The peak for an eighth of the export, and for the whole: it must not grow."""
    peaks = {size: _peak_of(size) for size in (MEGABYTES // 8, MEGABYTES)}
    small, large = peaks.values()
    yield Row(
        f"migrate: peak memory, {MEGABYTES} MB of export (MB over 300)",
        "300 MB",
        large / MOST,
        "<= 1.0",
        "-",
        f"{large:.0f} MB",
        f"{MOST} MB",
    )
    told = f"an export of {MEGABYTES // 8} MB"
    yield Row("migrate: peak memory, 8x the export", told, large / small, "<= 1.25", "1.0",
              f"{large:.0f} MB", f"{small:.0f} MB")  # fmt: skip


def _peak_of(megabytes: int) -> float:
    with tempfile.TemporaryDirectory(prefix="migrate-") as folder:
        Export(megabytes * 1024 * 1024 // PER_PATIENT).write(Path(folder) / "export")
        program = "from fhir_bridge.cli.main import main; main()"
        command = (sys.executable, "-c", program, "migrate", "export", "--work", "scratch")
        process = subprocess.Popen(
            (*command, "--json", "--now", NOW.isoformat()), cwd=folder, stdout=subprocess.DEVNULL
        )
        return peak_megabytes(process)


def peak_megabytes(process: subprocess.Popen[bytes]) -> float:
    """The most that a process and its children had at once, what they share counted once (PSS), until it
    ends."""
    peak = 0
    while process.poll() is None:
        peak = max(peak, sum(map(_proportional, (process.pid, *_children(process.pid)))))
        time.sleep(0.05)
    return peak / 1024


def _children(parent: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(path.read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def _proportional(pid: int) -> int:
    """Kilobytes; 0 where it is gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
