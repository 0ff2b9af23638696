"""Nobody is called while what their source said lies unread in the inbox: it may be that nobody is wanted."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from fhir_bridge.ledger.port import Dispatches
from fhir_bridge.ledger.records import Claimed, Defer

INBOX_BEHIND = "inbox-behind"

UNREAD_FOR = timedelta(seconds=5)
"""A message that is younger is being processed as it should."""

LOOK_EVERY = timedelta(seconds=1)

ASK_AGAIN = timedelta(minutes=2)
"""How long a call waits; longer than a drain, which must come to its end where nobody processes the inbox."""


@dataclass(slots=True)
class Unread:
    """Asks how far processing is behind, a source each second. `read_again`: sources that are asked
    themselves before a call, and need not be waited for.
    """

    ledger: Dispatches
    read_again: Container[str] = ()
    _found: dict[str, tuple[datetime, bool]] = field(default_factory=dict)

    async def look(self, claimed: Claimed, now: datetime) -> Defer | None:
        """How the intent is given back, at `now` (aware UTC); None where its source is read. Raises
        LedgerError."""
        source = claimed.source
        if source in self.read_again:
            return None
        asked_at, is_behind = self._found.get(source, (None, False))
        if asked_at is None or not timedelta(0) <= now - asked_at < LOOK_EVERY:
            is_behind = await self.ledger.is_unread(source, now - UNREAD_FOR)
            self._found[source] = (now, is_behind)
        return Defer(claimed, now + ASK_AGAIN, INBOX_BEHIND, now) if is_behind else None
