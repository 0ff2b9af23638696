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
    """One time a trigger names; `opens` or `closes` is None where that side is open. `element` is where it
    stands."""

    opens: Moment | None
    closes: Moment | None
    element: Element

    def over(self, now: datetime, zone: tzinfo) -> bool:
        """Whether it lies wholly before `now` (aware). Without an end it never does."""
        return self.closes is not None and self.closes.end_instant(zone) < now

    def last(self, zone: tzinfo) -> datetime:
        """Its last known instant (aware UTC): the end, else the start."""
        if self.closes is not None:
            return self.closes.end_instant(zone)
        assert self.opens is not None
        return self.opens.end_instant(zone)


def named_windows(case: Case) -> list[Window]:
    """Every time the trigger names that can be read: requestedPeriod, start and end (a start alone is an
    instant), else its Slots; an order's occurrence."""
    trigger = case.trigger
    found = _of_order(trigger) if is_order(trigger.view) else _of_appointment(case)
    return [window for window in found if window.opens or window.closes]


def without_slot(windows: list[Window]) -> list[Window]:
    """Of a lost Appointment's windows those in which somebody may still come: not the slot that was lost."""
    return [window for window in windows if window.element[1].startswith("requestedPeriod")]


def _of_appointment(case: Case) -> Iterator[Window]:
    trigger = case.trigger
    view = trigger.view
    assert is_appointment(view)
    for i, period in enumerate(view.requested_period):
        yield _window(period, trigger, f"requestedPeriod[{i}]")
    if view.start or view.end:
        closes = parse(view.end) or parse(view.start)
        yield Window(parse(view.start), closes, (trigger, "end" if view.end else "start"))
        return
    for slot in case.slots:
        yield Window(parse(slot.view.start), parse(slot.view.end) or parse(slot.view.start), (slot, "end"))


def _of_order(order: Resource[View]) -> Iterator[Window]:
    view = order.view
    assert is_order(view)
    if moment := parse(view.occurrence_date_time):
        yield Window(moment, moment, (order, "occurrenceDateTime"))
    if view.occurrence_period:
        yield _window(view.occurrence_period, order, "occurrencePeriod")
    timing = view.occurrence_timing
    if timing is None:
        return
    for i, text in enumerate(timing.event):
        yield Window(parse(text), parse(text), (order, f"occurrenceTiming.event[{i}]"))
    if timing.repeat and timing.repeat.bounds_period:
        yield _window(timing.repeat.bounds_period, order, "occurrenceTiming.repeat.boundsPeriod")


def _window(period: Period, resource: Resource[View], path: str) -> Window:
    return Window(parse(period.start), parse(period.end), (resource, path))
