"""What is due about a source, and what a person is told of it (intake, section 1, "Missed events")."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from fhir_bridge.ledger.sources.watched import WHOLE_SOURCE, Gap, Known, Sweep, Watch, Watched
from fhir_bridge.settings import calling_hours
from fhir_bridge.subscriptions.clinic import USUAL, open_between
from fhir_bridge.subscriptions.criteria import Criteria
from fhir_bridge.subscriptions.due import CHECK_EVERY, GRACE, due
from fhir_bridge.subscriptions.findings import Finding, findings
from fhir_bridge.subscriptions.watch_rules import WatchRules
from tests.conftest import MONDAY

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
NEW_YORK = ZoneInfo("America/New_York")
RULES = WatchRules("ehr", zone=NEW_YORK)
SUBSCRIPTION = Watched(
    "ehr", "Subscription/1", "active", ours=True, last_heard_at=MONDAY, since=MONDAY, check_at=MONDAY + HOUR
)
SWEPT = tuple(Sweep("ehr", str(each), MONDAY, MONDAY) for each in RULES.criteria)
WATCH = Watch("ehr", began_at=MONDAY)


def known(*watched: Watched, sweeps: tuple[Sweep, ...] = SWEPT, **watch: Any) -> Known:
    """A source that is searched, and these subscriptions of it."""
    return Known(replace(WATCH, **watch), watched, sweeps)


def told(
    of: Known, now: datetime = MONDAY, rules: WatchRules = RULES, can: bool = True
) -> dict[str, Finding]:
    """The findings by code."""
    return {finding.code: finding for finding in findings(of, rules, now, can_search=can)}


def with_gap(**given: Any) -> Watched:
    """A subscription that misses events 3 to 5."""
    return replace(SUBSCRIPTION, gaps=(Gap(3, 5, MONDAY, id=1, **given),))


def test_a_source_that_told_everything_wants_nothing() -> None:
    """Neither work nor a person."""
    assert not due(known(SUBSCRIPTION), RULES, MONDAY + MINUTE)
    assert told(known(SUBSCRIPTION), MONDAY + MINUTE) == {}


def test_what_its_server_never_made_active_is_an_alarm() -> None:
    """It tells nothing, and its server may wait for ever."""
    of = known(replace(SUBSCRIPTION, state="requested"))
    assert "subscription-requested" not in told(of, MONDAY + 15 * MINUTE)
    finding = told(of, MONDAY + 16 * MINUTE)["subscription-requested"]
    assert finding.alarm
    assert "asked_as" in finding.advice
    others = known(replace(SUBSCRIPTION, state="requested", ours=False))
    assert "subscription-requested" not in told(others, MONDAY + 16 * MINUTE)


def test_a_gap_is_asked_for_once_it_had_time_to_arrive() -> None:
    """And again only when its time has come."""
    of = known(with_gap())
    assert due(of, RULES, MONDAY + GRACE - MINUTE / 60).fill == ()
    assert [gap.first for _, gap in due(of, RULES, MONDAY + GRACE).fill] == [3]
    later = known(with_gap(tries=1, try_at=MONDAY + HOUR))
    assert due(later, RULES, MONDAY + MINUTE).fill == ()
    assert len(due(later, RULES, MONDAY + HOUR).fill) == 1


@pytest.mark.parametrize("error", ["events-not-offered", "events-incomplete"])
def test_what_cannot_be_asked_for_is_searched_for(error: str) -> None:
    """At once, not only when the next search is due."""
    of = known(with_gap(error=error))
    assert due(of, RULES, MONDAY + MINUTE).fill == ()
    assert due(of, RULES, MONDAY + MINUTE).sweep == RULES.criteria
    assert due(of, RULES, MONDAY + MINUTE).ask_again == ()


def test_a_gap_of_a_subscription_that_is_gone_is_searched_for() -> None:
    """There is nobody to ask by number."""
    of = known(replace(with_gap(), state="gone"))
    assert (due(of, RULES, MONDAY + MINUTE).fill, due(of, RULES, MONDAY + MINUTE).sweep) == (
        (),
        RULES.criteria,
    )


def test_searches_are_made_at_their_time() -> None:
    """The first at once, then each when it is due, and never where the settings say so."""
    assert due(known(SUBSCRIPTION, sweeps=()), RULES, MONDAY).sweep == RULES.criteria
    assert due(known(SUBSCRIPTION), RULES, MONDAY + 14 * MINUTE).sweep == ()
    assert due(known(SUBSCRIPTION), RULES, MONDAY + 15 * MINUTE).sweep == RULES.criteria
    one = known(SUBSCRIPTION, sweeps=SWEPT[:1])
    assert due(one, RULES, MONDAY + MINUTE).sweep == (Criteria("ServiceRequest"),)
    never = replace(RULES, sweep_every=timedelta())
    assert due(known(SUBSCRIPTION, sweeps=()), never, MONDAY).sweep == ()


def test_a_search_that_failed_is_made_again_soon() -> None:
    """Before its time, but not at once."""
    failed = known(SUBSCRIPTION, sweeps=tuple(replace(each, error="http-503") for each in SWEPT))
    assert due(failed, RULES, MONDAY + MINUTE / 2).sweep == ()
    assert due(failed, RULES, MONDAY + MINUTE).sweep == RULES.criteria


def test_news_without_content_make_one_search_at_a_time() -> None:
    """However many ask, and whoever forged them: as often as fetch_every allows."""
    asked = known(SUBSCRIPTION, asked_at=MONDAY)
    assert due(asked, RULES, MONDAY).sweep == RULES.criteria
    just_now = known(SUBSCRIPTION, asked_at=MONDAY, fetched_at=MONDAY)
    assert due(just_now, RULES, MONDAY + 9 * MINUTE / 60).sweep == ()
    assert due(just_now, RULES, MONDAY + 10 * MINUTE / 60).sweep == RULES.criteria


def test_a_search_that_fails_is_not_made_every_few_seconds() -> None:
    """Whoever asks for it, and whatever is missed."""
    failed = tuple(replace(each, error="http-503") for each in SWEPT)
    rules = replace(RULES, sweep_every=timedelta())
    asked = known(with_gap(error="events-incomplete"), sweeps=failed, asked_at=MONDAY, fetched_at=MONDAY)
    assert due(asked, rules, MONDAY + MINUTE / 2).sweep == ()
    assert due(asked, rules, MONDAY + MINUTE).sweep == rules.criteria


def test_a_subscription_that_another_took_the_place_of_is_no_alarm() -> None:
    """Only where nothing tells us any more."""
    gone = replace(SUBSCRIPTION, subscription="Subscription/0", state="gone")
    assert told(known(gone))["subscription-gone"].alarm
    assert "subscription-gone" not in told(known(gone, SUBSCRIPTION))


def test_a_server_is_asked_how_a_subscription_stands_now_and_then() -> None:
    """One that names none, or that is gone, cannot be asked about."""
    unchecked = replace(SUBSCRIPTION, check_at=None)
    assert due(known(unchecked), RULES, MONDAY).check == (unchecked,)
    checked = replace(SUBSCRIPTION, check_at=MONDAY + CHECK_EVERY)
    assert due(known(checked), RULES, MONDAY).check == ()
    whole, gone = replace(unchecked, subscription=WHOLE_SOURCE), replace(unchecked, state="gone")
    assert due(known(whole, gone), RULES, MONDAY).check == ()


@pytest.mark.parametrize("state", ["error", "off"])
def test_what_its_server_gave_up_is_asked_for_again(state: str) -> None:
    """Only what we made, and only where the settings let us; then a person is told what to type."""
    given_up = replace(SUBSCRIPTION, state=state)
    assert due(known(given_up), RULES, MONDAY).ask_again == (given_up,)
    assert not told(known(given_up))[f"subscription-{state}"].alarm
    by_hand = replace(RULES, keep_active=False)
    assert due(known(given_up), by_hand, MONDAY).ask_again == ()
    finding = told(known(given_up), rules=by_hand)[f"subscription-{state}"]
    assert finding.alarm and "subscribe activate" in finding.advice
    others = replace(given_up, ours=False)
    assert due(known(others), RULES, MONDAY).ask_again == ()
    assert told(known(others))[f"subscription-{state}"].alarm


def test_what_was_asked_for_again_in_vain_needs_a_person() -> None:
    """It goes on being asked for, at the pace of looking after it."""
    again = replace(SUBSCRIPTION, state="error", revivals=2, check_at=MONDAY + MINUTE)
    assert due(known(again), RULES, MONDAY).ask_again == ()
    assert due(known(again), RULES, MONDAY + MINUTE).ask_again == (again,)
    assert told(known(again))["subscription-error"].alarm


def test_a_subscription_is_renewed_when_a_quarter_is_left() -> None:
    """Of the lifetime it is asked for; without one an hour before its end."""
    rules = replace(RULES, lifetime=timedelta(days=8))
    ends = replace(SUBSCRIPTION, ends_at=MONDAY + timedelta(days=2))
    assert due(known(ends), rules, MONDAY).ask_again == ()
    assert due(known(ends), rules, MONDAY + MINUTE).ask_again == (ends,)
    assert not told(known(ends), MONDAY + MINUTE, rules)["ends-soon"].alarm
    short = replace(SUBSCRIPTION, ends_at=MONDAY + HOUR)
    assert due(known(short), RULES, MONDAY).ask_again == ()
    assert due(known(short), RULES, MONDAY + MINUTE).ask_again == (short,)
    assert told(known(short), MONDAY + 2 * HOUR)["subscription-ended"].alarm


def test_a_heartbeat_that_is_overdue_twice_is_an_alarm() -> None:
    """Events count as heartbeats; a subscription that is not active has none."""
    beating = replace(SUBSCRIPTION, heartbeat=600)
    assert told(known(beating), MONDAY + 20 * MINUTE) == {}
    assert told(known(beating), MONDAY + 21 * MINUTE)["heartbeat-overdue"].alarm
    waiting = replace(beating, state="requested")
    assert "heartbeat-overdue" not in told(known(waiting), MONDAY + 21 * MINUTE)


def test_silence_counts_in_clinic_hours_only() -> None:
    """Monday 10:00 in New York: two hours later is silence, a night or a weekend is not."""
    assert told(known(SUBSCRIPTION), MONDAY + 2 * HOUR) == {}
    assert told(known(SUBSCRIPTION), MONDAY + 2 * HOUR + MINUTE)["silent"].alarm
    evening = replace(SUBSCRIPTION, last_heard_at=MONDAY + 7 * HOUR)  # 17:00
    assert told(known(evening), MONDAY + 22 * HOUR) == {}  # 08:00
    assert "silent" in told(known(evening), MONDAY + 24 * HOUR)
    never = replace(RULES, silence_alarm=timedelta())
    assert told(known(evening), MONDAY + timedelta(days=9), never) == {}


def test_a_source_that_never_told_anything_is_an_alarm_too() -> None:
    """Since it is watched."""
    assert told(known()) == {}
    assert "subscribe create" in told(known(), MONDAY + 3 * HOUR)["never-heard"].advice


def test_anything_heard_of_the_source_breaks_its_silence() -> None:
    """Also a bare resource, which names no subscription."""
    bare = Watched("ehr", WHOLE_SOURCE, "active", last_heard_at=MONDAY + 2 * HOUR)
    assert told(known(SUBSCRIPTION, bare), MONDAY + 3 * HOUR) == {}


def test_missed_events_need_a_person_when_nothing_can_fetch_them() -> None:
    """Or when fetching took too long."""
    of = known(with_gap(error="http-503"))
    assert not told(of, MONDAY + MINUTE)["events-missing"].alarm
    assert told(of, MONDAY + MINUTE, can=False)["events-missing"].alarm
    late = told(of, MONDAY + 16 * MINUTE)["events-missing"]
    assert late.alarm and "3 events" in late.says and "http-503" in late.says


def test_a_search_that_fails_needs_a_person_when_it_lasts() -> None:
    """At once where repeating it cannot help."""
    failing = replace(SWEPT[0], error="http-503", failing_since=MONDAY)
    assert not told(known(SUBSCRIPTION, sweeps=(failing,)), MONDAY + MINUTE)["search-fails"].alarm
    assert told(known(SUBSCRIPTION, sweeps=(failing,)), MONDAY + 16 * MINUTE)["search-fails"].alarm
    never = replace(failing, error="no-last-updated")
    assert told(known(SUBSCRIPTION, sweeps=(never,)), MONDAY)["search-fails"].alarm


def test_numbers_that_keep_beginning_anew_are_a_hint() -> None:
    """Nothing is lost, but the setting is wrong."""
    restless = replace(SUBSCRIPTION, restarts=3)
    finding = told(known(restless))["numbers-begin-anew"]
    assert not finding.alarm and "numbering" in finding.advice


@pytest.mark.parametrize(
    ("start", "end", "hours"),
    [
        (MONDAY, MONDAY + HOUR, 1.0),
        (MONDAY - 10 * HOUR, MONDAY, 2.0),  # midnight to 10:00: from 08:00 on
        (MONDAY, MONDAY + 24 * HOUR, 10.0),
        (MONDAY, MONDAY + 7 * 24 * HOUR, 50.0),
        (MONDAY + HOUR, MONDAY, 0.0),
        (MONDAY - timedelta(days=4000), MONDAY, 202.0),  # of thirty days
    ],
)
def test_clinic_hours_between_two_instants(start: datetime, end: datetime, hours: float) -> None:
    """10:00 on a Monday in New York; weekends are closed."""
    assert open_between(start, end, USUAL, NEW_YORK) == timedelta(hours=hours)


def test_a_holiday_is_no_silence() -> None:
    """As in calling hours: a date, or a day of every year."""
    closed = calling_hours({"weekday": "08:00-18:00", "holiday": "closed", "holidays": ["11-23"]})
    assert open_between(MONDAY, MONDAY + 2 * HOUR, closed, NEW_YORK) == timedelta()
