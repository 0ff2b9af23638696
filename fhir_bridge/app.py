"""The wiring: the only module that chooses the concrete parts and puts them together."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from fhir_bridge.case.at_hand import AtHand
from fhir_bridge.case.gather import gather, triggers
from fhir_bridge.case.index import ResolutionRules
from fhir_bridge.errors import SettingsError
from fhir_bridge.intake.files import Inputs, read_inputs
from fhir_bridge.mapping.decide import decide
from fhir_bridge.mapping.decision import Decision
from fhir_bridge.mapping.gates import NOBODY_BLOCKED, Blocked
from fhir_bridge.mapping.profile import Profile
from fhir_bridge.profiles.load import load_profile
from fhir_bridge.settings import Loaded, Source, load_settings

if TYPE_CHECKING:
    # `map` and `explain` start without SQLAlchemy (performance).
    from fhir_bridge.ledger.store import SqlLedger


@dataclass(frozen=True, slots=True)
class MappingRun:
    """One call of a command that maps: whose rules, at which instant (aware UTC)."""

    profile: Profile
    now: datetime
    project_id: str | None = None

    def read(
        self,
        files: Sequence[str],
        context: Sequence[Path] = (),
        seen: Callable[[str], None] = lambda name: None,
    ) -> Inputs:
        """Reads the FILEs and their context (intake, section 3)."""
        return read_inputs(files, context, seen=seen)

    def decide(self, inputs: Inputs, blocked: Blocked = NOBODY_BLOCKED) -> list[Decision]:
        """A decision for every trigger of the FILEs, in their order; context only informs.

        `blocked` is the site's do-not-call list.
        """
        source = self.profile.source.name
        at_hand = AtHand([*inputs.resources, *inputs.context], resolution_rules(self.profile))
        return [
            decide(gather(at_hand, trigger, source=source), self.profile, self.now, blocked)
            for trigger in triggers(at_hand, inputs.resources)
        ]


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


def resolution_rules(profile: Profile) -> ResolutionRules:
    """What a source's layers say about references (mapping, section 15)."""
    base_url = profile.source.base_url
    return ResolutionRules(
        base_urls=frozenset({base_url} if base_url else ()),
        patient_systems=frozenset(profile.systems.patient),
        system_aliases=profile.systems.aliases,
        replaces_extensions=frozenset(profile.triggers.replaces),
    )


def mapping_run(
    config_file: str | None, source: str | None, overrides: Mapping[str, str], now: datetime | None
) -> MappingRun:
    """What `map` and `explain` need; no setting is required and no secret is looked for."""
    chosen = loaded_settings(config_file, secrets=False).settings
    profile = profile_of(chosen.source(source), overrides)
    return MappingRun(profile, now or datetime.now(UTC), chosen.api.project_id)


@asynccontextmanager
async def ledger_of(chosen: Loaded) -> AsyncIterator[SqlLedger]:
    """The ledger the settings name, created or upgraded where it is a SQLite file.

    Raises SettingsError for another destination's ledger and for an address that cannot be found out,
    LedgerError where it cannot be opened.
    """
    from fhir_bridge.ledger.store import open_ledger

    settings = chosen.settings
    if settings.ledger.url is None and ("ledger", "url") in chosen.origins:
        raise SettingsError(f"{chosen.origins['ledger', 'url']}: ledger.url: its secret cannot be found")
    ledger = await open_ledger(
        settings.ledger_url(), api_url=settings.api.url, project_id=settings.api.project_id
    )
    async with ledger:
        yield ledger
