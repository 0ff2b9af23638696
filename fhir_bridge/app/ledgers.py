"""The ledger that the settings name, and who it says must not be called."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from fhir_bridge.errors import SettingsError
from fhir_bridge.mapping.gates import NOBODY_BLOCKED, Blocked
from fhir_bridge.settings import Loaded, Settings

if TYPE_CHECKING:
    # `map` and `explain` start without SQLAlchemy and httpx (performance).
    from fhir_bridge.ledger.operation.checking import Condition
    from fhir_bridge.ledger.records import AuditHead
    from fhir_bridge.ledger.sending.gate import Breaker
    from fhir_bridge.ledger.store import SqlLedger


@asynccontextmanager
async def ledger_of(chosen: Loaded, *, is_restored: bool = False) -> AsyncIterator[SqlLedger]:
    """The ledger the settings name, created or upgraded where it is a SQLite file. `is_restored`: whoever
    asks says that it may be an older copy.

    Raises SettingsError for another destination's ledger and for an address that cannot be found out,
    LedgerError where it cannot be opened.
    """
    settings = chosen.settings
    api, audit_key = settings.api, settings.ledger.audit_key
    location = ledger_url_of(chosen)
    if not (api.url and api.project_id) and not _has_ledger(chosen):
        # Nor is an empty one left behind by somebody who only looked.
        raise SettingsError(
            f"there is no ledger yet: {settings.ledger_url().partition(':///')[2]}",
            code="no-ledger",
            hint="is this the folder of your bridge.toml? With api.url and api.project_id one is made",
        )
    async with ledger_at(
        location,
        api.url,
        api.project_id,
        breaker_of(settings),
        audit_key=audit_key.get_secret_value().encode() if audit_key else None,
        encryption_keys=settings.encryption_keys(),
        is_restored=is_restored,
    ) as ledger:
        yield ledger


def ledger_url_of(chosen: Loaded) -> str:
    """Where the ledger is; it may hold a password. Raises SettingsError where it is a secret not at hand."""
    if chosen.settings.ledger.url is None and ("ledger", "url") in chosen.origins:
        raise SettingsError(f"{chosen.origins['ledger', 'url']}: ledger.url: its secret cannot be found")
    return chosen.settings.ledger_url()


async def checked_ledger(
    chosen: Loaded, head: AuditHead | None = None, attempt: int | None = None
) -> Condition:
    """What is to be said of the ledger, which stays as it is; `head` of its audit and last `attempt` as they
    were logged. Raises as `ledger_of` does."""
    from fhir_bridge.ledger.operation.checking import Logged, check_ledger
    from fhir_bridge.logs import silence_values

    silence_values()
    api, audit_key = chosen.settings.api, chosen.settings.ledger.audit_key
    key = audit_key.get_secret_value().encode() if audit_key else None
    return await check_ledger(
        ledger_url_of(chosen),
        api_url=api.url,
        project_id=api.project_id,
        audit_key=key,
        logged=Logged(head, attempt),
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
    is_restored: bool = False,
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
        is_restored=is_restored,
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
    # Where only its journal is left there was one: whoever opens it says so.
    return not kind.startswith("sqlite") or Path(path).exists() or Path(f"{path}-wal").exists()


def breaker_of(settings: Settings) -> Breaker:
    """When the destination is given a rest, as the settings have it."""
    from fhir_bridge.ledger.sending.gate import Breaker

    breaker = settings.dispatch.breaker
    return Breaker(breaker.failures, breaker.open_for, breaker.probe_every)
