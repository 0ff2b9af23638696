"""When the patient can come, and until when the call makes sense (mapping, sections 8 and 18)."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_bridge.case.at_hand import AtHand
from fhir_bridge.case.case import Case
from fhir_bridge.case.gather import gather
from fhir_bridge.fhir.reading import read
from fhir_bridge.fhir.resource import Origin
from fhir_bridge.mapping.availability import look_through_times, timeframe_availability
from fhir_bridge.mapping.profile import Profile, SourceFacts
from fhir_bridge.mapping.recorder import Recorder
from fhir_bridge.mapping.request import valid_until
from fhir_bridge.mapping.verdict import Look
from fhir_bridge.mapping.zones import clock_of
from fhir_bridge.profiles.load import load_profile
from tests.unit.marigold import PATIENT, Json, Told, appointment, order


def test_requested_periods_go_before_start_and_past_ones_are_dropped(told: Callable[..., Told]) -> None:
    """Windows are joined by semicolons."""
    said = told(
        appointment(
            start="2026-12-24T09:00:00-05:00",
            requestedPeriod=[
                {"start": "2026-11-02", "end": "2026-11-06"},
                {"start": "2026-12-07", "end": "2026-12-11"},
                {"start": "2026-12-14"},
            ],
        )
    )
    assert said["timeframe_availability"] == (
        "Between Mon 7 Dec 2026 and Fri 11 Dec 2026; From Mon 14 Dec 2026"
    )


def test_the_old_slot_of_a_lost_appointment_is_never_offered(told: Callable[..., Told]) -> None:
    """Not by the Appointment, and not by its order, which names the same time."""
    lost = appointment(
        status="cancelled",
        start="2026-12-08T09:00:00-05:00",
        end="2026-12-08T09:30:00-05:00",
        basedOn=[{"reference": "ServiceRequest/o1"}],
    )
    placed = order(occurrencePeriod={"start": "2026-12-08T14:00:00Z"})
    assert told(lost, placed, rescheduling=True)["timeframe_availability"] is None


def test_a_timing_is_told_as_a_week(told: Callable[..., Told]) -> None:
    """Days, hours and bounds."""
    repeat = {
        "boundsPeriod": {"start": "2026-12-07", "end": "2026-12-18"},
        "dayOfWeek": ["mon", "tue", "wed", "thu", "fri"],
        "timeOfDay": ["14:00:00"],
        "duration": 3,
        "durationUnit": "h",
    }
    said = told(order(occurrenceTiming={"repeat": repeat}))
    assert said["timeframe_availability"] == (
        "Weekdays between 2 PM and 5 PM, between Mon 7 Dec 2026 and Fri 18 Dec 2026"
    )


def test_what_cannot_be_read_is_left_out_and_noted(told: Callable[..., Told]) -> None:
    """A bad date never costs the call."""
    recorder = Recorder()
    said = told(appointment(requestedPeriod=[{"start": "next week"}]), recorder=recorder)
    assert said["timeframe_availability"] is None
    assert [(note.code, note.path) for note in recorder.notes] == [
        ("date-unreadable", "Appointment.requestedPeriod[0].start")
    ]


def test_the_site_may_name_an_extension_for_availability(
    told: Callable[..., Told], profile_of: Callable[..., Profile], marigold: Json
) -> None:
    """Its text is said besides the windows."""
    url = "https://clinic.example/availability"
    profile = profile_of(**{"availability.patient_extensions": f'["{url}"]'})
    patient = marigold | {"extension": [{"url": url, "valueString": "Weekday evenings"}]}
    assert (
        told(appointment(), patient=patient, profile=profile)["timeframe_availability"] == "Weekday evenings"
    )


TIMEZONE = "http://hl7.org/fhir/StructureDefinition/timezone"
TZ_CODE = "http://hl7.org/fhir/StructureDefinition/tz-code"


@pytest.mark.parametrize(
    ("elements", "words"),
    [
        ({"extension": [{"url": TIMEZONE, "valueCode": "Asia/Tokyo"}]}, "Tue 8 Dec 2026, 11:00 PM (JST)"),
        (
            {"_start": {"extension": [{"url": TZ_CODE, "valueCode": "Europe/Paris"}]}},
            "Tue 8 Dec 2026, 3:00 PM (CET)",
        ),
        (
            {"recurrenceTemplate": [{"timezone": {"coding": [{"code": "America/Denver"}]}}]},
            "Tue 8 Dec 2026, 7:00 AM (MST)",
        ),
    ],
)
def test_a_stated_zone_goes_first(told: Callable[..., Told], elements: Json, words: str) -> None:
    """On the resource, on its start, in R5's recurrence."""
    assert told(appointment(start="2026-12-08T14:00:00Z", **elements))["timeframe_availability"] == words


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ({"state": "IL", "country": "US"}, "8:00 AM (CST)"),
        ({"state": "Illinois"}, "8:00 AM (CST)"),
        ({"state": "TX"}, "9:00 AM (EST)"),
        ({"state": "Bavaria", "country": "Germany"}, "3:00 PM (CET)"),
        ({"country": "ES"}, "9:00 AM (EST)"),
    ],
)
def test_the_place_tells_the_zone_where_it_has_one(
    told: Callable[..., Told], address: Json, words: str
) -> None:
    """A state or country in several zones tells nothing."""
    place = {"resourceType": "Location", "id": "l1", "name": "Clinic", "address": address}
    at = {"actor": {"reference": "Location/l1"}, "status": "accepted"}
    said = told(appointment(start="2026-12-08T14:00:00Z", participant=[PATIENT, at]), place)
    assert said["timeframe_availability"] == f"Tue 8 Dec 2026, {words}"


