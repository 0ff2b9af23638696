"""Which events are missed, by their numbers alone (intake, section 1, "Missed events")."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fhir_bridge.intake.notifications import parse
from fhir_bridge.intake.subscription_status import NotificationType
from fhir_bridge.ledger.sources.watched import ARRIVED, EVENTS, MERGED, RESTARTED, Watched
from fhir_bridge.subscriptions.numbering import MOST_GAPS, Counted, Numbering, Told, count, told_by
from tests.conftest import MONDAY

EVENT, HANDSHAKE = NotificationType.EVENT, NotificationType.HANDSHAKE

MINUTE = timedelta(minutes=1)
NEW = Watched("ehr", "Subscription/1")
SHAKEN = replace(NEW, last_event_number=0)


def event(*numbers: int, at: int | None = None, **given: Any) -> Told:
    """Events that happened `at` minutes past; each told in one message."""
    return Told(EVENT, numbers, moment=None if at is None else MONDAY + at * MINUTE, **given)


def heard(known: Watched, *told: Told, policy: Numbering = "global") -> Counted:
    """The subscription after some messages; doubtful where one of them was."""
    doubtful = False
    for each in told:
        counted = count(known, each, policy, MONDAY)
        known, doubtful = counted.watched, doubtful or counted.doubtful
    return Counted(known, doubtful)


def missed(known: Watched) -> list[tuple[int, int]]:
    """The open gaps, in order."""
    return sorted((gap.first, gap.last) for gap in known.open_gaps)


def test_what_a_notification_tells_is_taken_from_it() -> None:
    """Its numbers, its count, and when the latest event happened; a number no column holds counts nothing."""
    events = [{"eventNumber": "3", "timestamp": "2026-11-23T15:01:00Z"}, {"eventNumber": "9" * 19}]
    status = {
        "resourceType": "SubscriptionStatus",
        "type": "event-notification",
        "subscription": {"reference": "Subscription/1"},
        "eventsSinceSubscriptionStart": 4,
        "notificationEvent": events,
    }
    body = {"resourceType": "Bundle", "type": "history", "entry": [{"resource": status}]}
    told = told_by(parse(json.dumps(body).encode()))
    assert told == Told(EVENT, (3,), 4, MONDAY + MINUTE)


def test_numbers_that_follow_each_other_leave_no_gap() -> None:
    """Nothing is missed, whether one message tells one event or several."""
    known = heard(SHAKEN, event(1), event(2, 3, count=3), event(4)).watched
    assert (known.last_event_number, missed(known)) == (4, [])


def test_a_number_that_is_left_out_opens_a_gap() -> None:
    """With its whole range, and since when it is missed."""
    known = heard(SHAKEN, event(1), event(5)).watched
    assert missed(known) == [(2, 4)]
    assert known.gaps[0].opened_at == MONDAY


def test_a_heartbeat_tells_of_events_that_never_came() -> None:
    """The last ones of all are missed too, though no later number shows it."""
    known = heard(SHAKEN, event(1), Told(NotificationType.HEARTBEAT, count=3)).watched
    assert missed(known) == [(2, 3)]


def test_an_old_heartbeat_changes_nothing() -> None:
    """It may have been overtaken."""
    known = heard(SHAKEN, event(1), event(2), Told(NotificationType.HEARTBEAT, count=1)).watched
    assert (known.last_event_number, missed(known)) == (2, [])


def test_a_late_event_narrows_parts_and_closes_its_gap() -> None:
    """The row stays with the first part; what came is not asked for again."""
    opened = replace(SHAKEN, gaps=(replace(heard(SHAKEN, event(6)).watched.gaps[0], id=9),))
    known = heard(replace(opened, last_event_number=6), event(3)).watched
    assert [(gap.id, gap.first, gap.last) for gap in known.gaps] == [(9, 1, 2), (None, 4, 5)]
    known = heard(known, event(1), event(2), event(5), event(4)).watched
    assert missed(known) == []
    assert {gap.closed_by for gap in known.gaps} == {ARRIVED}


def test_what_is_fetched_closes_a_gap_and_restarts_nothing() -> None:
    """Old numbers in the answer to `$events` are what was asked for."""
    known = heard(SHAKEN, event(1, at=1), event(4, at=4)).watched
    counted = heard(known, Told(NotificationType.QUERY_EVENT, (2, 3), count=4, moment=MONDAY + 9 * MINUTE))
    assert missed(counted.watched) == []
    assert [gap.closed_by for gap in counted.watched.gaps] == [EVENTS]
    assert not counted.doubtful


def test_a_repeated_message_is_no_restart() -> None:
    """One server sent an update 19 times."""
    counted = heard(SHAKEN, event(1, at=1), event(2, at=2), *[event(1, at=1)] * 19, event(3, at=3))
    assert (counted.watched.last_event_number, missed(counted.watched)) == (3, [])
    assert not counted.doubtful


def test_a_lower_number_that_happened_later_is_a_restart() -> None:
    """The gaps of before are closed, for their numbers mean other events now; a search is wanted."""
    counted = heard(SHAKEN, event(1, at=1), event(9, at=9), event(2, at=12))
    known = counted.watched
    assert (known.last_event_number, missed(known)) == (2, [(1, 1)])
    assert [gap.closed_by for gap in known.gaps if not gap.is_open] == [RESTARTED]
    assert (counted.doubtful, known.restarts) == (True, 1)


def test_without_moments_the_first_number_again_is_a_restart() -> None:
    """There is nothing else to tell it by."""
    counted = heard(SHAKEN, event(1), event(2), event(3), event(1))
    assert (counted.watched.last_event_number, counted.doubtful) == (1, True)


def test_a_handshake_that_counts_fewer_begins_anew() -> None:
    """Numbers restart with a subscription; that is no fault of the server's numbering."""
    counted = heard(SHAKEN, event(1), event(4), Told(HANDSHAKE, count=0), event(1))
    assert (counted.watched.last_event_number, missed(counted.watched)) == (1, [])
    assert (counted.doubtful, counted.watched.restarts) == (True, 0)


