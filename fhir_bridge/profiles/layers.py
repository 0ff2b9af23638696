"""One YAML layer: read, and merged upon those below it (mapping, section 17)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from typing import Any

import yaml12

from fhir_bridge.errors import MappingsError, SettingsError

Tree = dict[str, Any]
KeyPath = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer's name ("base", "jurisdiction GB", "vendor epic", "site", "--set") and what stands in it.

    `file` is None for what settings and flags give.
    """

    name: str
    file: Traversable | None
    tree: Tree

    def error(self, path: KeyPath, problem: str) -> MappingsError | SettingsError:
        """An error that names the file, the key and its line; of a key not in the file, the nearest one's."""
        if self.file is None:
            return SettingsError(f"{self.name} {'.'.join(path)}: {problem}")
        from fhir_bridge.profiles.lines import line_of

        line = line_of(self.file.read_text(encoding="utf-8"), path)
        return MappingsError(f"{self.file}:{line}: {'.'.join(path) or 'the layer'}: {problem}")


def read_shipped(name: str, file: Traversable) -> Layer:
    """A layer that ships with the bridge.

    py-yaml12 reads YAML 1.2 in Rust: ruamel.yaml takes 100 ms to import and as much to read base.yaml.
    It lets a key stand twice; a test reads every shipped layer with ruamel.yaml, which does not.
    """
    try:
        tree = yaml12.parse_yaml(_text(file))
    except ValueError:
        return read_site(name, file)  # says where, or reads it
    return _layer(name, file, tree)


def read_site(name: str, file: Traversable) -> Layer:
    """A layer that a site wrote, read so that a key that stands twice is refused.

    Raises MappingsError with file and line.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        tree = YAML(typ="safe", pure=True).load(_text(file))
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "cannot be read"
        raise MappingsError(f"{file}{line}: not YAML 1.2: {problem}") from error
    return _layer(name, file, tree)


def _text(file: Traversable) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise MappingsError(f"{file}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise MappingsError(f"{file}: not UTF-8 (byte {error.start})") from error


def _layer(name: str, file: Traversable, tree: object) -> Layer:
    if tree is None:
        return Layer(name, file, {})
    if not isinstance(tree, dict):
        raise MappingsError(f"{file}:1: a layer is a mapping of sections, this is a {type(tree).__name__}")
    return Layer(name, file, tree)


def merge(layers: list[Layer]) -> tuple[Tree, dict[str, Layer]]:
    """The layers' trees as one, the later layer winning, and for each dotted key the layer that gave it.

    Mappings merge key by key, everything else replaces; `+key` adds to the list `key`, each item once, and
    `-key` takes items out of it, each of which must be there.
    The keys come in the order in which they were last set. Raises MappingsError.
    """
    tree: Tree = {}
    origins: dict[str, Layer] = {}
    for layer in layers:
        _merge(tree, layer.tree, layer, (), origins)
    return tree, origins


def _merge(
    below: Tree, above: Mapping[Any, Any], layer: Layer, path: KeyPath, origins: dict[str, Layer]
) -> None:
    for written, value in above.items():
        if not isinstance(written, str):
            raise layer.error((*path, str(written)), "a key is a text: put it in quotes")
        here = (*path, written.lstrip("+-"))
        key = here[-1]
        if written.startswith("+"):
            below[key] = _extended(below.get(key), value, layer, (*path, written))
        elif written.startswith("-"):
            below[key] = _shortened(below.get(key), value, layer, (*path, written))
        elif isinstance(value, dict):
            if not isinstance(below.get(key), dict):
                below[key] = {}
            _merge(below[key], value, layer, here, origins)
            if value:
                continue
        else:
            below[key] = value
        origins.pop(".".join(here), None)
        origins[".".join(here)] = layer


def _extended(below: object, more: object, layer: Layer, path: KeyPath) -> list[Any]:
    if not isinstance(below, list) or not isinstance(more, list):
        raise layer.error(path, "a plus extends a list by a list; here one of the two is none")
    return below + [item for item in more if item not in below]


def _shortened(below: object, less: object, layer: Layer, path: KeyPath) -> list[Any]:
    if not isinstance(below, list) or not isinstance(less, list):
        raise layer.error(path, "a minus takes a list out of a list; here one of the two is none")
    if strangers := [item for item in less if item not in below]:
        raise layer.error(path, f"{strangers[0]} is not in the list; there are {', '.join(map(str, below))}")
    return [item for item in below if item not in less]
