"""How an arriving decision changes what is known of its intent; pure, in memory (mapping, section 2).

Long because it is one argument, from the arrival to the intent's state, and its steps share what they know.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from fhir_bridge.ledger import states
from fhir_bridge.ledger.arriving import age_of, ended, would_call_anew
from fhir_bridge.ledger.content import Content, read_content
from fhir_bridge.ledger.precedence import (
    PERSON_SKIPS,
    STOPS,
    VERSIONS_DISAGREE,
    Age,
    Standing,
    chosen,
    is_withdrawn,
    revokes,
)
from fhir_bridge.ledger.records import Accepted, Arrival, Change
from fhir_bridge.ledger.states import State
from fhir_bridge.mapping.decision import Skip

HOLD = "hold"
RETRY = "retry"
SUPERSEDED = "superseded"
MERGED = "merged"
REVOKED_AFTER_SEND = "revoked-after-send"
BOOKED = "already-booked"
NEVER_BOOKED = "never-booked"
PATIENT_CHANGED_AFTER_SEND = "patient-changed-after-send"

NOBODY_WANTED = PERSON_SKIPS | {BOOKED}
ORDER_WITHDRAWN = "order-withdrawn"

_KIND = {"call": State.READY, "skip": State.SKIPPED, "reject": State.REJECTED}


@dataclass(eq=False, slots=True)
class KnownIntent:
    """An intent while a batch is folded in.

    `id` is None until it is written; of those, `number` says which was opened first. `due_at` is aware UTC,
    `held` the content it goes by as the ledger keeps it.
    """

    key: str
    source: str
    loss: str
    id: int | None = None
    number: int = 0
    state: State | None = None
    reason: str | None = None
    trigger: str = ""
    fingerprint: str = ""
    identity: str | None = None
    due_at: datetime | None = None
    alarm: str | None = None
    alarm_reason: str | None = None
    held: bytes | None = None
    content: Content | None = None
    decision: Standing | None = None
    standings: dict[str, Standing] = field(default_factory=dict)
    changed: bool = False

    @property
    def undecided(self) -> bool:
        """Whether a decision may still change it: nothing of it can have reached the endpoint."""
        return self.state is None or self.state in states.UNDECIDED


@dataclass(eq=False)
class Known:
    """What the ledger knows of the chains that a batch touches. `moved`, `joined` and `merged` (which intent
    into which) are what is to be written.
    """

    by_key: dict[str, KnownIntent] = field(default_factory=dict)
    by_trigger: dict[tuple[str, str], KnownIntent] = field(default_factory=dict)
    by_member: dict[tuple[str, str], dict[str, KnownIntent]] = field(default_factory=dict)
    moved: dict[tuple[str, str], KnownIntent] = field(default_factory=dict)
    joined: dict[tuple[str, str, str], KnownIntent] = field(default_factory=dict)
    merged: list[tuple[KnownIntent, KnownIntent]] = field(default_factory=list)
    opened: int = 0

    def touched(self, arrival: Arrival) -> Iterator[KnownIntent]:
        """The intents that the arrival's trigger or any member of its chain belongs to, some
        more than once.
        """
        for label in labels(arrival):
            yield from self.by_member.get((arrival.source, label), {}).values()
        current = self.by_trigger.get((arrival.source, arrival.decision.subject.trigger))
        if current:
            yield current


@dataclass(frozen=True, slots=True)
class Intake:
    """When a batch came in (aware UTC), until when new calls are held back, and whether unknown Skips are
    kept. `stops`: by source and identity, why nobody may call these persons.
    """

    now: datetime
    held_until: datetime
    keep_skips: bool = True
    stops: Mapping[tuple[str, str], str] = field(default_factory=dict)


def labels(arrival: Arrival) -> Iterable[str]:
    """The trigger and every member of its chain."""
    subject = arrival.decision.subject
    return (subject.trigger, *subject.members)


def key_of(arrival: Arrival) -> str:
    """The intent's key; a trigger without a known patient stands for itself until mended data brings one."""
    subject = arrival.decision.subject
    return subject.intent or _provisional(arrival)


def _provisional(arrival: Arrival) -> str:
    subject = arrival.decision.subject
    return "|".join((arrival.source, "?", subject.trigger, *([subject.loss] if subject.loss else ())))


