"""When the patient can come, as far as the trigger says (mapping, section 8)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

import msgspec

from fhir_bridge.case.case import Case
from fhir_bridge.fhir.datatypes import Extension, Period, Timing, TimingRepeat
from fhir_bridge.fhir.dates import Moment, parse
from fhir_bridge.fhir.resource import Resource
from fhir_bridge.fhir.views import Appointment, ServiceRequest, Slot, View, is_appointment, is_order
from fhir_bridge.mapping.moments import is_plain, is_plain_period, moment_at
from fhir_bridge.mapping.profile import Profile
from fhir_bridge.mapping.recorder import Element, Recorder
from fhir_bridge.mapping.rescheduling import lost_appointment
from fhir_bridge.mapping.statuses import status_of
from fhir_bridge.mapping.texts import plain
from fhir_bridge.mapping.when import moment_words, weekly_words, window_words
from fhir_bridge.mapping.zones import Clock, clock_of

FIELD = "task_data.timeframe_availability"

DAY_CODES = {"mon": 0, "tue": 1, "wed": 2, "thu": 3, "fri": 4, "sat": 5, "sun": 6}
UNITS = {"s": 1, "min": 60, "h": 3_600}


class Telling(msgspec.Struct, frozen=True):
    """What telling a time takes: the clock, the instant it is told at (aware), the rules, and the
    recorder."""

    clock: Clock
    now: datetime
    profile: Profile
    recorder: Recorder
    lost: Resource[Appointment] | None = None

    def is_old_slot(self, opens: Moment | None, closes: Moment | None) -> bool:
        """Whether a window is the very time that was lost: an order often names its appointment's."""
        if self.lost is None or opens is None:
            return False
        zone = self.clock.source
        start, end = parse(self.lost.view.start), parse(self.lost.view.end)
        if start is None or opens.instant(zone) != start.instant(zone):
            return False
        return closes in (None, opens) or (end is not None and closes.instant(zone) == end.instant(zone))


class Told(msgspec.Struct, frozen=True):
    """A window in words, the rule that found it, and the elements it stands in."""

    words: str
    rule: str
    elements: tuple[Element, ...]


def timeframe_availability(
    case: Case, profile: Profile, now: datetime, recorder: Recorder, clock: Clock
) -> str | None:
    """The windows the first source that names any gives, those wholly past dropped; None: nothing says
    when."""
    telling = Telling(clock, now, profile, recorder, lost_appointment(case, profile))
    told = next((list(found) for source in _sources(case, telling) if (found := list(source))), [])
    told += _patient_availability(case, telling)
    words: dict[str, None] = {}
    for window in told:
        recorder.take(FIELD, window.rule, *window.elements)
        words[window.words] = None
    return "; ".join(words) or None


def look_through_times(case: Case, profile: Profile, now: datetime, recorder: Recorder) -> None:
    """Notes what `timeframe_availability` notes: nothing where every time is plain, as in most triggers."""
    order = case.order.resource if case.order else None
    holders = (case.trigger, *case.slots, *((order,) if order is not None else ()))
    if profile.availability.patient_extensions or not all(map(_is_plain, holders)):
        timeframe_availability(case, profile, now, recorder, clock_of(case, profile))


def _is_plain(holder: Resource[Appointment] | Resource[ServiceRequest] | Resource[Slot]) -> bool:
    """Whether nothing is to be noted of the times it names."""
    view = holder.view
    if is_order(view):
        period = view.occurrence_period
        is_one = view.occurrence_timing is None and is_plain(view.occurrence_date_time)
        return is_one and (period is None or is_plain_period(period.start, period.end))
    asked = view.requested_period if is_appointment(view) else ()
    return is_plain_period(view.start, view.end) and all(
        is_plain_period(each.start, each.end) for each in asked
    )


def _sources(case: Case, telling: Telling) -> Iterator[Iterator[Told]]:
    """Where a time may stand, the first that counts in front; never the old slot of a lost appointment."""
    trigger = case.trigger
    if is_appointment(trigger.view):
        yield _requested(trigger, trigger.view, telling)
        status = status_of(trigger, telling.profile)
        if status is not None and status.code in telling.profile.triggers.waiting:
            yield _start_and_end(trigger, trigger.view.start, trigger.view.end, "start-and-end", telling)
            yield _slots(case, telling)
    order = case.order.resource if case.order else None
    if order is not None:
        yield _occurrence(order, telling)


def _requested(trigger: Resource[View], view: Appointment, telling: Telling) -> Iterator[Told]:
    for index, period in enumerate(view.requested_period):
        yield from _period(trigger, period, f"requestedPeriod[{index}]", "requested-period", telling)


def _slots(case: Case, telling: Telling) -> Iterator[Told]:
    for slot in case.slots:
        yield from _start_and_end(slot, slot.view.start, slot.view.end, "slot", telling)


def _start_and_end(
    resource: Resource[View], start: str | None, end: str | None, rule: str, telling: Telling
) -> Iterator[Told]:
    """A start and an end as elements of their own: a start without an end is an instant."""
    opens = moment_at(resource, "start", start, telling.recorder)
    closes = moment_at(resource, "end", end, telling.recorder)
    if opens is not None and closes is None:
        yield from _single(resource, opens, "start", rule, telling)
    else:
        yield from _window(resource, opens, closes, ("start", "end"), rule, telling)


