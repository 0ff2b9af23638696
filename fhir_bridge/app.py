"""The wiring: the only module that chooses the concrete parts and puts them together.

Long because every door, the ledger, dispatch and the watchers are wired here and nowhere else.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast, get_args
from urllib.parse import urlsplit

from fhir_bridge.errors import SettingsError
from fhir_bridge.mapping.conformance import Validation
from fhir_bridge.mapping.gates import NOBODY_BLOCKED, Blocked
from fhir_bridge.mapping.profile import Profile
from fhir_bridge.mapping_run import MappingRun
from fhir_bridge.profiles.load import load_profile
from fhir_bridge.settings import DispatchSettings, Loaded, Settings, Source, load_settings
from fhir_bridge.settings.model import DEFAULT_SOURCE
from fhir_bridge.settings.table import Table
from fhir_bridge.settings.tables import ApiSettings, ClientSettings

if TYPE_CHECKING:
    # `map` and `explain` start without SQLAlchemy and httpx (performance).
    from fhir_bridge.checkup.step import Step
    from fhir_bridge.dispatch.checks import Rules
    from fhir_bridge.dispatch.clock import Clock
    from fhir_bridge.dispatch.dispatcher import Dispatcher
    from fhir_bridge.dispatch.rereading import Rereading
    from fhir_bridge.fhir_client.authorization import Authorization
    from fhir_bridge.fhir_client.route import Route
    from fhir_bridge.fhir_client.server import FhirServer
    from fhir_bridge.intake.files import Inputs
    from fhir_bridge.ledger.checking import Condition
    from fhir_bridge.ledger.gate import Breaker
    from fhir_bridge.ledger.store import SqlLedger
    from fhir_bridge.processing.processor import Processor
    from fhir_bridge.processing.source import ProcessedSource
    from fhir_bridge.settings.calling import CallingHours
    from fhir_bridge.subscriptions.keeping import Keeper
    from fhir_bridge.subscriptions.report import SourceReport
    from fhir_bridge.subscriptions.watch_rules import WatchRules
    from fhir_bridge.subscriptions.watcher import Watcher
    from fhir_bridge.task_api.client import TaskApiClient
    from fhir_bridge.webhook.credentials import Credentials
    from fhir_bridge.webhook.server import Listening


VALIDATION = "validation"
"""The one key of a source, besides its rules, that `--set` takes: whether its FHIR is checked."""


def loaded_settings(
    config_file: str | None, *, flags: Mapping[str, object] | None = None, secrets: bool = True
) -> Loaded:
    """The settings in force and where each was given. Raises SettingsError that names file, key and line.

    Without `secrets` one that is not found is None: for commands that send nothing.
    """
    path = Path(config_file) if config_file else None
    return load_settings(path, environ=os.environ, flags=flags, need_secrets=secrets)


def profile_of(source: Source, overrides: Mapping[str, str]) -> Profile:
    """A source's rules: its layers, its own short names, then the overrides of this run."""
    settings = source.settings
    return load_profile(source.facts, settings.mappings, overrides, source_rules=settings.rules)


def mapping_run(
    config_file: str | None, source: str | None, overrides: Mapping[str, str], now: datetime | None
) -> MappingRun:
    """What `map` and `explain` need; no setting is required and no secret is looked for."""
    return run_with(loaded_settings(config_file, secrets=False), source, overrides, now)


def run_with(
    loaded: Loaded,
    source: str | None,
    overrides: Mapping[str, str],
    now: datetime | None,
    *,
    demand_source: bool = False,
) -> MappingRun:
    """The same with settings at hand. On `demand_source` an unclear source raises UsageError."""
    chosen = loaded.settings.source(source, demand=demand_source)
    return run_of(loaded.settings, chosen, now or datetime.now(UTC), overrides)


def run_of(
    settings: Settings, source: Source, now: datetime, overrides: Mapping[str, str] | None = None
) -> MappingRun:
    """One call that maps by the rules of a source, at an instant (aware)."""
    overrides = overrides or {}
    rules = {key: value for key, value in overrides.items() if key != VALIDATION}
    validation = _validation(overrides.get(VALIDATION, source.settings.validation))
    return MappingRun(profile_of(source, rules), now, settings.api.project_id, validation)


def run_elsewhere(
    loaded: Loaded, source: str | None, overrides: Mapping[str, str], now: datetime
) -> Callable[[], MappingRun]:
    """How a process on another machine makes the same: what it is told can be pickled and holds no secret.

    A site's own layer must lie at the same path there.
    """
    settings = loaded.settings
    name, chosen = settings.source(source)
    told = Source(name, chosen.model_copy(update={"credentials": None, "client": None}))
    project = ApiSettings(project_id=settings.api.project_id)
    if "mappings" in overrides:
        overrides = {**overrides, "mappings": str(Path(overrides["mappings"]).absolute())}
    return partial(run_of, Settings(api=project), told, now, overrides)


