"""What is wrong with the settings, in one line each: where, which key, what. Never a value."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from fhir_bridge.errors import SettingsError
from fhir_bridge.profiles.overrides import RULE_NAMES
from fhir_bridge.settings.model import Settings
from fhir_bridge.settings.tables import SourceSettings
from fhir_bridge.settings.toml_lines import KeyPath, line_of
from fhir_bridge.spelling import did_you_mean


@dataclass(frozen=True, slots=True)
class Given:
    """The file that was read, the lines of its keys, and where each key was given."""

    file: Path | None
    lines: Mapping[KeyPath, int]
    origins: Mapping[KeyPath, str]

    def origin(self, path: KeyPath) -> str:
        """Where this key, or the nearest above it, was given."""
        for end in range(len(path), 0, -1):
            if path[:end] in self.origins:
                return self.origins[path[:end]]
        return f"{self.file}:{line_of(self.lines, path) or 1}" if self.file else "settings"


_BELONGS = {
    "model_type": "a table belongs here",
    "dict_type": "a table belongs here",
    "tuple_type": "a list belongs here, in square brackets",
    "string_type": "a text belongs here, in quotation marks",
    "int_type": "a whole number belongs here",
    "bool_type": "true or false belongs here, without quotation marks",
    "bool_parsing": "true or false belongs here, without quotation marks",
}
"""What TOML calls the kinds of value that pydantic names as Python does."""


def told(details: Iterable[ErrorDetails], given: Given) -> str:
    """One line for each thing pydantic found."""
    return "\n".join(dict.fromkeys(_problem(detail, given) for detail in details))


def not_toml(file: Path, error: tomllib.TOMLDecodeError) -> SettingsError:
    """tomllib's text without what it quotes: a stray key may be a secret."""
    problem = str(error)
    where = re.search(r"\(at line (\d+), column \d+\)", problem)
    line = f":{where[1]}" if where else ""
    said = re.sub(r"['\"].*['\"]", "…", re.sub(r" \(at .*\)$", "", problem))
    return SettingsError(f"{file}{line}: not TOML: {said}", code="settings-syntax")


def _problem(details: ErrorDetails, given: Given) -> str:
    """One line: where the setting was given, its key, what is wrong. Never its value."""
    path = tuple(str(part) for part in details["loc"])
    origin = given.origin(path)
    message = _BELONGS.get(details["type"]) or details["msg"].removeprefix("Value error, ")
    if details["type"] == "extra_forbidden":
        message = f"there is no such setting{did_you_mean(path[-1], _keys(path[:-1]))}"
    return f"{origin}: {'.'.join(path)}: {message}" if path else f"{origin}: {message}"


def _keys(path: KeyPath) -> list[str]:
    """The keys of the table at `path`."""
    if len(path) >= 2 and path[0] == "sources":
        model: type[BaseModel] = SourceSettings
        path = path[2:]
    else:
        model = Settings
    for key in path:
        model = table_of(model, key) or model
    own = [name for name in model.model_fields if name != "folder"]
    return [*own, *RULE_NAMES] if model is SourceSettings else own


def table_of(model: type[BaseModel], key: str) -> type[BaseModel] | None:
    """The model of the table under a key, None where the key holds no table."""
    annotation = model.model_fields[key].annotation if key in model.model_fields else None
    for kind in (annotation, *getattr(annotation, "__args__", ())):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None
