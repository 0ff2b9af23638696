"""A ledger restored from a backup, by the steps of docs/operating.md."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

TASK = "7c1e0000-0000-4000-8000-000000000001"
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


@pytest.fixture
def as_of(bridge: Any, restored: Any) -> str:
    """When the backup was made."""
    return datetime.fromtimestamp((bridge.folder / "backup.db").stat().st_mtime, UTC).isoformat()


def test_nobody_is_called_again_by_a_restored_ledger(
    bridge: Any, hospital: Any, restored: Any, as_of: str
) -> None:
    """Neither who waited in it and was called since, nor who came after it, comes again, and was called."""
    say = ("ledger", "restored", "--as-of", as_of, "--yes", *RESTORED)
    assert "2 intents that waited now in doubt" in bridge(*say).out
    assert bridge("ledger", "check").code == 0
    bridge("submit", hospital.proposed(3), "--wait", "0s")
    bridge("worker", "--drain")
    assert restored.stats["tasks"] == 2
    assert "1 intent that waited now in doubt" in bridge(*say).out
    bridge("resume", *RESTORED)
    bridge("submit", hospital.proposed(1), hospital.proposed(3), hospital.proposed(4), "--wait", "5s")
    assert restored.stats["tasks"] == 3, "who is new is called, and nobody again"


def test_who_was_not_called_is_brought_back(bridge: Any, restored: Any, as_of: str) -> None:
    """Whom the vendor has a task of first, then all others at once."""
    bridge("ledger", "restored", "--as-of", as_of, "--yes", *RESTORED)
    bridge("resume", *RESTORED)
    assert bridge("resolve", "Appointment/a1", "--sent", TASK, *RESTORED).code == 0
    assert bridge("resolve", "--reason", "restored", "--resend", "--yes", *RESTORED).code == 0
    bridge("worker", "--drain")
    assert restored.stats["tasks"] == 3
    assert set(bridge("status", "--json").json["states"]) <= {"sent", "done"}


def test_a_ledger_in_use_is_not_taken_for_a_restored_one(bridge: Any, restored: Any, as_of: str) -> None:
    """Where it has calls of after the backup, the settings name another ledger, or the moment is wrong."""
    bridge("cancel", "Appointment/a2", "--yes", *RESTORED)
    bridge("resume", *RESTORED)
    bridge("worker", "--drain")
    ran = bridge("ledger", "restored", "--as-of", as_of, "--yes", *RESTORED)
    assert (ran.code, "no backup of that time" in ran.err) == (2, True)


def test_a_check_tells_a_ledger_that_is_older_than_the_log(bridge: Any, restored: Any) -> None:
    """By what a worker logged before the disk broke."""
    head = bridge("audit", "verify").out.split()[-1]
    assert bridge("ledger", "check", "--head", head).code == 0
    ran = bridge("ledger", "check", "--head", f"3:{head.partition(':')[2]}")
    assert (ran.code, "it has not row 3 of the audit as it was logged" in ran.err) == (6, True)
    assert bridge("ledger", "check", "--head", "3").code == 2
    assert bridge("ledger", "check", "--attempt", "1").code == 6, "nobody was called yet in the backup"


def test_a_backup_that_is_put_back_and_not_told_of_calls_nobody(
    bridge: Any, restored: Any, as_of: str
) -> None:
    """Beside its file stands how many calls the ledger had begun; until `ledger restored` nothing runs."""
    say = ("ledger", "restored", "--as-of", as_of, "--yes", *RESTORED)
    ledger, later = bridge.folder / "fhir-bridge.db", bridge.folder / "later.db"
    assert bridge(*say).code == 0
    bridge("resume", *RESTORED)
    copy(ledger, later)
    bridge("resolve", "--reason", "restored", "--resend", "--yes", *RESTORED)
    bridge("worker", "--drain")
    called = restored.stats["tasks"]
    assert called > 2
    for file in bridge.folder.glob("fhir-bridge.db-[sw]*"):
        file.unlink()
    later.replace(ledger)
    ledger.chmod(0o600)
    for command in (("worker", "--drain"), ("status",), ("resume", *RESTORED)):
        ran = bridge(*command)
        assert ran.code == 6 and "older copy" in ran.err and "ledger restored" in ran.err
    assert "older copy" in bridge("ledger", "check").err
    assert restored.stats["tasks"] == called
    now = datetime.now(UTC).isoformat()
    assert bridge("ledger", "restored", "--as-of", now, "--yes", *RESTORED).code == 0
    assert bridge("status").code in (0, 1)
    assert bridge("ledger", "check").code == 0
