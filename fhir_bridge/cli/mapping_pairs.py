"""`fhir-bridge mappings test`: a site's own examples, what comes in and what must come of it."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from fhir_bridge.app.rules import loaded_settings, run_with
from fhir_bridge.cli import screen
from fhir_bridge.cli.options import Setting, now_option
from fhir_bridge.cli.stories import EXPECTED, Story, story_in
from fhir_bridge.errors import MappingsError, UsageError
from fhir_bridge.mapping.gates import Blocked
from fhir_bridge.mapping.printed import decision_data
from fhir_bridge.mapping_run import MappingRun
from fhir_bridge.settings import Loaded

Json = dict[str, Any]


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--source", metavar="NAME", help="The source in bridge.toml whose rules are tried.")
@click.option("--set", "overrides", type=Setting(), multiple=True,
              help="A setting for this run, for instance mappings=site.yaml. Repeatable.")  # fmt: skip
@now_option
@click.option("--update", is_flag=True, help="Write what was found as what is expected, after showing it.")
@click.pass_obj
def test(
    config_file: str | None,
    folder: Path,
    source: str | None,
    overrides: tuple[tuple[str, str], ...],
    now: datetime | None,
    update: bool,
) -> int:
    """Run a site's own examples, and show what differs.

    FOLDER is an example or a folder of them. Each holds input/ (FHIR files), expected/decisions.json, and, if
    need be, context/ and story.toml with its clock and settings: now, set, mappings, do_not_call. Patients in
    it must be made up: an example is kept for years.

    \b
    fhir-bridge mappings test examples --source harbour --now 2026-11-23T10:00:00-05:00
    fhir-bridge mappings test examples --update
    """
    loaded = loaded_settings(config_file, secrets=False)
    examples = list(_examples(folder))
    if not examples:
        raise UsageError(f"{folder} holds no example: a folder with input/ in it")
    different = 0
    for example in examples:
        found = _decided(example, _run(example, loaded, source, dict(overrides), now))
        difference = _difference(_expected(example), found)
        if difference:
            different += 1
            click.echo(f"{example.folder}\n{difference}")
            if update:
                _write(example, found)
    same = len(examples) - different
    verb = "written" if update else "different"
    click.echo(
        f"{screen.counted(len(examples), 'example')}: {same} as expected, {different} {verb}", err=True
    )
    return 1 if different and not update else 0


def _examples(folder: Path) -> Iterator[Story]:
    """The folder itself, else every one in it. Raises MappingsError where a story.toml is wrong."""
    folders = [folder] if (folder / "input").is_dir() else sorted(folder.iterdir())
    for each in folders:
        if (each / "input").is_dir():
            yield story_in(each)


def _run(
    example: Story, loaded: Loaded, source: str | None, overrides: dict[str, str], now: datetime | None
) -> MappingRun:
    """The example's own settings, those of the command line above them."""
    clock = now or example.now
    if clock is None:
        raise UsageError(f"{example.folder}: no clock", hint='add now = "…" to its story.toml, or give --now')
    return run_with(loaded, source, {**example.overrides, **overrides}, clock)


def _decided(example: Story, run: MappingRun) -> list[Json]:
    """The decisions in the form of expected/decisions.json: for a call its request and patient too."""
    inputs = example.read(run)
    screen.tell_problems(inputs.problems)
    decisions = (decision_data(each) for each in run.decide(inputs, Blocked(numbers=example.do_not_call)))
    keys = ("trigger", "decision", "reason")
    return [
        {key: data[key] for key in (*keys, *(("request", "patient") if data["request"] else ()))}
        for data in decisions
    ]


def _expected(example: Story) -> list[Json]:
    """What is expected; nothing yet where there is no file. Raises MappingsError for what is no list."""
    file = example.folder / EXPECTED
    if not file.is_file():
        return []
    try:
        expected = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise MappingsError(f"{file}: not JSON: {error}") from error
    if not isinstance(expected, list):
        raise MappingsError(f"{file}: a list of decisions is expected here")
    return expected


def _difference(expected: list[Json], found: list[Json]) -> str:
    """A diff for people; empty where both say the same."""
    if expected == found:
        return ""
    old, new = (json.dumps(each, indent=2, ensure_ascii=False, sort_keys=True) for each in (expected, found))
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), "expected", "found", lineterm="", n=4)
    return "\n".join(lines)


def _write(example: Story, found: list[Json]) -> None:
    file = example.folder / EXPECTED
    file.parent.mkdir(exist_ok=True)
    partial = file.with_suffix(".tmp")
    partial.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.replace(file)
    click.echo(f"{file}: written")
