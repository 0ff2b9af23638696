"""`fhir-bridge patients`: which patient of a source is which at the task API, from and to CSV files."""

from __future__ import annotations

import asyncio
import csv
from datetime import UTC, datetime
from uuid import UUID

import click

from fhir_bridge.app.ledgers import ledger_of
from fhir_bridge.app.rules import loaded_settings
from fhir_bridge.cli.acting import act, because
from fhir_bridge.cli.csv_rows import Row, read_rows
from fhir_bridge.cli.screen import counted
from fhir_bridge.cli.whole_file import whole_file
from fhir_bridge.errors import UsageError
from fhir_bridge.ledger.records import CrosswalkEntry, Imported
from fhir_bridge.settings import Settings

COLUMNS = ("source", "identity", "patient_id")


@click.group()
def patients() -> None:
    """Take over or hand on who is who at the task API.

    A CSV file with the columns source (as in bridge.toml), identity (as the work list and `show` have it, for
    instance Patient/p1) and patient_id (the task API's, a UUID).
    """


@patients.command("import")
@click.argument("file")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@because
@click.pass_obj
def import_(config_file: str | None, file: str, dry_run: bool, because: str) -> int:
    """Take over patients who are known at the task API already: none of them is created again.

    Somebody the ledger knows under another id is a conflict: named by line, and left as they are. What waited
    for a patient in doubt or refused is ready again.

    Exit code 1 where a line was a conflict or could not be read.
    """
    loaded = loaded_settings(config_file, secrets=False)
    entries, problems = [], {}
    for row in read_rows(file, COLUMNS):
        try:
            entries.append(_entry(row, loaded.settings))
        except UsageError as error:
            problems[row.line] = str(error)

    async def take() -> Imported:
        async with ledger_of(loaded) as ledger:
            if dry_run:
                return await ledger.check_patients(entries, datetime.now(UTC))
            return await ledger.import_patients(entries, act(because))

    done = asyncio.run(take())
    for line, problem in sorted({**problems, **done.conflicts}.items()):
        click.echo(f"{file}:{line}: {problem}", err=True)
    would = " would be" if dry_run else ""
    click.echo(f"{counted(done.new, 'patient')}{would} new, {done.known} known already")
    if done.brought_back:
        click.echo(f"{counted(done.brought_back, 'intent')} of theirs to be sent")
    return 1 if problems or done.conflicts else 0


def _entry(row: Row, settings: Settings) -> CrosswalkEntry:
    """Raises UsageError that says what is wrong with the line."""
    if not row["identity"]:
        raise UsageError("no identity")
    try:
        patient_id = str(UUID(row["patient_id"]))
    except ValueError:
        raise UsageError("patient_id is not a UUID") from None
    return CrosswalkEntry(settings.source(row["source"]).name, row["identity"], patient_id, row.line)


@patients.command()
@click.argument("file")
@because
@click.pass_obj
def export(config_file: str | None, file: str, because: str) -> int:
    """Write every patient who is known at the task API to a CSV file, or - for standard output.

    The file is there whole or not at all, and only its owner may read it.
    """

    async def read() -> list[CrosswalkEntry]:
        async with ledger_of(loaded_settings(config_file, secrets=False)) as ledger:
            return await ledger.export_patients(act(because))

    entries = asyncio.run(read())
    with whole_file(file) as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows((entry.source, entry.identity, entry.patient_id) for entry in entries)
    click.echo(f"{counted(len(entries), 'patient')} written", err=True)
    return 0
