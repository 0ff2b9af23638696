"""What an export of any size needs, from what a small one was measured to cost here (`docs/scaling.md`).

`python -m benchmarks.scaling [PATIENTS]` prints both tables of that page. Processor time is of all processes;
two exports, of one and of two times PATIENTS, leave out what does not grow with them.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import orjson
import psycopg

from benchmarks.databases import Postgres, Sqlite, databases
from benchmarks.generator import NOW, Export
from benchmarks.startup import COMMAND

SITES = (("a hospital", 5_000_000), ("a network", 50_000_000), ("a nation", 500_000_000))
TB, GB, MB = 1e12, 1e9, 1e6
PROJECT = "123e4567-e89b-12d3-a456-426614174000"


@dataclass(frozen=True, slots=True)
class Cost:
    """Of so many patients: processor seconds of previewing and loading, and bytes."""

    preview: float
    load: float
    load_postgres: float
    export: int
    scratch: int
    records: int
    ledger: int
    ledger_postgres: int
    calls: int
    memory: int

    def less(self, other: Cost) -> Cost:
        """What the greater one costs more; memory is the greater one's."""
        names = [name for name in self.__slots__ if name != "memory"]
        return Cost(
            **{name: getattr(self, name) - getattr(other, name) for name in names}, memory=self.memory
        )


def main() -> None:
    """Measures and prints."""
    patients = int(sys.argv[1]) if len(sys.argv) > 1 else 4000
    with tempfile.TemporaryDirectory() as folder, databases() as (sqlite, postgres):
        small, large = (
            _cost(Path(folder) / str(count), count, sqlite, postgres) for count in (patients, 2 * patients)
        )
    unit = large.less(small)
    _print_units(unit, patients / 1000)
    _print_sites(unit, patients)


def _cost(folder: Path, patients: int, sqlite: Sqlite, postgres: Postgres) -> Cost:
    folder.mkdir()
    Export(patients).write(folder / "export")
    with _Watched(folder / "work") as watched:
        preview, printed = _run(
            folder, "migrate", "export", "--now", NOW.isoformat(), "--json", "--work", "work",
            "--out", "records", "--format", "arrivals",
        )  # fmt: skip
    file, url = sqlite.ledger(), postgres.ledger()
    load, _ = _run(folder, "ledger", "load", "records", ledger=str(file))
    load_postgres, _ = _run(folder, "ledger", "load", "records", ledger=url)
    return Cost(
        preview,
        load,
        load_postgres,
        export=sum(each.stat().st_size for each in (folder / "export").iterdir()),
        scratch=watched.most,
        records=(folder / "records").stat().st_size,
        ledger=file.stat().st_size,
        ledger_postgres=_size(url),
        calls=orjson.loads(printed)["calls"],
        memory=resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024,
    )


def _run(folder: Path, *arguments: str, ledger: str = "unused.db") -> tuple[float, bytes]:
    """Processor seconds of a command and its children, and what it printed."""
    settings = {"API_URL": "http://127.0.0.1:9", "API_KEY": "key", "PROJECT_ID": PROJECT, "LEDGER": ledger}
    environment = {**os.environ, **{f"FHIR_BRIDGE_{name}": value for name, value in settings.items()}}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ran = subprocess.run([COMMAND, *arguments], cwd=folder, env=environment, capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, ran.stdout


class _Watched:
    """How large a folder became meanwhile."""

    def __init__(self, folder: Path) -> None:
        self._folder, self.most, self._done = folder, 0, threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.05):
            size = 0
            for file in self._folder.rglob("*"):
                with suppress(OSError):
                    size += file.stat().st_size
            self.most = max(self.most, size)


def _size(url: str) -> int:
    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT pg_database_size(current_database())").fetchone()
        assert found is not None
        return int(found[0])


def _print_units(unit: Cost, thousands: float) -> None:
    print("| for 1,000 patients | |\n|---|---|")
    for name, text in (
        ("export", f"{unit.export / thousands / MB:.0f} MB"),
        ("calls", f"{unit.calls / thousands:.0f}"),
        ("preview, processor time", f"{unit.preview / thousands:.2f} s"),
        ("scratch files", f"{unit.scratch / thousands / MB:.0f} MB"),
        ("decision records", f"{unit.records / thousands / MB:.1f} MB"),
        ("into a ledger on SQLite, processor time", f"{unit.load / thousands:.2f} s"),
        (
            "into a ledger on PostgreSQL, processor time of the client",
            f"{unit.load_postgres / thousands:.2f} s",
        ),
        ("the ledger, SQLite", f"{unit.ledger / thousands / MB:.1f} MB"),
        ("the ledger, PostgreSQL", f"{unit.ledger_postgres / thousands / MB:.1f} MB"),
        ("most memory of one process", f"{unit.memory / MB:.0f} MB"),
    ):
        print(f"| {name} | {text} |")


def _print_sites(unit: Cost, patients: int) -> None:
    print("\n| | " + " | ".join(f"{name}, {count // 10**6} M patients" for name, count in SITES) + " |")
    print("|---|" + "---|" * len(SITES))
    for name, told in _ROWS.items():
        print(f"| {name} | " + " | ".join(told(unit, count / patients) for _, count in SITES) + " |")


def _hours(seconds: float) -> str:
    """In the unit that says something: a cluster previews a hospital in less than a minute."""
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:,.{1 if seconds < 10 * length else 0}f} {unit}"
    return f"{seconds:.0f} s"


def _bytes(size: float) -> str:
    return f"{size / TB:,.1f} TB" if size >= TB else f"{size / GB:,.0f} GB"


_ROWS: dict[str, Callable[[Cost, float], str]] = {
    "export": lambda unit, times: _bytes(unit.export * times),
    "preview, processor time": lambda unit, times: _hours(unit.preview * times),
    "... on 2 cores": lambda unit, times: _hours(unit.preview * times / 2),
    "... on 16 cores": lambda unit, times: _hours(unit.preview * times / 16),
    "... on 256 cores": lambda unit, times: _hours(unit.preview * times / 256),
    "scratch files": lambda unit, times: _bytes(unit.scratch * times),
    "calls": lambda unit, times: f"{unit.calls * times / 1e6:,.1f} M",
    "into one ledger on PostgreSQL": lambda unit, times: _hours(unit.load_postgres * times),
    "the ledger, PostgreSQL": lambda unit, times: _bytes(unit.ledger_postgres * times),
    "calls at 10,000 an hour": lambda unit, times: f"{unit.calls * times / 10_000 / 24:,.0f} days",
}
"""What is printed of a site, from a unit's cost and how many times that it is."""


if __name__ == "__main__":
    main()