def test_a_call_is_valid_until_its_last_window_ends(
    case_of: Callable[..., Case], us: Profile, now: datetime, marigold: Json
) -> None:
    """Else as long as a trigger may be old."""
    windows = [{"start": "2026-12-07", "end": "2026-12-11"}, {"start": "2026-12-14", "end": "2026-12-18"}]
    case = case_of(appointment(requestedPeriod=windows), marigold)
    assert valid_until(Look(case, us, now, Recorder(), "proposed")) == datetime(2026, 12, 19, 5, tzinfo=UTC)
    case = case_of(appointment(requestedPeriod=[*windows, {"start": "2026-12-21"}]), marigold)
    assert valid_until(Look(case, us, now, Recorder(), "proposed")) == datetime(
        2026, 12, 22, 5, tzinfo=UTC
    ) + timedelta(days=180)


def test_a_call_about_a_loss_is_valid_as_long_as_it_may_be_rescheduled(
    case_of: Callable[..., Case], us: Profile, now: datetime, marigold: Json
) -> None:
    """The lost slot is no window, though it lies ahead."""
    lost = appointment(
        id="a1",
        status="cancelled",
        start="2026-12-15T10:00:00-05:00",
        end="2026-12-15T10:30:00-05:00",
        participant=[PATIENT],
    )
    until = valid_until(Look(case_of(lost, marigold), us, now, Recorder(), "cancelled"))
    assert until == datetime(2026, 12, 15, 15, tzinfo=UTC) + timedelta(days=30)


def test_a_time_the_change_of_clocks_jumped_is_told_as_it_was(told: Callable[..., Told]) -> None:
    """At 2:30 on that night the clock showed 3:30."""
    said = told(appointment(start="2027-03-14T02:30:00"))
    assert said["timeframe_availability"] == "Sun 14 Mar 2027, 3:30 AM (EDT)"


PROFILE = load_profile(SourceFacts(zone=ZoneInfo("America/New_York")))
NOW = datetime(2026, 12, 1, 15, tzinfo=UTC)
_TIMES = st.sampled_from(
    [
        None,
        "2026-12-07",
        "2026-12-09T09:00:00-05:00",
        "2026-12-09T13:00:00Z",
        "2026-12-10T09:00:00",
        "2026-12",
        "2027",
        "2026-12-08 09:00",
        "2020-01-01",
        "soon",
        "",
        "9999-12-31",
    ]
)


@given(st.lists(st.tuples(_TIMES, _TIMES), max_size=2), _TIMES, _TIMES, st.booleans())
def test_who_only_counts_notes_of_times_what_is_noted_of_who_is_called(
    periods: list[tuple[str | None, str | None]], start: str | None, end: str | None, is_order: bool
) -> None:
    """Reversed, unreadable, mended and without a zone, in every combination."""
    asked = [_period(*each) for each in periods]
    trigger: Json = {
        "resourceType": "Appointment",
        "id": "a1",
        "status": "proposed",
        "requestedPeriod": asked,
    }
    trigger |= _period(start, end)
    if is_order:
        trigger = {"resourceType": "ServiceRequest", "id": "o1", "status": "active", "intent": "order"}
        trigger |= {"occurrencePeriod": _period(start, end)}
    case = _case(trigger)
    whole, counted = Recorder(), Recorder()
    timeframe_availability(case, PROFILE, NOW, whole, clock_of(case, PROFILE))
    look_through_times(case, PROFILE, NOW, counted)
    assert counted.notes == whole.notes


def _period(start: str | None, end: str | None) -> Json:
    return {name: text for name, text in (("start", start), ("end", end)) if text is not None}


def _case(trigger: Json) -> Case:
    resource = read(json.dumps(trigger).encode(), Origin("made-up"))
    return gather(AtHand([resource]), resource, source="default")  # type: ignore[arg-type]  # it is a trigger