def _validation(text: str) -> Validation:
    """Raises SettingsError for what is none of its values."""
    if text not in get_args(Validation):
        raise SettingsError(f"--set {VALIDATION}: must be one of {', '.join(get_args(Validation))}")
    return cast("Validation", text)


@asynccontextmanager
async def ledger_of(chosen: Loaded) -> AsyncIterator[SqlLedger]:
    """The ledger the settings name, created or upgraded where it is a SQLite file.

    Raises SettingsError for another destination's ledger and for an address that cannot be found out,
    LedgerError where it cannot be opened.
    """
    settings = chosen.settings
    api = settings.api
    audit_key = settings.ledger.audit_key
    async with ledger_at(
        ledger_url_of(chosen),
        api.url,
        api.project_id,
        breaker_of(settings),
        audit_key=audit_key.get_secret_value().encode() if audit_key else None,
        encryption_keys=settings.encryption_keys(),
    ) as ledger:
        yield ledger


def ledger_url_of(chosen: Loaded) -> str:
    """Where the ledger is; it may hold a password. Raises SettingsError where it is a secret not at hand."""
    if chosen.settings.ledger.url is None and ("ledger", "url") in chosen.origins:
        raise SettingsError(f"{chosen.origins['ledger', 'url']}: ledger.url: its secret cannot be found")
    return chosen.settings.ledger_url()


async def checked_ledger(chosen: Loaded) -> Condition:
    """What is to be said of the ledger, which stays as it is. Raises as `ledger_of` does."""
    from fhir_bridge.ledger.checking import check_ledger
    from fhir_bridge.logs import silence_values

    silence_values()
    api, audit_key = chosen.settings.api, chosen.settings.ledger.audit_key
    key = audit_key.get_secret_value().encode() if audit_key else None
    return await check_ledger(
        ledger_url_of(chosen), api_url=api.url, project_id=api.project_id, audit_key=key
    )


@asynccontextmanager
async def ledger_at(
    location: str | Path,
    api_url: str | None,
    project_id: str | None,
    breaker: Breaker,
    *,
    audit_key: bytes | None = None,
    encryption_keys: Sequence[str] = (),
) -> AsyncIterator[SqlLedger]:
    """The ledger of this destination at a file or SQLAlchemy URL; raises as `ledger_of` does."""
    from fhir_bridge.ledger.store import open_ledger
    from fhir_bridge.logs import silence_values

    silence_values()
    opened = await open_ledger(
        location,
        api_url=api_url,
        project_id=project_id,
        breaker=breaker,
        audit_key=audit_key,
        encryption_keys=encryption_keys,
    )
    async with opened as ledger:
        yield ledger


async def do_not_call_of(ledger: SqlLedger, source: str) -> Blocked:
    """The ledger's do-not-call list, as mapping asks it of this source."""
    found = await ledger.do_not_call(source)
    return Blocked(found.numbers, found.patients)


async def known_do_not_call(loaded: Loaded, source: str) -> Blocked:
    """The same for who only looks: nobody where there is no ledger yet, or its address is a secret that is
    not at hand."""
    if not _has_ledger(loaded):
        return NOBODY_BLOCKED
    async with ledger_of(loaded) as ledger:
        return await do_not_call_of(ledger, source)


def _has_ledger(loaded: Loaded) -> bool:
    if loaded.settings.ledger.url is None and ("ledger", "url") in loaded.origins:
        return False
    kind, _, path = loaded.settings.ledger_url().partition(":///")
    return not kind.startswith("sqlite") or Path(path).exists()


def breaker_of(settings: Settings) -> Breaker:
    """When the destination is given a rest, as the settings have it."""
    from fhir_bridge.ledger.gate import Breaker

    breaker = settings.dispatch.breaker
    return Breaker(breaker.failures, breaker.open_for, breaker.probe_every)


