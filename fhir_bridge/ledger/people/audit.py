"""What people did, each row chained to the one before with an HMAC (delivery, table `audit`)."""

from __future__ import annotations

import hmac

import msgspec
from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from fhir_bridge.ledger.database.locks import Lock, hold
from fhir_bridge.ledger.database.tables import audit
from fhir_bridge.ledger.records import Act, AuditCheck, AuditHead

_START = b"\0" * 32


async def note(connection: AsyncConnection, key: bytes, act: Act, action: str, subject: str) -> None:
    """Add a row, in the transaction of what it tells of. `subject` is a key or a filter, never a person."""
    await hold(connection, Lock.AUDIT)
    last = (
        await connection.execute(
            select(audit.c.chain, audit.c.number).order_by(audit.c.number.desc()).limit(1)
        )
    ).first()
    row = {"at": act.at, "actor": act.actor, "action": action, "subject": subject, "reason": act.reason}
    number = last.number + 1 if last else 1
    chain = _link(key, last.chain if last else _START, number, act, action, subject)
    await connection.execute(insert(audit).values(number=number, **row, chain=chain))


async def verify(connection: AsyncConnection, key: bytes, own_key: bytes) -> AuditCheck:
    """Whether the chain holds, from the first row to the last.

    Rows written before the site set a key of its own are chained with the ledger's `own_key`, which whoever
    can write to the ledger can find out: how many they are is said, and only the first ones may be.
    """
    keys = [own_key, key] if own_key != key else [key]
    before, expected, before_key = _START, 1, 0
    for row in await connection.execute(select(audit).order_by(audit.c.number)):
        act = Act(row.actor, row.reason, row.at)
        while keys and not hmac.compare_digest(
            row.chain, _link(keys[0], before, row.number, act, row.action, row.subject)
        ):
            keys.pop(0)
        if row.number != expected or not keys:
            return AuditCheck(await head(connection), int(row.number), before_key)
        before_key += len(keys) > 1
        before, expected = row.chain, expected + 1
    return AuditCheck(await head(connection), None, before_key)


async def head(connection: AsyncConnection) -> AuditHead | None:
    """The newest row; None where there is none yet."""
    newest = select(audit.c.number, audit.c.chain).order_by(audit.c.number.desc()).limit(1)
    row = (await connection.execute(newest)).one_or_none()
    return None if row is None else AuditHead(row.number, row.chain.hex())


async def chain_at(connection: AsyncConnection, number: int) -> str | None:
    """What a row said of all before it, in hex, to be compared with what was logged of it."""
    found: bytes | None = (
        await connection.execute(select(audit.c.chain).where(audit.c.number == number))
    ).scalar()
    return None if found is None else found.hex()


def _link(key: bytes, before: bytes, number: int, act: Act, action: str, subject: str) -> bytes:
    told = [number, act.at.isoformat(), act.actor, action, subject, act.reason]
    return hmac.digest(key, before + msgspec.json.encode(told), "sha256")
