"""How what arrives stands to what its trigger said last; pure (docs/delivery.md, "Which version counts")."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from fhir_bridge.ledger.arrivals.precedence import Age, Standing, Version, age, age_after_deletion
from fhir_bridge.ledger.records import Arrival


def ended(arrival: Arrival, standing: Standing, last: Standing | None, now: datetime) -> Standing:
    """A deletion with the version it ends: the last one known, updated no later than the deletion."""
    since = standing.version.last_updated or arrival.said_at or now
    if last is None:
        return replace(standing, version=Version(None, since))
    updated = last.version.last_updated
    if updated and _has_no_time(arrival) and not _is_made_after(last, arrival, since):
        since = max(since, updated)
    return replace(standing, version=Version(last.version.version_id, since))


def _has_no_time(deletion: Arrival) -> bool:
    """Whether its source does not say when it was deleted: then it is so since it was told."""
    told = deletion.decision.subject.last_updated
    return told is None or told == deletion.said_at


def _is_made_after(last: Standing, deletion: Arrival, since: datetime) -> bool:
    """Whether what was taken in before came after a deletion that had to wait, and was made after it."""
    came_after = bool(deletion.said_at and last.said_at and last.said_at > deletion.said_at)
    return came_after and age_after_deletion(last.version, Version(None, since)) is Age.NEWER


def age_of(arrival: Arrival, standing: Standing, last: Standing) -> Age:
    """By its version; where none tells, a message that was processed again is as old as when it came. What
    was deleted stays so, unless what comes was made afterwards for sure.
    """
    if standing.deleted:
        since, updated = standing.version.last_updated, last.version.last_updated
        return Age.OLDER if since and updated and updated > since else Age.NEWER
    if last.deleted:
        return age_after_deletion(standing.version, last.version)
    told = age(standing.version, last.version)
    if told is not Age.SAME or not arrival.is_late:
        return told
    return Age.OLDER if arrival.said_at and last.said_at and arrival.said_at < last.said_at else told


def would_call_anew(arrival: Arrival, standing: Standing, last: Standing, loss: str) -> bool:
    """Whether somebody would be called whom what is known does not call for the same thing; `loss` is that of
    the intent it stands in.
    """
    is_same = last.decision == "call" and not last.is_doubted
    return standing.decision == "call" and not (is_same and loss == (arrival.decision.subject.loss or ""))
