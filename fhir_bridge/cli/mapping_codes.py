"""`fhir-bridge mappings unmapped` and `import`: codes without a word, and words a site already has."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fhir_bridge.app.rules import loaded_settings, mapping_run, profile_of
from fhir_bridge.cli import screen
from fhir_bridge.cli.options import (
    PathOrAddress,
    Setting,
    mapping_options,
    now_option,
    processes_option,
    work_option,
)
from fhir_bridge.cli.stopping import stopped_at_once
from fhir_bridge.errors import UsageError
from fhir_bridge.mapping_run import MappingRun

if TYPE_CHECKING:
    from fhir_bridge.migration.run import Report

MOST_TOLD = 20
"""Parts that could not be read of which each is told."""

FOLDER = "concept-maps"


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("--map", "map_name", metavar="NAME", help="Only this map, as a ConceptMap by itself.")
@processes_option
@work_option
@partial(mapping_options, context_type=PathOrAddress())
@now_option
@click.pass_obj
def unmapped(
    config_file: str | None,
    paths: tuple[str, ...],
    map_name: str | None,
    processes: int | None,
    work: Path | None,
    source: str | None,
    overrides: tuple[tuple[str, str], ...],
    context: tuple[str, ...],
    now: datetime | None,
) -> int:
    """List the codes that no map has a word or class for.

    Prints ConceptMaps to fill in, the commonest codes first, as a Bundle; how many there are goes to standard
    error. Give a target its code and display, and another equivalence than unmatched, then put the file into
    concept-maps beside the site's layer: `fhir-bridge mappings import` checks it and does so. A PATH is what
    it is for `migrate`, an export of any size, packed or not; nothing is kept or sent.

    \b
    fhir-bridge mappings unmapped export/ > words.json
    fhir-bridge mappings unmapped export/ --map specialty
    """
    from fhir_bridge.mapping.terminology import Missed
    from fhir_bridge.profiles.unmapped import skeletons

    if "-" in paths:
        raise click.UsageError("standard input can be read only once: write it into a file, and name that")
    run = mapping_run(config_file, source, dict(overrides), now)
    with stopped_at_once("stopped; nothing was kept"):
        report = _decided(run, paths, context, processes, work)
    counts = {Missed(*key.split("\t")): count for key, count in report.tally.unmapped.items()}
    displays = {Missed(*key.split("\t")): display for key, display in report.tally.displays.items()}
    found = [each for each in skeletons(counts, displays) if map_name in (None, each["id"])]
    _tell_errors(report)
    for each in found:
        codes = sum(len(group["element"]) for group in each["group"])
        click.echo(f"{each['id']}: {screen.counted(codes, 'code')}", err=True)
    if not found:
        click.echo("no code without a word or class", err=True)
    else:
        click.echo(json.dumps(found[0] if map_name else _bundle(found), indent=2, ensure_ascii=False))
    return 4 if report.nothing_readable else 1 if report.errors else 0


def _decided(
    run: MappingRun, paths: Sequence[str], context: Sequence[str], processes: int | None, work: Path | None
) -> Report:
    """What a migration of these would count; it holds no more of them in memory than that."""
    from fhir_bridge.cli.migrate_progress import Bars
    from fhir_bridge.intake.bulk import scratch
    from fhir_bridge.intake.bulk.pieces import find
    from fhir_bridge.intake.bulk.workers import cores
    from fhir_bridge.migration.engine import ThisMachine
    from fhir_bridge.migration.run import Migration

    found = find(paths, context)
    name = scratch.fingerprint(
        [version("fhir-bridge"), "unmapped", *found.pieces, run.profile.systems.aliases]
    )
    with scratch.folder(work, name) as folder, Bars() as bars:
        engine = ThisMachine(folder, processes or cores())
        return Migration(run, found, engine, bars, samples=0).decide()


def _tell_errors(report: Report) -> None:
    from fhir_bridge.migration.run import in_order

    for error in in_order(report.errors)[:MOST_TOLD]:
        line = f":{error['line']}" if error["line"] else ""
        click.echo(f"unreadable: {error['file']}{line}: {error['reason']}", err=True)
    if (more := len(report.errors) - MOST_TOLD) > 0:
        click.echo(f"and {more:,} more: `fhir-bridge migrate` lists them all", err=True)


def _bundle(resources: list[dict[str, Any]]) -> dict[str, Any]:
    entries = [{"resource": resource} for resource in resources]
    return {"resourceType": "Bundle", "type": "collection", "entry": entries}


@click.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--map", "map_name", metavar="NAME", help="Which map it is, where its id does not say so.")
@click.option("--to", "folder", type=click.Path(file_okay=False, path_type=Path),
              help="The folder to write to; else concept-maps beside the site's layer.")  # fmt: skip
@click.option("--source", metavar="NAME", help="The source in bridge.toml whose site it is.")
@click.option("--set", "overrides", type=Setting(), multiple=True,
              help="A setting for this run, for instance mappings=site.yaml. Repeatable.")  # fmt: skip
@click.option("--replace", "replacing", is_flag=True, help="Replace a map that is there already.")
@click.pass_obj
def import_maps(
    config_file: str | None,
    file: Path,
    map_name: str | None,
    folder: Path | None,
    source: str | None,
    overrides: tuple[tuple[str, str], ...],
    replacing: bool,
) -> int:
    """Take in ConceptMaps that the site already has.

    FILE is a ConceptMap or a Bundle of them, STU3, R4 or R5; * in a system stands for the part that carries a
    tenant. A row that leads to a standard code gets the word our own maps have for it. What would make a
    wrong word be said is refused, naming the element; rows that would say nothing are left out, and listed.

    \b
    fhir-bridge mappings import service-lines.json --map specialty --source harbour
    """
    from fhir_bridge.profiles.imported import imported

    chosen = loaded_settings(config_file, secrets=False).settings.source(source)
    profile = profile_of(chosen, dict(overrides))
    site = dict(overrides).get("mappings") or chosen.settings.mappings
    folder = folder or (Path(site).parent / FOLDER if site else None)
    if folder is None:
        raise UsageError(
            "no folder to write to", hint="give --to, or name the site's layer: mappings in bridge.toml"
        )
    maps = imported(file, map_name, profile.terms)
    there = [folder / f"{each.name}.json" for each in maps if (folder / f"{each.name}.json").exists()]
    if there and not replacing:
        raise UsageError(f"{there[0]} is there already", hint="--replace writes it anew; nothing was written")
    folder.mkdir(parents=True, exist_ok=True)
    for each in maps:
        _write(folder / f"{each.name}.json", each.text())
        rows = sum(map(len, each.groups.values()))
        click.echo(f"{folder / each.name}.json: {screen.counted(rows, 'code')}")
        for element, why in each.left_out:
            click.echo(f"left out: {file}: {element}: {why}", err=True)
    return 1 if any(each.left_out for each in maps) else 0


def _write(file: Path, text: str) -> None:
    partial = file.with_suffix(".tmp")
    partial.write_text(text, encoding="utf-8")
    partial.replace(file)
