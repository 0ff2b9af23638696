"""`fhir-bridge block`: whom nobody calls, whatever comes in."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from functools import partial
from typing import TypeVar

import click
from rich.console import Console
from rich.table import Table

from fhir_bridge.app.ledgers import ledger_of
from fhir_bridge.app.rules import loaded_settings
from fhir_bridge.cli.acting import act, because
from fhir_bridge.cli.csv_rows import Row, read_rows
from fhir_bridge.cli.look import json_text
from fhir_bridge.cli.options import json_option
from fhir_bridge.cli.screen import counted
from fhir_bridge.errors import UsageError
from fhir_bridge.ledger.store import SqlLedger
from fhir_bridge.mapping.phones import parse
from fhir_bridge.mapping.printed import instant
from fhir_bridge.settings import Settings

Answer = TypeVar("Answer")

SHOWN = 12
"""Characters of a number's hash that tell it from others."""

region_option = click.option(
    "--region",
    metavar="COUNTRY",
    help="The country whose way of writing numbers without + is meant, for instance US.",
)


@click.group()
def block() -> None:
    """Keep the list of numbers and patients that nobody calls.

    It is asked when a record is mapped and again before each attempt. Numbers are kept as hashes only: the
    list can be asked about a number, and shows none.
    """


@block.command()
@click.argument("whom")
@region_option
@because
@click.pass_obj
def add(config_file: str | None, whom: str, region: str | None, because: str) -> int:
    """Never call this number or patient again.

    WHOM is a number (+12125550100, or as it is written with --region), a patient as SOURCE/IDENTITY (for
    instance ehr/Patient/p1), or - to read either from standard input, so that no shell remembers it. What
    waits to be sent is skipped at once. What was sent goes on the work list: tell the vendor. A patient is
    not called under any identity that a record says is the same person, whichever of them is named here.

    \b
    fhir-bridge block add ehr/Patient/p1 --because "asked us not to call"
    fhir-bridge block add "(212) 555-0100" --region US --because "wrong number"
    """
    settings = loaded_settings(config_file, secrets=False).settings
    kind, value = _entry(_told(whom), region, settings)
    skipped = _on_ledger(config_file, lambda ledger: ledger.block(kind, value, act(because)))
    click.echo(f"this {kind} is not called any more; {counted(skipped, 'waiting intent')} skipped")
    click.echo("  → what was already sent, if anything, is on the `worklist`: tell the vendor", err=True)
    return 0


@block.command()
@click.argument("whom")
@region_option
@because
@click.pass_obj
def remove(config_file: str | None, whom: str, region: str | None, because: str) -> int:
    """Take a number or patient from the list.

    What only the list held back before it was sent is decided again now, under every identity of the same
    person. What was mapped meanwhile comes back when it comes in again.
    """
    settings = loaded_settings(config_file, secrets=False).settings
    kind, value = _entry(_told(whom), region, settings)
    count = _on_ledger(config_file, lambda ledger: ledger.unblock(kind, value, act(because)))
    if count is None:
        click.echo(f"this {kind} is not on the list", err=True)
        return 1
    click.echo(f"this {kind} may be called again; {counted(count, 'intent')} decided again")
    return 0


@block.command("list")
@json_option
@click.pass_obj
def list_(config_file: str | None, as_json: bool) -> None:
    """List who is not called, the newest first: patients by identity, numbers by the beginning of a hash."""
    entries = _on_ledger(config_file, lambda ledger: ledger.blocked())
    if as_json:
        click.echo(json_text([asdict(entry) for entry in entries]))
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for column in ("whom", "since", "by", "why"):
        table.add_column(column, overflow="fold")
    for entry in entries:
        number = f"number {entry.value[:SHOWN]}…"
        whom = number if entry.kind == "number" else entry.value.replace("|", "/", 1)
        same = f" (the same person as {entry.via.replace('|', '/', 1)})" if entry.via else ""
        table.add_row(whom + same, instant(entry.since), entry.by, entry.why)
    Console(highlight=False).print(table if entries else "nobody is blocked")


@block.command("import")
@click.argument("file")
@region_option
@click.option("--dry-run", is_flag=True, help="Say what would be added, and add nothing.")
@because
@click.pass_obj
def import_(config_file: str | None, file: str, region: str | None, dry_run: bool, because: str) -> int:
    """Add all numbers and patients of a CSV file.

    FILE has a header with the columns number, patient (SOURCE/IDENTITY) or both, a person on each line; - is
    standard input. A line that cannot be read is named and holds up no other. Doing it again changes nothing.

    Exit code 1 where a line could not be read: that person may still be called.
    """
    settings = loaded_settings(config_file, secrets=False).settings
    entries: dict[tuple[str, str], None] = {}
    unreadable = 0
    for row in read_rows(file, (), ("number", "patient")):
        found, problems = _entries(row, region, settings)
        entries |= dict.fromkeys(found)
        for problem in problems:
            unreadable += 1
            click.echo(f"{file}:{row.line}: {problem}", err=True)
    told = f"{counted(len(entries), 'entry').replace('entrys', 'entries')} of {file}"
    if dry_run:
        click.echo(f"{told} would be added; nothing was")
    else:
        skipped = _on_ledger(config_file, lambda ledger: ledger.block_all(list(entries), act(because)))
        click.echo(f"{told} added; {counted(skipped, 'waiting intent')} skipped")
    if unreadable:
        click.echo(f"  → {counted(unreadable, 'problem')}: those people may still be called", err=True)
    return 1 if unreadable else 0


def _entries(row: Row, region: str | None, settings: Settings) -> tuple[list[tuple[str, str]], list[str]]:
    """What a line names, and what of it cannot be read."""
    found, problems = [], []
    readers = {"number": partial(_number, region=region), "patient": partial(_patient, settings=settings)}
    for column, read in readers.items():
        try:
            if row[column]:
                found.append((column, read(row[column])))
        except UsageError as error:
            problems.append(str(error))
    return found, problems if found or problems else ["neither number nor patient"]


def _told(whom: str) -> str:
    return sys.stdin.readline().strip() if whom == "-" else whom


def _entry(text: str, region: str | None, settings: Settings) -> tuple[str, str]:
    """`number` and E.164, or `patient` and `source|identity`. A UsageError does not repeat the text."""
    if re.search("[A-Za-z]", text):
        return "patient", _patient(text, settings)
    return "number", _number(text, region)


def _number(text: str, region: str | None) -> str:
    """E.164, as mapping reads the same text."""
    # The parser would take the digits and drop the words: another number, perhaps.
    found = None if re.search("[A-Za-z]", text) else parse(text, region.upper() if region else None)
    if found is None:
        hint = None if region else "Write it with + and the country's code, or give --region."
        raise UsageError("not a phone number", hint=hint)
    if not found.possible:
        raise UsageError("no such phone number: it has too few or too many digits")
    return found.e164


def _patient(text: str, settings: Settings) -> str:
    source, slash, identity = text.partition("/")
    if not slash or not identity or (source == "Patient" and source not in settings.sources):
        raise UsageError("not a patient", hint="write it as SOURCE/IDENTITY, for instance ehr/Patient/p1")
    return f"{settings.source(source).name}|{identity}"


def _on_ledger(config_file: str | None, work: Callable[[SqlLedger], Awaitable[Answer]]) -> Answer:
    async def run() -> Answer:
        async with ledger_of(loaded_settings(config_file, secrets=False)) as ledger:
            return await work(ledger)

    return asyncio.run(run())
