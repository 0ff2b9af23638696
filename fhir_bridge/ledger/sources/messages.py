"""What goes into the inbox and what comes out of it: messages, each whole and as it came."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from fhir_bridge.errors import LedgerError
from fhir_bridge.ledger.arrivals.precedence import Version
from fhir_bridge.ledger.records import Broken

NO_VERSION = Version(None, None)

FETCHED = "FETCHED"
"""The method of a message that no request brought: we fetched it, so it is no sign that its source lives."""


FILE = "FILE"
"""The method of what no request brought either: it stands for a record of a file that nobody can read, and
its path is that place."""


class MessageState(StrEnum):
    """States of a message (delivery, "One ledger for every way in")."""

    RECEIVED = "received"
    PROCESSED = "processed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Received:
    """A message to be kept. `path` is the `Type/id` of its request's path, `deleted` what its header says is
    deleted, `received_at` aware UTC."""

    source: str
    body: bytes = field(repr=False)
    received_at: datetime
    method: str = "POST"
    path: str | None = None
    deleted: str | None = None
    delivery_id: str | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """A message out of the inbox; `body` is None where retention has cleared it. `tries` counts how often it
    was taken up; it `is_late` where it waited or failed before, and later ones may have been processed."""

    id: int
    source: str
    body: bytes | None = field(repr=False)
    received_at: datetime
    method: str
    path: str | None
    deleted: str | None
    state: MessageState
    error: str | None
    tries: int
    is_late: bool = False


@dataclass(frozen=True, slots=True)
class Take:
    """What a processor asks for: the oldest messages that are due at `now`, its own until `lease_until`
    (aware UTC); at most `limit`, and together not many more bytes than `size`."""

    token: str
    now: datetime
    lease_until: datetime
    limit: int
    size: int


@dataclass(frozen=True, slots=True)
class Held:
    """Messages that were taken under this token: what comes of them counts as long as it holds them."""

    token: str
    ids: Sequence[int]


@dataclass(frozen=True, slots=True)
class Unreadable:
    """What a message says and nobody can read, and may speak against calls: the patients and triggers that it
    names (`Type/id`), and which record it is in which version (`about`), as far as that shows."""

    source: str
    message: int
    names: frozenset[str]
    said_at: datetime
    about: str | None = None
    version: Version = NO_VERSION


@dataclass(frozen=True, slots=True)
class Unread:
    """What could not be read of messages. `anew`: sources and ids of messages that were processed again, or
    are settled: what could not be read of them before counts no more. `broken` is what could not be read of
    files, `read_at` when these were read (None: now): what comes with it was said then."""

    found: Sequence[Unreadable] = ()
    anew: Collection[tuple[str, int]] = ()
    broken: Sequence[Broken] = ()
    read_at: datetime | None = None

    def __bool__(self) -> bool:
        return bool(self.found or self.anew or self.broken)

    @property
    def sources(self) -> set[str]:
        """Whose messages and files they are."""
        told = {each.source for each in self.found} | {each.source for each in self.broken}
        return told | {source for source, _ in self.anew}


NOTHING_UNREAD = Unread()


class TakenOverError(LedgerError):
    """Another processor has taken the messages meanwhile: nothing that this one made of them counts."""

    def __init__(self) -> None:
        super().__init__("another processor has taken these messages over", code="taken-over")


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of a message: processed; failed because of `error`; or, received still, due again at
    `due_at`."""

    id: int
    state: MessageState
    error: str | None = None
    due_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class MessageSelection:
    """The messages somebody means: one by id, or all that match the rest. `since` is in, `until` is out."""

    id: int | None = None
    source: str | None = None
    state: MessageState | None = None
    error: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Decided:
    """What was last decided on a trigger, from which version of it; `task` is the JSON of the request's
    draft, None where retention has cleared it."""

    decision: str
    reason: str | None
    version: Version
    task: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class InboxLag:
    """How many messages wait to be processed or failed, and since when the oldest waits (aware UTC); how many
    versions came after a newer one and were left aside."""

    received: int
    failed: int
    oldest: datetime | None
    outdated: int = 0
