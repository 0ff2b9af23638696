"""The stories of the made-up hospital, as the demonstration plays them: one folder each in fixtures/."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from fhir_bridge import shipped
from fhir_bridge.app import MappingRun
from fhir_bridge.intake.files import Inputs


@dataclass(frozen=True, slots=True)
class Story:
    """One story: what comes in and under which settings. `name` is its folder's, and its source's."""

    folder: Path
    title: str
    overrides: dict[str, str] = field(default_factory=dict)
    do_not_call: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """The folder's name: each story is a hospital system of its own, for the stories share ids."""
        return self.folder.name

    def read(self, run: MappingRun) -> Inputs:
        """Its files and what is at hand besides."""
        context = [folder for folder in (self.folder / "context",) if folder.is_dir()]
        return run.read([str(self.folder / "input")], context)


def stories() -> Iterator[Story]:
    """Every story that ships with the bridge, in their order."""
    for folder in sorted(Path(str(shipped.fixtures())).iterdir()):
        if (folder / "story.toml").is_file():
            told = tomllib.loads((folder / "story.toml").read_text(encoding="utf-8"))
            overrides = {name: str(value) for name, value in told["set"].items()}
            yield Story(folder, told["title"], overrides, frozenset(told.get("do_not_call", ())))
