"""`fhir-bridge config`: the settings in force, and where each was given."""

from __future__ import annotations

import json
from dataclasses import asdict

import click
from rich.console import Console
from rich.table import Table

from fhir_bridge.app.rules import loaded_settings
from fhir_bridge.cli.options import json_option
from fhir_bridge.settings import effective


@click.group()
def config() -> None:
    """Look at the settings in force."""


@config.command()
@json_option
@click.option("--all", "everything", is_flag=True, help="Show settings that were left at their defaults too.")
@click.pass_obj
def show(config_file: str | None, as_json: bool, everything: bool) -> None:
    """Show each setting, its value and where it was given; secrets as ***.

    A flag beats the environment, the environment beats the file.
    """
    rows = effective(loaded_settings(config_file, secrets=False))
    if as_json:
        click.echo(json.dumps([asdict(row) for row in rows], indent=2))
        return
    shown = [row for row in rows if everything or row.origin != "default"]
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for column in ("setting", "value", "given by"):
        table.add_column(column, overflow="fold")
    for row in shown:
        table.add_row(row.key, row.value if row.value is not None else "-", row.origin)
    Console(highlight=False).print(table)
    for row in shown:
        if row.value is None:
            click.echo(
                f"{row.origin}: {row.key}: the secret is not there; what needs it will not start", err=True
            )
    if len(shown) < len(rows):
        click.echo(f"{len(rows) - len(shown)} more are at their defaults: --all shows them", err=True)