@asynccontextmanager
async def dispatcher_of(
    settings: Settings,
    ledger: SqlLedger,
    *,
    clock: Clock | None = None,
    concurrency: int | None = None,
    servers: Mapping[str, FhirServer] | None = None,
) -> AsyncIterator[Dispatcher]:
    """A dispatcher from the ledger to the task API. Raises SettingsError where its address or key is missing.

    `clock` is the machine's unless a demonstration brings its own; `concurrency` overrides max_in_flight.
    `servers` are the sources' FHIR servers where they are open already (see `fhir_servers`); without them
    its own are opened.
    """
    from fhir_bridge.dispatch.clock import utc_now
    from fhir_bridge.dispatch.dispatcher import Dispatcher

    dispatch = settings.dispatch
    if concurrency is not None:
        dispatch = dispatch.model_copy(update={"max_in_flight": concurrency})
    async with AsyncExitStack() as opened:
        client = await opened.enter_async_context(task_api_client(settings, dispatch.max_in_flight))
        if servers is None:
            servers = await opened.enter_async_context(fhir_servers(settings))
        clock = clock or utc_now
        yield Dispatcher(
            ledger,
            client,
            calling_rules(settings, dispatch),
            settings.endpoint().project_id,
            clock,
            breaker=breaker_of(settings),
            rereading=rereading_of(settings, ledger, servers, clock),
        )


def task_api_client(settings: Settings, max_connections: int = 1) -> TaskApiClient:
    """The client of the task API, to be entered. Raises SettingsError where its address or key is missing."""
    from fhir_bridge.task_api.client import TaskApiClient

    endpoint, api, network = settings.endpoint(), settings.api, settings.network
    return TaskApiClient(
        endpoint.url,
        endpoint.key,
        timeout=api.timeout.total_seconds(),
        connect_timeout=api.connect_timeout.total_seconds(),
        max_connections=max_connections,
        ca_bundle=network.ca_bundle,
        proxy=network.proxy.get_secret_value() if network.proxy else None,
        idempotency_header=settings.dispatch.idempotency_header,
        safe_statuses=settings.dispatch.retry_statuses,
    )


def rereading_of(
    settings: Settings, ledger: SqlLedger, servers: Mapping[str, FhirServer], clock: Clock
) -> Rereading | None:
    """Who reads again before a call at the sources that have a FHIR server; None where none has."""
    from fhir_bridge.dispatch.rereading import Rereading
    from fhir_bridge.fetching.completing import Completion
    from fhir_bridge.fetching.rereading import Rereader

    readers = {}
    for name, server in servers.items():
        run = run_of(settings, settings.source(name), clock())
        blocked = partial(do_not_call_of, ledger, name)
        readers[name] = Rereader(Completion(server, run.profile), run, blocked, clock)
    return Rereading(ledger, readers) if readers else None


def processor_of(
    loaded: Loaded, ledger: SqlLedger, servers: Mapping[str, FhirServer], clock: Clock | None = None
) -> Processor:
    """What processes the inbox, for every source of the settings. Raises as `run_with` does."""
    from fhir_bridge.dispatch.clock import utc_now
    from fhir_bridge.processing.processor import Processor

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


@asynccontextmanager
async def webhook_of(
    loaded: Loaded, ledger: SqlLedger, at: Listening, *, insecure: bool, came: Callable[[], None]
) -> AsyncIterator[str]:
    """The door for webhooks at an address, its URL given; `came` is called after each commit. Leaving answers
    what was begun and commits it.

    Raises SettingsError where a source has no credentials, unless `insecure`, and as `serving` does.
    """
    from fhir_bridge.dispatch.clock import utc_now
    from fhir_bridge.webhook.app import webhook_app
    from fhir_bridge.webhook.bodies import Bodies
    from fhir_bridge.webhook.door import Door
    from fhir_bridge.webhook.keeping import InboxWriter
    from fhir_bridge.webhook.metrics import Metrics
    from fhir_bridge.webhook.server import serving

    settings, metrics = loaded.settings.serve, Metrics()
    seconds = settings.body_timeout.total_seconds()

    def kept(count: int) -> None:
        metrics.kept(count)
        came()

    credentials = credentials_of(loaded.settings, insecure=insecure)
    async with InboxWriter(ledger, kept) as writer:
        door = Door(credentials, Bodies(settings.max_body, seconds), writer, utc_now)
        async with serving(webhook_app(door, ledger, metrics, utc_now), at, patience=seconds) as url:
            yield url


def credentials_of(settings: Settings, *, insecure: bool) -> dict[str, Credentials | None]:
    """What the webhooks of each source must present; None for one that lets anybody in.

    Raises SettingsError where that is so and not `insecure`.
    """
    from fhir_bridge.webhook.credentials import Credentials

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


def served_sources(settings: Settings) -> list[str]:
    """The names of the sources: those that are set, else the default one."""
    return list(settings.sources) or [DEFAULT_SOURCE]


