"""What is looked at before an attempt: hours, validity, deadline, pilot; pure (delivery,
"Before a byte is sent").
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

from fhir_bridge.dispatch.calling_hours import opening, zones_of
from fhir_bridge.dispatch.retry import is_used_up
from fhir_bridge.ledger.records import Claimed, Defer, Park
from fhir_bridge.settings.calling import CallingHours
from fhir_bridge.settings.tables import DispatchSettings

CALLING_HOURS = "calling-hours"
NOT_IN_PILOT = "not-in-pilot"
SOURCE_UNKNOWN = "source-unknown"
NO_LONGER_VALID = "no-longer-valid"
RETRIES_USED_UP = "retries-used-up"

LOOK_AGAIN = timedelta(minutes=10)
"""How soon settings that hold an intent back, such as the pilot's numbers, are looked at again."""


@dataclass(frozen=True, slots=True)
class SourceCalling:
    """A source's hours, and the zone of whom nothing else is known."""

    hours: CallingHours
    zone: tzinfo


@dataclass(frozen=True, slots=True)
class Rules:
    """By what an intent is judged: `[dispatch]`, and each source's hours and zone by its name."""

    dispatch: DispatchSettings
    sources: Mapping[str, SourceCalling]


def check(claimed: Claimed, now: datetime, rules: Rules) -> Defer | Park | None:
    """Why this intent is not sent at `now` (aware UTC); None when nothing speaks against it."""
    source = rules.sources.get(claimed.source)
    if source is None:
        return Defer(claimed, now + LOOK_AGAIN, SOURCE_UNKNOWN, now)
    if claimed.valid_until is not None and now >= claimed.valid_until:
        return Park(claimed, NO_LONGER_VALID, now)
    if is_used_up(claimed.first_attempt_at, now, rules.dispatch.retry):
        return Park(claimed, RETRIES_USED_UP, now)
    if rules.dispatch.pilot is not None and claimed.phone_number not in rules.dispatch.pilot:
        return Defer(claimed, now + LOOK_AGAIN, NOT_IN_PILOT, now)
    hours = rules.dispatch.calling_hours or source.hours
    # To find out where the person is takes longer than all the rest.
    if hours.is_any:
        return None
    opens = opening(now, zones_of(claimed.zones, claimed.phone_number, source.zone), hours)
    if opens == now:
        return None
    if opens is None or (claimed.valid_until is not None and opens >= claimed.valid_until):
        return Park(claimed, NO_LONGER_VALID if opens else CALLING_HOURS, now)
    return Defer(claimed, opens, CALLING_HOURS, now)
