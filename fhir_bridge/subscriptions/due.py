"""What is due about a source now, from what is known of it; pure (intake, section 1, "Missed events")."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from fhir_bridge.ledger.sources.watched import WHOLE_SOURCE, Gap, Known, Sweep, Watched
from fhir_bridge.subscriptions.criteria import Criteria
from fhir_bridge.subscriptions.watch_rules import WatchRules

GRACE = timedelta(seconds=5)
"""How long a missed event may still be under way: servers send several messages at once. One that comes later
was fetched in vain, and changes nothing."""

CHECK_EVERY = timedelta(minutes=5)
"""How often a server is asked how a subscription stands."""

SEARCH_AGAIN = timedelta(minutes=1)
"""How soon a search that failed is made again."""

SEARCH_ONLY = frozenset({"events-not-offered", "events-incomplete"})
"""Errors of a gap that say `$events` will not fill it, however often it is asked."""

LAST_QUARTER = 4
"""Renewed when this part of its lifetime is left."""

ENDS_SOON = timedelta(hours=1)
"""The same where we do not know how long it was to live."""

TROUBLED = ("error", "off")
"""States in which FHIR wants the client to ask for it again."""

GONE = frozenset({"deleted", "gone", "entered-in-error"})


@dataclass(frozen=True, slots=True)
class Due:
    """What to do: subscriptions to look after at their server, or to be asked for again (renewed); gaps to be
    asked for by number; and which criteria to search by.
    """

    check: tuple[Watched, ...] = ()
    ask_again: tuple[Watched, ...] = ()
    fill: tuple[tuple[Watched, Gap], ...] = ()
    sweep: tuple[Criteria, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.check or self.ask_again or self.fill or self.sweep)


def due(known: Known, rules: WatchRules, now: datetime) -> Due:
    """All that is due at `now` (aware UTC) for a source whose server can be asked."""
    named = [each for each in known.watched if _is_named(each)]
    return Due(
        check=tuple(each for each in named if each.check_at is None or each.check_at <= now),
        ask_again=tuple(each for each in named if wants_asking(each, rules, now)),
        fill=tuple((each, gap) for each in named for gap in each.open_gaps if _may_be_asked(gap, now)),
        sweep=_to_sweep(known, rules, now),
    )


def wants_asking(watched: Watched, rules: WatchRules, now: datetime) -> bool:
    """Whether a subscription of ours is to be asked for again: given up by its server, or near its end."""
    if not (rules.keep_active and watched.ours) or watched.state in GONE:
        return False
    if watched.check_at is not None and watched.check_at > now and watched.revivals:
        return False  # it was asked for again a moment ago; the next look says what became of it
    return watched.state in TROUBLED or ends_soon(watched, rules, now)


def ends_soon(watched: Watched, rules: WatchRules, now: datetime) -> bool:
    """Whether its end is near, or past."""
    if watched.ends_at is None:
        return False
    left = rules.lifetime / LAST_QUARTER if rules.lifetime else ENDS_SOON
    return watched.ends_at - now < left


def _is_named(watched: Watched) -> bool:
    return watched.subscription != WHOLE_SOURCE and watched.state not in GONE


def _may_be_asked(gap: Gap, now: datetime) -> bool:
    if gap.error in SEARCH_ONLY or now - gap.opened_at < GRACE:
        return False
    return gap.try_at is None or gap.try_at <= now


def _to_sweep(known: Known, rules: WatchRules, now: datetime) -> tuple[Criteria, ...]:
    """All criteria where somebody asked or nothing else fills a gap; else those whose time it is."""
    watch = known.watch
    fails = any(sweep.error for sweep in known.sweeps)
    pause = max(rules.fetch_every, SEARCH_AGAIN) if fails else rules.fetch_every
    rested = watch.fetched_at is None or now - watch.fetched_at >= pause
    if rested and (watch.asked_at is not None or any(_wants_search(e, now) for e in known.watched)):
        return rules.criteria
    done = {sweep.criteria: sweep for sweep in known.sweeps}
    return tuple(each for each in rules.criteria if _is_time(done.get(str(each)), rules, now))


def _wants_search(watched: Watched, now: datetime) -> bool:
    return any(
        now - gap.opened_at >= GRACE
        and (gap.error in SEARCH_ONLY or watched.subscription == WHOLE_SOURCE or watched.state in GONE)
        and (gap.try_at is None or gap.try_at <= now)
        for gap in watched.open_gaps
    )


def _is_time(sweep: Sweep | None, rules: WatchRules, now: datetime) -> bool:
    if not rules.sweep_every:
        return False
    if sweep is None or sweep.swept_at is None:
        return True
    every = min(rules.sweep_every, SEARCH_AGAIN) if sweep.error else rules.sweep_every
    return now - sweep.swept_at >= every
