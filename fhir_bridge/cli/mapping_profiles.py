"""`fhir-bridge mappings new`, `show` and `diff`: a site's layer begun, and the rules in force."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from fhir_bridge import shipped
from fhir_bridge.app.rules import loaded_settings, profile_of
from fhir_bridge.cli.options import Setting, json_option
from fhir_bridge.errors import UsageError
from fhir_bridge.mapping.profile import Profile
from fhir_bridge.profiles.effective import Effective, differences, effective
from fhir_bridge.settings import Settings
from fhir_bridge.spelling import did_you_mean


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def new(file: Path) -> None:
    """Write a site's layer to begin with, every key explained.

    All of it is commented out: take away the # at the beginning of the lines you need. A file that is there
    is left as it is.
    """
    try:
        with file.open("x", encoding="utf-8") as written:
            written.write(new_site())
    except FileExistsError:
        raise UsageError(f"{file} is there already", hint="give another name; nothing was written") from None
    except OSError as error:
        raise UsageError(f"{file} cannot be written: {error.strerror}") from error
    click.echo(f"{file}: written; name it in bridge.toml:")
    click.echo(f'    [sources.NAME]\n    mappings = "{file}"')


def new_site() -> str:
    """A site's layer with nothing in force: what a site writes most, then every key of base.yaml.

    A line that begins with # is a key that is left at its value, one that has blanks first is a comment.
    """
    root = shipped.mappings()
    base = (root / "base.yaml").read_text(encoding="utf-8").split("\n\n", 1)[1]
    left_as_they_are = (
        line if line.lstrip().startswith("#") or not line else f"#{line}" for line in base.splitlines()
    )
    return (root / "new-site.yaml").read_text(encoding="utf-8") + "\n".join(left_as_they_are) + "\n"


@click.command()
@click.argument("key", required=False)
@click.option("--source", metavar="NAME", help="The source in bridge.toml whose rules are shown.")
@click.option("--set", "overrides", type=Setting(), multiple=True,
              help="A setting for this run, for instance jurisdiction=GB. Repeatable.")  # fmt: skip
@json_option
@click.pass_obj
def show(
    config_file: str | None,
    key: str | None,
    source: str | None,
    overrides: tuple[tuple[str, str], ...],
    as_json: bool,
) -> None:
    """Show the rules in force, each with the layer that gave it.

    KEY is a key or a section: triggers.max_age_days, context.

    \b
    fhir-bridge mappings show context
    fhir-bridge mappings show --set jurisdiction=GB --set vendor=epic --json
    """
    settings = loaded_settings(config_file, secrets=False).settings
    rows = effective(profile_of(settings.source(source), dict(overrides)))
    wanted = [row for row in rows if key is None or f"{row.key}.".startswith(f"{key}.")]
    if not wanted:
        known = {row.key for row in rows} | {row.key.partition(".")[0] for row in rows}
        raise UsageError(f"there is no key {key}{did_you_mean(key or '', known)}")
    if as_json:
        click.echo(json.dumps([asdict(row) for row in wanted], indent=2, ensure_ascii=False))
        return
    _print_table(("key", "value", "layer"), ((row.key, told(row.value), row.layer) for row in wanted))


@click.command()
@click.argument("one", metavar="A")
@click.argument("other", metavar="B")
@json_option
@click.pass_obj
def diff(config_file: str | None, one: str, other: str, as_json: bool) -> None:
    """Compare the rules of two profiles.

    A and B are each a source of bridge.toml, a country, a site's file, or settings as --set takes them,
    several with commas.

    \b
    fhir-bridge mappings diff US GB
    fhir-bridge mappings diff US vendor=epic
    fhir-bridge mappings diff harbour harbour,max_age=90d
    fhir-bridge mappings diff US site.yaml
    """
    settings = loaded_settings(config_file, secrets=False).settings
    found = differences(_named(one, settings), _named(other, settings))
    if as_json:
        rows = [{"key": (a or b).key, one: _data(a), other: _data(b)} for a, b in found]  # type: ignore[union-attr]
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
    elif found:
        _print_table(("key", one, other), (_row(a, b) for a, b in found))
    else:
        click.echo("no difference")


def _named(written: str, settings: Settings) -> Profile:
    """The profile that one side of `diff` names. Raises UsageError."""
    source, overrides = None, {}
    for part in written.split(","):
        key, equals, value = part.strip().partition("=")
        if equals:
            overrides[key] = value
        elif key in settings.sources or key == "default":
            source = key
        elif key.endswith((".yaml", ".yml")):
            overrides["mappings"] = key
        elif len(key) == 2 and key.isupper():
            overrides["jurisdiction"] = key
        else:
            raise UsageError(
                f"{key!r} is no source of bridge.toml, no country, no YAML file and no KEY=VALUE",
                hint="write it like US, vendor=epic, site.yaml or the name of a source",
            )
    known = settings if source in settings.sources else Settings()
    return profile_of(known.source(source if known is settings else None), overrides)


def _data(row: Effective | None) -> dict[str, Any] | None:
    return None if row is None else {"value": row.value, "layer": row.layer}


def _row(one: Effective | None, other: Effective | None) -> tuple[str, str, str]:
    key = (one or other).key  # type: ignore[union-attr]
    lists = [row.value for row in (one, other) if row and isinstance(row.value, list)]
    if one is None or other is None or len(lists) < 2:
        return key, _told_with_layer(one), _told_with_layer(other)
    return key, _only(one, other.value), _only(other, one.value)


def _only(row: Effective, others: Sequence[Any]) -> str:
    """What stands in this list alone; all of it where only the order differs."""
    alone = [each for each in row.value if each not in others]
    if not alone and any(each not in row.value for each in others):
        return f"…  [{row.layer}]"
    shown = f"… {told(alone)}" if alone and len(alone) < len(row.value) else told(row.value)
    return f"{shown}  [{row.layer}]"


def _told_with_layer(row: Effective | None) -> str:
    return "-" if row is None else f"{told(row.value)}  [{row.layer}]"


def told(value: Any) -> str:
    """A value as YAML has it, in one line."""
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)


def _print_table(columns: Iterable[str], rows: Iterable[tuple[str, ...]]) -> None:
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column == "key")
    for row in rows:
        table.add_row(*map(Text, row))
    Console(highlight=False).print(table)
