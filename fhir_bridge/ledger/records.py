"""What goes into the ledger and what comes out of it: plain, frozen values.

Long because it is the whole vocabulary of the port.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import msgspec

from fhir_bridge.ledger.states import PatientState, State
from fhir_bridge.mapping.decision import Call, Decision
from fhir_bridge.mapping.statements import Statement
from fhir_bridge.task_api.outcome import Outcome


@dataclass(frozen=True, slots=True)
class Arrival:
    """One trigger with its decision. `body` is the trigger as it came, kept where it calls or is rejected.

    `said_at` is when its source said so (aware UTC; None: now). Where `is_late`, newer messages of the source
    may have been taken in since, and only what they say counts where no version tells which is newer.
    `is_lasting`: a Skip to be kept although nothing is known of it and Skips are not kept otherwise.
    """

    source: str
    decision: Decision
    resource_type: str
    body: bytes | None = None
    delivery_id: str | None = None
    said_at: datetime | None = None
    is_late: bool = False
    is_lasting: bool = False

    @property
    def calls(self) -> bool:
        """Whether somebody is to be called."""
        return isinstance(self.decision, Call)

    @property
    def reason(self) -> str | None:
        """Why nobody is to be called, or somebody must look; None of a Call."""
        reason: str | None = getattr(self.decision, "reason", None)
        return reason


@dataclass(frozen=True, slots=True)
class Heard:
    """What a record of a source says of its person; `said_at` and `is_late` as in an Arrival."""

    source: str
    statement: Statement
    said_at: datetime | None = None
    is_late: bool = False


@dataclass(frozen=True, slots=True)
class Broken:
    """A record of a file that nobody can read and that may speak against calls; or all of one file that do
    not show whom.

    `place` is its file and line, `error` why it cannot be read. `names` are the patients and triggers that
    its text shows (`Type/id`), `about` is the record it was in the version that follows (aware UTC), as far
    as that shows; `digest` tells its text from others.
    """

    source: str
    place: str
    error: str
    digest: bytes
    names: frozenset[str] = frozenset()
    about: str | None = None
    version_id: str | None = None
    last_updated: datetime | None = None


class Change(StrEnum):
    """What an arrival did to its intent."""

    NEW = "new"
    DECIDED_AGAIN = "decided-again"
    UNCHANGED = "unchanged"
    OLDER = "older"
    TOO_LATE = "too-late"
    NOT_KEPT = "not-kept"


class Accepted(msgspec.Struct, frozen=True, gc=False):
    """Where an arrival ended: the key of its intent and that intent's state (None: not kept, a Skip of a
    migration).
    """

    key: str
    state: State | None
    reason: str | None
    change: Change


@dataclass(frozen=True, slots=True)
class Patient:
    """The crosswalk's row of the person an intent is about; `request` is the JSON of a PatientDraft."""

    id: int
    identity: str
    state: PatientState
    api_id: str | None
    request: bytes | None = field(repr=False)
    tries: int


@dataclass(frozen=True, slots=True)
class Claimed:
    """An intent this worker alone may send until `lease_until`; `request` is the JSON of a TaskDraft,
    `phone_number` (E.164) the number in it.

    `zones` are the IANA zones of the called person's address; empty: ask the number. `lineage` is the JSON of
    where every field came from. Instants are aware UTC.
    """

    id: int
    key: str
    source: str
    trigger: str
    lane: str
    token: str
    lease_until: datetime
    request: bytes = field(repr=False)
    phone_number: str = field(repr=False)
    zones: tuple[str, ...]
    valid_until: datetime | None
    first_attempt_at: datetime | None
    tries: int
    patient: Patient
    lineage: bytes = field(default=b"{}", repr=False)


@dataclass(frozen=True, slots=True)
class StartPatient:
    """Commit the attempt to create the intent's patient; nothing was sent yet."""

    claimed: Claimed
    at: datetime
    lease_until: datetime


@dataclass(frozen=True, slots=True)
class StartTask:
    """Commit the attempt to create the task; nothing was sent yet. No two to one number from
    `gap_since` on; with an `interval`, no two tasks of this ledger nearer to one another, on average.
    """

    claimed: Claimed
    at: datetime
    lease_until: datetime
    gap_since: datetime
    interval: timedelta | None = None


@dataclass(frozen=True, slots=True)
class SettlePatient:
    """What became of a patient's creation. `due_at`: when to try again, where it was not processed."""

    claimed: Claimed
    number: int
    outcome: Outcome
    started_at: datetime
    at: datetime
    due_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class SettleTask:
    """What became of a task's creation. `due_at`: when to try again; `poll_at`: when to ask how the call
    went.
    """

    claimed: Claimed
    number: int
    outcome: Outcome
    started_at: datetime
    at: datetime
    due_at: datetime | None = None
    poll_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class _Again:
    """Commit one more attempt at what is being sent, under the lease it was begun with, and what became of
    the one before, its `number`th: nobody knows, and the endpoint honours our key.
    """

    claimed: Claimed
    number: int
    outcome: Outcome
    started_at: datetime
    at: datetime
    lease_until: datetime


