"""When the calls of a migration would go: by the hours of the called persons and the pace; pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

from fhir_bridge.dispatch.calling_hours import opening
from fhir_bridge.migration.tally import Queue
from fhir_bridge.settings.calling import CallingHours

STEP = timedelta(minutes=15)
"""How finely time is looked at."""

LONGEST = timedelta(days=366)


@dataclass(slots=True)
class Plan:
    """What goes when. `days` are the source's own, `hours` the hours of the day (0 to 23) there; `overdue`
    are calls that will be of no use any more before their turn comes; `ends_at` (aware UTC) is None where
    not all would go within a year."""

    days: dict[date, Counter[str]] = field(default_factory=dict)
    hours: Counter[int] = field(default_factory=Counter)
    overdue: int = 0
    ends_at: datetime | None = None

    @property
    def clinics(self) -> Counter[str]:
        """The calls of each clinic."""
        return sum(self.days.values(), Counter[str]())


def plan(
    queues: Iterable[tuple[Queue, int]],
    now: datetime,
    zone: tzinfo,
    hours: CallingHours,
    pace: float | None,
) -> Plan:
    """When so many calls would go from `now` (aware) on; `pace` in calls a second, None: as fast as they can.

    What ends first goes first, as far as its hours allow. The ledger sends in the order in which calls are
    due, so the days are an estimate and their sum is not.
    """
    waiting = Counter[Queue]()
    for queue, count in queues:
        waiting[queue] += count
    order = sorted(waiting, key=lambda queue: (queue.until, queue.clinic, queue.zones))
    found, moment, credit = Plan(), now, 0.0
    while waiting and moment < now + LONGEST:
        _drop_overdue(waiting, moment, found)
        opens = {zones: _opens(zones, moment, hours) for zones in {queue.zones for queue in waiting}}
        soonest = min((at for at in opens.values() if at is not None), default=None)
        if soonest is None:
            break
        if soonest > moment:
            moment, credit = soonest, 0.0
            continue
        credit = float("inf") if pace is None else credit + pace * STEP.total_seconds()
        going = [queue for queue in order if waiting[queue] and opens[queue.zones] == moment]
        gone = _go(waiting, going, credit, moment.astimezone(zone), found)
        credit -= gone
        moment += STEP
    found.ends_at = None if +waiting else moment
    return found


def _go(waiting: Counter[Queue], going: list[Queue], credit: float, local: datetime, found: Plan) -> int:
    """Lets as many go as the pace allows; gives how many."""
    left = credit
    for queue in going:
        count = min(waiting[queue], int(left) if left != float("inf") else waiting[queue])
        if count:
            waiting[queue] -= count
            left -= count
            found.days.setdefault(local.date(), Counter())[queue.clinic] += count
            found.hours[local.hour] += count
    for queue in [queue for queue, count in waiting.items() if not count]:
        del waiting[queue]
    return 0 if credit == float("inf") else round(credit - left)


def _drop_overdue(waiting: Counter[Queue], moment: datetime, found: Plan) -> None:
    today = moment.astimezone(UTC).date().isoformat()
    for queue in [queue for queue in waiting if queue.until < today]:
        found.overdue += waiting.pop(queue)


def _opens(zones: str, moment: datetime, hours: CallingHours) -> datetime | None:
    return opening(moment, (ZoneInfo(name) for name in zones.split(",")), hours)


def by_day(days: Mapping[date, Counter[str]]) -> dict[str, int]:
    """The calls of each day, in their order."""
    return {day.isoformat(): counts.total() for day, counts in sorted(days.items())}
