"""What becomes of an intent by all that its triggers say: its state, reason, due time and alarm."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from fhir_bridge.ledger import states
from fhir_bridge.ledger.arrivals.batch import Intake, KnownIntent
from fhir_bridge.ledger.arrivals.belonging import was_called
from fhir_bridge.ledger.arrivals.content import read_content
from fhir_bridge.ledger.arrivals.precedence import (
    STOPS,
    UNREADABLE,
    VERSIONS_DISAGREE,
    Standing,
    chosen,
    revokes,
)
from fhir_bridge.ledger.states import State

HOLD = "hold"
RETRY = "retry"
SUPERSEDED = "superseded"
MERGED = "merged"
REVOKED_AFTER_SEND = "revoked-after-send"
NEVER_BOOKED = "never-booked"
PATIENT_CHANGED_AFTER_SEND = "patient-changed-after-send"
_KIND = {"call": State.READY, "skip": State.SKIPPED, "reject": State.REJECTED}


def decide(intent: KnownIntent, intake: Intake) -> bool:
    """Go by the standing that has precedence, but where nobody may call the person; True where that changed
    the intent.
    """
    winner = chosen(intent.standings.values())
    if not intent.undecided:
        _alarm(intent, winner)
        return False
    if winner.content is None:
        return False
    content = winner.read or read_content(winner.content)
    stop = intake.stops.get((intent.source, content.identity or "")) if winner.decision != "skip" else None
    is_same = (intent.trigger, intent.fingerprint) == (winner.trigger, winner.fingerprint)
    is_same = is_same and (bool(stop) or winner.is_doubted == (intent.reason == VERSIONS_DISAGREE))
    if is_same and intent.reason not in (SUPERSEDED, MERGED) and stop == _stopped_by(intent, winner):
        return False
    before = intent.state
    intent.state = _state_for(winner, stop)
    if intent.state is State.READY:
        intent.due_at = _due(intent, before, intake)
        intent.reason = intent.reason if before is State.READY and intent.reason == RETRY else None
        if intent.reason is None and intent.due_at > intake.now:
            intent.reason = HOLD
    else:
        intent.due_at, intent.reason = None, stop or winner.reason
    intent.trigger, intent.fingerprint, intent.decision = winner.trigger, winner.fingerprint, winner
    intent.held, intent.content = winner.content, content
    intent.identity = content.identity
    intent.changed = True
    return True


def _state_for(winner: Standing, stop: str | None) -> State:
    """What nobody can read may or may not speak against a call: somebody must look."""
    if stop:
        return State.REJECTED if stop == UNREADABLE else State.SKIPPED
    return State.PARKED if winner.is_doubted else _KIND[winner.decision]


def _stopped_by(intent: KnownIntent, winner: Standing) -> str | None:
    """The stop that keeps an intent back whose decision is another."""
    is_stopped = winner.decision != "skip" and (
        (intent.state is State.SKIPPED and intent.reason in STOPS)
        or (intent.state is State.REJECTED and intent.reason == UNREADABLE != winner.reason)
    )
    return intent.reason if is_stopped else None


def persons_of(intent: KnownIntent) -> set[str]:
    """Whom the intent is about, and whom it would call or ask about should another of its triggers count."""
    found = {intent.identity}
    for standing in intent.standings.values():
        if standing.decision != "skip" and standing.content and standing.content is not intent.held:
            found.add(read_content(standing.content).identity)
    return {identity for identity in found if identity}


def heed(intent: KnownIntent, intake: Intake) -> None:
    """Go by what the records now say of the intent's person; of one that was sent somebody must tell the
    vendor.
    """
    stop = intake.stops.get((intent.source, intent.identity or ""))
    if intent.undecided and intent.standings:
        decide(intent, intake)
    elif stop and stop != UNREADABLE and intent.state in states.OUT_OF_HAND:
        raise_alarm(intent, REVOKED_AFTER_SEND, stop)


def trust(intent: KnownIntent) -> list[str]:
    """Take what may be older for what counts, since somebody says so; gives the triggers of which it is."""
    doubted = [label for label, standing in intent.standings.items() if standing.is_doubted]
    for label in doubted:
        intent.standings[label] = replace(intent.standings[label], reason=None)
    return doubted


def decide_anew(intent: KnownIntent, intake: Intake) -> None:
    """Decide an intent from its standings as if nothing had been decided yet: an operator's `retry`."""
    intent.state, intent.reason, intent.fingerprint, intent.due_at = None, None, "", None
    decide(intent, intake)


def catch_up(intent: KnownIntent, intake: Intake) -> bool:
    """Go by what was said while an intent was being sent or in doubt, now that it is ready again; True where
    that changed it.
    """
    return decide(intent, intake)


def _due(intent: KnownIntent, before: State | None, intake: Intake) -> datetime:
    """A newer version neither shortens a retry's wait nor makes a hold longer."""
    if before is State.READY and intent.due_at:
        if intent.reason == RETRY:
            return intent.due_at
        if intent.reason == HOLD:
            return min(intent.due_at, intake.held_until)
    return intake.held_until


def _alarm(intent: KnownIntent, winner: Standing) -> None:
    """A revocation, or another patient, that finds the task sent: somebody must tell the vendor."""
    if not was_called(intent) or (intent.state is State.DONE and winner.reason != NEVER_BOOKED):
        return
    if revokes(winner):
        alarm, reason = REVOKED_AFTER_SEND, winner.reason
    elif _calls_another(intent, winner):
        alarm, reason = PATIENT_CHANGED_AFTER_SEND, None
    else:
        return
    raise_alarm(intent, alarm, reason)


def raise_alarm(intent: KnownIntent, alarm: str, reason: str | None) -> None:
    """Have somebody look at it; what is raised already stays as it is."""
    if (intent.alarm, intent.alarm_reason) != (alarm, reason):
        intent.alarm, intent.alarm_reason, intent.changed = alarm, reason, True


def _calls_another(intent: KnownIntent, winner: Standing) -> bool:
    if winner.decision != "call" or winner.content is None:
        return False
    return read_content(winner.content).identity != intent.identity
