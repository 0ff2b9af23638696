"""Reading a trigger and its patient once more at their source before the call (delivery, "Before a byte is
sent", 3).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from fhir_bridge.errors import FhirServerError
from fhir_bridge.ledger.port import Intakes
from fhir_bridge.ledger.records import Arrival, Change, Claimed, Defer

SOURCE_UNREACHABLE = "source-unreachable"
MAPPED_AGAIN = "mapped-again"

ASK_AGAIN = timedelta(minutes=1)
"""How soon a source that did not answer is asked once more. Until it does nobody is called: it may know why
not."""

_SAME = frozenset({Change.UNCHANGED, Change.OLDER})

log = structlog.get_logger(__name__)


class SourceReader(Protocol):
    """A source that can be asked: a FHIR server, read and mapped as intake does it."""

    async def read_again(self, trigger: str) -> Sequence[Arrival]:
        """What the trigger (`Type/id`) and its patient say now, decided anew; a Skip where it is gone.

        Empty where nothing moved since. Raises FhirServerError where the source does not answer.
        """
        ...


@dataclass(frozen=True, slots=True)
class Rereading:
    """Asks the source of an intent, where it has a reader, and takes the answer into the ledger."""

    ledger: Intakes
    readers: Mapping[str, SourceReader]

    async def look(self, claimed: Claimed, now: datetime) -> Defer | None:
        """None where all is as it was; else how the intent is given back, for it is decided again by now.

        `now` is aware UTC. Raises LedgerError.
        """
        reader = self.readers.get(claimed.source)
        if reader is None:
            return None
        try:
            arrivals = await reader.read_again(claimed.trigger)
        except FhirServerError as error:
            log.warning("source-not-read-again", intent=claimed.id, source=claimed.source, error=error.code)
            return Defer(claimed, now + ASK_AGAIN, SOURCE_UNREACHABLE, now)
        accepted = await self.ledger.accept(arrivals, now=now) if arrivals else []
        if all(each.change in _SAME for each in accepted):
            return None
        # Where the decision changed, the claim is void by now, and this gives nothing back.
        return Defer(claimed, now, MAPPED_AGAIN, now)
