"""The stories of fixtures/, found by globbing: every test that asks for `story` runs once for each."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

FIXTURES = Path(__file__).parents[2] / "fixtures"


@dataclass(frozen=True, slots=True)
class Story:
    """One folder of fixtures/: what comes in, under which settings, and what the specification demands."""

    folder: Path
    told: dict[str, Any]
    expected: list[dict[str, Any]]

    @property
    def inputs(self) -> list[Path]:
        """The input files, by name."""
        return sorted((self.folder / "input").iterdir())

    @property
    def context(self) -> list[Path]:
        """The files that are at hand besides, by name; most stories have none."""
        folder = self.folder / "context"
        return sorted(folder.iterdir()) if folder.is_dir() else []

    def arguments(self) -> list[str]:
        """The command line that maps this story and prints its decisions."""
        arguments = ["map", *map(str, self.inputs), "--format", "decisions", "--now", self.told["now"]]
        if self.told["source"] != "default":
            arguments += ["--source", self.told["source"]]
        if self.context:
            arguments += ["--context", str(self.folder / "context")]
        for key, value in self.told["set"].items():
            arguments += ["--set", f"{key}={value}"]
        return arguments


def read_story(folder: Path) -> Story:
    """The story of one folder. Raises OSError or ValueError where it is not whole."""
    told = tomllib.loads((folder / "story.toml").read_text(encoding="utf-8"))
    if "mappings" in told:
        told["set"]["mappings"] = str(folder / told["mappings"])
    expected = json.loads((folder / "expected" / "decisions.json").read_text(encoding="utf-8"))
    return Story(folder, told, expected)


def number(folder: Path) -> tuple[int, str]:
    """What stories are ordered by: the number their folder's name begins with."""
    return int(folder.name.partition("-")[0]), folder.name


FOLDERS = sorted((path.parent for path in FIXTURES.glob("*/story.toml")), key=number)
STORIES = [read_story(folder) for folder in FOLDERS]


@pytest.fixture(scope="session")
def stories() -> list[Story]:
    """All stories, in their order."""
    return STORIES


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Runs a test that takes a `story` once for each of them, named by its folder."""
    if "story" in metafunc.fixturenames:
        metafunc.parametrize("story", STORIES, ids=[story.folder.name for story in STORIES])
