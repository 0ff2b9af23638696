"""Stories: what comes in, and under which settings; the made-up hospital's in fixtures/, or a site's own."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from fhir_bridge import shipped
from fhir_bridge.errors import MappingsError
from fhir_bridge.intake.files import Inputs
from fhir_bridge.mapping_run import MappingRun

SETTINGS = "story.toml"
EXPECTED = Path("expected", "decisions.json")


@dataclass(frozen=True, slots=True)
class Story:
    """One story: what comes in and under which settings. `name` is its folder's, and its source's.

    `now` is aware; None where the story does not say.
    """

    folder: Path
    title: str
    overrides: dict[str, str] = field(default_factory=dict)
    do_not_call: frozenset[str] = frozenset()
    now: datetime | None = None

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
        if (folder / SETTINGS).is_file():
            yield story_in(folder)


def story_in(folder: Path) -> Story:
    """The story of a folder; one without a story.toml is told by its name alone.

    `mappings` in it is a file of the site's rules, relative to the folder. Raises MappingsError for a file
    that is no TOML, or a clock that is none.
    """
    file = folder / SETTINGS
    if not file.is_file():
        return Story(folder, folder.name)
    try:
        told: dict[str, Any] = tomllib.loads(file.read_text(encoding="utf-8"))
        now = datetime.fromisoformat(told["now"]) if "now" in told else None
    except (ValueError, TypeError) as error:
        raise MappingsError(f"{file}: {error}") from error
    if now is not None and now.tzinfo is None:
        raise MappingsError(f"{file}: now: it has no zone; end it with Z or an offset such as -05:00")
    overrides = {name: str(value) for name, value in told.get("set", {}).items()}
    if "mappings" in told:
        overrides["mappings"] = str(folder / told["mappings"])
    do_not_call = frozenset(told.get("do_not_call", ()))
    return Story(folder, told.get("title", folder.name), overrides, do_not_call, now)
