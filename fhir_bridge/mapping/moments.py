"""Reading a date or time out of an element, with a note of what is odd about it (mapping, section 8)."""

from __future__ import annotations

from datetime import datetime, tzinfo

from fhir_bridge.fhir.dates import Moment, parse
from fhir_bridge.fhir.resource import Resource
from fhir_bridge.fhir.views import View
from fhir_bridge.mapping.recorder import Recorder
from fhir_bridge.mapping.said import said


def comparable(moment: Moment, zone: tzinfo) -> datetime:
    """An aware instant to be compared and not to be shown: the first of the moment, in whichever zone it was
    written. `zone` counts only where none was."""
    value = moment.value
    return value if value.tzinfo is not None and 1 < value.year < 9999 else moment.instant(zone)


def moment_at(resource: Resource[View], path: str, text: str | None, recorder: Recorder) -> Moment | None:
    """The moment the element at `path` says, None where it says none. Noted: `date-unreadable`,
    `time-without-zone` (it is local time of the source), and what had to be mended."""
    moment = parse(text)
    if moment is None:
        if said(text) is not None:
            recorder.note("date-unreadable", resource, path)
        return None
    for code in moment.noted:
        recorder.note(code, resource, path)
    if moment.value.tzinfo is None and moment.has_time:
        recorder.note("time-without-zone", resource, path)
    return moment


def is_plain(text: str | None) -> bool:
    """Whether `moment_at` notes nothing of it."""
    if text is None:
        return True
    moment = parse(text)
    return moment is not None and not moment.noted and not (moment.has_time and moment.value.tzinfo is None)


def is_plain_period(start: str | None, end: str | None) -> bool:
    """Whether nothing is to be noted of either end, and it is plain to see that the one is not after the
    other."""
    if not (is_plain(start) and is_plain(end)):
        return False
    opens, closes = parse(start), parse(end)
    if opens is None or closes is None:
        return True
    return opens.has_time == closes.has_time and opens.value <= closes.value