def processed_source(
    loaded: Loaded,
    name: str,
    ledger: SqlLedger | None = None,
    server: FhirServer | None = None,
    overrides: Mapping[str, str] | None = None,
) -> ProcessedSource:
    """A source with its rules; its FHIR server where it can be read; and, with a ledger, who takes note of
    what its subscriptions tell."""
    from fhir_bridge.fetching.completing import Completion
    from fhir_bridge.processing.source import ProcessedSource
    from fhir_bridge.subscriptions.hearing import Hearing

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


def calling_rules(settings: Settings, dispatch: DispatchSettings) -> Rules:
    """By what dispatch judges an intent: each source's own hours, from its layers, and its zone."""
    from fhir_bridge.dispatch.checks import Rules, SourceCalling
    from fhir_bridge.settings.calling import hours_of

    profiles = {name: profile_of(settings.source(name), {}) for name in served_sources(settings)}
    return Rules(
        dispatch,
        {
            name: SourceCalling(hours_of(profile.calling), profile.source.zone)
            for name, profile in profiles.items()
        },
    )


def completed(config_file: str | None, run: MappingRun, inputs: Inputs) -> Inputs:
    """The same as `fetched` for a command that maps and sends nothing: no key of the endpoint is needed."""
    return asyncio.run(fetched(loaded_settings(config_file, secrets=False).settings, run, inputs))


def pacing_of(settings: Settings, profile: Profile) -> tuple[CallingHours, float | None]:
    """The hours in which a source's people are called, and the pace in calls a second; None: no limit."""
    from fhir_bridge.settings.calling import hours_of

    return settings.dispatch.calling_hours or hours_of(profile.calling), settings.dispatch.pace


async def fetched(
    settings: Settings,
    run: MappingRun,
    inputs: Inputs,
    triggers: Sequence[str] = (),
    blocked: Blocked = NOBODY_BLOCKED,
) -> Inputs:
    """What was read, completed from the run's source's FHIR server; see `fetching.completing.Completion`,
    which whoever completes more than once keeps.

    Raises SettingsError where the source has no `base_url` and `client`, FhirServerError.
    """
    from fhir_bridge.fetching.completing import Completion

    name = run.profile.source.name
    server = fhir_server_of(settings, name) if name in settings.sources else None
    if server is None:
        raise SettingsError(
            f"nothing can be fetched: the source {name} has no base_url and client",
            code="no-fhir-server",
            hint=f"set base_url in [sources.{name}] and how to read from it in [sources.{name}.client]",
        )
    async with server:
        # Somebody watches, and the files may hold thousands of triggers.
        completion = Completion(server, run.profile)
        return await completion.complete(run, inputs, triggers, blocked, patience=None)


async def check_steps(loaded: Loaded, name: str, read: str | None = None) -> AsyncIterator[Step]:
    """A source's FHIR server and the endpoint tried step by step; see `checkup`. Nothing is changed anywhere.

    Raises UsageError for a source there is none of, SettingsError for settings that cannot be used.
    """
    from fhir_bridge.checkup.endpoint import endpoint_step
    from fhir_bridge.checkup.source import Checked, source_steps
    from fhir_bridge.checkup.step import Mark, Step

    settings = loaded.settings
    source = settings.source(name)
    if (server := fhir_server_of(settings, source.name)) is None or source.settings.client is None:
        found = "the source has no base_url and client: its data comes as files, and nothing is read again"
        yield Step("settings", Mark.WARN, found, "docs/fhir-servers.md says how to read from an EHR")
    else:
        async with server:
            rules = watch_rules_of(settings, source.name)
            endpoint = rules.endpoint if rules else None
            route = route_of(settings, source.settings.client)
            profile = profile_of(source, {})
            async for step in source_steps(
                Checked(server, route, profile, endpoint, datetime.now(UTC), read)
            ):
                yield step
    missing = [key for key in ("url", "key", "project_id") if not getattr(settings.api, key)]
    if missing:
        found = f"not set: {', '.join(f'api.{key}' for key in missing)}"
        yield Step("endpoint", Mark.UNTRIED, found, "without it nothing is sent", "api-missing")
        return
    async with task_api_client(settings) as client:
        yield await endpoint_step(client, urlsplit(settings.endpoint().url).netloc)


@asynccontextmanager
async def fhir_servers(settings: Settings) -> AsyncIterator[Mapping[str, FhirServer]]:
    """The FHIR server of every source that has `base_url` and `client`, by the source's name.

    Opened once and shared by all who ask it in this process: the limits are the server's. Raises
    SettingsError.
    """
    servers = {name: fhir_server_of(settings, name) for name in settings.sources}
    async with AsyncExitStack() as opened:
        yield {
            name: await opened.enter_async_context(server)
            for name, server in servers.items()
            if server is not None
        }