def fold(known: Known, arrival: Arrival, standing: Standing, intake: Intake) -> Accepted:
    """Take one arrival in: finds or opens its intent, and decides that one again where it still may be."""
    place = (arrival.source, standing.trigger)
    current = known.by_trigger.get(place)
    last = current.standings.get(standing.trigger) if current else None
    if standing.deleted:
        standing = ended(arrival, standing, last, intake.now)
    if current and last:
        told = age_of(arrival, standing, last)
        if told is Age.OLDER:
            return _accepted(current, Change.OLDER)
        if told is Age.UNCLEAR and would_call_anew(arrival, standing, last, current.loss):
            standing = replace(standing, reason=VERSIONS_DISAGREE)
        if last.fingerprint == standing.fingerprint and last.version == standing.version:
            return _accepted(current, Change.UNCHANGED)
    intent: KnownIntent | None = None
    is_alone = _is_alone(known, arrival)
    if not is_alone:
        if called := _called_for(known, arrival, last):
            standing, intent = _never_booked(standing), called
        else:
            intent = _intent_for(known, arrival, current)
    if intent is None:
        if standing.decision == "skip" and not (intake.keep_skips or arrival.is_lasting):
            return Accepted(key_of(arrival), None, standing.reason, Change.NOT_KEPT)
        intent = _open(known, arrival)
    is_new = intent.state is None
    _join(known, arrival, intent)
    _move(known, place, standing, intent, intake)
    decided = _decide(intent, intake)
    for other in () if is_alone else list(known.touched(arrival)):
        if other is not intent and _gives_way(other, intent, current):
            _absorb(known, other, intent, intake)
            decided |= _decide(intent, intake)
    if not is_alone:
        _heed_orders(known, arrival, intent, last, intake)
    if is_new:
        return _accepted(intent, Change.NEW)
    if decided:
        return _accepted(intent, Change.DECIDED_AGAIN)
    return _accepted(intent, Change.UNCHANGED if intent.undecided else Change.TOO_LATE)


def _is_alone(known: Known, arrival: Arrival) -> bool:
    """Whether nothing is known of the arrival's chain: most of what comes in is such, and soon taken in."""
    source = arrival.source
    for label in labels(arrival):
        if known.by_member.get((source, label)):
            return False
    return (source, arrival.decision.subject.trigger) not in known.by_trigger and (
        key_of(arrival) not in known.by_key
    )


def _accepted(intent: KnownIntent, change: Change) -> Accepted:
    return Accepted(intent.key, intent.state, intent.reason, change)


def _called_for(known: Known, arrival: Arrival, last: Standing | None) -> KnownIntent | None:
    """The intent whose call was placed for what this loss says is lost, though it never was booked: as far as
    anybody heard, or because it never had a time. What was booked since, and is lost, is a call of its own.
    """
    subject = arrival.decision.subject
    if not subject.loss or subject.missed or isinstance(arrival.decision, Skip):
        return None
    if last is not None and last.reason == BOOKED:
        return None
    if last is None and not subject.loss.endswith("@"):
        return None
    found = [intent for intent in known.touched(arrival) if intent.source == arrival.source]
    if any(_is_same_loss(intent.loss, subject.loss) for intent in found):
        return None
    called = [intent for intent in found if _was_called(intent) and not intent.loss]
    return min(called, key=lambda intent: intent.id or 0, default=None)


def _was_called(intent: KnownIntent) -> bool:
    return intent.state in states.OUT_OF_HAND or intent.state is State.DONE


def _never_booked(standing: Standing) -> Standing:
    """The same, as a Skip: what the call was for is not wanted any more."""
    return replace(standing, decision="skip", reason=NEVER_BOOKED)


def _intent_for(known: Known, arrival: Arrival, current: KnownIntent | None) -> KnownIntent | None:
    """The intent this arrival belongs to, None where it opens one.

    A loss takes only an intent of its own. Anything else takes what its chain touches, a loss that calls
    before the chain's first call: an order that comes alone must not be called beside its lost appointment.
    A loss that is skipped takes nobody's place, unless nobody may call the person.
    """
    subject = arrival.decision.subject
    found = [intent for intent in known.touched(arrival) if intent.source == arrival.source]
    same_key = known.by_key.get(key_of(arrival))
    if same_key:
        found.append(same_key)
    if subject.loss:
        found = [intent for intent in found if _is_same_loss(intent.loss, subject.loss)]
    else:
        found = [intent for intent in found if not _is_mere_loss(intent)]
        if current and current.loss and current in found:
            return current
    return max(found, key=_standing_before, default=None)


