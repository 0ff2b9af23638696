"""Searching a source for what changed and was not told: by `_lastUpdated`, page by page, into the inbox."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Protocol

import msgspec
import structlog

from fhir_bridge.errors import FhirServerError
from fhir_bridge.fetching.searching import filled
from fhir_bridge.fhir import dates, envelopes
from fhir_bridge.fhir.envelopes import Part
from fhir_bridge.ledger.sources.messages import Received
from fhir_bridge.ledger.sources.watched import Sweep
from fhir_bridge.subscriptions.criteria import Criteria
from fhir_bridge.subscriptions.fetched import bundle_of, keep, version_of
from fhir_bridge.subscriptions.watch_rules import WatchRules

NO_LAST_UPDATED, IGNORED = "no-last-updated", "last-updated-ignored"
"""Codes of a search that its server cannot do, or does as if it had not been told since when."""

_TRUNCATED = timedelta(seconds=1)
"""Some servers keep, or compare, whole seconds."""

log = structlog.get_logger(__name__)


class Server(Protocol):
    """What searching asks of a FHIR server."""

    def search(self, resource_type: str, parameters: Sequence[tuple[str, str]]) -> AsyncIterator[bytes]:
        """Each page, a Bundle."""
        ...


class Ledger(Protocol):
    """What searching asks of a ledger."""

    async def receive(self, batch: Sequence[Received]) -> list[bool]:
        """Keep messages."""
        ...

    async def known_versions(
        self, source: str, labels: Sequence[str]
    ) -> dict[str, tuple[str | None, datetime | None]]:
        """The version that each trigger was last decided from."""
        ...

    async def record_sweep(self, sweep: Sweep) -> None:
        """Keep how far a criteria was searched."""
        ...


@dataclass(frozen=True, slots=True)
class Searcher:
    """Searches one source."""

    ledger: Ledger
    server: Server
    rules: WatchRules
    clock: Callable[[], datetime]

    async def search(self, criteria: Criteria, last: Sweep) -> Sweep:
        """What changed since `last.until`, kept in the inbox where it was not known; gives how far that is.

        A failure is written down and given, not raised: the next search begins where the last good one ended.
        Raises LedgerError.
        """
        began = self.clock()
        found = missed = 0
        until = began
        try:
            async for page in self._pages(criteria, last.until - self.rules.overlap):
                until = min(until, _made_at(page) or until)
                count, new = await self._take(page, criteria, last.until - self.rules.overlap)
                found, missed = found + count, missed + new
        except FhirServerError as error:
            log.warning(
                "search-failed", source=self.rules.source, type=criteria.resource_type, error=error.code
            )
            failing = replace(last, error=error.code, failing_since=last.failing_since or began)
            return await self._record(failing, found, missed)
        if missed:
            log.warning(
                "search-found-missed", source=self.rules.source, type=criteria.resource_type, count=missed
            )
        swept = replace(last, until=max(until, last.until), error=None, failing_since=None)
        return await self._record(swept, found, missed)

    async def _record(self, sweep: Sweep, found: int, missed: int) -> Sweep:
        found, missed = sweep.found + found, sweep.missed + missed
        sweep = replace(sweep, swept_at=self.clock(), found=found, missed=missed)
        await self.ledger.record_sweep(sweep)
        return sweep

    async def _pages(self, criteria: Criteria, since: datetime) -> AsyncIterator[bytes]:
        """The pages of the first way that the server takes. Raises FhirServerError `no-last-updated` where it
        takes none."""
        moment = since.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        for way in self.rules.ways:
            came = False
            try:
                for query in (way,) if isinstance(way, str) else way:
                    asked = filled("&".join((query, *self.rules.always)), {"since": moment})
                    async for page in self.server.search(
                        criteria.resource_type, [*criteria.parameters, *asked]
                    ):
                        came = True
                        yield page
                return
            except FhirServerError as error:
                if came or error.code not in REFUSED:
                    raise
        raise FhirServerError("its server takes no search by _lastUpdated", code=NO_LAST_UPDATED)

    async def _take(self, page: bytes, criteria: Criteria, since: datetime) -> tuple[int, int]:
        """How many resources of the type the page holds, and how many of them nobody had told; those are
        kept, with all that came along. Raises FhirServerError where the page answers another question.
        """
        parts = [part for part in _unpacked(page) if part.resource_type != "OperationOutcome"]
        ours = [(part, version_of(part)) for part in parts if part.resource_type == criteria.resource_type]
        moments = [version.last_updated for _, version in ours if version and version.last_updated]
        if any(moment < since - _TRUNCATED for moment in moments):
            raise FhirServerError("its server ignores _lastUpdated", code=IGNORED)
        labels = [version.label for _, version in ours if version]
        known = await self.ledger.known_versions(self.rules.source, labels) if labels else {}
        old = {
            id(part) for part, version in ours if version and version.is_known_as(known.get(version.label))
        }
        new = [part for part in parts if id(part) not in old]
        missed = len(ours) - len(old)
        if missed:
            await keep(self.ledger, self.rules.source, bundle_of(new), self.clock())
        return len(ours), missed


REFUSED = frozenset({"http-400", "http-422", "http-501", "http-405"})
"""A search that the server does not do."""


def _unpacked(page: bytes) -> list[Part]:
    try:
        return envelopes.unpack(page).parts
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        raise FhirServerError("a page of a search cannot be read", code="not-fhir") from None


class _Meta(msgspec.Struct, rename="camel"):
    last_updated: str | None = None


class _Page(msgspec.Struct):
    meta: _Meta | None = None


_decode = msgspec.json.Decoder(_Page).decode


def _made_at(page: bytes) -> datetime | None:
    """When the server made this page, by its own clock; None where it does not say."""
    try:
        meta = _decode(page).meta
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    moment = dates.parse(meta.last_updated) if meta else None
    return moment.value if moment is not None and moment.value.tzinfo else None
