"""The sources' FHIR servers: the way there, who we are to them, and what is fetched of one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from fhir_bridge.app.rules import loaded_settings
from fhir_bridge.errors import SettingsError
from fhir_bridge.mapping.gates import NOBODY_BLOCKED, Blocked
from fhir_bridge.mapping_run import MappingRun
from fhir_bridge.settings import Settings
from fhir_bridge.settings.table import Table
from fhir_bridge.settings.tables import ClientSettings

if TYPE_CHECKING:
    # `map` and `explain` start without SQLAlchemy and httpx (performance).
    from fhir_bridge.fhir_client.authorization import Authorization
    from fhir_bridge.fhir_client.route import Route
    from fhir_bridge.fhir_client.server import FhirServer
    from fhir_bridge.intake.files import Inputs


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


def completed(config_file: str | None, run: MappingRun, inputs: Inputs) -> Inputs:
    """The same as `fetched` for a command that maps and sends nothing: no key of the endpoint is needed."""
    return asyncio.run(fetched(loaded_settings(config_file, secrets=False).settings, run, inputs))


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