def _is_mere_loss(intent: KnownIntent) -> bool:
    """Whether it is a loss that is skipped for its own sake, and not because nobody may call the person, or
    because what was lost is booked again: then its order wants no call either.
    """
    return bool(intent.loss) and intent.state is State.SKIPPED and intent.reason not in NOBODY_WANTED


def _is_same_loss(known: str, lost: str) -> bool:
    """Whether both are the loss of one appointment at one start; a start that was taken out, or put in, when
    it was lost already (Appointment's invariant app-3 lets it be missing) makes no other loss of it.
    """
    if not known or known == lost:
        return known == lost
    (name, _, start), (other, _, other_start) = known.rpartition("@"), lost.rpartition("@")
    return name == other and not (start and other_start)


def _standing_before(intent: KnownIntent) -> tuple[bool, bool, bool, bool, int]:
    """Losses first; then what was sent or an operator cancelled, for it must not be sent again; then the
    oldest.
    """
    at_most_once = not intent.undecided
    return (
        bool(intent.loss),
        at_most_once,
        intent.state is not State.CANCELLED,
        # What is new is younger than what is written; of each the first to come is the oldest.
        intent.id is not None,
        -(intent.id or intent.number),
    )


def _open(known: Known, arrival: Arrival) -> KnownIntent:
    known.opened += 1
    intent = KnownIntent(
        key_of(arrival), arrival.source, arrival.decision.subject.loss or "", number=known.opened
    )
    known.by_key[intent.key] = intent
    return intent


def _join(known: Known, arrival: Arrival, intent: KnownIntent) -> None:
    """Every member of the chain belongs to the intent; a patient who was unknown gives it its real key."""
    for label in labels(arrival):
        at = known.by_member.setdefault((arrival.source, label), {})
        if at.get(intent.loss) is None:
            at[intent.loss] = intent
            if label != arrival.decision.subject.trigger:
                known.joined[(arrival.source, label, intent.loss)] = intent
    key = arrival.decision.subject.intent
    provisional = _provisional(arrival)
    if key and intent.key == provisional and key not in known.by_key:
        known.by_key[key] = known.by_key.pop(provisional, intent)
        intent.key, intent.changed = key, True


def _gives_way(other: KnownIntent, intent: KnownIntent, current: KnownIntent | None) -> bool:
    """Whether an unsent intent of the same chain is the same call: two first calls, or a first
    call and a loss.
    """
    if other.state is None or not other.undecided or _is_mere_loss(intent):
        return False
    return not other.loss or (other is current and bool(intent.loss))


def _absorb(known: Known, other: KnownIntent, intent: KnownIntent, intake: Intake) -> None:
    """Let what spoke for the other speak for this one.

    A Skip stays behind when a loss takes over: it speaks of the time before the loss, when all was booked.
    """
    same = other.loss == intent.loss
    for label, standing in sorted(other.standings.items()):
        if same or standing.decision != "skip":
            _move(known, (other.source, label), standing, intent, intake)
    if not same:
        return
    for (source, label), at in known.by_member.items():
        if at.get(other.loss) is other:
            at[other.loss] = intent
            known.joined[(source, label, intent.loss)] = intent
    known.merged.append((other, intent))
    _withdraw(other, MERGED)


def _heed_orders(
    known: Known, arrival: Arrival, intent: KnownIntent, last: Standing | None, intake: Intake
) -> None:
    """An order stands in one intent of its chain, and speaks for the losses of the chain too: withdrawn, it
    takes them back, those that come later as well; active again, it lets them be decided again.
    """
    standing = intent.standings[arrival.decision.subject.trigger]
    if standing.resource_type == "Appointment":
        if intent.loss and _is_withdrawn(known, arrival):
            _take_back(intent)
        return
    losses = {other for other in known.touched(arrival) if other is not intent and other.loss}
    if is_withdrawn(standing):
        for other in losses:
            if all(map(is_withdrawn, _orders(other.standings.values()))):
                _take_back(other)
    elif last is not None and is_withdrawn(last):
        for other in losses:
            if other.reason == ORDER_WITHDRAWN and other.undecided and other.standings:
                decide_anew(other, intake)


