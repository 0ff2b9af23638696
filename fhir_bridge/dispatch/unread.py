"""Nobody is called while what their source said lies unread in the inbox: it may be that nobody is wanted."""

from __future__ import annotations

import asyncio
from collections.abc import Container
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from fhir_bridge.ledger.port import Dispatches
from fhir_bridge.ledger.records import Claimed, Defer

INBOX_BEHIND = "inbox-behind"

UNREAD_FOR = timedelta(seconds=5)
"""A message that is younger is being processed as it should."""

LOOK_EVERY = timedelta(seconds=1)

ASK_AGAIN = timedelta(seconds=30)
"""How long a call waits: giving thousands back again and again would take the ledger from who processes."""


@dataclass(slots=True)
class Unread:
    """Asks how far processing is behind, a source each second. `read_again`: sources that are asked
    themselves before a call, and need not be waited for.
    """

    ledger: Dispatches
    read_again: Container[str] = ()
    _found: dict[str, tuple[datetime, bool]] = field(default_factory=dict)
    _asking: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def look(self, claimed: Claimed, now: datetime) -> Defer | None:
        """How the intent is given back, at `now` (aware UTC); None where its source is read. Raises
        LedgerError."""
        if claimed.source in self.read_again:
            return None
        is_behind = self._known(claimed.source, now)
        if is_behind is None:
            # All senders come at once when a second is over: one of them asks for all.
            async with self._asking:
                is_behind = self._known(claimed.source, now)
                if is_behind is None:
                    is_behind = await self.ledger.is_unread(claimed.source, now - UNREAD_FOR)
                    self._found[claimed.source] = (now, is_behind)
        return Defer(claimed, now + ASK_AGAIN, INBOX_BEHIND, now) if is_behind else None

    def _known(self, source: str, now: datetime) -> bool | None:
        """What was found of the source within the second; None where it has to be asked."""
        asked_at, is_behind = self._found.get(source, (None, None))
        return is_behind if asked_at is not None and abs(now - asked_at) < LOOK_EVERY else None
