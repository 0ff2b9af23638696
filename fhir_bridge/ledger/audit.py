"""What people did, each row chained to the one before with an HMAC (delivery, table `audit`)."""

from __future__ import annotations

import hmac

import msgspec
from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from fhir_bridge.ledger.records import Act
from fhir_bridge.ledger.tables import audit

_START = b"\0" * 32


async def note(connection: AsyncConnection, key: bytes, act: Act, action: str, subject: str) -> None:
    """Add a row, in the transaction of what it tells of. `subject` is a key or a filter, never a person."""
    last = (
        await connection.execute(
            select(audit.c.chain, audit.c.number).order_by(audit.c.number.desc()).limit(1)
        )
    ).first()
    row = {"at": act.at, "actor": act.actor, "action": action, "subject": subject, "reason": act.reason}
    number = last.number + 1 if last else 1
    chain = _link(key, last.chain if last else _START, number, act, action, subject)
    await connection.execute(insert(audit).values(number=number, **row, chain=chain))


async def verify(connection: AsyncConnection, key: bytes) -> int | None:
    """The number of the first row that was changed, removed or put in; None when the chain holds."""
    before, expected = _START, 1
    for row in await connection.execute(select(audit).order_by(audit.c.number)):
        act = Act(row.actor, row.reason, row.at)
        if row.number != expected or not hmac.compare_digest(
            row.chain, _link(key, before, row.number, act, row.action, row.subject)
        ):
            return int(row.number)
        before, expected = row.chain, expected + 1
    return None


def _link(key: bytes, before: bytes, number: int, act: Act, action: str, subject: str) -> bytes:
    told = [number, act.at.isoformat(), act.actor, action, subject, act.reason]
    return hmac.digest(key, before + msgspec.json.encode(told), "sha256")