def fhir_server_of(settings: Settings, name: str) -> FhirServer | None:
    """A source's FHIR server, to be entered; None where nothing is set to read from it with."""
    from fhir_bridge.fhir_client.politeness import Limits
    from fhir_bridge.fhir_client.server import FhirServer

    own = settings.source(name).settings
    if own.base_url is None or own.client is None:
        return None
    return FhirServer(
        own.base_url,
        authorization=authorization_of(own.base_url, own.client),
        route=route_of(settings, own.client),
        limits=Limits(own.client.rate, own.client.max_in_flight, own.client.timeout.total_seconds()),
        other_bases=own.client.other_bases,
    )


def authorization_of(base_url: str, client: ClientSettings) -> Authorization:
    """How we show a source who we are. Raises SettingsError for a key or token that cannot be used, or is a
    secret that is not at hand."""
    from fhir_bridge.fhir_client.authorization import Anonymous, basic, static_bearer
    from fhir_bridge.fhir_client.keys import signing_key
    from fhir_bridge.fhir_client.smart import BackendServices

    _check_at_hand(client, "private_key", "bearer", "password")
    if client.private_key is not None and client.client_id is not None:
        key = signing_key(client.private_key, client.key_id)
        return BackendServices(
            base_url, client.client_id, key, token_url=client.token_url, scope=client.scope
        )
    if client.bearer is not None:
        return static_bearer(client.bearer)
    if client.user is not None and client.password is not None:
        return basic(client.user, client.password)
    return Anonymous()


def _check_at_hand(table: Table, *secrets: str) -> None:
    """Whoever loads settings without secrets has None for those that are not there: to go on without them
    would be to ask as somebody else, or by another way."""
    for key in secrets:
        if key in table.model_fields_set and getattr(table, key) is None:
            raise SettingsError(
                f"{key}: its secret cannot be found",
                code="secret-missing",
                hint="set the environment variable or write the file that bridge.toml names",
            )


def route_of(settings: Settings, client: ClientSettings) -> Route:
    """The way to a source's FHIR server."""
    from fhir_bridge.fhir_client.route import Route

    network = settings.network
    _check_at_hand(network, "proxy")
    return Route(network.proxy, network.ca_bundle, client.certificate, client.certificate_key)


def watch_rules_of(settings: Settings, name: str) -> WatchRules | None:
    """By what a source is watched; None where it is not set to tell by Subscriptions."""
    from fhir_bridge.subscriptions.watch_rules import watch_rules

    source = settings.source(name)
    return watch_rules(source, profile_of(source, {}))


def watchers_of(settings: Settings, ledger: SqlLedger, servers: Mapping[str, FhirServer]) -> list[Watcher]:
    """One for each source that tells by Subscriptions."""
    from fhir_bridge.subscriptions.watcher import Watcher

    rules = {name: watch_rules_of(settings, name) for name in settings.sources}
    return [Watcher(ledger, own, servers.get(name)) for name, own in rules.items() if own is not None]


@asynccontextmanager
async def keeping(
    loaded: Loaded, source: str | None, change: Callable[[WatchRules], WatchRules]
) -> AsyncIterator[tuple[Keeper, SqlLedger]]:
    """Who keeps a source's subscriptions on its server, by its rules as `change` has them.

    Raises UsageError for an unclear source, SettingsError for one without a server.
    """
    from fhir_bridge.dispatch.clock import utc_now
    from fhir_bridge.subscriptions.keeping import Keeper
    from fhir_bridge.subscriptions.watch_rules import WatchRules

    settings = loaded.settings
    name = settings.source(source, demand=True).name
    server = fhir_server_of(settings, name)
    if server is None:
        raise SettingsError(
            f"sources.{name}: base_url and client are not set: there is no server to ask",
            code="no-fhir-server",
            hint="docs/configuration.md tells how to set them.",
        )
    rules = watch_rules_of(settings, name) or WatchRules(name, zone=settings.source(name).settings.timezone)
    async with ledger_of(loaded) as ledger, server:
        yield Keeper(ledger, server, change(rules), utc_now), ledger


async def source_reports(loaded: Loaded, ledger: SqlLedger) -> list[SourceReport]:
    """What each source of the settings told and did not tell, now."""
    from fhir_bridge.dispatch.clock import utc_now
    from fhir_bridge.subscriptions.report import report

    settings, now, found = loaded.settings, utc_now(), []
    for name in served_sources(settings):
        known, lag = await ledger.known(name), await ledger.inbox_lag(name)
        own = settings.source(name).settings
        rules = watch_rules_of(settings, name)
        can_search = own.base_url is not None and own.client is not None
        found.append(report(rules, known, lag, now, can_search=can_search))
    return found