@dataclass(frozen=True, slots=True)
class PatientAgain(_Again):
    """See above: of a patient's creation."""


@dataclass(frozen=True, slots=True)
class TaskAgain(_Again):
    """See above: of a task's."""


@dataclass(frozen=True, slots=True)
class Defer:
    """Give a claimed intent back: not before `due_at`, and why."""

    claimed: Claimed
    due_at: datetime
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Park:
    """Give a claimed intent up until somebody or newer data brings it back."""

    claimed: Claimed
    reason: str
    at: datetime


Write = StartPatient | StartTask | PatientAgain | TaskAgain | SettlePatient | SettleTask | Defer | Park


class Refusal(StrEnum):
    """Why an attempt was not committed."""

    LOST = "lost"
    BLOCKED = "do-not-call"
    STOPPED = "person-stopped"
    PAUSED = "paused"
    RECENTLY_CALLED = "recently-called"
    PACED = "pacing"


@dataclass(frozen=True, slots=True)
class Written:
    """What became of one write. For a start: `number` of the attempt, else why not and, for the gap, since
    when; for the pace, when its turn may be.
    """

    done: bool
    number: int = 0
    refusal: Refusal | None = None
    called_at: datetime | None = None
    turn_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Sent:
    """A task whose call is under way, to be read back."""

    id: int
    key: str
    task_id: str


@dataclass(frozen=True, slots=True)
class ReadBack:
    """What the endpoint shows of a task; `final` where nothing will change any more."""

    sent: Sent
    status: str
    outcome: str | None = field(repr=False)
    final: bool


@dataclass(frozen=True, slots=True)
class Selection:
    """The intents an operator means: one by key or unique beginning of it, or all that match the rest."""

    key: str | None = None
    state: State | None = None
    reason: str | None = None
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Act:
    """Who did something, why and when (aware UTC): what the audit keeps of it."""

    actor: str
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True)
class BlockedEntry:
    """An entry of the do-not-call list: a number's hash, or a patient as `source|identity`. `via`: the entry
    of the same person that it follows from, None where somebody made it."""

    kind: str
    value: str
    since: datetime
    by: str
    why: str
    via: str | None = None


@dataclass(frozen=True, slots=True)
class CrosswalkEntry:
    """A patient of a source and their id at the task API. `line`: where it was written, in an import."""

    source: str
    identity: str
    patient_id: str
    line: int = 0


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import of the crosswalk did. `conflicts`: by line, why that one was left as it is."""

    new: int
    known: int
    brought_back: int
    conflicts: dict[int, str]


@dataclass(frozen=True, slots=True)
class Cleared:
    """How many rows retention cleared of payloads; `unfinished` are intents that nobody had settled."""

    intents: int = 0
    unfinished: int = 0
    patients: int = 0
    messages: int = 0


@dataclass(frozen=True, slots=True)
class AuditHead:
    """The newest row of the audit: what it says of all before it, in hex."""

    number: int
    chain: str


@dataclass(frozen=True, slots=True)
class AuditCheck:
    """What the audit is worth. `broken_at`: the first row that was changed, removed or put in, None where it
    holds; `before_key`: so many rows were written before the site set a key of its own."""

    head: AuditHead | None
    broken_at: int | None
    before_key: int = 0


@dataclass(frozen=True, slots=True)
class Status:
    """The ledger at a glance. `inbox` and `patients` count what is unsettled, `outdated` by source what came
    after something newer and was left aside; `destination` says what holds all back.
    """

    states: dict[str, int]
    reasons: dict[str, int]
    oldest_due: datetime | None
    next_due: datetime | None
    inbox: dict[str, int]
    patients: dict[str, int]
    alarms: dict[str, int]
    outdated: dict[str, int]
    destination: dict[str, Any]


@dataclass(frozen=True, slots=True)
class WorkItem:
    """One thing that needs a person: an intent, a patient or a message (`kind`), and since when (aware UTC).
    `holds`: whose calls wait for a message, by identity; `?` where it does not show whom it may be about.
    `place`: the file and line of a record that a file brought.
    """

    kind: str
    key: str
    source: str
    state: str
    reason: str | None
    since: datetime
    trigger: str | None = None
    expression: str | None = None
    task_id: str | None = None
    answer: str | None = field(default=None, repr=False)
    holds: tuple[str, ...] = ()
    place: str | None = None
