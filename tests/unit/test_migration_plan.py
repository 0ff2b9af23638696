"""When the calls of a migration would go, and what is counted on the way there."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from fhir_bridge.migration.plan import plan
from fhir_bridge.migration.tally import Found, Queue, Shown, Tally
from fhir_bridge.settings.calling import calling_hours

NEW_YORK = ZoneInfo("America/New_York")
MONDAY = datetime(2026, 11, 23, 14, tzinfo=UTC)
"""09:00 in New York, 06:00 in Los Angeles."""

DAYTIME = calling_hours({"weekday": "09:00-17:00", "weekend": "closed"})
HOUR = 1 / 3600


def queue(zones: str = "America/New_York", until: str = "2027-03-01", clinic: str = "Harbor") -> Queue:
    """Calls that wait for the same."""
    return Queue(clinic, zones, until)


def test_the_pace_spreads_calls_over_the_days_that_are_open() -> None:
    """Ten an hour, eight hours a day, none at the weekend."""
    found = plan([(queue(), 480)], MONDAY, NEW_YORK, DAYTIME, 10 * HOUR)
    days = {day: counts.total() for day, counts in sorted(found.days.items())}
    assert sum(days.values()) == found.clinics["Harbor"] == 480
    assert list(days) == [date(2026, 11, day) for day in (23, 24, 25, 26, 27, 30)]
    assert all(abs(count - 80) <= 10 for day, count in days.items())
    assert set(found.hours) == set(range(9, 17))
    assert found.ends_at is not None
    assert found.ends_at.date() == date(2026, 11, 30)


def test_without_a_pace_all_go_as_soon_as_their_zone_opens() -> None:
    """In Los Angeles three hours later than in New York."""
    found = plan([(queue(), 5), (queue("America/Los_Angeles"), 7)], MONDAY, NEW_YORK, DAYTIME, None)
    assert found.hours == Counter({9: 5, 12: 7})


def test_several_possible_zones_must_all_be_open() -> None:
    """As before each call."""
    both = queue("America/Los_Angeles,America/New_York")
    assert plan([(both, 1)], MONDAY, NEW_YORK, DAYTIME, None).hours == Counter({12: 1})


def test_what_ends_first_goes_first_and_what_is_too_late_is_counted() -> None:
    """At this pace 80 can go on the first day, and by its end 100 are of no use any more."""
    soon = queue(until="2026-11-23", clinic="Soon")
    found = plan([(queue(), 100), (soon, 100)], MONDAY, NEW_YORK, DAYTIME, 10 * HOUR)
    assert found.days[date(2026, 11, 23)].keys() == {"Soon"}
    assert found.overdue == 100 - found.clinics["Soon"] > 0
    assert found.clinics["Harbor"] == 100


def test_what_never_opens_has_no_end() -> None:
    """Nobody is called, and nobody waits for the answer."""
    found = plan([(queue(), 1)], MONDAY, NEW_YORK, calling_hours({"weekday": "closed"}), None)
    assert (found.ends_at, found.clinics) == (None, Counter())


def test_counts_are_the_same_however_the_work_was_shared() -> None:
    """Places that stand first, samples and the texts of calls of the lowest rank."""
    parts = []
    for number in range(3):
        part = Tally(triggers=1, decisions={"call": 1}, calls={"x": number}, unmapped={"m": 1})
        part.notes = {"code-case": Found(1, [((number, 1, -1), f"f{number}")])}
        part.samples = [Shown(9 - number, f"s{number}")]
        part.texts = [Shown(5, "the same"), Shown(number, f"t{number}")]
        parts.append(part)
    merged = []
    for order in (parts, parts[::-1]):
        whole = Tally()
        for part in order:
            whole.merge(part, samples=2)
        merged.append(whole)
    assert merged[0] == merged[1]
    assert merged[0].triggers == 3
    assert [sample.text for sample in merged[0].samples] == ["s2", "s1"]
    assert [text.text for text in merged[0].texts] == ["t0", "t1", "t2", *["the same"] * 3]
    assert merged[0].notes["code-case"].places[0] == ((0, 1, -1), "f0")


def test_a_day_is_over_when_it_is_over_everywhere_it_counts() -> None:
    """A call that may be made until today goes today."""
    found = plan([(queue(until="2026-11-23"), 1)], MONDAY, NEW_YORK, DAYTIME, None)
    assert (found.overdue, found.clinics.total()) == (0, 1)
    later = plan([(queue(until="2026-11-22"), 1)], MONDAY + timedelta(days=1), NEW_YORK, DAYTIME, None)
    assert (later.overdue, later.clinics.total()) == (1, 0)
