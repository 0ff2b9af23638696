"""A source and the endpoint tried step by step."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from urllib.parse import urlsplit

from fhir_bridge.app.delivery import task_api_client
from fhir_bridge.app.rules import profile_of
from fhir_bridge.app.servers import fhir_server_of, route_of
from fhir_bridge.app.subscribing import watch_rules_of
from fhir_bridge.checkup.endpoint import endpoint_step
from fhir_bridge.checkup.source import Checked, source_steps
from fhir_bridge.checkup.step import Mark, Step
from fhir_bridge.profiles.load import vendor_in
from fhir_bridge.settings import Loaded


async def check_steps(loaded: Loaded, name: str, read: str | None = None) -> AsyncIterator[Step]:
    """A source's FHIR server and the endpoint tried step by step; see `checkup`. Nothing is changed anywhere.

    Raises UsageError for a source there is none of, SettingsError for settings that cannot be used.
    """
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
            named = None if source.facts.vendor else vendor_in
            checked = Checked(server, route, profile, endpoint, datetime.now(UTC), read, named)
            async for step in source_steps(checked):
                yield step
    missing = [key for key in ("url", "key", "project_id") if not getattr(settings.api, key)]
    if missing:
        found = f"not set: {', '.join(f'api.{key}' for key in missing)}"
        yield Step("endpoint", Mark.UNTRIED, found, "without it nothing is sent", "api-missing")
        return
    async with task_api_client(settings) as client:
        yield await endpoint_step(client, urlsplit(settings.endpoint().url).netloc)