def test_a_handshake_that_counts_on_tells_what_was_missed() -> None:
    """A subscription that was off and goes on: what happened meanwhile has numbers."""
    known = heard(SHAKEN, event(1), Told(HANDSHAKE, count=4)).watched
    assert missed(known) == [(2, 4)]


def test_a_subscription_met_in_the_middle_has_no_gap_before() -> None:
    """What came before we listened is nobody's loss."""
    known = heard(NEW, event(17)).watched
    assert (known.last_event_number, missed(known)) == (17, [])


def test_numbers_of_a_message_alone_tell_only_of_that_message() -> None:
    """`per-bundle`: each begins at 1; a hole inside one is doubtful, and no gap that could be asked for."""
    fine = heard(NEW, event(1, 2), event(1), event(1, 2, 3), policy="per-bundle")
    assert (missed(fine.watched), fine.doubtful) == ([], False)
    assert heard(NEW, event(1, 3), policy="per-bundle").doubtful


def test_no_numbering_is_no_numbering() -> None:
    """`none`: whatever they say."""
    assert heard(SHAKEN, event(4), event(1), event(99), policy="none") == Counted(SHAKEN)


def test_gaps_without_number_become_one() -> None:
    """Every second event is left out: nothing that is missed is forgotten, and the ledger is not filled."""
    known = heard(SHAKEN, event(*range(2, 2_000, 2)), event(*range(2_000, 6_002, 2))).watched
    assert len(known.open_gaps) <= MOST_GAPS
    assert all(any(number in gap for gap in known.open_gaps) for number in range(1, 6_000, 2))
    kept = replace(known, gaps=tuple(replace(gap, id=at) for at, gap in enumerate(known.gaps)))
    more = heard(kept, event(*range(6_004, 6_400, 2))).watched
    assert {gap.closed_by for gap in more.gaps if not gap.is_open} == {MERGED}


deliveries = st.lists(st.integers(1, 40), max_size=60)


@given(deliveries, st.randoms(use_true_random=False))
def test_what_did_not_come_is_what_is_missed(came: list[int], chance: Any) -> None:
    """Whatever order, repetition and loss: the open gaps are exactly the numbers below the highest that never
    arrived, none of them twice."""
    order = came + chance.sample(came, k=len(came) // 2)
    known = SHAKEN
    for each in order:
        known = count(known, event(each, at=each), "global", MONDAY).watched
    highest = max(came, default=0)
    assert known.last_event_number == highest
    gone = [number for gap in known.open_gaps for number in range(gap.first, gap.last + 1)]
    assert sorted(gone) == sorted(set(range(1, highest + 1)) - set(came))


@given(deliveries, deliveries)
def test_after_a_restart_only_what_came_since_counts(before: list[int], after: list[int]) -> None:
    """A handshake draws a line."""
    known = SHAKEN
    for each in before:
        known = count(known, event(each, at=each), "global", MONDAY).watched
    known = count(known, Told(HANDSHAKE, count=0), "global", MONDAY).watched
    for each in after:
        known = count(known, event(each, at=100 + each), "global", MONDAY).watched
    gone = {number for gap in known.open_gaps for number in range(gap.first, gap.last + 1)}
    assert gone == set(range(1, max(after, default=0) + 1)) - set(after)


@given(deliveries, deliveries)
def test_a_restart_nobody_announced_is_noticed(before: list[int], after: list[int]) -> None:
    """As soon as a number comes that is lower than the last, and happened later."""
    known = SHAKEN
    for each in before:
        known = count(known, event(each, at=each), "global", MONDAY).watched
    doubtful = False
    for index, each in enumerate(sorted(set(after)), 1):
        counted = count(known, event(each, at=1000 + index), "global", MONDAY)
        known, doubtful = counted.watched, doubtful or counted.doubtful
    lower = bool(after) and min(after) < max(before, default=0)
    assert doubtful or not lower
