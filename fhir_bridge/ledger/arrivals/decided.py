"""What the ledger decided on triggers, for comparing with what would be decided now."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import case, select
from sqlalchemy.ext.asyncio import AsyncConnection

from fhir_bridge.ledger.arrivals.content import read_content
from fhir_bridge.ledger.arrivals.precedence import Version
from fhir_bridge.ledger.database.tables import intents, triggers
from fhir_bridge.ledger.sources.messages import Decided


async def decided(connection: AsyncConnection, source: str, names: Collection[str]) -> dict[str, Decided]:
    """Of each of these triggers that is known, what was last decided."""
    held = (intents.c.trigger == triggers.c.trigger) & (intents.c.fingerprint == triggers.c.fingerprint)
    content = case((triggers.c.content.is_not(None), triggers.c.content), (held, intents.c.content))
    of_trigger = ("trigger", "version_id", "last_updated", "decision", "reason")
    statement = (
        select(*(triggers.c[name] for name in of_trigger), content.label("content"))
        .outerjoin(intents, intents.c.id == triggers.c.intent_id)
        .where(triggers.c.source == source, triggers.c.trigger.in_(names))
    )
    return {
        row.trigger: Decided(
            row.decision,
            row.reason,
            Version(row.version_id, row.last_updated),
            None if row.content is None else bytes(read_content(row.content).task),
        )
        for row in await connection.execute(statement)
    }
