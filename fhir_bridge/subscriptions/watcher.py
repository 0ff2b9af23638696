"""Watching over sources: looks after their subscriptions, fetches what never came, searches for what nobody
told, and raises alarms. Of all workers of a ledger one is at a source at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import structlog

from fhir_bridge.errors import FhirServerError, LedgerError
from fhir_bridge.fhir_client.server import FhirServer
from fhir_bridge.ledger.sources.watched import Known, Sweep, Watched
from fhir_bridge.ledger.store import SqlLedger
from fhir_bridge.subscriptions.asking import Asker
from fhir_bridge.subscriptions.criteria import Criteria
from fhir_bridge.subscriptions.due import CHECK_EVERY, Due, due
from fhir_bridge.subscriptions.findings import Finding, findings
from fhir_bridge.subscriptions.keeping import Keeper
from fhir_bridge.subscriptions.searching import Searcher
from fhir_bridge.subscriptions.watch_rules import WatchRules

TICK = timedelta(seconds=1)
"""How often the ledger is asked what is due."""

LEASE = timedelta(seconds=30)
"""How long a watcher may be silent before another takes its source over. A step of it may take longer: then
two do the same for a moment, which costs the source a few requests."""

SAID_AGAIN = timedelta(hours=1)
"""How often a lasting alarm is logged."""

LONGEST_WAIT = timedelta(hours=1)

log = structlog.get_logger(__name__)


def utc_now() -> datetime:
    """The machine's clock, aware UTC."""
    return datetime.now(UTC)


@dataclass(slots=True)
class Watcher:
    """Watches over one source; without a server it only raises alarms."""

    ledger: SqlLedger
    rules: WatchRules
    server: FhirServer | None = None
    clock: Callable[[], datetime] = utc_now
    _token: str = field(default_factory=lambda: uuid4().hex)
    _said: dict[tuple[str, str | None], datetime] = field(default_factory=dict)

    async def look(self) -> Due | None:
        """One look: do what is due, say what is wrong. Gives what was due, None where another worker is at
        it. Raises LedgerError.
        """
        source, now = self.rules.source, self.clock()
        known = await self.ledger.known(source)
        self._say(known, now)
        new = known.watch.began_at is None
        if not new and not (self.server is not None and due(known, self.rules, now)):
            return Due()
        if await self.ledger.take_turn(source, self._token, now, now + LEASE) is None:
            return None
        fetched_at = None
        try:
            done = Due()
            if self.server is not None:
                done, fetched_at = await self._do(self.server)
            return done
        finally:
            await self.ledger.end_turn(source, self._token, fetched_at)

    async def _do(self, server: FhirServer) -> tuple[Due, datetime | None]:
        """All that is due; when it was searched, None where it was not."""
        source, rules = self.rules.source, self.rules
        asker = Asker(self.ledger, server, source, self.clock)
        first = due(await self.ledger.known(source), rules, self.clock())
        for watched in first.check:
            await asker.look_after(watched)
            await self._renew_turn()
        known = await self.ledger.known(source)
        todo = due(known, rules, self.clock())
        for watched in todo.ask_again:
            await self._ask_again(server, watched)
            await self._renew_turn()
        for watched, gap in todo.fill:
            await asker.fill(watched, gap)
            await self._renew_turn()
        known = await self.ledger.known(source)
        last = due(known, rules, self.clock())
        fetched_at = await self._sweep(server, last.sweep, known) if last.sweep else None
        return Due(first.check, todo.ask_again, todo.fill, last.sweep), fetched_at

    async def _ask_again(self, server: FhirServer, watched: Watched) -> None:
        """Renew or revive; how often in vain decides how long the next time is waited for."""
        now = self.clock()
        keeper = Keeper(self.ledger, server, self.rules, self.clock)
        asker = Asker(self.ledger, server, self.rules.source, self.clock)
        error: str | None = None
        try:
            kept = await asker.read(watched.subscription)
            await keeper.ask_again(kept)
        except FhirServerError as caught:
            error = caught.code
        wait = min(CHECK_EVERY * 2 ** min(watched.revivals, 6), LONGEST_WAIT)

        def asked(known: Watched) -> Watched:
            return replace(known, revivals=known.revivals + 1, check_at=now + wait, error=error)

        await self.ledger.change_watched(self.rules.source, watched.subscription, asked)
        log.warning(
            "subscription-asked-again",
            source=self.rules.source,
            subscription=watched.subscription,
            error=error,
        )

    async def _sweep(self, server: FhirServer, wanted: Sequence[Criteria], known: Known) -> datetime:
        """Search by these criteria; where they are all, and all went well, nothing of before is missed."""
        began, rules = self.clock(), self.rules
        searcher = Searcher(self.ledger, server, rules, self.clock)
        done = {sweep.criteria: sweep for sweep in known.sweeps}
        good = True
        for criteria in wanted:
            first = Sweep(rules.source, str(criteria), known.watch.began_at or began)
            swept = await searcher.search(criteria, done.get(str(criteria), first))
            good = good and swept.error is None
            await self._renew_turn()
        if good and set(wanted) == set(rules.criteria):
            closed = await self.ledger.swept(rules.source, began, self.clock())
            if closed:
                log.info("gaps-closed-by-search", source=rules.source, count=closed)
        return self.clock()

    async def _renew_turn(self) -> None:
        now = self.clock()
        await self.ledger.take_turn(self.rules.source, self._token, now, now + LEASE)

    def _say(self, known: Known, now: datetime) -> None:
        """Log each alarm when it shows, again each hour, and when it is over."""
        found = findings(known, self.rules, now, can_search=self.server is not None)
        alarms = {(each.code, each.subscription): each for each in found if each.alarm}
        for key, finding in alarms.items():
            if key not in self._said or now - self._said[key] >= SAID_AGAIN:
                self._said[key] = now
                _alarm(self.rules.source, finding)
        for code, subscription in [key for key in self._said if key not in alarms]:
            del self._said[code, subscription]
            log.info("source-alarm-over", source=self.rules.source, alarm=code, subscription=subscription)


def _alarm(source: str, finding: Finding) -> None:
    log.error(
        "source-alarm", source=source, alarm=finding.code, subscription=finding.subscription,
        says=finding.says, advice=finding.advice,
    )  # fmt: skip


async def watch(watchers: Sequence[Watcher], stop: asyncio.Event) -> None:
    """Look after all of them until stopped; what one is at holds up no other."""
    await asyncio.gather(*(_watch(each, stop) for each in watchers))


async def _watch(watcher: Watcher, stop: asyncio.Event) -> None:
    while not stop.is_set():
        try:
            await watcher.look()
        except LedgerError as error:  # a sender meets it too, and ends the run
            log.warning("source-not-watched", source=watcher.rules.source, error=error.code)
        except Exception as error:  # of ours: a source that nobody watches any more loses what it is not told
            log.error("watcher-fault", source=watcher.rules.source, exc_info=error)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), TICK.total_seconds())


@contextlib.asynccontextmanager
async def watching(watchers: Sequence[Watcher]) -> AsyncIterator[None]:
    """Watch over the sources while inside; what was begun is finished."""
    stop = asyncio.Event()
    task = asyncio.create_task(watch(watchers, stop), name="watcher")
    try:
        yield
    finally:
        stop.set()
        await task
