"""Settings from bridge.toml, the environment and flags, checked whole; each knows where it came from."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from fhir_bridge.errors import SettingsError
from fhir_bridge.settings.model import Settings
from fhir_bridge.settings.problems import Given, not_toml, told
from fhir_bridge.settings.toml_lines import KeyPath, key_lines, line_of
from fhir_bridge.settings.values import Surroundings

CONFIG_VARIABLE = "FHIR_BRIDGE_CONFIG"
CONFIG_FILE = "bridge.toml"

VARIABLES: Mapping[str, KeyPath] = {
    "FHIR_BRIDGE_API_URL": ("api", "url"),
    "FHIR_BRIDGE_API_KEY": ("api", "key"),
    "FHIR_BRIDGE_PROJECT_ID": ("api", "project_id"),
    "FHIR_BRIDGE_LEDGER": ("ledger", "url"),
}
"""Environment variable → setting; it beats bridge.toml (intake, section 3)."""

FALLBACKS: Mapping[str, KeyPath] = {
    "HTTPS_PROXY": ("network", "proxy"),
    "https_proxy": ("network", "proxy"),
    "SSL_CERT_FILE": ("network", "ca_bundle"),
}
"""Environment variable → setting it is the default of: it holds where bridge.toml says nothing."""

PATHS = frozenset({("ledger", "url"), ("network", "ca_bundle")})
"""Settings that may be a path: a relative one counts from the folder of what gives it, file or shell."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """The settings, and where each key was given: "bridge.toml:12", "environment NAME", "command line"."""

    settings: Settings
    origins: Mapping[KeyPath, str]


def load_settings(
    config: Path | None = None,
    *,
    environ: Mapping[str, str],
    flags: Mapping[str, object] | None = None,
    working_folder: Path | None = None,
    need_secrets: bool = True,
) -> Loaded:
    """All settings: a flag beats the environment, which beats the file (intake, section 3).

    `config` is the --config flag; without it FHIR_BRIDGE_CONFIG, else bridge.toml in `working_folder`; none
    is fine. `flags` are dotted keys and values, None for one not given. Without `need_secrets` a secret that
    is not found is None: `map` sends nothing. Raises SettingsError with file, line and key, never the value.
    """
    working_folder = working_folder or Path()
    file = config_file(config, environ, working_folder)
    tree, lines = _read(file)
    origins = {path: f"{file}:{line_of(lines, path)}" for path in _leaves(tree)}
    for path, value, origin in _given_besides(environ, flags or {}, set(origins)):
        here = path in PATHS and "://" not in str(value)
        _give(tree, origins, path, str((working_folder / str(value)).absolute()) if here else value, origin)
    around = Surroundings(file.parent if file else working_folder, environ, need_secrets)
    return Loaded(_checked(tree, around, Given(file, lines, origins)), origins)


def _given_besides(
    environ: Mapping[str, str], flags: Mapping[str, object], in_file: set[KeyPath]
) -> Iterator[tuple[KeyPath, object, str]]:
    """What environment and flags set, the stronger later."""
    for name, path in FALLBACKS.items():
        if environ.get(name) and path not in in_file:
            yield path, environ[name], f"environment {name}"
    for name, path in VARIABLES.items():
        if environ.get(name):
            yield path, environ[name], f"environment {name}"
    for dotted, value in flags.items():
        if value is not None:
            yield tuple(dotted.split(".")), value, "command line"


def config_file(config: Path | None, environ: Mapping[str, str], working_folder: Path) -> Path | None:
    """The file of settings, None where there is none. Raises SettingsError for a named one that is not."""
    named = config or (Path(environ[CONFIG_VARIABLE]) if environ.get(CONFIG_VARIABLE) else None)
    if named is None:
        usual = working_folder / CONFIG_FILE
        return usual if usual.is_file() else None
    if not named.is_file():
        by = "--config" if config else CONFIG_VARIABLE
        raise SettingsError(f"{named}: there is no such file ({by} names it)", code="settings-missing")
    return named


def _read(file: Path | None) -> tuple[dict[str, Any], dict[KeyPath, int]]:
    if file is None:
        return {}, {}
    try:
        text = file.read_text(encoding="utf-8-sig")
        return tomllib.loads(text), key_lines(text)
    except OSError as error:
        raise SettingsError(f"{file}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{file}: not UTF-8 (byte {error.start})") from None
    except tomllib.TOMLDecodeError as error:
        raise not_toml(file, error) from None


def _leaves(tree: Mapping[str, Any], above: KeyPath = ()) -> Iterator[KeyPath]:
    """Every key in a tree, the tables too."""
    for key, value in tree.items():
        yield (*above, key)
        if isinstance(value, dict):
            yield from _leaves(value, (*above, key))


def _give(
    tree: dict[str, Any], origins: dict[KeyPath, str], path: KeyPath, value: object, origin: str
) -> None:
    for key in path[:-1]:
        inner = tree.setdefault(key, {})
        if not isinstance(inner, dict):
            return  # the file has a value where a table belongs; checking the whole says so
        tree = inner
    tree[path[-1]] = value
    origins[path] = origin


def _checked(tree: dict[str, Any], around: Surroundings, given: Given) -> Settings:
    if "folder" in tree:
        raise SettingsError(f"{given.origin(('folder',))}: folder: there is no such setting")
    try:
        return Settings.model_validate({**tree, "folder": around.folder}, context=around)
    except ValidationError as error:
        details = error.errors(include_input=False, include_url=False)
        raise SettingsError(told(details, given), code="settings-invalid") from None
