"""`fhir-bridge ledger`: make its tables or bring them up to date, and check that it is whole."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click
import orjson
from rich.console import Console
from rich.table import Table

from fhir_bridge.app.ledgers import checked_ledger, ledger_of, ledger_url_of
from fhir_bridge.app.rules import loaded_settings
from fhir_bridge.cli.options import json_option
from fhir_bridge.cli.screen import counted
from fhir_bridge.cli.settle import act, because
from fhir_bridge.errors import Category

if TYPE_CHECKING:
    from fhir_bridge.ledger.operation.checking import Condition


@click.group()
def ledger() -> None:
    """Make the ledger's tables, upgrade them, check that all is there."""


@ledger.command()
@click.pass_obj
def upgrade(config_file: str | None) -> None:
    """Make the ledger's tables, or bring them to this release's.

    For a ledger on PostgreSQL: before its first use, and after each upgrade of fhir-bridge. A SQLite ledger
    is brought up to date by itself. All is changed or nothing; back it up first, for there is no way back.
    """
    from fhir_bridge.ledger.database.upgrade import upgrade as upgraded

    before, after = upgraded(ledger_url_of(loaded_settings(config_file, secrets=False)))
    if before == after:
        click.echo(f"the ledger has schema {after} already")
    else:
        click.echo(f"the ledger has schema {after} now" + (f"; it had {before}" if before else ""))


@ledger.command()
@json_option
@click.pass_obj
def check(config_file: str | None, as_json: bool) -> int:
    """Say whether the ledger is whole. Changes nothing.

    Its version, the endpoint it belongs to, tables and constraints, rows that belong to nothing, and the
    chain of the audit. Exit code 6 where something is wrong.
    """
    found = asyncio.run(checked_ledger(loaded_settings(config_file, secrets=False)))
    if as_json:
        click.echo(orjson.dumps(asdict(found), option=orjson.OPT_INDENT_2).decode())
    else:
        _print(found, Console(highlight=False))
    return Category.LEDGER.value.exit_code if found.problems else 0


@ledger.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path(path_type=Path))
@json_option
@click.pass_obj
def load(config_file: str | None, files: tuple[Path, ...], as_json: bool) -> None:
    """Take decisions that were made on other machines into the ledger.

    A FILE is what `migrate --out FILE --format arrivals` wrote there, or a folder of part files that Spark
    left. Sends nothing: `fhir-bridge worker` does. Interrupted or run again, what is in the ledger already is
    not done twice. Files of which lines are missing are refused before anything is taken in: where they were
    split, name all parts in one command.

    \b
    fhir-bridge ledger load part-*.ndjson
    """
    from fhir_bridge.cli.migrate_progress import Bars
    from fhir_bridge.migration.loading import Loading, check_whole, record_files

    paths = [file for path in files for file in record_files(path)]
    check_whole(paths)
    loaded = loaded_settings(config_file)

    async def take() -> int:
        async with ledger_of(loaded) as opened:
            with Bars() as bars:
                loading = Loading(opened, bars)
                await loading.files(paths)
        return loading.accepted

    try:
        accepted = asyncio.run(take())
    except KeyboardInterrupt:
        click.echo("stopped: what was taken in stays, the same command brings in the rest", err=True)
        raise
    if as_json:
        click.echo(orjson.dumps({"accepted": accepted}).decode())
    else:
        click.echo(f"accepted {counted(accepted, 'decision')}")


@ledger.command()
@because
@click.pass_obj
def reencrypt(config_file: str | None, because: str) -> int:
    """Encrypt all that names patients with the ledger's encryption_key.

    For a ledger that was begun in the clear, or under a key that is among old_encryption_keys now; after it
    that one is needed no more. Workers may go on meanwhile, but each must have the new key first. Interrupted
    or run again, it goes on where it was.

    Exit code 1 where something is not under the key afterwards.
    """
    from fhir_bridge.cli.migrate_progress import Bars

    async def run() -> tuple[int, int]:
        async with ledger_of(loaded_settings(config_file, secrets=False)) as opened:
            with Bars() as bars:

                def advance(rows: int) -> None:
                    bars.advance(rows)
                    bars.tick()

                done = await opened.reencrypt(act(because), partial(bars.begin, "encrypting"), advance)
            return done, await opened.not_under_key()

    done, left = asyncio.run(run())
    click.echo(f"encrypted {counted(done, 'row')}; {counted(left, 'row')} not under the key")
    if left:
        click.echo("  → a worker still writes without it: set it there, and run this again", err=True)
    return 1 if left else 0


def _print(found: Condition, console: Console) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    table.add_row("schema", found.revision or "none")
    if found.api_url:
        table.add_row("belongs to", f"{found.api_url}, project {found.project_id}")
    table.add_row("rows", ", ".join(f"{count} {name}" for name, count in found.rows.items() if count) or "-")
    table.add_row("intents", ", ".join(f"{count} {state}" for state, count in found.states.items()) or "-")
    table.add_row("audit", f"{found.acts} acts")
    console.print(table)
    for problem in found.problems:
        click.echo(f"wrong: {problem}", err=True)
    if found.problems:
        click.echo("  → keep a copy of it as it is, then restore the last one that was whole", err=True)
    else:
        console.print("all well")
