"""Settings and the rules of a source: what a command that maps is given."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import cast, get_args

from fhir_bridge.errors import SettingsError
from fhir_bridge.mapping.conformance import Validation
from fhir_bridge.mapping.profile import Profile
from fhir_bridge.mapping_run import MappingRun
from fhir_bridge.profiles.load import load_profile
from fhir_bridge.settings import Loaded, Settings, Source, load_settings
from fhir_bridge.settings.calling import CallingHours, hours_of
from fhir_bridge.settings.model import DEFAULT_SOURCE
from fhir_bridge.settings.tables import ApiSettings

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


def served_sources(settings: Settings) -> list[str]:
    """The names of the sources: those that are set, else the default one."""
    return list(settings.sources) or [DEFAULT_SOURCE]


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


def pacing_of(settings: Settings, profile: Profile) -> tuple[CallingHours, float | None]:
    """The hours in which a source's people are called, and the pace in calls a second; None: no limit."""
    return settings.dispatch.calling_hours or hours_of(profile.calling), settings.dispatch.pace
