"""Asking a server for the events that never came (`$events`), and how a subscription stands.

https://hl7.org/fhir/R5/subscription-operation-events.html, the same in the backport. Only paths below the
source's own base are asked, whatever host a message names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol

import msgspec
import structlog

from fhir_bridge.errors import FhirServerError, InputError
from fhir_bridge.intake import notifications
from fhir_bridge.intake.notifications import Notification
from fhir_bridge.intake.subscription_status import NotificationType
from fhir_bridge.ledger.sources.messages import Received
from fhir_bridge.ledger.sources.watched import Gap, Watched
from fhir_bridge.subscriptions.due import CHECK_EVERY
from fhir_bridge.subscriptions.fetched import keep
from fhir_bridge.subscriptions.kept import Kept, kept_of
from fhir_bridge.subscriptions.numbering import Told, count, told_by

AT_ONCE = 100
"""Events asked for in one request."""

MOST_REQUESTS = 50
"""For one gap in one go; what is left is for a search."""

AGAIN, LONGEST = timedelta(minutes=1), timedelta(hours=1)
NOT_OFFERED, INCOMPLETE = "events-not-offered", "events-incomplete"

_LASTING = frozenset(
    {"not-found", "gone", "forbidden", "not-fhir", "too-large", "foreign-link", "paging-loop"}
)
"""Errors that say this server will not give them; one that is out of reach now may later."""

_NAME = re.compile(r"Subscription/[A-Za-z0-9\-.]{1,64}")

log = structlog.get_logger(__name__)


class Server(Protocol):
    """What asking needs of a FHIR server."""

    async def read(self, resource_type: str, id: str) -> bytes:
        """One resource."""
        ...

    async def operation(self, path: str, parameters: Sequence[tuple[str, str]] = ()) -> bytes:
        """GET of an operation."""
        ...


class Ledger(Protocol):
    """What asking needs of a ledger."""

    async def receive(self, batch: Sequence[Received]) -> list[bool]:
        """Keep messages."""
        ...

    async def change_watched(
        self, source: str, subscription: str, of: Callable[[Watched], Watched]
    ) -> Watched:
        """Change a subscription by a pure function of what it is."""
        ...


@dataclass(frozen=True, slots=True)
class Asker:
    """Asks one source's server. Its methods raise LedgerError, and write down what else goes wrong."""

    ledger: Ledger
    server: Server
    source: str
    clock: Callable[[], datetime]

    async def fill(self, watched: Watched, gap: Gap) -> None:
        """Fetch a gap's events into the inbox, and close of it what came."""
        name = watched.subscription
        if not _NAME.fullmatch(name):
            await self._note_open(watched, gap, NOT_OFFERED)
            return
        first = gap.first
        for _ in range(MOST_REQUESTS):
            last = min(gap.last, first + AT_ONCE - 1)
            try:
                answer = await self._events(name, first, last)
            except FhirServerError as error:
                await self._note_open(watched, gap, _error_of(error))
                return
            numbers = tuple(each for each in told_by(answer).numbers if each in gap)
            told = Told(NotificationType.QUERY_EVENT, numbers)
            await self._change(name, lambda known: count(known, told, "global", self.clock()).watched)  # noqa: B023
            log.info("events-fetched", source=self.source, subscription=name, count=len(numbers))
            if not numbers or max(numbers) >= gap.last:
                break  # a server may give fewer at a time than it was asked for
            first = max(numbers) + 1
        await self._note_open(watched, gap, INCOMPLETE)

    async def _events(self, name: str, first: int, last: int) -> Notification:
        """The events of a range, kept in the inbox."""
        asked = [
            ("eventsSinceNumber", str(first)),
            ("eventsUntilNumber", str(last)),
            ("content", "full-resource"),
        ]
        body = await self.server.operation(f"{name}/$events", asked)
        try:
            answer = notifications.parse(body, name="$events")
        except InputError:
            raise FhirServerError("$events: the answer is no notification", code="not-fhir") from None
        if answer.events or answer.parts:
            await keep(self.ledger, self.source, body, self.clock())
        return answer

    async def _note_open(self, watched: Watched, gap: Gap, error: str) -> None:
        """Note on what is still open of the gap why, and when to try again."""
        now = self.clock()

        def noted(known: Watched) -> Watched:
            return replace(known, gaps=tuple(_tried(each, gap, error, now) for each in known.gaps))

        after = await self._change(watched.subscription, noted)
        if any(each.error == error for each in after.open_gaps):
            log.warning(
                "events-not-fetched", source=self.source, subscription=watched.subscription, error=error
            )

    async def look_after(self, watched: Watched) -> Watched:
        """Ask how a subscription stands, and by `$status`, where there are topics, how many events it had."""
        name, now = watched.subscription, self.clock()
        kept: Kept | None = None
        error: str | None = None
        try:
            kept = await self.read(name)
        except FhirServerError as caught:
            error = caught.code
        after = await self._change(name, lambda known: _standing(known, kept, error, now))
        if kept is None or kept.form == "r4":
            return after
        told = await self._status(name)
        return after if told is None else await self._change(
            name, lambda known: count(known, told, "global", self.clock()).watched
        )  # fmt: skip

    async def read(self, name: str) -> Kept:
        """A subscription as its server has it. Raises FhirServerError."""
        if not _NAME.fullmatch(name):
            raise FhirServerError("the subscription's name is no reference", code="not-fhir")
        body = await self.server.read("Subscription", name.partition("/")[2])
        kept = kept_of(msgspec.json.decode(body))
        if kept is None:
            raise FhirServerError("the answer is no Subscription", code="not-fhir")
        return kept

    async def _status(self, name: str) -> Told | None:
        """How many events there were, where the server says so; many cannot, and are not the worse for it."""
        try:
            answer = notifications.parse(await self.server.operation(f"{name}/$status"), name="$status")
        except (FhirServerError, InputError):
            return None
        return Told(NotificationType.QUERY_STATUS, (), told_by(answer).count)

    async def _change(self, name: str, of: Callable[[Watched], Watched]) -> Watched:
        return await self.ledger.change_watched(self.source, name, of)


def _error_of(error: FhirServerError) -> str:
    refused = error.status == 501 or (error.status is not None and error.status in range(400, 500))
    if error.code in _LASTING or (refused and error.code.startswith("http-")):
        return NOT_OFFERED
    return error.code


def _tried(each: Gap, gap: Gap, error: str, now: datetime) -> Gap:
    """The part of a gap that is still open, one try later."""
    if not each.is_open or not (gap.first <= each.first and each.last <= gap.last):
        return each
    wait = min(AGAIN * 2 ** min(each.tries, 10), LONGEST)
    # What only a search can fill is searched for at once.
    try_at = now if error in (NOT_OFFERED, INCOMPLETE) else now + wait
    return replace(each, tries=each.tries + 1, try_at=try_at, error=error)


def _standing(known: Watched, kept: Kept | None, error: str | None, now: datetime) -> Watched:
    """A subscription after a look at it."""
    known = replace(known, checked_at=now, check_at=now + CHECK_EVERY, error=error)
    if kept is None:
        return replace(known, state="gone") if error in ("not-found", "gone") else known
    return replace(
        known,
        state=kept.status,
        form=known.form or kept.form,
        topic=known.topic or kept.topic,
        criteria=known.criteria or kept.criteria,
        endpoint=kept.endpoint or known.endpoint,
        heartbeat=kept.heartbeat or known.heartbeat,
        ends_at=kept.ends_at,
        since=known.since or now,
        revivals=0 if kept.status == "active" else known.revivals,
    )
