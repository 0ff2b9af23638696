"""`fhir-bridge mappings unmapped` and `import`: codes without a word, and words a site already has."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from fhir_bridge.app.rules import loaded_settings, mapping_run, profile_of
from fhir_bridge.cli import screen
from fhir_bridge.cli.options import Setting, files_argument, mapping_options, now_option
from fhir_bridge.errors import UsageError

FOLDER = "concept-maps"


@click.command()
@files_argument
@click.option("--map", "map_name", metavar="NAME", help="Only this map, as a ConceptMap by itself.")
@mapping_options
@now_option
@click.pass_obj
def unmapped(
    config_file: str | None,
    files: tuple[str, ...],
    map_name: str | None,
    source: str | None,
    overrides: tuple[tuple[str, str], ...],
    context: tuple[Path, ...],
    now: datetime | None,
) -> int:
    """List the codes that no map has a word or class for.

    Prints ConceptMaps to fill in, the commonest codes first, as a Bundle; how many there are goes to standard
    error. Give a target its code and display, and another equivalence than unmatched, then put the file into
    concept-maps beside the site's layer: `fhir-bridge mappings import` checks it and does so. What is read is
    held in memory, as for `map`: of a large export name a part, unpacked.

    \b
    fhir-bridge mappings unmapped export/ > words.json
    fhir-bridge mappings unmapped export/ --map specialty
    """
    from fhir_bridge.profiles.unmapped import Listening, skeletons

    run = mapping_run(config_file, source, dict(overrides), now)
    heard = Listening(run.profile.terms.load, run.profile.terms.aliases)
    run = replace(run, profile=replace(run.profile, terms=heard))
    inputs = run.read(files, context)
    for _ in run.decisions(inputs):
        heard.next_trigger()
    found = [each for each in skeletons(heard) if map_name in (None, each["id"])]
    screen.tell_problems(inputs.problems)
    for each in found:
        codes = sum(len(group["element"]) for group in each["group"])
        click.echo(f"{each['id']}: {screen.counted(codes, 'code')}", err=True)
    if not found:
        click.echo("no code without a word or class", err=True)
    else:
        click.echo(json.dumps(found[0] if map_name else _bundle(found), indent=2, ensure_ascii=False))
    return 4 if inputs.nothing_readable else 1 if inputs.problems else 0


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
