"""From the ledger to the endpoint: its client, the dispatcher, and by what it judges a call."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from fhir_bridge.app.ledgers import breaker_of, do_not_call_of
from fhir_bridge.app.rules import profile_of, run_of, served_sources
from fhir_bridge.app.servers import fhir_servers
from fhir_bridge.dispatch.checks import Rules, SourceCalling
from fhir_bridge.dispatch.clock import Clock, utc_now
from fhir_bridge.dispatch.dispatcher import Dispatcher
from fhir_bridge.dispatch.rereading import Rereading
from fhir_bridge.fetching.completing import Completion
from fhir_bridge.fetching.rereading import Rereader
from fhir_bridge.fhir_client.server import FhirServer
from fhir_bridge.ledger.store import SqlLedger
from fhir_bridge.settings import DispatchSettings, Settings
from fhir_bridge.settings.calling import hours_of
from fhir_bridge.task_api.client import TaskApiClient


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
    readers = {}
    for name, server in servers.items():
        run = run_of(settings, settings.source(name), clock())
        blocked = partial(do_not_call_of, ledger, name)
        readers[name] = Rereader(Completion(server, run.profile), run, blocked, clock)
    return Rereading(ledger, readers) if readers else None


def calling_rules(settings: Settings, dispatch: DispatchSettings) -> Rules:
    """By what dispatch judges an intent: each source's own hours, from its layers, and its zone."""
    profiles = {name: profile_of(settings.source(name), {}) for name in served_sources(settings)}
    return Rules(
        dispatch,
        {
            name: SourceCalling(hours_of(profile.calling), profile.source.zone)
            for name, profile in profiles.items()
        },
    )
