"""A ledger restored from a backup, by the steps of docs/operating.md."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

RESTORED = ("--because", "restored from a backup")


def copy(ledger: Path, to: Path) -> None:
    """As `sqlite3 … .backup` does."""
    with closing(sqlite3.connect(ledger)) as source, closing(sqlite3.connect(to)) as target:
        source.backup(target)


@pytest.fixture
def restored(bridge: Any, hospital: Any, endpoint: Any) -> Any:
    """A backup of two that wait; one of them and a third are called; then the backup is restored."""
    running = endpoint()
    bridge.settings(running.url, 'min_gap = "0s"\n')
    ledger, backup = bridge.folder / "fhir-bridge.db", bridge.folder / "backup.db"
    bridge("pause", *RESTORED)
    bridge("submit", hospital.proposed(1), hospital.proposed(2), "--wait", "0s")
    copy(ledger, backup)
    bridge("cancel", "Appointment/a2", "--yes", *RESTORED)
    bridge("resume", *RESTORED)
    bridge("submit", hospital.proposed(3), "--wait", "5s")
    bridge("worker", "--drain")
    assert running.stats["tasks"] == 2
    for file in bridge.folder.glob("fhir-bridge.db*"):
        file.unlink()
    copy(backup, ledger)
    ledger.chmod(0o600)
    return running


def test_nobody_is_called_again_by_a_restored_ledger(bridge: Any, hospital: Any, restored: Any) -> None:
    """Neither who waited in it and was called since, nor who came after it, comes again, and was called."""
    assert bridge("pause", *RESTORED).code == 0
    assert bridge("ledger", "check").code == 0
    bridge("submit", hospital.proposed(3), "--wait", "0s")
    bridge("worker", "--drain")
    assert restored.stats["tasks"] == 2
    assert bridge("cancel", "--state", "ready", "--yes", *RESTORED).code == 0
    bridge("resume", *RESTORED)
    bridge("submit", hospital.proposed(1), hospital.proposed(3), hospital.proposed(4), "--wait", "5s")
    assert restored.stats["tasks"] == 3, "who is new is called, and nobody again"


def test_who_was_not_called_is_brought_back(bridge: Any, restored: Any) -> None:
    """By name, after comparing; the others stay put away."""
    bridge("cancel", "--state", "ready", "--yes", *RESTORED)
    bridge("resume", *RESTORED)
    assert bridge("retry", "Appointment/a2", *RESTORED).code == 0
    bridge("worker", "--drain")
    assert restored.stats["tasks"] == 3
    assert bridge("status", "--json").json["states"] == {"cancelled": 1, "sent": 1}
