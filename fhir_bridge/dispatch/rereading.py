"""Reading a trigger and its patient once more at their source before the call (delivery, "Before a byte is
sent", 3).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

import msgspec
import structlog

from fhir_bridge.errors import FhirServerError, LedgerError
from fhir_bridge.faults import location
from fhir_bridge.ledger.port import Intakes
from fhir_bridge.ledger.records import Accepted, Arrival, Change, Claimed, Defer, Heard

SOURCE_UNREACHABLE = "source-unreachable"
NOT_READ_AGAIN = "not-read-again"
MAPPED_AGAIN = "mapped-again"
SOURCE_OLDER = "source-older"

ASK_AGAIN = timedelta(minutes=1)
"""How soon a source that did not answer is asked once more. Until it does nobody is called: it may know why
not."""

_SAME = frozenset({Change.UNCHANGED, Change.OLDER})

log = structlog.get_logger(__name__)


class SourceReader(Protocol):
    """A source that can be asked: a FHIR server, read and mapped as intake does it."""

    async def read_again(
        self, trigger: str, patient: str, seen: Mapping[str, str]
    ) -> tuple[Sequence[Arrival], Sequence[Heard]] | None:
        """What the trigger (`Type/id`) and its patient say now, decided anew, and what is heard of persons;
        a Skip where the trigger is gone.

        `patient` is who the intent is about, `seen` the versions it was decided on, by `Type/id`. None where
        nothing moved since. Raises FhirServerError where the source does not answer.
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
            said = await reader.read_again(
                claimed.trigger, claimed.patient.identity, versions_seen(claimed.lineage)
            )
        except FhirServerError as error:
            log.warning("source-not-read-again", intent=claimed.id, source=claimed.source, error=error.code)
            return Defer(claimed, now + ASK_AGAIN, SOURCE_UNREACHABLE, now)
        except LedgerError:
            raise
        except Exception as error:  # a fault of ours must hold up one call, and not the worker
            log.error("reading-again-fault", intent=claimed.id, source=claimed.source, fault=location(error))
            return Defer(claimed, now + ASK_AGAIN, NOT_READ_AGAIN, now)
        if said is None:
            return None
        arrivals, heard = said
        accepted = await self.ledger.accept(arrivals, now=now, heard=heard)
        if any(map(_is_against, arrivals, accepted)):
            return Defer(claimed, now + ASK_AGAIN, SOURCE_OLDER, now)
        if all(each.change in _SAME for each in accepted):
            return None
        # Where the decision changed, the claim is void by now, and this gives nothing back.
        return Defer(claimed, now, MAPPED_AGAIN, now)


def _is_against(arrival: Arrival, accepted: Accepted) -> bool:
    """Whether the source holds what calls nobody, under a version that is older than the one known: a copy of
    it that lags behind, or a server that numbers anew. Nobody is called before they agree.
    """
    return accepted.change is Change.OLDER and not arrival.calls


class _Source(msgspec.Struct):
    resource: str = ""


class _Entry(msgspec.Struct):
    sources: list[_Source] = []


class _Lineage(msgspec.Struct):
    lineage: list[_Entry] = []


_decode = msgspec.json.Decoder(_Lineage).decode


def versions_seen(lineage: bytes) -> dict[str, str]:
    """The versions of the resources a decision was made of, by `Type/id`, as far as they have any."""
    labels = (source.resource for entry in _decode(lineage).lineage for source in entry.sources)
    parts = (label.partition("/_history/") for label in labels)
    return {label: version for label, _, version in parts if version}
