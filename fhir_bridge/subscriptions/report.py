"""What `fhir-bridge sources` shows of each: when it was heard, what is missed, how it stands, what to do."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fhir_bridge.ledger.sources.messages import InboxLag
from fhir_bridge.ledger.sources.watched import WHOLE_SOURCE, Known, Watched
from fhir_bridge.subscriptions.findings import Finding, findings
from fhir_bridge.subscriptions.watch_rules import WatchRules


@dataclass(frozen=True, slots=True)
class SourceReport:
    """One source. `tells`: whether it is set to tell by Subscriptions; without that nothing of it is an
    alarm. All instants are aware UTC.
    """

    source: str
    tells: bool
    known: Known
    lag: InboxLag
    findings: tuple[Finding, ...]

    @property
    def alarms(self) -> tuple[Finding, ...]:
        """What a person must see to."""
        return tuple(finding for finding in self.findings if finding.alarm)

    @property
    def subscriptions(self) -> tuple[Watched, ...]:
        """Those that have a name and were not taken away by us."""
        named = (each for each in self.known.watched if each.subscription != WHOLE_SOURCE)
        return tuple(each for each in named if each.state != "deleted")

    @property
    def events(self) -> int:
        """How many it told of."""
        return sum(each.events for each in self.known.watched)

    @property
    def missed(self) -> int:
        """How many it numbered and never told, as far as is known."""
        gaps = (gap for each in self.known.watched for gap in each.open_gaps)
        return sum(gap.last - gap.first + 1 for gap in gaps)

    @property
    def state(self) -> str:
        """The worst state of its subscriptions."""
        states = {each.state for each in self.subscriptions}
        worst = next((state for state in WORST_FIRST if state in states), None)
        return worst or next(iter(sorted(states)), "none")

    @property
    def searched_until(self) -> datetime | None:
        """Before this, all changes are known."""
        return min((sweep.until for sweep in self.known.sweeps), default=None)


WORST_FIRST = ("gone", "error", "off", "unknown", "requested", "active")


def report(
    rules: WatchRules | None, known: Known, lag: InboxLag, now: datetime, *, can_search: bool
) -> SourceReport:
    """The report of a source at `now` (aware UTC); without `rules` it does not tell by Subscriptions."""
    found = findings(known, rules, now, can_search=can_search) if rules is not None else []
    return SourceReport(known.watch.source, rules is not None, known, lag, tuple(found))


def as_data(told: SourceReport) -> dict[str, Any]:
    """For machines."""
    return {
        "source": told.source,
        "tells": told.tells,
        "last_heard_at": told.known.last_heard_at,
        "events": told.events,
        "missed": told.missed,
        "state": told.state,
        "waiting": told.lag.received,
        "failed": told.lag.failed,
        "oldest_waiting": told.lag.oldest,
        "outdated": told.lag.outdated,
        "searched_until": told.searched_until,
        "subscriptions": [_subscription(each) for each in told.subscriptions],
        "searches": [
            {"criteria": s.criteria, "until": s.until, "at": s.swept_at, "found": s.found,
             "missed": s.missed, "error": s.error}
            for s in told.known.sweeps
        ],
        "findings": [
            {"code": f.code, "says": f.says, "advice": f.advice, "alarm": f.alarm,
             "subscription": f.subscription}
            for f in told.findings
        ],
    }  # fmt: skip


def _subscription(each: Watched) -> dict[str, Any]:
    names = ("subscription", "state", "form", "topic", "criteria", "ours", "ends_at", "last_event_number",
             "last_heard_at", "events", "restarts", "error")  # fmt: skip
    gaps = [{"first": g.first, "last": g.last, "since": g.opened_at, "tries": g.tries, "error": g.error}
            for g in each.open_gaps]  # fmt: skip
    return {**{name: getattr(each, name) for name in names}, "gaps": gaps}
