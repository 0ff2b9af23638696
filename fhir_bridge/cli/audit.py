"""`fhir-bridge audit`: proves that the audit is as it was written, and accounts for what was disclosed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import datetime

import click

from fhir_bridge.app.ledgers import ledger_of
from fhir_bridge.app.rules import loaded_settings
from fhir_bridge.cli.acting import act, because
from fhir_bridge.cli.options import Head, Instant, json_option
from fhir_bridge.cli.screen import counted
from fhir_bridge.cli.whole_file import whole_file
from fhir_bridge.errors import UsageError
from fhir_bridge.ledger.people.disclosures import Period
from fhir_bridge.ledger.records import AuditCheck, AuditHead
from fhir_bridge.ledger.store import SqlLedger


@click.group()
def audit() -> None:
    """Prove what was done, and account for what was disclosed."""


@audit.command()
@click.option(
    "--head",
    type=Head(),
    metavar="NUMBER:CHAIN",
    help="A head that was logged earlier: it must still be there.",
)
@json_option
@click.pass_obj
def verify(config_file: str | None, head: AuditHead | None, as_json: bool) -> int:
    """Check that no row of the audit was changed, removed or put in.

    A worker logs the head of the audit each day (audit-head): with --head one that is kept elsewhere is
    compared too, so that not even who can write to the ledger and knows the key can shorten it unseen.

    Exit code 1 where it does not hold.
    """
    loaded = loaded_settings(config_file, secrets=False)

    async def check() -> tuple[AuditCheck, str | None]:
        async with ledger_of(loaded) as ledger:
            there = await ledger.audit_chain_at(head.number) if head else None
            return await ledger.check_audit(), there

    found, there = asyncio.run(check())
    gone = head is not None and there != head.chain
    if as_json:
        click.echo(json.dumps(_as_data(found, gone)))
    else:
        _print(found, head.number if head and gone else None)
    return 1 if found.broken_at is not None or gone else 0


def _as_data(found: AuditCheck, gone: bool) -> dict[str, object]:
    return {
        "holds": found.broken_at is None and not gone,
        "rows": found.head.number if found.head else 0,
        "head": found.head.chain if found.head else None,
        "broken_at": found.broken_at,
        "before_key": found.before_key,
        "head_gone": gone,
    }


def _print(found: AuditCheck, gone: int | None) -> None:
    if found.broken_at is not None:
        click.echo(f"the audit does not hold: row {found.broken_at} was changed, removed or put in")
    elif found.head is None:
        click.echo("the audit holds: nobody did anything yet")
    else:
        rows, head = counted(found.head.number, "row"), f"{found.head.number}:{found.head.chain}"
        click.echo(f"the audit holds: {rows}, head {head}")
    if found.before_key:
        click.echo(
            f"the first {counted(found.before_key, 'row')} were written before ledger.audit_key was set: "
            "who can write to the ledger could have rewritten them"
        )
    if gone is not None:
        click.echo(f"the logged head is not there: row {gone} says something else, or is gone")


@audit.command()
@click.argument("file")
@click.option("--since", type=Instant(), help="From this instant on, with its zone.")
@click.option("--until", type=Instant(), help="Until before this instant, with its zone.")
@click.option("--patient", metavar="SOURCE/IDENTITY",
              help="Only disclosures about them, for instance ehr/Patient/p1.")  # fmt: skip
@because
@click.pass_obj
def export(
    config_file: str | None,
    file: str,
    since: datetime | None,
    until: datetime | None,
    patient: str | None,
    because: str,
) -> int:
    """Write disclosures and people's acts as FHIR R4 AuditEvents, one JSON a line.

    FILE is there whole or not at all; - is standard output. A disclosure is each request to the task API that
    names a patient: when, to whom, about whom, what became of it. With --patient their disclosures alone: the
    accounting that they may ask for.

    \b
    fhir-bridge audit export disclosures.ndjson --patient ehr/Patient/p1 --because "asked for by the patient"
    """
    source, slash, identity = (patient or "").partition("/")
    if patient is not None and not (slash and identity):
        raise click.UsageError("--patient is SOURCE/IDENTITY, for instance ehr/Patient/p1")
    loaded = loaded_settings(config_file, secrets=False)

    async def write() -> int:
        async with ledger_of(loaded) as ledger:
            if patient and not await ledger.knows(source, identity):
                raise UsageError(
                    "the ledger knows no such patient",
                    hint="write it as the work list and `show` do, SOURCE/IDENTITY: ehr/Patient/p1",
                )
            await ledger.note(act(because), "audit-export", patient or "everything")
            with whole_file(file) as out:
                whom = (source, identity) if patient else None
                return await _write(ledger, out.write, Period(since, until), whom)

    click.echo(f"{counted(asyncio.run(write()), 'AuditEvent')} written", err=True)
    return 0


async def _write(
    ledger: SqlLedger, put: Callable[[str], object], period: Period, patient: tuple[str, str] | None
) -> int:
    from fhir_bridge.ledger.people.audit_events import act_event, disclosure_event

    recipient = await ledger.destination_url()
    count = 0
    async for told in ledger.disclosures(period, patient):
        put(disclosure_event(told, recipient).model_dump_json(exclude_none=True) + "\n")
        count += 1
    if patient is None:
        async for acted in ledger.acts(period):
            put(act_event(acted).model_dump_json(exclude_none=True) + "\n")
            count += 1
    return count