def _occurrence(order: Resource[ServiceRequest], telling: Telling) -> Iterator[Told]:
    view = order.view
    if moment := moment_at(order, "occurrenceDateTime", view.occurrence_date_time, telling.recorder):
        yield from _single(order, moment, "occurrenceDateTime", "occurrence", telling)
    if view.occurrence_period is not None:
        yield from _period(order, view.occurrence_period, "occurrencePeriod", "occurrence", telling)
    if view.occurrence_timing is not None:
        yield from _timing(order, view.occurrence_timing, telling)


def _timing(order: Resource[View], timing: Timing, telling: Telling) -> Iterator[Told]:
    for index, text in enumerate(timing.event):
        path = f"occurrenceTiming.event[{index}]"
        if moment := moment_at(order, path, text, telling.recorder):
            yield from _single(order, moment, path, "timing-event", telling)
    repeat = timing.repeat
    if repeat is None:
        return
    path = "occurrenceTiming.repeat"
    weekly = _weekly(repeat, telling.profile)
    bounds = repeat.bounds_period
    window = list(_period(order, bounds, f"{path}.boundsPeriod", "timing-bounds", telling)) if bounds else []
    if weekly is None:
        yield from window
    elif window:
        words = window[0].words
        spoken = f"{weekly}, {words[0].lower()}{words[1:]}"
        yield Told(spoken, "timing-repeat", ((order, path), *window[0].elements))
    elif bounds is None or not (bounds.start or bounds.end):
        yield Told(weekly, "timing-repeat", ((order, path),))


def _weekly(repeat: TimingRepeat, profile: Profile) -> str | None:
    days = [DAY_CODES[code.casefold()] for code in repeat.day_of_week if code.casefold() in DAY_CODES]
    codes = (repeat.when,) if isinstance(repeat.when, str) else repeat.when
    named = profile.availability.parts_of_day
    parts = [named[code] for code in codes if code in named]
    times = [each for text in repeat.time_of_day if (each := _time_of_day(text)) is not None]
    return weekly_words(days, parts, times, _lasting(repeat))


def _lasting(repeat: TimingRepeat) -> timedelta | None:
    """How long each time lasts, where the Timing says so in hours or less."""
    if repeat.duration is None or repeat.duration_unit not in UNITS:
        return None
    lasting = timedelta(seconds=float(repeat.duration) * UNITS[repeat.duration_unit])
    return lasting if timedelta(0) < lasting < timedelta(days=1) else None


def _time_of_day(text: str) -> time | None:
    try:
        return time.fromisoformat(text.strip()).replace(tzinfo=None)
    except ValueError:
        return None


def _patient_availability(case: Case, telling: Telling) -> Iterator[Told]:
    """What the site's extensions say, on the trigger or the patient: a text as it stands, a period in
    words."""
    urls = telling.profile.availability.patient_extensions
    if not urls:
        return
    for resource in filter(None, (case.trigger, case.patient)):
        for extension in resource.view.extension:
            if extension.url in urls:
                yield from _stated(resource, extension, telling)


def _stated(resource: Resource[View], extension: Extension, telling: Telling) -> Iterator[Told]:
    path = f"extension('{extension.url}').value"
    if text := plain(extension.value_string):
        yield Told(text, "patient-availability", ((resource, path),))
    if extension.value_period is not None:
        yield from _period(resource, extension.value_period, path, "patient-availability", telling)


def _period(
    resource: Resource[View], period: Period, path: str, rule: str, telling: Telling
) -> Iterator[Told]:
    paths = (f"{path}.start", f"{path}.end")
    opens = moment_at(resource, paths[0], period.start, telling.recorder)
    closes = moment_at(resource, paths[1], period.end, telling.recorder)
    yield from _window(resource, opens, closes, paths, rule, telling)


def _single(
    resource: Resource[View], moment: Moment, path: str, rule: str, telling: Telling
) -> Iterator[Told]:
    """One moment, unless it is past."""
    if moment.end_instant(_zone(moment, telling)) < telling.now or telling.is_old_slot(moment, None):
        return
    if local := telling.clock.local(moment):
        yield Told(moment_words(local), rule, ((resource, path),))


def _window(
    resource: Resource[View],
    opens: Moment | None,
    closes: Moment | None,
    paths: tuple[str, str],
    rule: str,
    telling: Telling,
) -> Iterator[Told]:
    """A window, unless it is wholly past, or ends before it begins, which is noted."""
    if closes is not None:
        ends = closes.end_instant(_zone(closes, telling))
        if ends < telling.now:
            return
        if opens is not None and opens.instant(_zone(opens, telling)) > ends:
            telling.recorder.note("period-reversed", resource, paths[1])
            return
    if telling.is_old_slot(opens, closes):
        return
    words = window_words(*telling.clock.window(opens, closes))
    if words is not None:
        known = (path for path, moment in zip(paths, (opens, closes), strict=True) if moment)
        yield Told(words, rule, tuple((resource, path) for path in known))


def _zone(moment: Moment, telling: Telling) -> ZoneInfo:
    """A date is a day where the care takes place; a time without a zone is the source's."""
    places = telling.clock.places
    return places[0] if places and not moment.has_time else telling.clock.source
