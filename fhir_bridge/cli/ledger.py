"""`fhir-bridge ledger`: make its tables or bring them up to date, and check that it is whole."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click
import orjson
from rich.console import Console
from rich.table import Table

from fhir_bridge.app.ledgers import checked_ledger, ledger_of, ledger_url_of
from fhir_bridge.app.rules import loaded_settings
from fhir_bridge.cli.acting import act, because, on_ledger
from fhir_bridge.cli.options import Head, Instant, RowNumber, json_option, yes_option
from fhir_bridge.cli.screen import counted, tell_held
from fhir_bridge.errors import Category
from fhir_bridge.mapping.printed import instant

if TYPE_CHECKING:
    from fhir_bridge.ledger.operation.checking import Condition
    from fhir_bridge.ledger.records import AuditHead


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
@click.option("--head", type=Head(), metavar="NUMBER:CHAIN",
              help="The last audit-head of a worker's log: the ledger must know it.")  # fmt: skip
@click.option("--attempt", type=RowNumber(), metavar="NUMBER",
              help="The last last-attempt of a worker's log: the same.")  # fmt: skip
@json_option
@click.pass_obj
def check(config_file: str | None, head: AuditHead | None, attempt: int | None, as_json: bool) -> int:
    """Say whether the ledger is whole. Changes nothing.

    Its version, the endpoint it belongs to, tables and constraints, rows that belong to nothing, and the
    chain of the audit. With --head and --attempt, from the workers' logs, also whether it is older than
    these: a backup that was restored. Exit code 6 where something is wrong.
    """
    found = asyncio.run(checked_ledger(loaded_settings(config_file, secrets=False), head, attempt))
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
    broken = check_whole(paths)
    loaded = loaded_settings(config_file)

    async def take() -> int:
        async with ledger_of(loaded) as opened:
            with Bars() as bars:
                loading = Loading(opened, bars)
                await loading.files(paths, broken)
        return loading.accepted

    try:
        accepted = asyncio.run(take())
    except KeyboardInterrupt:
        click.echo("stopped: what was taken in stays, the same command brings in the rest", err=True)
        raise
    tell_held(len(broken))
    if as_json:
        click.echo(orjson.dumps({"accepted": accepted}).decode())
    else:
        click.echo(f"accepted {counted(accepted, 'decision')}")


@ledger.command()
@click.option("--as-of", "as_of", required=True, type=Instant(), metavar="INSTANT",
              help="When the backup was made, with its zone.")  # fmt: skip
@because
@yes_option("All is paused, and who waits is called only after somebody says so. Go on?")
@click.pass_obj
def restored(config_file: str | None, as_of: datetime, because: str) -> None:
    """Say that this ledger was restored from a backup: it calls nobody again.

    It has forgotten the calls that were made since. So everything is paused, and all that waits becomes
    in doubt, until somebody compared it with the vendor's tasks. Run it first of all, then start the
    services, let come in again what came since the backup, and run it once more; docs/operating.md has all
    steps. PostgreSQL after a failover that lost commits: the same.

    \b
    fhir-bridge ledger restored --as-of 2026-11-20T02:00:00Z --because "disk of the server broken"
    """
    if as_of > datetime.now(UTC):
        raise click.BadParameter("no backup was made after now", param_hint="--as-of")
    count = on_ledger(config_file, lambda opened: opened.restored(as_of, act(because)), is_restored=True)
    click.echo(f"everything is paused; {counted(count, 'intent')} that waited now in doubt")
    click.echo(
        f"  → ask the vendor for the tasks created since {instant(as_of)}; then `resolve INTENT --sent "
        "TASK_ID`, and\n    for those without a task `resolve --reason restored --resend`; `resume` last",
        err=True,
    )


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
    if found.damaged:
        click.echo("  → keep a copy of it as it is, then restore the last one that was whole", err=True)
    if not found.problems:
        console.print("all well")
