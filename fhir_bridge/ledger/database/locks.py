"""What must happen one at a time: PostgreSQL has many writers, SQLite one and needs none (delivery)."""

from __future__ import annotations

from enum import IntEnum
from functools import lru_cache
from hashlib import blake2b

from sqlalchemy import Connection, Dialect, Select, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from fhir_bridge.ledger.database.many import ask

_FAMILY = 0x46484952
"""Sets the ledger's advisory locks apart from those of other programs in the same database: "FHIR"."""


class Lock(IntEnum):
    """Each is taken before any row, in this order where one transaction takes several; the audit's last."""

    UPGRADE = 1
    DESTINATION = 2
    # A chain's decisions that came at once would each open an intent of their own: two calls. One lock each
    # source.
    INTAKE = 3
    # A source's messages are processed in their order, so two processors must not both take of one source.
    INBOX = 4
    # Whether a number was called a moment ago is asked and answered by one worker at a time: a statement
    # sees nothing of what was committed while it ran.
    START = 5
    # An event's number is judged by the one before it. One lock each source.
    NUMBERS = 6
    AUDIT = 7


async def hold(connection: AsyncConnection, lock: Lock, of: str = "") -> None:
    """Wait for a lock, of one source where `of` names it, and keep it until the commit."""
    if connection.dialect.name == "postgresql":
        await ask(connection, _taking(lock, of))


def hold_now(connection: Connection, lock: Lock) -> None:
    """The same where nothing else can be done meanwhile: in a migration."""
    if connection.dialect.name == "postgresql":
        connection.execute(_taking(lock, ""))


def locks_rows(dialect: Dialect) -> bool:
    """Whether rows are locked one by one, so that statements of two transactions can interleave."""
    return dialect.name == "postgresql"


@lru_cache
def _taking(lock: Lock, of: str) -> Select[tuple[None]]:
    which = blake2b(f"{lock.name}|{of}".encode(), digest_size=4).digest()
    return select(func.pg_advisory_xact_lock(_FAMILY, int.from_bytes(which, signed=True)))
