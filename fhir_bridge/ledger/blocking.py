"""The do-not-call list: numbers, hashed, and patients (delivery, table `blocked`)."""

from __future__ import annotations

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from fhir_bridge.errors import UsageError
from fhir_bridge.ledger.content import lane_of
from fhir_bridge.ledger.records import Act
from fhir_bridge.ledger.tables import blocked
from fhir_bridge.ledger.upserts import upsert


def hidden(kind: str, value: str, salt: bytes) -> str:
    """What is kept and audited of a `number` (E.164) or `patient` (`source|identity`). Raises UsageError."""
    if kind == "number":
        return lane_of(value, salt)
    if kind == "patient":
        return value
    raise UsageError(f"{kind} cannot be blocked", hint="Block a number or a patient.")


async def block(connection: AsyncConnection, kind: str, value: str, act: Act) -> None:
    """Add to the list; blocking twice keeps the newer reason."""
    row = {"kind": kind, "value": value, "since": act.at, "by": act.actor, "why": act.reason}
    await connection.execute(upsert(connection, blocked), [row])


async def unblock(connection: AsyncConnection, kind: str, value: str) -> bool:
    """Take from the list; False where it was not on it."""
    statement = delete(blocked).where(blocked.c.kind == kind, blocked.c.value == value)
    return bool((await connection.execute(statement)).rowcount)


async def blocked_numbers(connection: AsyncConnection) -> frozenset[str]:
    """The lanes on the list, for mapping to ask (delivery, "Before a byte is sent", 5)."""
    found = await connection.execute(select(blocked.c.value).where(blocked.c.kind == "number"))
    return frozenset(found.scalars())
