"""What the sandbox remembers: patients, tasks, calls and idempotency keys, in SQLite (memory or a file)."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import uuid
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

from fhir_bridge.task_api.models import CallStatus, TaskStatus

_SCHEMA = """
CREATE TABLE IF NOT EXISTS patients (id TEXT PRIMARY KEY, body TEXT NOT NULL, created_at TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS tasks (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, patient_id TEXT NOT NULL, body TEXT NOT NULL,
    status TEXT NOT NULL, outcome TEXT, created_at TEXT NOT NULL, updated_at TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS tasks_by_patient ON tasks (patient_id);
CREATE INDEX IF NOT EXISTS open_tasks ON tasks (number) WHERE status IN ('PENDING', 'IN_PROGRESS');
CREATE TABLE IF NOT EXISTS calls (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, task_id TEXT NOT NULL, status TEXT NOT NULL,
    outcome TEXT, transcripts TEXT, created_at TEXT NOT NULL, updated_at TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS calls_by_task ON calls (task_id);
CREATE TABLE IF NOT EXISTS idempotency_keys (
    kind TEXT, key TEXT, digest TEXT NOT NULL, id TEXT NOT NULL, PRIMARY KEY (kind, key));
"""


class KeyReusedError(Exception):
    """An idempotency key came again with another body."""


class Store:
    """The sandbox's memory. Its calls take microseconds on one connection, so they are not worth a thread.

    What was answered survives the process being killed: every change is committed before it returns.
    """

    def __init__(self, path: Path | None = None) -> None:
        """Open the file, made when missing, or with None a memory of its own."""
        self._db = _connect(path)
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def create_patient(self, body: dict[str, Any], at: datetime, key: str | None = None) -> str:
        """Its new id, or the id this idempotency key was given before. Raises KeyReusedError."""
        with self._db:
            known = self._known("patient", key, body)
            patient_id = known or self._claim("patient", key, body)
            if not known:
                row = (patient_id, json.dumps(body), at.isoformat())
                self._db.execute("INSERT INTO patients VALUES (?, ?, ?)", row)
        return patient_id

    def create_task(self, body: dict[str, Any], at: datetime, key: str | None = None) -> tuple[str, bool]:
        """Its id, and whether it is new rather than known by its idempotency key. Raises KeyReusedError."""
        with self._db:
            known = self._known("task", key, body)
            task_id = known or self._claim("task", key, body)
            if not known:
                stamp = at.isoformat()
                row = (task_id, body["patient_id"], json.dumps(body), TaskStatus.PENDING, stamp, stamp)
                self._db.execute(
                    "INSERT INTO tasks (id, patient_id, body, status, created_at, updated_at)"
                    " VALUES (?, ?, ?, ?, ?, ?)",
                    row,
                )
        return task_id, not known

    def patient(self, patient_id: str) -> dict[str, Any] | None:
        """The patient as GET answers it."""
        row = self._one("SELECT * FROM patients WHERE id = ?", patient_id)
        if row is None:
            return None
        stamps = {"created_at": row["created_at"], "updated_at": row["created_at"]}
        return {"id": patient_id, **json.loads(row["body"]), **stamps}

    def task(
        self, task_id: str, *, transcripts: bool = False, all_calls: bool = False
    ) -> dict[str, Any] | None:
        """The task as GET answers it; its newest call first."""
        row = self._one("SELECT * FROM tasks WHERE id = ?", task_id)
        if row is None:
            return None
        body = json.loads(row["body"])
        calls = self._all("SELECT * FROM calls WHERE task_id = ? ORDER BY number DESC", task_id)
        shown = calls if all_calls else calls[:1]
        return {
            "id": task_id,
            "project_id": body["project_id"],
            "patient_id": body["patient_id"],
            "status": row["status"],
            "task_type": body["task_type"],
            "task": body["task"],
            "task_outcome": row["outcome"],
            "created_at": row["created_at"],
            "updated_at": row["updated_at"],
            "calls": [_call(call, body, transcripts) for call in shown],
            "has_more_calls": len(shown) < len(calls),
        }

    def body(self, task_id: str) -> dict[str, Any]:
        """The task's request as it was received. Raises KeyError when there is none."""
        row = self._one("SELECT body FROM tasks WHERE id = ?", task_id)
        if row is None:
            raise KeyError(task_id)
        body: dict[str, Any] = json.loads(row["body"])
        return body

    def tasks(self, newest: int = -1) -> list[dict[str, Any]]:
        """The newest tasks, all by default, oldest first: id, time, status, outcome, request as received."""
        rows = self._all("SELECT * FROM tasks ORDER BY number DESC LIMIT ?", newest)
        return [
            {
                "id": row["id"],
                "received_at": row["created_at"],
                "status": row["status"],
                "task_outcome": row["outcome"],
                "request": json.loads(row["body"]),
            }
            for row in reversed(rows)
        ]

    def counts(self) -> dict[str, Any]:
        """How many patients and tasks there are, and how many tasks each patient has."""
        by_patient = self._all("SELECT patient_id, count(*) AS n FROM tasks GROUP BY 1 ORDER BY min(number)")
        patients = self._all("SELECT count(*) AS n FROM patients")[0]["n"]
        return {
            "patients": patients,
            "tasks": sum(row["n"] for row in by_patient),
            "tasks_by_patient": {row["patient_id"]: row["n"] for row in by_patient},
        }

    def unfinished(self) -> list[str]:
        """The ids of the tasks whose calls are not over."""
        rows = self._all("SELECT id FROM tasks WHERE status IN ('PENDING', 'IN_PROGRESS') ORDER BY number")
        return [row["id"] for row in rows]

    def start_call(self, task_id: str, at: datetime) -> str:
        """The id of the task's call: the one under way when the sandbox was stopped, else a new one."""
        stamp = at.isoformat()
        under_way = self._one("SELECT id FROM calls WHERE task_id = ? AND status = 'IN_PROGRESS'", task_id)
        if under_way is not None:
            return str(under_way["id"])
        call_id = str(uuid.uuid4())
        with self._db:
            row = (call_id, task_id, CallStatus.IN_PROGRESS, stamp, stamp)
            self._db.execute(
                "INSERT INTO calls (id, task_id, status, created_at, updated_at) VALUES (?, ?, ?, ?, ?)", row
            )
            self._set_task(task_id, TaskStatus.IN_PROGRESS, None, stamp)
        return call_id

    def end_call(
        self,
        call_id: str,
        status: CallStatus,
        outcome: str,
        transcripts: Iterable[dict[str, str]],
        at: datetime,
    ) -> None:
        """Write how a call ended."""
        row = (status, outcome, json.dumps(list(transcripts)), at.isoformat(), call_id)
        with self._db:
            self._db.execute(
                "UPDATE calls SET status = ?, outcome = ?, transcripts = ?, updated_at = ? WHERE id = ?", row
            )

    def end_task(self, task_id: str, status: TaskStatus, outcome: str, at: datetime) -> None:
        """Write how a task ended."""
        with self._db:
            self._set_task(task_id, status, outcome, at.isoformat())

    def calls_made(self, task_id: str) -> int:
        """How many calls of the task are over."""
        rows = self._all("SELECT id FROM calls WHERE task_id = ? AND status <> 'IN_PROGRESS'", task_id)
        return len(rows)

    def _set_task(self, task_id: str, status: TaskStatus, outcome: str | None, stamp: str) -> None:
        row = (status, outcome, stamp, task_id)
        self._db.execute("UPDATE tasks SET status = ?, outcome = ?, updated_at = ? WHERE id = ?", row)

    def _known(self, kind: str, key: str | None, body: dict[str, Any]) -> str | None:
        if key is None:
            return None
        row = self._one("SELECT digest, id FROM idempotency_keys WHERE kind = ? AND key = ?", kind, key)
        if row is not None and row["digest"] != _digest(body):
            raise KeyReusedError
        return None if row is None else str(row["id"])

    def _claim(self, kind: str, key: str | None, body: dict[str, Any]) -> str:
        new_id = str(uuid.uuid4())
        if key is not None:
            row = (kind, key, _digest(body), new_id)
            self._db.execute("INSERT INTO idempotency_keys VALUES (?, ?, ?, ?)", row)
        return new_id

    def _one(self, statement: str, *values: str) -> sqlite3.Row | None:
        row: sqlite3.Row | None = self._db.execute(statement, values).fetchone()
        return row

    def _all(self, statement: str, *values: str | int) -> list[sqlite3.Row]:
        return self._db.execute(statement, values).fetchall()


def _connect(path: Path | None) -> sqlite3.Connection:
    db = sqlite3.connect(path or ":memory:")
    db.row_factory = sqlite3.Row
    # With WAL a commit survives a killed process without waiting for the disk at each.
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
    return db


def _digest(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _call(row: sqlite3.Row, body: dict[str, Any], transcripts: bool) -> dict[str, Any]:
    said = json.loads(row["transcripts"]) if transcripts and row["transcripts"] else None
    return {
        "id": row["id"],
        "project_id": body["project_id"],
        "patient_id": body["patient_id"],
        "status": row["status"],
        "call_outcome": row["outcome"],
        "created_at": row["created_at"],
        "updated_at": row["updated_at"],
        "recording_url": None,
        "transcripts": said,
    }
