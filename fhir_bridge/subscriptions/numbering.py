"""Event numbers: which are missed, which came twice, and when counting began anew; pure (intake, section 1).

https://hl7.org/fhir/R5/subscriptionstatus.html#SubscriptionStatus.notificationEvent
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from fhir_bridge.intake.notifications import Notification
from fhir_bridge.intake.subscription_status import NotificationType
from fhir_bridge.ledger.sources.watched import ARRIVED, EVENTS, MERGED, RESTARTED, Gap, Watched

Numbering = Literal["global", "per-bundle", "none"]
"""`global`: one more with each event of a subscription; `per-bundle`: anew in each message."""

MOST_GAPS = 100
"""Open ones of a subscription: a server that leaves out every second number must not fill the ledger."""

LARGEST = 2**63 - 1
"""FHIR's integer64, and what a column holds: a larger number counts nothing."""


@dataclass(frozen=True, slots=True)
class Told:
    """What a message says of its subscription's events: their numbers, how many there were in all, and when
    the latest of them happened (aware, by the server's clock).
    """

    type: NotificationType
    numbers: tuple[int, ...] = ()
    count: int | None = None
    moment: datetime | None = None


@dataclass(frozen=True, slots=True)
class Counted:
    """The subscription after a message, and whether something may be missed that no number tells."""

    watched: Watched
    doubtful: bool = False


def told_by(message: Notification) -> Told:
    """What a notification says of its subscription's events."""
    numbers = (event.number for event in message.events)
    moments = (event.timestamp for event in message.events if event.timestamp is not None)
    return Told(
        message.type,
        tuple(number for number in numbers if number is not None and number <= LARGEST),
        total if (total := message.events_since_start) is not None and total <= LARGEST else None,
        max(moments, default=None),
    )


def count(known: Watched, told: Told, policy: Numbering, now: datetime) -> Counted:
    """What is known of a subscription's numbers after one more message.

    Late and repeated messages are taken as they come: a number that was missed closes its gap, one that is
    known changes nothing. `now` (aware UTC) is when a gap that shows here was opened.
    """
    numbers = sorted(set(told.numbers))
    if policy == "none":
        return Counted(known)
    if policy == "per-bundle":
        broken = bool(numbers) and numbers[-1] - numbers[0] + 1 != len(numbers)
        return Counted(known, doubtful=broken)
    if told.type is NotificationType.HANDSHAKE:
        return _shaken(known, told.count or 0, now)
    doubtful = told.type is NotificationType.EVENT and _begins_anew(known, told)
    if doubtful:
        known = _anew(replace(known, restarts=known.restarts + 1), 0, now)
    by = EVENTS if told.type is NotificationType.QUERY_EVENT else ARRIVED
    for each in numbers:
        known = _merged(_reached(known, each, now, by), now)
    if told.count is not None:
        known = _reached(known, told.count, now)
    latest = max(filter(None, (known.last_event_at, told.moment)), default=None)
    return Counted(replace(known, last_event_at=latest), doubtful)


def _shaken(known: Watched, total: int, now: datetime) -> Counted:
    """A handshake: a subscription begins, or goes on after it was off. Fewer events than we know of: anew."""
    if known.last_event_number is None:
        return Counted(replace(known, last_event_number=total))
    if total < known.last_event_number:
        return Counted(_anew(known, total, now), doubtful=True)
    return Counted(_reached(known, total, now))


def _begins_anew(known: Watched, told: Told) -> bool:
    """Whether numbers went back. A repeated message has the moment it had; where no moments are told, only
    the first number of all says so. To be wrong here costs a search, and loses nothing.
    """
    last = known.last_event_number
    if last is None or not told.numbers or max(told.numbers) >= last:
        return False
    if told.moment is not None and known.last_event_at is not None:
        return told.moment > known.last_event_at
    missed = any(each in gap for each in told.numbers for gap in known.open_gaps)
    return min(told.numbers) <= 1 and not missed


def _anew(known: Watched, last: int, now: datetime) -> Watched:
    """Counting from `last` on. The gaps of before cannot be asked for by number any more."""
    closed = (replace(gap, closed_at=now, closed_by=RESTARTED) if gap.is_open else gap for gap in known.gaps)
    return replace(known, last_event_number=last, last_event_at=None, gaps=tuple(closed))


def _reached(known: Watched, number: int, now: datetime, by: str | None = None) -> Watched:
    """One event more, or (without `by`, what it came by) the news that so many there are."""
    last = known.last_event_number
    if last is None:  # heard of in the middle: what was before is for a search, not for a gap
        return replace(known, last_event_number=number)
    if number > last:
        missed = Gap(last + 1, number - 1 if by else number, now)
        gaps = (*known.gaps, missed) if missed.first <= missed.last else known.gaps
        return replace(known, last_event_number=number, gaps=gaps)
    if by is None:
        return known
    return replace(known, gaps=tuple(part for gap in known.gaps for part in _without(gap, number, now, by)))


def _merged(known: Watched, now: datetime) -> Watched:
    """The same with one gap instead of too many: what of it did come is fetched once more, and changes
    nothing."""
    missed = known.open_gaps
    if len(missed) <= MOST_GAPS:
        return known
    whole = replace(missed[0], first=min(g.first for g in missed), last=max(g.last for g in missed))
    closed = [gap for gap in known.gaps if not gap.is_open]
    closed += [replace(g, closed_at=now, closed_by=MERGED) for g in missed[1:] if g.id is not None]
    return replace(known, gaps=(*closed, whole))


def _without(gap: Gap, number: int, now: datetime, by: str) -> Iterator[Gap]:
    """What is left of a gap when one of its events came; the row keeps its first part."""
    if not gap.is_open or number not in gap:
        yield gap
    elif gap.first == gap.last:
        yield replace(gap, closed_at=now, closed_by=by)
    elif number == gap.first:
        yield replace(gap, first=number + 1)
    elif number == gap.last:
        yield replace(gap, last=number - 1)
    else:
        yield replace(gap, last=number - 1)
        yield replace(gap, first=number + 1, id=None)
