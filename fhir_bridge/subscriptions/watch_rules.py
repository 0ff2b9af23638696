"""By what one source is watched: its settings for Subscriptions, ready for use."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo

from fhir_bridge.mapping.profile import Profile
from fhir_bridge.mapping.rules import Ways
from fhir_bridge.settings import CallingHours, Source, SubscriptionSettings
from fhir_bridge.subscriptions.building import AskedAs, Content, Form
from fhir_bridge.subscriptions.clinic import USUAL
from fhir_bridge.subscriptions.criteria import Criteria, criteria_of
from fhir_bridge.subscriptions.numbering import Numbering
from fhir_bridge.subscriptions.presenting import channel_headers, signing_secret

EVERYTHING = (Criteria("Appointment"), Criteria("ServiceRequest"))
"""Where the settings say nothing: all that can be a trigger in R4 and R5."""


@dataclass(frozen=True, slots=True)
class WatchRules:
    """The source's name and zone, what is asked for, and when something is overdue. `heartbeat`, `timeout`,
    `sweep_every` and `silence_alarm` of zero: never. `headers` carry our own secret, `secret` is one to sign
    with; `ways`, `always` and `asked_as` are the layers' `searches.changed`, `searches.always` and
    `subscriptions.asked_as`.
    """

    source: str
    zone: tzinfo = UTC
    endpoint: str | None = None
    form: Form | None = None
    criteria: tuple[Criteria, ...] = EVERYTHING
    topics: tuple[str, ...] = ()
    content: Content = "full-resource"
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    secret: str | None = field(default=None, repr=False)
    ways: Ways = ()
    always: tuple[str, ...] = ()
    asked_as: AskedAs = "requested"
    heartbeat: timedelta = timedelta(minutes=10)
    timeout: timedelta = timedelta(seconds=30)
    lifetime: timedelta | None = None
    keep_active: bool = True
    numbering: Numbering = "global"
    sweep_every: timedelta = timedelta(minutes=15)
    overlap: timedelta = timedelta(minutes=5)
    fetch_every: timedelta = timedelta(seconds=10)
    silence_alarm: timedelta = timedelta(hours=2)
    clinic_hours: CallingHours = USUAL

    def ends_at(self, now: datetime) -> datetime | None:
        """When a subscription asked for at `now` ends, to the second."""
        return None if self.lifetime is None else (now + self.lifetime).replace(microsecond=0)


def watch_rules(source: Source, profile: Profile) -> WatchRules:
    """The rules of a source and its layers; by default settings where it has no table for Subscriptions."""
    told = source.settings.subscription or SubscriptionSettings()
    return WatchRules(
        source.name,
        zone=source.settings.timezone,
        endpoint=told.endpoint,
        form=told.form,
        criteria=tuple(criteria_of(text) for text in told.criteria) or EVERYTHING,
        topics=told.topics,
        content=told.content,
        headers=channel_headers(source.settings.credentials),
        secret=signing_secret(source.settings),
        ways=profile.searches.changed,
        always=profile.searches.always,
        asked_as=profile.subscriptions.asked_as,
        heartbeat=told.heartbeat,
        timeout=told.timeout,
        lifetime=told.lifetime,
        keep_active=told.keep_active,
        numbering=told.numbering,
        sweep_every=told.sweep_every,
        overlap=told.overlap,
        fetch_every=told.fetch_every,
        silence_alarm=told.silence_alarm,
        clinic_hours=told.clinic_hours or USUAL,
    )
