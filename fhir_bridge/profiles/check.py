"""A merged tree of layers is made rules, or refused with the file, line and key that are wrong."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from fhir_bridge.errors import MappingsError, SettingsError
from fhir_bridge.mapping.rules import Rules
from fhir_bridge.profiles.layers import Layer
from fhir_bridge.spelling import did_you_mean


def rules_of(tree: dict[str, Any], origins: Mapping[str, Layer]) -> Rules:
    """The merged tree as rules. Raises MappingsError with file, line and key, SettingsError for `--set`."""
    try:
        return msgspec.convert(tree, Rules)
    except msgspec.ValidationError as error:
        raise _located(str(error), tree, origins) from None


def _located(text: str, tree: dict[str, Any], origins: Mapping[str, Layer]) -> MappingsError | SettingsError:
    """What msgspec says ("Expected `int`, got `str` - at `$.people.age_of_majority`"), with file and line."""
    problem, _, where = text.partition(" - at `$")
    path = tuple(re.findall(r"\.(\w+)", where.partition("[")[0]))
    if match := re.search(r"unknown field `(.+)`", problem):
        path = (*path, match[1])
        problem = f"there is no such key{did_you_mean(match[1], _fields(path[:-1]))}"
    key = ".".join(path)
    layer = next(
        (layer for known, layer in reversed(list(origins.items())) if f"{known}.".startswith(f"{key}.")), None
    )
    layer = layer or next(iter(origins.values()))
    return layer.error(path, problem)


def _fields(path: tuple[str, ...]) -> list[str]:
    """The keys a section has."""
    kind: Any = Rules
    for key in path:
        kind = next((field.type for field in msgspec.structs.fields(kind) if field.name == key), None)
        if not (isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
            return []
    return [field.name for field in msgspec.structs.fields(kind)]
