"""One model for each table of bridge.toml: its keys, their types and defaults, and nothing else allowed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, Field, model_validator

from fhir_bridge.profiles.overrides import RULE_NAMES
from fhir_bridge.settings import values
from fhir_bridge.settings.calling import CallingHours, calling_hours
from fhir_bridge.settings.table import Table
from fhir_bridge.settings.webhook import CredentialSettings


class ApiSettings(Table):
    """`[api]`: the task API."""

    url: values.HttpUrl | None = None
    key: values.OptionalSecret = None
    project_id: values.Uuid | None = None
    timeout: values.PositiveDuration = timedelta(seconds=30)
    connect_timeout: values.PositiveDuration = timedelta(seconds=10)


class RetrySettings(Table):
    """`[dispatch.retry]`: full-jitter backoff from `base` to `cap`, until `deadline` after the first."""

    base: values.PositiveDuration = timedelta(seconds=1)
    cap: values.PositiveDuration = timedelta(minutes=5)
    deadline: values.Duration = timedelta(hours=24)
    retry_after_cap: values.Duration = timedelta(hours=1)


class BreakerSettings(Table):
    """`[dispatch.breaker]`: failures in a row that stop the destination, how long, how often it is asked."""

    failures: values.Count = 10
    open_for: values.Duration = timedelta(seconds=30)
    probe_every: values.Duration = timedelta(minutes=1)


class DispatchSettings(Table):
    """`[dispatch]`: how tasks leave (delivery)."""

    calling_hours: Annotated[
        CallingHours | None, BeforeValidator(lambda v: None if v is None else _hours(v))
    ] = None
    min_gap: values.Duration = timedelta(hours=4)
    max_in_flight: values.Count = 32
    rate: values.Rate | None = None
    pace: values.Rate | None = None
    lease: values.Duration = timedelta(minutes=2)
    pilot: tuple[values.PhoneNumber, ...] | None = None
    idempotency_header: values.HeaderName | None = None
    retry_statuses: tuple[Annotated[int, Field(strict=True, ge=500, le=599)], ...] = ()
    retry: RetrySettings = RetrySettings()
    breaker: BreakerSettings = BreakerSettings()


def _hours(value: object) -> CallingHours:
    return value if isinstance(value, CallingHours) else calling_hours(value)


class LedgerSettings(Table):
    """`[ledger]`: where it is kept, and what protects it there."""

    url: values.OptionalSecret = None
    encryption_key: values.OptionalEncryptionKey = None
    old_encryption_keys: tuple[values.OptionalEncryptionKey, ...] = ()
    audit_key: values.OptionalSecret = None


class NetworkSettings(Table):
    """`[network]`: the way out, for both clients."""

    proxy: values.OptionalSecret = None
    ca_bundle: values.File | None = None


class RetentionSettings(Table):
    """`[retention]`: how long payloads are kept after the last change."""

    payloads: values.RetentionPeriod = timedelta(days=30)


WAYS = {"private_key": "SMART Backend Services", "bearer": "a fixed token", "user": "HTTP Basic"}
"""Key of `[sources.NAME.client]` → the way of showing who we are that it stands for."""


class ClientSettings(Table):
    """`[sources.NAME.client]`: how we read from the source. One way to show who we are, or none; a client
    certificate goes with any of them.
    """

    client_id: str | None = None
    private_key: values.OptionalSecret = None
    key_id: str | None = None
    token_url: values.HttpUrl | None = None
    scope: str | None = None
    bearer: values.OptionalSecret = None
    user: str | None = None
    password: values.OptionalSecret = None
    certificate: values.File | None = None
    certificate_key: values.File | None = None
    other_bases: tuple[values.HttpUrl, ...] = ()
    rate: values.Rate = 10.0
    max_in_flight: values.Count = 8
    timeout: values.PositiveDuration = timedelta(seconds=30)

    @model_validator(mode="before")
    @classmethod
    def _one_way(cls, table: Any) -> Any:
        """What belongs together is there together; asked of the keys, for a secret may be out of reach."""
        if not isinstance(table, dict):
            return table
        if len(ways := [key for key in WAYS if key in table]) > 1:
            raise ValueError(f"{ways[0]} and {ways[1]} are two ways to show who we are: set one")
        for key, other in _TOGETHER.items():
            if key in table and other not in table:
                raise ValueError(f"{key} needs {other} beside it")
        return table


_TOGETHER = {
    "private_key": "client_id",
    "client_id": "private_key",
    "key_id": "private_key",
    "token_url": "private_key",
    "scope": "private_key",
    "user": "password",
    "password": "user",
    "certificate_key": "certificate",
}


class SubscriptionSettings(Table):
    """`[sources.NAME.subscription]`: how changes are told to us, and what we do where they are not."""

    endpoint: values.HttpUrl | None = None
    form: Literal["r4", "r4-backport", "r4b", "r5"] | None = None
    criteria: tuple[values.Criteria, ...] = ()
    topics: tuple[values.Canonical, ...] = ()
    content: Literal["empty", "id-only", "full-resource"] = "full-resource"
    heartbeat: values.Duration = timedelta(minutes=10)
    timeout: values.Duration = timedelta(seconds=30)
    lifetime: values.PositiveDuration | None = None
    keep_active: bool = True
    numbering: Literal["global", "per-bundle", "none"] = "global"
    sweep_every: values.Duration = timedelta(minutes=15)
    overlap: values.Duration = timedelta(minutes=5)
    fetch_every: values.PositiveDuration = timedelta(seconds=10)
    silence_alarm: values.Duration = timedelta(hours=2)
    clinic_hours: Annotated[
        CallingHours | None, BeforeValidator(lambda v: None if v is None else _hours(v))
    ] = None


class ExportSettings(Table):
    """`[sources.NAME.export]`: what is asked of the source's Bulk Data export, and how."""

    group: str | None = None
    types: tuple[str, ...] = ()
    kick_off: Literal["GET", "POST"] = "GET"
    output_format: str | None = None
    at_once: values.Count = 4
    patience: values.PositiveDuration = timedelta(hours=1)
    retry_after_cap: values.PositiveDuration = timedelta(hours=1)


class SourceSettings(Table):
    """`[sources.NAME]`: one hospital system. `rules` holds the keys that are short names of rules."""

    base_url: values.HttpUrl | None = None
    jurisdiction: values.Country = "US"
    vendor: str | None = None
    timezone: values.Zone = ZoneInfo("UTC")
    hold: values.Duration = timedelta(seconds=60)
    mappings: values.File | None = None
    validation: Literal["off", "warn", "strict"] = "off"
    credentials: CredentialSettings | None = None
    client: ClientSettings | None = None
    subscription: SubscriptionSettings | None = None
    export: ExportSettings = ExportSettings()
    rules: Mapping[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _client_has_a_server(self) -> Self:
        if self.client is not None and self.base_url is None:
            raise ValueError("client says how to read from base_url, and there is no base_url")
        return self

    @model_validator(mode="before")
    @classmethod
    def _short_names(cls, table: Any) -> Any:
        """A short name may stand in the source's own table: `phone_check = "valid"`."""
        if not isinstance(table, dict) or not isinstance(table.get("rules", {}), dict):
            return table
        own = {name: value for name, value in table.items() if name in RULE_NAMES}
        rest = {name: value for name, value in table.items() if name not in RULE_NAMES}
        return {**rest, "rules": {**rest.get("rules", {}), **own}} if own else table
