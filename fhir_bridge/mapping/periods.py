"""Whether a Period holds at an instant (https://hl7.org/fhir/R4/datatypes.html#Period)."""

from __future__ import annotations

from datetime import datetime, tzinfo

from fhir_bridge.fhir.datatypes import Period
from fhir_bridge.fhir.dates import parse
from fhir_bridge.mapping.said import said


def over(period: Period | None, now: datetime, zone: tzinfo) -> bool:
    """Whether the period ended before `now` (aware). No end, or one that cannot be read, never passes."""
    moment = parse(period.end) if period else None
    return moment is not None and moment.end_instant(zone) < now


def ahead(period: Period | None, now: datetime, zone: tzinfo) -> bool:
    """Whether the period starts after `now` (aware). No start, or one that cannot be read, has begun."""
    moment = parse(period.start) if period else None
    return moment is not None and moment.instant(zone) > now


def current(period: Period | None, now: datetime, zone: tzinfo) -> bool:
    """Whether `now` (aware) lies in the period; `zone` is that of dates and times written without one."""
    return period is None or not (over(period, now, zone) or ahead(period, now, zone))


def surely_current(period: Period | None, now: datetime, zone: tzinfo) -> bool:
    """The same of what decides whom to call: an end that is written and cannot be read may have passed."""
    ends = said(period.end) if period else None
    return current(period, now, zone) and (ends is None or parse(ends) is not None)
