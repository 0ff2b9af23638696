"""`fhir-bridge demo`: the made-up hospital, an emulated endpoint, and no second task."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path
from typing import Any


def tasks_in(folder: Path) -> int:
    """How many tasks the emulated endpoint has kept."""
    database = sqlite3.connect(folder / "endpoint.db")
    try:
        return int(database.execute("select count(*) from tasks").fetchone()[0])
    finally:
        database.close()


def test_a_second_run_creates_no_second_task_and_a_fresh_one_starts_over(bridge: Any) -> None:
    """The same decisions, one explanation in full, what to try next; the ledger knows what was sent."""
    first = bridge("demo")
    assert first.code == 0, first.err
    for words in (
        "Decisions",
        "Tasks, as the endpoint got them",
        "What to try next",
        "The ledger",
        "intents",
    ):
        assert words in first.out
    new = int(re.search(r"^(\d+) tasks; run it again", first.out, re.MULTILINE)[1])
    assert new == tasks_in(bridge.folder / ".demo") > 20
    second = bridge("demo")
    assert second.code == 0
    assert f"0 new tasks in this run; {new} were there before" in second.out
    assert tasks_in(bridge.folder / ".demo") == new
    assert decisions(second.out) == decisions(first.out)
    fresh = bridge("demo", "--fresh")
    assert fresh.code == 0
    assert f"{new} tasks; run it again" in fresh.out
    assert tasks_in(bridge.folder / ".demo") == new
    assert first.err == second.err == fresh.err == ""


def decisions(printed: str) -> str:
    """The table of decisions."""
    return printed.partition("Decisions")[2].partition("Tasks, as")[0]


def test_it_keeps_to_its_own_folder_and_settings(bridge: Any) -> None:
    """bridge.toml and its ledger have nothing to do with it; --folder says where it keeps its own."""
    bridge.settings("https://api.example", "[ledger]\nurl = 'mine.db'\n")
    assert bridge("demo", "--folder", "elsewhere").code == 0
    assert sorted(path.name for path in bridge.folder.iterdir()) == ["bridge.toml", "elsewhere"]
