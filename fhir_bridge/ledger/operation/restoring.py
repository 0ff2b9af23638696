"""What a ledger that was restored from a backup may not do: call again whom it has forgotten calling."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from fhir_bridge.errors import UsageError
from fhir_bridge.ledger.database.tables import attempts, in_state, intents
from fhir_bridge.ledger.records import Act
from fhir_bridge.ledger.sending import destination
from fhir_bridge.ledger.states import State, starts_of

RESTORED = "restored"
_WAITING = starts_of(State.IN_DOUBT, "operator: a backup was restored")


async def last_attempt(connection: AsyncConnection) -> int:
    """The number of the newest attempt, 0 where there is none: it only grows, so an older copy has fewer."""
    return int((await connection.execute(select(func.max(attempts.c.id)))).scalar() or 0)


async def restored(connection: AsyncConnection, as_of: datetime, act: Act) -> int:
    """Pause everything, and put in doubt all that waits: it may have been called since `as_of` (aware UTC).
    Gives how many; done again, what came in meanwhile follows.

    Raises UsageError where an attempt was begun after that: then it is no backup of that time.
    """
    newest = (await connection.execute(select(func.max(attempts.c.started_at)))).scalar()
    if newest is not None and newest > as_of:
        raise UsageError(
            "this ledger has an attempt of after --as-of, so it is no backup of that time",
            hint="Name when the backup was made; and is it the restored ledger that the settings name?",
        )
    await destination.pause(connection, "", act)
    doubted = {
        "state": State.IN_DOUBT,
        "reason": RESTORED,
        "due_at": None,
        # The number counts as called: nobody else is called there at once.
        "called_at": act.at,
        "changed_at": act.at,
        "lease_token": None,
        "lease_until": None,
    }
    waiting = update(intents).where(in_state(intents, *_WAITING))
    return (await connection.execute(waiting.values(**doubted))).rowcount
