"""How an arriving decision changes what is known of its intent; pure, in memory (mapping, section 2)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from fhir_bridge.ledger import states
from fhir_bridge.ledger.arrivals.alone import could_stand_alone
from fhir_bridge.ledger.arrivals.arriving import age_of, ended, would_call_anew
from fhir_bridge.ledger.arrivals.batch import Intake, Known, KnownIntent, key_of, labels
from fhir_bridge.ledger.arrivals.belonging import called_for, intent_for, open_intent
from fhir_bridge.ledger.arrivals.deciding import (
    NEVER_BOOKED,
    REVOKED_AFTER_SEND,
    decide,
    decide_anew,
    raise_alarm,
)
from fhir_bridge.ledger.arrivals.joining import absorb, gives_way, join, move, withdraw
from fhir_bridge.ledger.arrivals.precedence import VERSIONS_DISAGREE, Age, Standing, is_withdrawn
from fhir_bridge.ledger.records import Accepted, Arrival, Change
from fhir_bridge.ledger.states import State
from fhir_bridge.mapping.decision import Skip

ORDER_WITHDRAWN = "order-withdrawn"


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
        if called := called_for(known, arrival, last):
            standing, intent = _never_booked(standing), called
        else:
            intent = intent_for(known, arrival, current)
    if intent is None:
        if is_kept_with_others(arrival) and not intake.keep_skips:
            return Accepted(key_of(arrival), None, standing.reason, Change.NOT_KEPT)
        intent = open_intent(known, arrival)
    is_new = intent.state is None
    join(known, arrival, intent)
    move(known, place, standing, intent, intake)
    decided = decide(intent, intake)
    for other in () if is_alone else list(known.touched(arrival)):
        if other is not intent and gives_way(other, intent, current):
            absorb(known, other, intent, intake)
            decided |= decide(intent, intake)
    if not is_alone:
        _heed_orders(known, arrival, intent, last, intake)
        for each in (intent, current, *known.touched(arrival)):
            _give_row(known, each)
    else:
        _give_row(known, intent)
    if is_new:
        return _accepted(intent, Change.NEW)
    if decided:
        return _accepted(intent, Change.DECIDED_AGAIN)
    return _accepted(intent, Change.UNCHANGED if intent.undecided else Change.TOO_LATE)


def is_kept_with_others(arrival: Arrival) -> bool:
    """Whether a migration keeps it only where something else is known of its chain."""
    return isinstance(arrival.decision, Skip) and not arrival.is_lasting


def _is_alone(known: Known, arrival: Arrival) -> bool:
    """Whether nothing is known of the arrival's chain: most of what comes in is such, and soon taken in."""
    source = arrival.source
    for label in labels(arrival):
        if known.by_member.get((source, label)):
            return False
    return (source, arrival.decision.subject.trigger) not in known.by_trigger and (
        key_of(arrival) not in known.by_key
    )


def _give_row(known: Known, intent: KnownIntent | None) -> None:
    if intent is not None and not could_stand_alone(intent):
        known.give_row(intent)


def _accepted(intent: KnownIntent, change: Change) -> Accepted:
    return Accepted(intent.key, intent.state, intent.reason, change)


def _never_booked(standing: Standing) -> Standing:
    """The same, as a Skip: what the call was for is not wanted any more."""
    return replace(standing, decision="skip", reason=NEVER_BOOKED)


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
        withdraw(loss, ORDER_WITHDRAWN)
    elif loss.state in states.OUT_OF_HAND:
        raise_alarm(loss, REVOKED_AFTER_SEND, ORDER_WITHDRAWN)