def _is_withdrawn(known: Known, arrival: Arrival) -> bool:
    """Whether all orders of the arrival's chain that the ledger knows are withdrawn; there must be one."""
    places = [(arrival.source, label) for label in labels(arrival)]
    told = [intent.standings[place[1]] for place in places if (intent := known.by_trigger.get(place))]
    orders = _orders(told)
    return bool(orders) and all(map(is_withdrawn, orders))


def _orders(standings: Iterable[Standing]) -> list[Standing]:
    return [standing for standing in standings if standing.resource_type != "Appointment"]


def _take_back(loss: KnownIntent) -> None:
    if loss.state in (State.READY, State.REJECTED):
        _withdraw(loss, ORDER_WITHDRAWN)
    elif loss.state in states.OUT_OF_HAND:
        _raise_alarm(loss, REVOKED_AFTER_SEND, ORDER_WITHDRAWN)


def _move(
    known: Known, place: tuple[str, str], standing: Standing, intent: KnownIntent, intake: Intake
) -> None:
    """Let a trigger stand in this intent, with what it says now; the one it leaves is decided without it."""
    left = known.by_trigger.get(place)
    if left is not None and left is not intent:
        left.standings.pop(place[1], None)
        if left.loss != intent.loss:
            # While it stood there it belonged there by that; now the ledger has to be told to remember.
            known.joined[(*place, left.loss)] = left
        if not left.undecided:
            pass
        elif left.standings:
            _decide(left, intake)
        else:
            _withdraw(left, SUPERSEDED)
    intent.standings[place[1]] = standing
    known.by_trigger[place] = known.moved[place] = intent
    known.by_member.setdefault(place, {}).setdefault(intent.loss, intent)


def _withdraw(intent: KnownIntent, reason: str) -> None:
    """Nothing speaks for this intent any more: whatever did, speaks in another."""
    if intent.state is not State.SKIPPED or intent.reason != reason:
        intent.state, intent.reason, intent.changed = State.SKIPPED, reason, True
        intent.due_at = None


def _decide(intent: KnownIntent, intake: Intake) -> bool:
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
    intent.state = State.SKIPPED if stop else State.PARKED if winner.is_doubted else _KIND[winner.decision]
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


def _stopped_by(intent: KnownIntent, winner: Standing) -> str | None:
    """The stop that keeps an intent back whose decision is another."""
    is_stopped = intent.state is State.SKIPPED and winner.decision != "skip" and intent.reason in STOPS
    return intent.reason if is_stopped else None


def heed(intent: KnownIntent, intake: Intake) -> None:
    """Go by what the records now say of the intent's person; of one that was sent somebody must tell the
    vendor.
    """
    stop = intake.stops.get((intent.source, intent.identity or ""))
    if intent.undecided and intent.standings:
        _decide(intent, intake)
    elif stop and intent.state in states.OUT_OF_HAND:
        _raise_alarm(intent, REVOKED_AFTER_SEND, stop)


def trust(intent: KnownIntent) -> list[str]:
    """Take what may be older for what counts, since somebody says so; gives the triggers of which it is."""
    doubted = [label for label, standing in intent.standings.items() if standing.is_doubted]
    for label in doubted:
        intent.standings[label] = replace(intent.standings[label], reason=None)
    return doubted


def decide_anew(intent: KnownIntent, intake: Intake) -> None:
    """Decide an intent from its standings as if nothing had been decided yet: an operator's `retry`."""
    intent.state, intent.reason, intent.fingerprint, intent.due_at = None, None, "", None
    _decide(intent, intake)


def catch_up(intent: KnownIntent, intake: Intake) -> bool:
    """Go by what was said while an intent was being sent or in doubt, now that it is ready again; True where
    that changed it.
    """
    return _decide(intent, intake)


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
    if not _was_called(intent) or (intent.state is State.DONE and winner.reason != NEVER_BOOKED):
        return
    if revokes(winner):
        alarm, reason = REVOKED_AFTER_SEND, winner.reason
    elif _calls_another(intent, winner):
        alarm, reason = PATIENT_CHANGED_AFTER_SEND, None
    else:
        return
    _raise_alarm(intent, alarm, reason)


def _raise_alarm(intent: KnownIntent, alarm: str, reason: str | None) -> None:
    if (intent.alarm, intent.alarm_reason) != (alarm, reason):
        intent.alarm, intent.alarm_reason, intent.changed = alarm, reason, True


def _calls_another(intent: KnownIntent, winner: Standing) -> bool:
    if winner.decision != "call" or winner.content is None:
        return False
    return read_content(winner.content).identity != intent.identity
