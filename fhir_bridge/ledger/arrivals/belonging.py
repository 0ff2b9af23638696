"""Which intent an arrival belongs to, and which of several goes on (mapping, section 2)."""

from __future__ import annotations

from fhir_bridge.ledger import states
from fhir_bridge.ledger.arrivals.batch import Known, KnownIntent, key_of
from fhir_bridge.ledger.arrivals.precedence import PERSON_SKIPS, Standing
from fhir_bridge.ledger.records import Arrival
from fhir_bridge.ledger.states import State
from fhir_bridge.mapping.decision import Skip

BOOKED = "already-booked"
NOBODY_WANTED = PERSON_SKIPS | {BOOKED}


def called_for(known: Known, arrival: Arrival, last: Standing | None) -> KnownIntent | None:
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
    called = [intent for intent in found if was_called(intent) and not intent.loss]
    return min(called, key=lambda intent: intent.id or 0, default=None)


def was_called(intent: KnownIntent) -> bool:
    """Whether its person was called, is being called, or may have been."""
    return intent.state in states.OUT_OF_HAND or intent.state is State.DONE


def intent_for(known: Known, arrival: Arrival, current: KnownIntent | None) -> KnownIntent | None:
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
        found = [intent for intent in found if not is_mere_loss(intent)]
        if current and current.loss and current in found:
            return current
    return min(found, key=_rank, default=None)


def is_mere_loss(intent: KnownIntent) -> bool:
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


def _rank(intent: KnownIntent) -> tuple[bool, bool, bool, bool, bool, int, str]:
    """Losses first; then what was sent or an operator cancelled, for it must not be sent again; then the
    oldest. What stands alone comes last, and has no age.
    """
    return (
        not intent.loss,
        intent.undecided,
        intent.state is State.CANCELLED,
        not intent.has_row,
        # What is new is younger than what is written; of each the first to come is the oldest.
        intent.id is None,
        (intent.id or intent.number) if intent.has_row else 0,
        intent.key,
    )


def open_intent(known: Known, arrival: Arrival) -> KnownIntent:
    """A new one for this arrival, among what is known from now on."""
    intent = KnownIntent(key_of(arrival), arrival.source, arrival.decision.subject.loss or "")
    known.by_key[intent.key] = intent
    return intent
