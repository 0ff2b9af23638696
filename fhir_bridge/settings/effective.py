"""The settings as they hold, for `config show`: key, value, where it came from; secrets as ***."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from pydantic import BaseModel, SecretStr

from fhir_bridge.settings.load import Loaded
from fhir_bridge.settings.toml_lines import KeyPath
from fhir_bridge.settings.values import duration_text, rate_text

HIDDEN = "***"


@dataclass(frozen=True, slots=True)
class Effective:
    """One setting: its dotted key, its value as a text (None: not set), and its origin or "default"."""

    key: str
    value: str | None
    origin: str


def effective(loaded: Loaded) -> list[Effective]:
    """Every setting there is, in the order of the manual."""
    return [
        Effective(".".join(path), _text(value), _origin(loaded, path))
        for path, value in _walk(loaded.settings, ())
    ]


def _walk(value: object, path: KeyPath) -> Iterator[tuple[KeyPath, object]]:
    if isinstance(value, BaseModel):
        for name, field in type(value).model_fields.items():
            if not field.exclude:
                yield from _walk(getattr(value, name), (*path, name))
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _walk(inner, (*path, key))
    else:
        yield path, value


def _text(value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, SecretStr):
        return HIDDEN
    if isinstance(value, timedelta):
        return duration_text(value)
    if isinstance(value, float):  # no setting but a rate is one
        return rate_text(value)
    if isinstance(value, tuple):
        return ", ".join(str(item) for item in value)
    return str(value)


def _origin(loaded: Loaded, path: KeyPath) -> str:
    """Where the key was given; a short name of a source's rule may stand in the source's own table."""
    if path[2:3] == ("rules",) and path not in loaded.origins:
        path = (*path[:2], *path[3:])
    return loaded.origins.get(path, "default")
