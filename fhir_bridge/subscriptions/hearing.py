"""Taking note of a notification: that its source lives, what its numbers say, and what it leaves open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

import structlog

from fhir_bridge.fhir import references
from fhir_bridge.intake.notifications import Content, Notification
from fhir_bridge.intake.subscription_status import NotificationType
from fhir_bridge.ledger.sources.watched import WHOLE_SOURCE, Watched
from fhir_bridge.subscriptions.numbering import Numbering, count, told_by

log = structlog.get_logger(__name__)


class Watches(Protocol):
    """What noting asks of a ledger."""

    async def change_watched(self, source: str, subscription: str, of: Change) -> Watched:
        """Change a subscription by a pure function of what it is."""
        ...

    async def ask_sweep(self, source: str, now: datetime) -> None:
        """Have the source searched soon."""
        ...


class Change(Protocol):
    """What a subscription becomes."""

    def __call__(self, known: Watched, /) -> Watched: ...


@dataclass(frozen=True, slots=True)
class Hearing:
    """Notes what one source sends. Doing it again for the same messages changes nothing but a count."""

    ledger: Watches
    source: str
    numbering: Numbering = "global"

    async def heard(self, messages: Sequence[tuple[Notification, datetime]]) -> None:
        """Note messages in their order, each with when it came (aware UTC); where one leaves open what
        changed, have the source searched. Raises LedgerError.
        """
        of: dict[str, list[tuple[Notification, datetime]]] = {}
        for message, at in messages:
            of.setdefault(subscription_of(message), []).append((message, at))
        for name, told in of.items():
            await self._heard(name, told)

    async def _heard(self, name: str, told: Sequence[tuple[Notification, datetime]]) -> None:
        """All of one subscription, in one transaction."""
        doubtful: list[datetime] = []

        def noted(known: Watched) -> Watched:
            doubtful.clear()
            for message, at in told:
                counted = count(known, told_by(message), self.numbering, at)
                known = _noted(counted.watched, message, at)
                if counted.doubtful or leaves_open(message):
                    doubtful.append(at)
            return known

        after = await self.ledger.change_watched(self.source, name, noted)
        came = {at for _, at in told}
        if fresh := [f"{gap.first}-{gap.last}" for gap in after.open_gaps if gap.opened_at in came]:
            log.warning("events-missing", source=self.source, subscription=name, numbers=fresh)
        if doubtful:
            await self.ledger.ask_sweep(self.source, min(doubtful))


def subscription_of(message: Notification) -> str:
    """`Subscription/id`; the whole source for a message that names none."""
    target = references.parse(message.subscription) if message.subscription else None
    return (target.label if target else None) or message.subscription or WHOLE_SOURCE


def leaves_open(message: Notification) -> bool:
    """Whether something happened and the message does not say to what: only a search can tell."""
    return message.type is NotificationType.EVENT and message.content is Content.EMPTY


def _noted(known: Watched, message: Notification, at: datetime) -> Watched:
    is_event = message.type is NotificationType.EVENT
    return replace(
        known,
        last_heard_at=max(at, known.last_heard_at or at),
        since=known.since or at,
        state=message.status or (known.state if known.state != "unknown" else "active"),
        topic=message.topic or known.topic,
        # Its server made it active, or says so: a look tells until when, and what it made of our wishes.
        check_at=at if message.type is NotificationType.HANDSHAKE else known.check_at,
        events=known.events + (len(message.events) or 1 if is_event else 0),
    )
