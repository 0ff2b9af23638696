"""The times a trigger names, as instants: whether they are past, and when the last one ends (mapping, section
3)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, tzinfo

import msgspec

from fhir_bridge.case.case import Case
from fhir_bridge.fhir.datatypes import Period
from fhir_bridge.fhir.dates import Moment, parse
from fhir_bridge.fhir.resource import Resource
from fhir_bridge.fhir.views import View, is_appointment, is_order
from fhir_bridge.mapping.recorder import Element


class Window(msgspec.Struct, frozen=True):
    """One time a trigger names; `opens` or `closes` is None where that side is open. `ends` is when it is
    over (aware UTC), None where it never is; `element` is where it stands."""

    opens: Moment | None
    closes: Moment | None
    ends: datetime | None
    element: Element

    def over(self, now: datetime) -> bool:
        """Whether it lies wholly before `now` (aware). Without an end it never does."""
        return self.ends is not None and self.ends < now

    def last(self, zone: tzinfo) -> datetime:
        """Its last known instant (aware UTC): the end, else the start."""
        if self.ends is not None:
            return self.ends
        assert self.opens is not None
        return self.opens.end_instant(zone)


def named_windows(case: Case, zone: tzinfo) -> list[Window]:
    """Every time the trigger names that can be read: requestedPeriod, start and end (a start alone is an
    instant), else its Slots; an order's occurrence. `zone` is that of times written without one."""
    trigger = case.trigger
    found = _of_order(trigger) if is_order(trigger.view) else _of_appointment(case)
    return [
        Window(opens, closes, closes.end_instant(zone) if closes else None, element)
        for opens, closes, element in found
        if opens or closes
    ]


def without_slot(windows: list[Window]) -> list[Window]:
    """Of a lost Appointment's windows those in which somebody may still come: not the slot that was lost."""
    return [window for window in windows if window.element[1].startswith("requestedPeriod")]


_Named = tuple[Moment | None, Moment | None, Element]


def _of_appointment(case: Case) -> Iterator[_Named]:
    trigger = case.trigger
    view = trigger.view
    assert is_appointment(view)
    for i, period in enumerate(view.requested_period):
        yield _named(period, trigger, f"requestedPeriod[{i}]")
    if view.start or view.end:
        closes = parse(view.end) or parse(view.start)
        yield parse(view.start), closes, (trigger, "end" if view.end else "start")
        return
    for slot in case.slots:
        yield parse(slot.view.start), parse(slot.view.end) or parse(slot.view.start), (slot, "end")


def _of_order(order: Resource[View]) -> Iterator[_Named]:
    view = order.view
    assert is_order(view)
    if moment := parse(view.occurrence_date_time):
        yield moment, moment, (order, "occurrenceDateTime")
    if view.occurrence_period:
        yield _named(view.occurrence_period, order, "occurrencePeriod")
    timing = view.occurrence_timing
    if timing is None:
        return
    for i, text in enumerate(timing.event):
        yield parse(text), parse(text), (order, f"occurrenceTiming.event[{i}]")
    if timing.repeat and timing.repeat.bounds_period:
        yield _named(timing.repeat.bounds_period, order, "occurrenceTiming.repeat.boundsPeriod")


def _named(period: Period, resource: Resource[View], path: str) -> _Named:
    return parse(period.start), parse(period.end), (resource, path)
