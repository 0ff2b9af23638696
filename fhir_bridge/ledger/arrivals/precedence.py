"""Which decision an intent goes by, and which of two versions is newer; pure (mapping, section 2)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import IntEnum
from typing import TYPE_CHECKING

import msgspec

from fhir_bridge.ledger.database.packing import unpacked

if TYPE_CHECKING:
    from fhir_bridge.ledger.arrivals.content import Content

ORDINARY_SKIPS = frozenset(
    {
        "entered-in-error",
        "do-not-perform",
        "not-active",
        "not-an-order",
        "not-schedulable",
        "not-schedulable-unknown",
        "awaiting-triage",
        "no-patient",
        "window-passed",
        "patient-moved",
        "treated-elsewhere",
        "booked-in-error",
        "reschedule-window-passed",
        "trigger-too-old",
    }
)
"""Skips that speak of their trigger only. Every other one, a gate or a site's own, speaks for the whole
intent.
"""

PERSON_SKIPS = frozenset(
    {
        "patient-deceased",
        "patient-inactive",
        "patient-test",
        "restricted-record",
        "do-not-call",
        "consent-denied",
        "consent-missing",
    }
)
"""Skips that speak of the person: of a lost appointment, they stop the call of its order too."""

STOPS = PERSON_SKIPS - {"do-not-call", "consent-missing"}
"""Those that a record can say by itself: they stop every call of the person. The list of whom not to call is
asked by itself, and that no consent is seen says nothing of one that another message brought.
"""

UNREADABLE = "record-unreadable"
"""What a message says and nobody can read may be any of these: it stops the person's calls, on the work
list."""

NO_REVOCATION = frozenset(
    {
        "already-booked",
        "already-rebooked",
        "window-passed",
        "reschedule-window-passed",
        "trigger-too-old",
        "superseded",
        "merged",
    }
)
"""Skips that come of success or of time passing: after the call nobody must be told."""


VERSIONS_DISAGREE = "versions-disagree"
"""Of a call that versionId says is older than what was known and lastUpdated newer, or the other way."""

WITHDRAWN = frozenset({"revoked", "completed", "cancelled", "entered-in-error"})
"""Statuses of an order that take its Appointments back (mapping, section 3, row 10)."""


CONTRADICTS = timedelta(hours=1)
"""So far apart, times that say the opposite of the versionIds are no clock's fault: a server numbers anew, or
an old copy was given a new time.
"""


class Age(IntEnum):
    """How one version stands to another of the same resource; UNCLEAR where it contradicts itself."""

    OLDER = -1
    SAME = 0
    NEWER = 1
    UNCLEAR = 2


@dataclass(frozen=True, slots=True)
class Version:
    """`meta.versionId` and `meta.lastUpdated` (aware UTC) of a trigger, as far as it has them."""

    version_id: str | None
    last_updated: datetime | None


def age(arrived: Version, known: Version) -> Age:
    """How `arrived` stands to `known`: by versionId where both are numbers that differ, else by lastUpdated.

    UNCLEAR where the two tell the opposite by more than an hour. SAME where nothing tells them apart: mended
    data or another mapping of the same version decides again.
    """
    arrived_number, known_number = _number(arrived.version_id), _number(known.version_id)
    apart = timedelta(0)
    if arrived.last_updated and known.last_updated:
        apart = arrived.last_updated - known.last_updated
    if arrived_number is None or known_number is None or arrived_number == known_number:
        return _sign(apart > timedelta(0), apart < timedelta(0))
    by_number = _sign(arrived_number > known_number, arrived_number < known_number)
    is_contradicted = apart < -CONTRADICTS if by_number is Age.NEWER else apart > CONTRADICTS
    return Age.UNCLEAR if is_contradicted else by_number


def age_after_deletion(arrived: Version, deletion: Version) -> Age:
    """How `arrived` stands to a deletion, whose versionId is the last that was known before it.

    It is NEWER only where it cannot have been there before: updated later, and not under a versionId that was
    there. UNCLEAR where such a versionId is contradicted by more than an hour.
    """
    if arrived.last_updated is None or deletion.last_updated is None:
        return Age.OLDER
    apart = arrived.last_updated - deletion.last_updated
    if apart <= timedelta(0):
        return Age.OLDER
    arrived_number, known_number = _number(arrived.version_id), _number(deletion.version_id)
    if arrived_number is None or known_number is None or arrived_number > known_number:
        return Age.NEWER
    return Age.UNCLEAR if apart > CONTRADICTS else Age.OLDER


def _sign(newer: bool, older: bool) -> Age:
    return Age.NEWER if newer else Age.OLDER if older else Age.SAME


def _number(version_id: str | None) -> int | None:
    return int(version_id) if version_id and version_id.isascii() and version_id.isdigit() else None


@dataclass(frozen=True, slots=True)
class Standing:
    """What one trigger says last: `decision` is `call`, `skip` or `reject`.

    `content` is what the intent takes over, None once retention has cleared it; `read` the same before it was
    written, where it just arrived. `said_at` is when its source said so (aware UTC), None for now. `deleted`:
    the trigger is gone since `version.last_updated`, after the versionId there. A call whose reason is
    VERSIONS_DISAGREE waits for a person.
    """

    trigger: str
    resource_type: str
    version: Version
    decision: str
    reason: str | None
    fingerprint: str
    content: bytes | None
    read: Content | None = field(default=None, compare=False, repr=False)
    said_at: datetime | None = field(default=None, compare=False)
    deleted: bool = False

    @property
    def is_doubted(self) -> bool:
        """Whether it calls, and may be older than what it took the place of."""
        return self.decision == "call" and self.reason == VERSIONS_DISAGREE


_STRENGTH = {"call": 2, "reject": 1, "skip": 0}


def chosen(standings: Iterable[Standing]) -> Standing:
    """The one the intent goes by.

    First a Skip that speaks for the whole intent, else the Appointment's, else the order's. Among equals one
    that calls before one that asks for a person before one that is silent, then the newest. What was entered
    in error never was, so it speaks only when alone. An Appointment whose orders are all withdrawn by now
    calls nobody, though it came when they were active. Raises ValueError when there is none.
    """
    everyone = list(standings)
    if len(everyone) == 1:
        return everyone[0]
    winner = max(everyone, key=_rank)
    orders = [standing for standing in everyone if standing.resource_type != "Appointment"]
    if winner.decision != "skip" and orders and all(map(is_withdrawn, orders)):
        return max(orders, key=_rank)
    return winner


class _Detail(msgspec.Struct):
    detail: str | None = None


def is_withdrawn(order: Standing) -> bool:
    """Whether an order says that nobody is wanted any more; one on hold, or a draft, does not say so."""
    if order.decision != "skip" or order.reason != "not-active":
        return order.decision == "skip" and order.reason in ("entered-in-error", "do-not-perform")
    # The detail of `not-active` is the status; where retention has cleared it, nobody is called.
    if not order.content:
        return True
    return msgspec.json.decode(unpacked(order.content), type=_Detail).detail in WITHDRAWN


def _rank(standing: Standing) -> tuple[bool, bool, bool, int, float, str]:
    skipped = standing.decision == "skip"
    updated = standing.version.last_updated
    return (
        skipped and standing.reason not in ORDINARY_SKIPS,
        standing.reason != "entered-in-error",
        standing.resource_type == "Appointment",
        _STRENGTH[standing.decision],
        updated.timestamp() if updated else 0.0,
        standing.trigger,
    )


def revokes(standing: Standing) -> bool:
    """Whether this decision, arriving after the task was sent, means that nobody should have been called."""
    return standing.decision == "skip" and standing.reason not in NO_REVOCATION
