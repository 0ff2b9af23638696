"""The door for webhooks, and what processes the inbox behind it."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace

from fhir_bridge.app.ledgers import do_not_call_of
from fhir_bridge.app.rules import run_with, served_sources
from fhir_bridge.app.subscribing import reporting
from fhir_bridge.dispatch.clock import Clock, utc_now
from fhir_bridge.errors import SettingsError
from fhir_bridge.fetching.completing import Completion
from fhir_bridge.fhir_client.server import FhirServer
from fhir_bridge.http_server.serving import Listening, serving
from fhir_bridge.ledger.store import SqlLedger
from fhir_bridge.processing.processor import Processor
from fhir_bridge.processing.source import ProcessedSource
from fhir_bridge.settings import Loaded, Settings
from fhir_bridge.subscriptions.hearing import Hearing
from fhir_bridge.webhook.app import watched_app, webhook_app
from fhir_bridge.webhook.bodies import Bodies
from fhir_bridge.webhook.connection import patient_protocol
from fhir_bridge.webhook.credentials import Credentials
from fhir_bridge.webhook.door import Door
from fhir_bridge.webhook.keeping import InboxWriter
from fhir_bridge.webhook.metrics import Alarms, Metrics


@asynccontextmanager
async def webhook_of(
    loaded: Loaded, ledger: SqlLedger, at: Listening, *, insecure: bool, came: Callable[[], None]
) -> AsyncIterator[str]:
    """The door for webhooks at an address, its URL given; `came` is called after each commit. Leaving answers
    what was begun and commits it.

    Raises SettingsError where a source has no credentials, unless `insecure`, and as `serving` does.
    """
    settings, metrics = loaded.settings.serve, Metrics()
    seconds = settings.body_timeout.total_seconds()

    def kept(count: int) -> None:
        metrics.kept(count)
        came()

    credentials = credentials_of(loaded.settings, insecure=insecure)
    async with InboxWriter(ledger, kept) as writer:
        door = Door(credentials, Bodies(settings.max_body, seconds), writer, utc_now)
        app = webhook_app(door, ledger, metrics, utc_now, alarms_of(loaded, ledger))
        async with serving(app, at, patient_protocol(seconds)) as url:
            yield url


@asynccontextmanager
async def watched(loaded: Loaded, ledger: SqlLedger, at: Listening | None) -> AsyncIterator[str | None]:
    """`/metrics`, `/healthz` and `/readyz` at an address, its URL given; without an address nothing. Raises
    as `serving` does."""
    if at is None:
        yield None
        return
    app = watched_app(ledger, Metrics(), utc_now, alarms_of(loaded, ledger))
    seconds = loaded.settings.serve.body_timeout.total_seconds()
    async with serving(app, at, patient_protocol(seconds), cuts=True) as url:
        yield url


def alarms_of(loaded: Loaded, ledger: SqlLedger) -> Callable[[], Awaitable[Alarms]]:
    """What `fhir-bridge sources` marks as needing a person, by code, and the events that are missed; of all
    sources together."""
    reports = reporting(loaded, ledger)

    async def alarms() -> Alarms:
        found = await reports()
        codes = Counter(finding.code for each in found for finding in each.alarms)
        return Alarms(codes, sum(each.missed for each in found))

    return alarms


def credentials_of(settings: Settings, *, insecure: bool) -> dict[str, Credentials | None]:
    """What the webhooks of each source must present; None for one that lets anybody in.

    Raises SettingsError where that is so and not `insecure`.
    """
    found: dict[str, Credentials | None] = {}
    for name in served_sources(settings):
        own = settings.source(name).settings.credentials
        found[name] = Credentials(own, settings.serve.trusted_proxies) if own and own.kinds else None
    open_ = [name for name, credentials in found.items() if credentials is None]
    if open_ and not insecure:
        raise SettingsError(
            f"no credentials for {', '.join(open_)}: anybody could have patients called",
            code="credentials-missing",
            hint=f'set one in [sources.{open_[0]}.credentials], such as bearer = {{ env = "EHR_TOKEN" }}; '
            "--insecure does without, on this machine only",
        )
    return found


def processor_of(
    loaded: Loaded, ledger: SqlLedger, servers: Mapping[str, FhirServer], clock: Clock | None = None
) -> Processor:
    """What processes the inbox, for every source of the settings. Raises as `run_with` does."""
    return Processor(
        ledger,
        {
            name: processed_source(loaded, name, ledger, servers.get(name))
            for name in served_sources(loaded.settings)
        },
        lambda source: do_not_call_of(ledger, source),
        clock or utc_now,
        loaded.settings.serve.poll,
        loaded.settings.dispatch.lease,
    )


def processed_source(
    loaded: Loaded,
    name: str,
    ledger: SqlLedger | None = None,
    server: FhirServer | None = None,
    overrides: Mapping[str, str] | None = None,
) -> ProcessedSource:
    """A source with its rules; its FHIR server where it can be read; and, with a ledger, who takes note of
    what its subscriptions tell."""
    own = loaded.settings.source(name).settings
    run = run_with(loaded, name, overrides or {}, None)
    return ProcessedSource(
        name,
        lambda now: replace(run, now=now),
        own.hold,
        server,
        Completion(server, run.profile) if server is not None else None,
        Hearing(ledger, name, own.subscription.numbering if own.subscription else "none") if ledger else None,
        can_search=server is not None and own.subscription is not None,
    )
