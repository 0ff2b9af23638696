"""Intents that turn out to be one: members join, and one gives way to the other."""

from __future__ import annotations

from fhir_bridge.ledger.arrivals.batch import Intake, Known, KnownIntent, labels, provisional_key
from fhir_bridge.ledger.arrivals.belonging import is_mere_loss
from fhir_bridge.ledger.arrivals.deciding import MERGED, SUPERSEDED, decide
from fhir_bridge.ledger.arrivals.precedence import Standing
from fhir_bridge.ledger.records import Arrival
from fhir_bridge.ledger.states import State


def join(known: Known, arrival: Arrival, intent: KnownIntent) -> None:
    """Every member of the chain belongs to the intent; a patient who was unknown gives it its real key."""
    for label in labels(arrival):
        at = known.by_member.setdefault((arrival.source, label), {})
        if at.get(intent.loss) is None:
            at[intent.loss] = intent
            if label != arrival.decision.subject.trigger:
                known.lead(arrival.source, label, intent)
    key = arrival.decision.subject.intent
    provisional = provisional_key(arrival)
    if key and intent.key == provisional and key not in known.by_key:
        known.by_key[key] = known.by_key.pop(provisional, intent)
        intent.key, intent.changed = key, True


def gives_way(other: KnownIntent, intent: KnownIntent, current: KnownIntent | None) -> bool:
    """Whether an unsent intent of the same chain is the same call: two first calls, or a first
    call and a loss.
    """
    if other.state is None or not other.undecided or is_mere_loss(intent):
        return False
    return not other.loss or (other is current and bool(intent.loss))


def absorb(known: Known, other: KnownIntent, intent: KnownIntent, intake: Intake) -> None:
    """Let what spoke for the other speak for this one.

    A Skip stays behind when a loss takes over: it speaks of the time before the loss, when all was booked.
    """
    same = other.loss == intent.loss
    for label, standing in sorted(other.standings.items()):
        if same or standing.decision != "skip":
            move(known, (other.source, label), standing, intent, intake)
    if not same:
        return
    for (source, label), at in known.by_member.items():
        if at.get(other.loss) is other:
            at[other.loss] = intent
            known.lead(source, label, intent)
    known.merged.append((other, intent))
    for each in (other, intent):
        known.give_row(each)
    withdraw(other, MERGED)


def move(
    known: Known, place: tuple[str, str], standing: Standing, intent: KnownIntent, intake: Intake
) -> None:
    """Let a trigger stand in this intent, with what it says now; the one it leaves is decided without it."""
    left = known.by_trigger.get(place)
    if left is not None and left is not intent:
        left.standings.pop(place[1], None)
        if left.loss != intent.loss:
            # While it stood there it belonged there by that; now the ledger has to be told to remember.
            known.lead(*place, left)
        if not left.undecided:
            pass
        elif left.standings:
            decide(left, intake)
        else:
            withdraw(left, SUPERSEDED)
    intent.standings[place[1]] = standing
    known.by_trigger[place] = known.moved[place] = intent
    known.by_member.setdefault(place, {}).setdefault(intent.loss, intent)


def withdraw(intent: KnownIntent, reason: str) -> None:
    """Nothing speaks for this intent any more: whatever did, speaks in another."""
    if intent.state is not State.SKIPPED or intent.reason != reason:
        intent.state, intent.reason, intent.changed = State.SKIPPED, reason, True
        intent.due_at = None
