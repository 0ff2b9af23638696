"""The whole of bridge.toml, and what the commands ask of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from fhir_bridge.errors import SettingsError, UsageError
from fhir_bridge.mapping.profile import SourceFacts
from fhir_bridge.settings.table import Table
from fhir_bridge.settings.tables import (
    ApiSettings,
    DispatchSettings,
    LedgerSettings,
    NetworkSettings,
    RetentionSettings,
    SourceSettings,
)
from fhir_bridge.settings.webhook import ServeSettings

DEFAULT_SOURCE = "default"
DEFAULT_LEDGER = "fhir-bridge.db"
DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg"}
"""Scheme of a URL that names no driver → the one we use."""


class Endpoint(NamedTuple):
    """The task API and our key to it, all known."""

    url: str
    key: SecretStr
    project_id: str


class Source(NamedTuple):
    """A source under its name."""

    name: str
    settings: SourceSettings

    @property
    def facts(self) -> SourceFacts:
        """What mapping is told of the source; country and phone region are the layers' to say."""
        own = self.settings
        return SourceFacts(self.name, own.jurisdiction, own.vendor, own.timezone, base_url=own.base_url)


class Settings(Table):
    """All of bridge.toml. `folder` is where it lies: relative paths count from there."""

    api: ApiSettings = ApiSettings()
    dispatch: DispatchSettings = DispatchSettings()
    ledger: LedgerSettings = LedgerSettings()
    network: NetworkSettings = NetworkSettings()
    retention: RetentionSettings = RetentionSettings()
    serve: ServeSettings = ServeSettings()
    sources: Mapping[str, SourceSettings] = Field(default_factory=dict)
    folder: Path = Field(default=Path(), exclude=True)

    @field_validator("sources")
    @classmethod
    def _names(cls, sources: Mapping[str, SourceSettings]) -> Mapping[str, SourceSettings]:
        for name in sources:
            if not name or not name.replace("-", "").replace("_", "").isalnum() or not name.isascii():
                raise ValueError("a source's name is made of letters, digits, - and _")
        return sources

    @model_validator(mode="after")
    def _lease_outlives_exchange(self) -> Self:
        if self.dispatch.lease <= self.api.timeout:
            raise ValueError("dispatch.lease must be longer than api.timeout, or a live exchange looks lost")
        return self

    def source(self, name: str | None = None, *, demand: bool = False) -> Source:
        """The source by name; without one the only one there is, else `default` (jurisdiction US, zone UTC).

        Raises UsageError for a name that is not in the settings, and on `demand` where several sources leave
        it open: the source is part of an intent's key (intake, section 3).
        """
        known = ", ".join(self.sources) or DEFAULT_SOURCE
        if name is None and len(self.sources) == 1:
            name = next(iter(self.sources))
        if name in self.sources:
            return Source(str(name), self.sources[str(name)])
        if name is None and self.sources and demand:
            raise UsageError("several sources are set: say which with --source", hint=f"there are {known}")
        if name is None or (name == DEFAULT_SOURCE and not self.sources):
            return Source(DEFAULT_SOURCE, SourceSettings())
        if not self.sources:
            hint = f"without [sources.{name}] in bridge.toml there is only `default`: leave --source out"
            raise UsageError(f"there is no source {name!r}", hint=hint)
        raise UsageError(f"there is no source {name!r}", hint=f"there are {known}")

    def endpoint(self) -> Endpoint:
        """The task API. Raises SettingsError that names what is missing."""
        api = self.api
        if api.url and api.key and api.project_id:
            return Endpoint(api.url, api.key, api.project_id)
        variables = {"url": "API_URL", "key": "API_KEY", "project_id": "PROJECT_ID"}
        missing = [
            f"api.{key} (FHIR_BRIDGE_{variable})"
            for key, variable in variables.items()
            if not getattr(api, key)
        ]
        raise SettingsError(
            f"missing: {', '.join(missing)}",
            code="api-missing",
            hint="set it in bridge.toml or by the environment variable",
        )

    def encryption_keys(self) -> list[str]:
        """The keys of the ledger's payloads in base64, the one that writes first; none: in the clear.

        Raises SettingsError where there are only old ones.
        """
        key, old = self.ledger.encryption_key, self.ledger.old_encryption_keys
        if key is None and any(old):
            raise SettingsError(
                "ledger.old_encryption_keys are set, but ledger.encryption_key is not",
                hint="Set the key that writes; what was written with the old ones stays readable.",
            )
        return [each.get_secret_value() for each in (key, *old) if each is not None]

    def ledger_url(self) -> str:
        """The ledger's SQLAlchemy URL with an asynchronous driver; it may hold a password."""
        url = self.ledger.url.get_secret_value() if self.ledger.url else DEFAULT_LEDGER
        scheme, separator, rest = url.partition("://")
        if not separator:
            return f"sqlite+aiosqlite:///{(self.folder / url).absolute()}"
        return f"{DRIVERS.get(scheme, scheme)}://{rest}"
