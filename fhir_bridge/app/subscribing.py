"""The sources' subscriptions: who keeps them, who watches them, what is said of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

from fhir_bridge.app.ledgers import ledger_of
from fhir_bridge.app.rules import profile_of, served_sources
from fhir_bridge.app.servers import fhir_server_of
from fhir_bridge.dispatch.clock import utc_now
from fhir_bridge.errors import SettingsError
from fhir_bridge.fhir_client.server import FhirServer
from fhir_bridge.ledger.store import SqlLedger
from fhir_bridge.settings import Loaded, Settings
from fhir_bridge.subscriptions.keeping import Keeper
from fhir_bridge.subscriptions.report import SourceReport, report
from fhir_bridge.subscriptions.watch_rules import WatchRules, watch_rules
from fhir_bridge.subscriptions.watcher import Watcher


def watch_rules_of(settings: Settings, name: str) -> WatchRules | None:
    """By what a source is watched; None where it is not set to tell by Subscriptions."""
    source = settings.source(name)
    return watch_rules(source, profile_of(source, {})) if source.settings.subscription is not None else None


def watchers_of(settings: Settings, ledger: SqlLedger, servers: Mapping[str, FhirServer]) -> list[Watcher]:
    """One for each source that tells by Subscriptions."""
    rules = {name: watch_rules_of(settings, name) for name in settings.sources}
    return [Watcher(ledger, own, servers.get(name)) for name, own in rules.items() if own is not None]


@asynccontextmanager
async def keeping(
    loaded: Loaded, source: str | None, change: Callable[[WatchRules], WatchRules]
) -> AsyncIterator[tuple[Keeper, SqlLedger]]:
    """Who keeps a source's subscriptions on its server, by its rules as `change` has them.

    Raises UsageError for an unclear source, SettingsError for one without a server.
    """
    settings = loaded.settings
    asked = settings.source(source, demand=True)
    server = fhir_server_of(settings, asked.name)
    if server is None:
        raise SettingsError(
            f"sources.{asked.name}: base_url and client are not set: there is no server to ask",
            code="no-fhir-server",
            hint="docs/configuration.md tells how to set them.",
        )
    rules = watch_rules(asked, profile_of(asked, {}))
    async with ledger_of(loaded) as ledger, server:
        yield Keeper(ledger, server, change(rules), utc_now), ledger


async def source_reports(loaded: Loaded, ledger: SqlLedger) -> list[SourceReport]:
    """What each source of the settings told and did not tell, now."""
    return await reporting(loaded, ledger)()


def reporting(loaded: Loaded, ledger: SqlLedger) -> Callable[[], Awaitable[list[SourceReport]]]:
    """The same for who asks again and again: the rules are read once."""
    settings = loaded.settings
    rules = {name: watch_rules_of(settings, name) for name in served_sources(settings)}

    async def reports() -> list[SourceReport]:
        now, found = utc_now(), []
        for name, own in rules.items():
            known, lag = await ledger.known(name), await ledger.inbox_lag(name)
            source = settings.source(name).settings
            can_search = source.base_url is not None and source.client is not None
            found.append(report(own, known, lag, now, can_search=can_search))
        return found

    return reports
