"""The states of an intent and every way from one to another (delivery, "States of an intent")."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """Where an intent stands. Waiting (hold, calling hours, retry) is READY with a later `due_at` and a
    reason.
    """

    READY = "ready"
    SKIPPED = "skipped"
    REJECTED = "rejected"
    SENDING = "sending"
    SENT = "sent"
    IN_DOUBT = "in_doubt"
    REFUSED = "refused"
    PARKED = "parked"
    CANCELLED = "cancelled"
    DONE = "done"


class PatientState(StrEnum):
    """Where the creation of a patient at the endpoint stands (delivery, table `patients`)."""

    NEW = "new"
    CREATING = "creating"
    CREATED = "created"
    IN_DOUBT = "in_doubt"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Transition:
    """One arrow of the figure; `start` is None where the intent comes into being."""

    start: State | None
    end: State
    cause: str


_START = "[*]"

TRANSITIONS: tuple[Transition, ...] = (
    Transition(None, State.READY, "Call"),
    Transition(None, State.SKIPPED, "Skip"),
    Transition(None, State.REJECTED, "Reject"),
    Transition(State.READY, State.SENT, "an answer that comes late shows the task"),
    Transition(State.READY, State.SENDING, "due, checks passed, attempt committed"),
    Transition(State.SENDING, State.SENT, "2xx with an id"),
    Transition(State.SENDING, State.READY, "certainly not processed, or our key refused"),
    Transition(State.SENDING, State.IN_DOUBT, "may have been processed"),
    Transition(State.SENDING, State.REFUSED, "the request itself refused"),
    Transition(
        State.READY,
        State.PARKED,
        "retries, deadline or valid_until used up, or its patient in doubt or refused",
    ),
    Transition(State.READY, State.IN_DOUBT, "operator: a backup was restored"),
    Transition(State.READY, State.CANCELLED, "operator"),
    Transition(State.REJECTED, State.CANCELLED, "operator"),
    Transition(State.REFUSED, State.CANCELLED, "operator"),
    Transition(State.PARKED, State.CANCELLED, "operator"),
    Transition(State.CANCELLED, State.READY, "operator"),
    Transition(State.IN_DOUBT, State.SENT, "operator, or the endpoint shows the task"),
    Transition(State.IN_DOUBT, State.READY, "operator says resend"),
    Transition(State.IN_DOUBT, State.CANCELLED, "operator lets it be"),
    Transition(State.SENT, State.DONE, "COMPLETED / FAILED / CANCELLED read back"),
)

UNDECIDED = frozenset({State.READY, State.SKIPPED, State.REJECTED, State.REFUSED, State.PARKED})
"""What a newer version, mended data or `retry` decides again: nothing of it can have reached the endpoint."""

DECIDED_AGAIN = frozenset({State.READY, State.SKIPPED, State.REJECTED})
"""What a new decision makes of an undecided intent."""

OUT_OF_HAND = frozenset({State.SENDING, State.SENT, State.IN_DOUBT})
"""Where a revocation changes no state: somebody must tell the vendor."""


def starts_of(end: State, cause: str) -> frozenset[State]:
    """The states from which an intent may become `end` for that cause; raises KeyError where the figure has
    none.
    """
    found = frozenset(t.start for t in TRANSITIONS if t.end is end and t.cause == cause and t.start)
    if not found:
        raise KeyError((end, cause))
    return found


def figure() -> str:
    """The table as the Mermaid figure of delivery and of docs/delivery.md, without its fence."""
    lines = [f"    {t.start or _START} --> {t.end}: {t.cause}" for t in TRANSITIONS]
    return "\n".join(["stateDiagram-v2", *lines])
