"""What a person should know of a source: alarms, and what to do about each; pure (intake, section 1)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from fhir_bridge.ledger.sources.watched import WHOLE_SOURCE, Known, Sweep, Watched
from fhir_bridge.subscriptions.clinic import open_between
from fhir_bridge.subscriptions.due import GONE, TROUBLED, ends_soon
from fhir_bridge.subscriptions.watch_rules import WatchRules

PATIENCE = timedelta(minutes=15)
"""How long what the bridge mends by itself may take before a person should look."""

HEARTBEATS_MISSED = 2
"""One may be late."""

RESTARTS = 3
"""Numbers that begin anew more often are not numbered as the settings say."""

NEVER_ACTIVE = (
    "is `serve` running at its endpoint, can the server reach it? One that keeps the status it was sent, as "
    "Medplum does, wants `subscriptions.asked_as: active` in the site's layer, then `subscribe activate`"
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing about a source, by a stable code; `subscription` where it is about one. `alarm`: somebody
    must act, for the bridge cannot, or could not.
    """

    code: str
    says: str
    advice: str
    subscription: str | None = None
    alarm: bool = True


def findings(known: Known, rules: WatchRules, now: datetime, *, can_search: bool) -> list[Finding]:
    """All there is to say at `now` (aware UTC). `can_search`: whether its server can be asked at all."""
    return [
        *_silence(known, rules, now),
        *(finding for each in known.watched for finding in _of_subscription(each, rules, now, can_search)),
        *_gone(known),
        *(finding for each in known.sweeps for finding in _of_sweep(each, now)),
    ]


def _silence(known: Known, rules: WatchRules, now: datetime) -> Iterator[Finding]:
    since = known.last_heard_at or known.watch.began_at
    if not rules.silence_alarm or since is None:
        return
    silent = open_between(since, now, rules.clinic_hours, rules.zone)
    if silent <= rules.silence_alarm:
        return
    hours = f"{silent.total_seconds() / 3600:.1f} clinic hours"
    if known.last_heard_at is None:
        advice = "`fhir-bridge subscribe list` shows what its server knows; `subscribe create` makes it"
        yield Finding("never-heard", f"nothing ever came of it, in {hours}", advice)
    else:
        advice = "is our endpoint reachable for it? `fhir-bridge subscribe list`, then `subscribe activate`"
        yield Finding("silent", f"nothing came of it for {hours}", advice)


def _of_subscription(
    watched: Watched, rules: WatchRules, now: datetime, can_search: bool
) -> Iterator[Finding]:
    name = watched.subscription
    if watched.state in TROUBLED:
        mends = watched.ours and rules.keep_active and can_search
        says = f"its server gave it up ({watched.state})"
        if watched.revivals:
            says += f", and again after it was asked for anew {watched.revivals} times"
        advice = "asked for again by itself" if mends else "`fhir-bridge subscribe activate`"
        yield Finding(
            "subscription-" + watched.state, says, advice, name, alarm=not mends or watched.revivals > 1
        )
    if watched.state == "requested" and watched.ours and watched.since and now - watched.since > PATIENCE:
        says = "its server never made it active, so it tells nothing"
        yield Finding("subscription-requested", says, NEVER_ACTIVE, name)
    if watched.state not in GONE:
        yield from _heartbeat(watched, now)
        yield from _end(watched, rules, now, can_search)
    yield from _gaps(watched, now, can_search)
    if watched.restarts >= RESTARTS:
        says = f"its event numbers began anew {watched.restarts} times without a handshake"
        advice = 'its server may number each message for itself: set numbering = "per-bundle", or "none"'
        yield Finding("numbers-begin-anew", says, advice, name, alarm=False)


def _gone(known: Known) -> Iterator[Finding]:
    """Where another took its place there is nothing to do."""
    if not any(each.state == "active" and each.subscription != WHOLE_SOURCE for each in known.watched):
        for each in known.watched:
            if each.state == "gone":
                advice = "`fhir-bridge subscribe create`"
                yield Finding("subscription-gone", "its server has it no more", advice, each.subscription)


def _heartbeat(watched: Watched, now: datetime) -> Iterator[Finding]:
    heard = watched.last_heard_at or watched.since
    if not watched.heartbeat or heard is None or watched.state != "active":
        return
    if now - heard > HEARTBEATS_MISSED * timedelta(seconds=watched.heartbeat):
        says = f"no message in twice its heartbeat of {watched.heartbeat} s"
        advice = "is our endpoint reachable for it? `fhir-bridge subscribe activate` asks for it again"
        yield Finding("heartbeat-overdue", says, advice, watched.subscription)


def _end(watched: Watched, rules: WatchRules, now: datetime, can_search: bool) -> Iterator[Finding]:
    if watched.ends_at is None or not ends_soon(watched, rules, now):
        return
    over = watched.ends_at <= now
    mends = watched.ours and rules.keep_active and can_search and not over
    says = f"it {'ended' if over else 'ends'} at {watched.ends_at:%Y-%m-%d %H:%M} UTC"
    advice = "renewed by itself" if mends else "`fhir-bridge subscribe renew`"
    code = "subscription-ended" if over else "ends-soon"
    yield Finding(code, says, advice, watched.subscription, alarm=not mends)


def _gaps(watched: Watched, now: datetime, can_search: bool) -> Iterator[Finding]:
    if not watched.open_gaps:
        return
    missed = sum(gap.last - gap.first + 1 for gap in watched.open_gaps)
    oldest = min(gap.opened_at for gap in watched.open_gaps)
    errors = sorted({gap.error for gap in watched.open_gaps if gap.error})
    says = f"{missed} events never came" + (f" ({', '.join(errors)})" if errors else "")
    advice = "fetched by itself"
    if not can_search:
        advice = "nothing can be fetched: set base_url, or send an export of what changed since"
    elif now - oldest > PATIENCE:
        advice = "its server does not give them: look at the errors, or send an export of what changed since"
    name = None if watched.subscription == WHOLE_SOURCE else watched.subscription
    yield Finding("events-missing", says, advice, name, alarm=not can_search or now - oldest > PATIENCE)


def _of_sweep(sweep: Sweep, now: datetime) -> Iterator[Finding]:
    if sweep.error is None:
        return
    failing = sweep.failing_since or now
    lasting = sweep.error in LASTING or now - failing > PATIENCE
    says = f"the search for {sweep.criteria} fails ({sweep.error})"
    yield Finding("search-fails", says, LASTING.get(sweep.error, "tried again by itself"), alarm=lasting)


LASTING = {
    "no-last-updated": "its server cannot search by _lastUpdated: set sweep_every = 0, and watch for gaps",
    "last-updated-ignored": "its server ignores _lastUpdated: set sweep_every = 0, and watch for gaps",
    "forbidden": "its server does not let us search this type: ask its administrator for the scope",
    "unauthorized": "its server does not take our credentials: look at the source's client",
}
"""Errors of a search that no repetition mends, and what does."""
