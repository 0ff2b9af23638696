"""What the ledger knows of a source's subscriptions: records of `subscriptions`, `gaps` and `sweeps`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

WHOLE_SOURCE = ""
"""The subscription of a message that names none, such as a bare resource: the source as a whole."""

ARRIVED, EVENTS, SWEEP, RESTARTED, MERGED = "arrived", "events", "sweep", "restarted", "merged"
"""What closed a gap: its messages came late, `$events` had them, a search did, numbers began anew, or there
were so many that one was made of them."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Event numbers that never came, `first` to `last`, both included; open until `closed_by` something.

    `id` is the row's, None for one that is not written yet.
    """

    first: int
    last: int
    opened_at: datetime
    id: int | None = None
    closed_at: datetime | None = None
    closed_by: str | None = None
    tries: int = 0
    try_at: datetime | None = None
    error: str | None = None

    def __contains__(self, number: int) -> bool:
        return self.first <= number <= self.last

    @property
    def is_open(self) -> bool:
        """Whether its events are still missed."""
        return self.closed_by is None


@dataclass(frozen=True, slots=True)
class Watched:
    """One subscription, `Subscription/id`, as far as it is known here; instants are aware UTC.

    `state` is FHIR's: requested, active, error, off, deleted by us, or unknown where nobody told. `ours`:
    made by `subscribe`, so that it may be renewed and re-activated. `heartbeat` is in seconds.
    `restarts` counts how often numbers began anew without a handshake. `gaps` are the open ones, and those
    that were closed just now.
    """

    source: str
    subscription: str
    state: str = "unknown"
    topic: str | None = None
    form: str | None = None
    criteria: str | None = None
    endpoint: str | None = None
    ours: bool = False
    heartbeat: int | None = None
    ends_at: datetime | None = None
    last_event_number: int | None = None
    last_event_at: datetime | None = None
    last_heard_at: datetime | None = None
    events: int = 0
    restarts: int = 0
    since: datetime | None = None
    checked_at: datetime | None = None
    check_at: datetime | None = None
    revivals: int = 0
    error: str | None = None
    gaps: tuple[Gap, ...] = ()

    @property
    def open_gaps(self) -> tuple[Gap, ...]:
        """What is missed, by number."""
        return tuple(gap for gap in self.gaps if gap.is_open)


@dataclass(frozen=True, slots=True)
class Sweep:
    """How far a source was searched by a criteria: all changes before `until` are known.

    `swept_at` is the last search's end, failed or not; `error` its code, None where it went well. `missed`
    counts what searches found that no message had told.
    """

    source: str
    criteria: str
    until: datetime
    swept_at: datetime | None = None
    found: int = 0
    missed: int = 0
    error: str | None = None
    failing_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Watch:
    """A source under watch since `began_at`: `asked_at`, since when somebody wants it searched; `fetched_at`,
    when it was last.
    """

    source: str
    asked_at: datetime | None = None
    fetched_at: datetime | None = None
    began_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """All that is known of what a source told and did not tell."""

    watch: Watch
    watched: tuple[Watched, ...] = ()
    sweeps: tuple[Sweep, ...] = ()

    @property
    def last_heard_at(self) -> datetime | None:
        """When anything came of it at all."""
        return max((each.last_heard_at for each in self.watched if each.last_heard_at), default=None)
