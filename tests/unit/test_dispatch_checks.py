"""What keeps an intent from being sent at a moment: its source, its time, the pilot, the hour."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from fhir_bridge.dispatch.checks import Rules, SourceCalling, check
from fhir_bridge.dispatch.rereading import versions_seen
from fhir_bridge.ledger.records import Claimed, Defer, Park, Patient
from fhir_bridge.ledger.states import PatientState
from fhir_bridge.settings import calling_hours
from fhir_bridge.settings.tables import DispatchSettings

NUMBER = "+12125550101"
ELEVEN = datetime(2026, 11, 23, 16, tzinfo=UTC)
"""A Monday, in New York."""

NIGHT = datetime(2026, 11, 24, 4, tzinfo=UTC)
MORNING = datetime(2026, 11, 24, 13, tzinfo=UTC)
SECOND = timedelta(seconds=1)
DAY = calling_hours("08:00-21:00")


def claimed(**given: Any) -> Claimed:
    """What a worker holds of a call in New York."""
    patient = Patient(1, "Patient/p", PatientState.CREATED, None, None, 0)
    told = Claimed(
        1,
        "key",
        "ehr",
        "Appointment/a",
        "lane",
        "token",
        MORNING,
        request=b"{}",
        phone_number=NUMBER,
        zones=("America/New_York",),
        valid_until=None,
        first_attempt_at=None,
        tries=0,
        patient=patient,
    )
    return replace(told, **given)


def verdict(now: datetime, hours: Any = DAY, intent: Claimed | None = None, **dispatch: Any) -> Any:
    """Why it does not go now, and when it is looked at again; None where it may go."""
    sources = {"ehr": SourceCalling(hours, ZoneInfo("UTC"))}
    found = check(intent or claimed(), now, Rules(DispatchSettings(**dispatch), sources))
    if isinstance(found, Defer):
        return found.reason, found.due_at
    return None if found is None else (found.reason, None)


def test_by_day_it_may_go_and_by_night_it_waits_for_the_morning() -> None:
    """Of the called person, wherever the source is."""
    assert verdict(ELEVEN) is None
    assert verdict(NIGHT) == ("calling-hours", MORNING)
    assert verdict(MORNING - SECOND) == ("calling-hours", MORNING)


@pytest.mark.parametrize("day", ["weekday", "saturday", "sunday", "holiday"])
def test_hours_of_one_kind_of_day_are_asked_for_too(day: str) -> None:
    """Where every other day is open all day long: a day that is closed is closed."""
    days = dict.fromkeys(("weekday", "saturday", "sunday", "holiday"), "00:00-24:00") | {day: "closed"}
    date = {"weekday": 23, "saturday": 21, "sunday": 22, "holiday": 26}[day]
    hours = calling_hours({**days, "holidays": ["2026-11-26"]})
    assert verdict(ELEVEN.replace(day=date), hours)[0] == "calling-hours"


def test_the_hours_of_the_settings_come_before_the_sources() -> None:
    """In both directions."""
    assert verdict(NIGHT, calling_hours=calling_hours("off")) is None
    assert verdict(NIGHT, calling_hours("off"), calling_hours=DAY) == ("calling-hours", MORNING)


def test_what_is_no_longer_valid_is_never_sent() -> None:
    """Nor what will not be when the hours begin; to the second."""
    assert verdict(ELEVEN, intent=claimed(valid_until=ELEVEN + SECOND)) is None
    for moment, until in ((ELEVEN, ELEVEN), (ELEVEN, ELEVEN - SECOND), (NIGHT, MORNING)):
        assert verdict(moment, intent=claimed(valid_until=until)) == ("no-longer-valid", None)
    waits = claimed(valid_until=MORNING + SECOND)
    assert verdict(NIGHT, intent=waits) == ("calling-hours", MORNING)


def test_hours_that_never_come_are_for_a_person_to_see() -> None:
    """Every day is closed."""
    assert verdict(ELEVEN, calling_hours("closed")) == ("calling-hours", None)


def test_the_deadline_counts_from_the_first_attempt() -> None:
    """A day by default."""
    day = timedelta(days=1)
    assert verdict(ELEVEN, intent=claimed(first_attempt_at=ELEVEN - day + SECOND)) is None
    used_up = claimed(first_attempt_at=ELEVEN - day)
    assert verdict(ELEVEN, intent=used_up) == ("retries-used-up", None)


def test_in_a_pilot_only_its_numbers_are_called() -> None:
    """Of no numbers: nobody."""
    assert verdict(ELEVEN, pilot=(NUMBER,)) is None
    for pilot in ((), ("+12125550199",)):
        assert verdict(ELEVEN, pilot=pilot)[0] == "not-in-pilot"


def test_a_source_that_the_settings_do_not_know_waits() -> None:
    """Nobody knows its hours."""
    assert verdict(ELEVEN, intent=claimed(source="lab"))[0] == "source-unknown"


def test_what_is_given_up_is_parked() -> None:
    """And not given back to be claimed again."""
    rules = Rules(DispatchSettings(), {"ehr": SourceCalling(DAY, ZoneInfo("UTC"))})
    assert isinstance(check(claimed(valid_until=ELEVEN), ELEVEN, rules), Park)


def test_every_version_that_a_decision_was_made_of_is_known() -> None:
    """Else what moved would not be seen when the source is read again. Not all have a version."""
    lineage = b"""{"lineage": [
        {"sources": [{"resource": "Appointment/a/_history/2"}, {"resource": "Patient/p/_history/3"}]},
        {"sources": [{"resource": "Practitioner/d"}, {"resource": "ServiceRequest/s/_history/1"}]}
    ]}"""
    assert versions_seen(lineage) == {"Appointment/a": "2", "Patient/p": "3", "ServiceRequest/s": "1"}
