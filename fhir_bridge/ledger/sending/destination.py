"""The destination's row: whose ledger this is, and what holds all requests back (delivery)."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import Select, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from fhir_bridge.errors import SettingsError
from fhir_bridge.ledger.database.asking import Told
from fhir_bridge.ledger.database.encryption import Cipher, cipher_from
from fhir_bridge.ledger.database.given import gathered, read_gathered
from fhir_bridge.ledger.database.locks import Lock, hold
from fhir_bridge.ledger.database.many import ask
from fhir_bridge.ledger.database.tables import destination, instant, pauses
from fhir_bridge.ledger.database.upserts import upsert
from fhir_bridge.ledger.records import Act
from fhir_bridge.ledger.sending.gate import Gate

_GATE = ("failures", "open_until", "paused_until", "stopped_at", "stopped_by", "probed_at")


async def belongs_to(
    connection: AsyncConnection, api_url: str | None, project_id: str | None, now: datetime
) -> bytes:
    """Write the destination at first use; the ledger's salt. None asks nothing of a ledger that has one.

    Raises SettingsError (exit 3) for another one, and where a new ledger is told of none.
    """
    row = (await connection.execute(select(destination))).one_or_none()
    if row is None:
        await hold(connection, Lock.DESTINATION)
        row = (await connection.execute(select(destination))).one_or_none()
    url = api_url.rstrip("/") if api_url else row and row.api_url
    project = project_id.lower() if project_id else row and row.project_id
    if not url or not project:
        raise SettingsError(
            "this ledger is new and belongs to no endpoint yet",
            code="no-destination",
            hint="Set api.url and api.project_id (FHIR_BRIDGE_API_URL, FHIR_BRIDGE_PROJECT_ID).",
        )
    if row is None:
        salt = secrets.token_bytes(32)
        first = {"id": 1, "api_url": url, "project_id": project, "salt": salt, "created_at": now}
        await connection.execute(insert(destination).values(**first))
        return salt
    if (row.api_url, row.project_id) != (url, project):
        raise SettingsError(
            f"this ledger belongs to {row.api_url}, project {row.project_id}; "
            f"the settings say {url}, project {project}",
            code="other-destination",
            hint="Name another ledger for another destination, or mend api.url and api.project_id.",
        )
    found: bytes = row.salt
    return found


async def cipher(connection: AsyncConnection, keys: Sequence[str]) -> Cipher:
    """How payloads are kept under these keys (base64, the first writes), noted when that one is new.

    Raises LedgerError where they were written under a key that is not among them.
    """
    noted = (await connection.execute(select(destination.c.encryption_key_id))).scalar_one()
    found = cipher_from(keys, noted)
    if found.key_id is not None and found.key_id != noted:
        await connection.execute(update(destination).values(encryption_key_id=found.key_id))
    return found


async def audit_key(connection: AsyncConnection, given: bytes | None, salt: bytes) -> bytes | None:
    """The key that chains the audit: the site's, noted when it is first set, else the ledger's own.

    None where the site's was noted and is not the one given: whoever acts without it would break the chain.
    """
    noted = (await connection.execute(select(destination.c.audit_key_id))).scalar_one()
    if given is None:
        return own_audit_key(salt) if noted is None else None
    name = hmac.digest(given, b"audit key id", "sha256").hex()[:16]
    if noted is None:
        await connection.execute(update(destination).values(audit_key_id=name))
    return given if noted in (None, name) else None


def own_audit_key(salt: bytes) -> bytes:
    """The key of a ledger whose site set none: it shows a slip, and not who can write to the ledger."""
    return hmac.digest(salt, b"audit", "sha256")


async def salt(connection: AsyncConnection) -> bytes | None:
    """The ledger's salt; None before its destination is known."""
    found: bytes | None = (await connection.execute(select(destination.c.salt))).scalar()
    return found


async def gate(connection: AsyncConnection, *, locked: bool = False) -> Gate:
    """What holds requests back now; `locked` until the commit, for who is about to change it."""
    return read_gate(await ask_for_gate(connection, locked=locked))


async def ask_for_gate(connection: AsyncConnection, *, locked: bool = False) -> Told:
    """The same, for `read_gate` to look at later."""
    return await ask(connection, _gate_row(connection.dialect.name, locked))


def read_gate(told: Told) -> Gate:
    """What holds requests back, as it was told."""
    row: Any = told.one_or_none()
    if row is None:
        return Gate()
    failures, open_until, paused_until, stopped_at, stopped_by, probed_at, sources = row
    return Gate(
        failures,
        instant(open_until),
        instant(paused_until),
        instant(stopped_at),
        stopped_by,
        instant(probed_at),
        frozenset(source for (source,) in read_gathered(sources)),
    )


@lru_cache
def _gate_row(dialect: str, locked: bool) -> Select[Any]:
    paused = select(gathered(dialect, pauses.c.source)).scalar_subquery()
    statement = select(*(destination.c[name] for name in _GATE), paused)
    return statement.with_for_update() if locked else statement


async def change(connection: AsyncConnection, of: Callable[[Gate], Gate]) -> Gate:
    """Change the row by a pure function of what it is; locked and written only where that differs."""
    before = await gate(connection)
    if of(before) == before:
        return before
    before = await gate(connection, locked=True)
    now = of(before)
    if now != before:
        values = {name: value for name, value in asdict(now).items() if name in _GATE}
        await connection.execute(update(destination).values(**values))
    return now


async def pause(connection: AsyncConnection, source: str, act: Act) -> None:
    """Hold back everything of a source, or of all (""), until somebody resumes it."""
    row = {"source": source, "since": act.at, "by": act.actor, "why": act.reason}
    await connection.execute(upsert(connection, pauses), [row])


async def resume(connection: AsyncConnection, source: str) -> bool:
    """Let a source go on; False where it was not paused."""
    return bool((await connection.execute(delete(pauses).where(pauses.c.source == source))).rowcount)
