"""`fhir-bridge retry`, `resolve`, `cancel`, `acknowledge`: what a person decides, each with its reason in the
audit.
"""

from __future__ import annotations

import asyncio
from uuid import UUID

import click

from fhir_bridge.app.ledgers import ledger_of
from fhir_bridge.app.rules import loaded_settings
from fhir_bridge.cli.acting import act, because, on_ledger
from fhir_bridge.cli.options import RowNumber, confirm, selection_options, yes_option
from fhir_bridge.cli.screen import counted
from fhir_bridge.ledger.records import Selection
from fhir_bridge.ledger.sources.messages import MessageSelection


@click.command(no_args_is_help=True)
@click.argument("intent", required=False)
@selection_options
@click.option("--message", "message", type=RowNumber(), metavar="ID",
              help="Instead of an intent, have a message that failed processed again.")  # fmt: skip
@click.option("--messages", "messages", is_flag=True,
              help="The same for all that failed, of this --source or with this --reason.")  # fmt: skip
@because
@click.pass_obj
def retry(
    config_file: str | None,
    intent: str | None,
    selection: Selection,
    message: int | None,
    messages: bool,
    because: str,
) -> int:
    """Have refused, parked or cancelled intents sent after all.

    One INTENT, or all that a filter names. What was rejected comes back by itself when better data is sent.
    Or messages that `serve` took and that could not be processed, once what hindered it is mended.

    \b
    fhir-bridge retry Appointment/a1 --because "number corrected at the endpoint"
    fhir-bridge retry --state parked --reason retries-used-up --because "endpoint was down"
    fhir-bridge retry --message 4711 --because "the sender's server answers again"
    fhir-bridge retry --messages --reason nothing-to-read-from --because "client set"
    """
    if message is not None or messages:
        return _retry_messages(config_file, intent, selection, message, because)
    chosen = _chosen(intent, selection)
    count = on_ledger(config_file, lambda ledger: ledger.retry(chosen, act(because)))
    return _told(count, "decided anew")


def _retry_messages(
    config_file: str | None, intent: str | None, selection: Selection, message: int | None, because: str
) -> int:
    if intent is not None or selection.state is not None:
        raise click.UsageError("messages have no INTENT and no --state: filter with --source, --reason")
    chosen = MessageSelection(id=message, source=selection.source, error=selection.reason)
    count = on_ledger(config_file, lambda ledger: ledger.retry_messages(chosen, act(because)))
    click.echo(f"{counted(count, 'message')} to be processed again")
    if not count:
        click.echo("  → nothing changed; `fhir-bridge worklist` lists the messages that failed", err=True)
    return 0 if count else 1


@click.command(no_args_is_help=True)
@click.argument("intent", required=False)
@selection_options
@because
@yes_option("Nobody will be called for these intents. Go on?")
@click.pass_obj
def cancel(config_file: str | None, intent: str | None, selection: Selection, because: str) -> int:
    """Make sure that nobody is called for an intent, from now on.

    One INTENT, or all that a filter names; `retry` takes it back. What was sent cannot be called back: tell
    the vendor.
    """
    chosen = _chosen(intent, selection)
    count = on_ledger(config_file, lambda ledger: ledger.cancel(chosen, act(because)))
    return _told(count, "cancelled")


@click.command(no_args_is_help=True)
@click.argument("intent", required=False)
@selection_options
@click.option(
    "--sent",
    "task_id",
    metavar="TASK_ID",
    type=click.UUID,
    help="It arrived: the endpoint has it as this task.",
)
@click.option("--resend", is_flag=True, help="It did not arrive, nobody was called: send it (again).")
@click.option("--patient", "patient", metavar="SOURCE/IDENTITY",
              help="Resolve a patient instead, for instance ehr/Patient/p1.")  # fmt: skip
@click.option(
    "--created",
    "patient_id",
    metavar="ID",
    type=click.UUID,
    help="With --patient: the endpoint has them as this id.",
)
@click.option("--message", "message", type=RowNumber(), metavar="ID",
              help="Resolve a message that failed: what it may have said is seen to.")  # fmt: skip
@click.option("--messages", "messages", is_flag=True,
              help="Resolve all that failed, of this --source or with this --reason.")  # fmt: skip
@click.option("--patients", "patients", is_flag=True,
              help="Resolve all patients of this --source or with this --reason, by --resend.")  # fmt: skip
@click.option("--yes", is_flag=True, help="By a filter: do not ask.")
@because
@click.pass_obj
def resolve(
    config_file: str | None,
    intent: str | None,
    selection: Selection,
    task_id: UUID | None,
    resend: bool,
    patient: str | None,
    patient_id: UUID | None,
    message: int | None,
    messages: bool,
    patients: bool,
    yes: bool,
    because: str,
) -> int:
    """Say what became of a request whose answer was lost.

    The endpoint may have received it, and may have phoned the patient: ask the vendor, then say so here.
    Nothing that is in doubt is ever sent again by itself.

    \b
    fhir-bridge resolve Appointment/a1 --sent 1f0c… --because "vendor confirms the call"
    fhir-bridge resolve --state in_doubt --source ehr --resend --because "vendor: nothing arrived"
    fhir-bridge resolve --patient ehr/Patient/p1 --created 7c1e… --because "vendor looked it up"
    fhir-bridge resolve --patients --source ehr --reason patient-refused --resend --because "wrong api.url"

    By a filter, --resend asks before anything is done; of patients it says how many fit.

    A message that cannot be read, and will not be sent again, holds the calls of whom it may be about, and so
    does a record of a file: look at the patient's chart, then say --message ID. They go on by what else is
    known. By a filter, --messages asks first.
    """
    if message is not None or messages:
        others = (intent, task_id, patient, patient_id, selection.state)
        if resend or patients or any(other is not None for other in others):
            raise click.UsageError("messages go with --because, and --messages with --source or --reason")
        if messages == (message is not None) or messages != any((selection.source, selection.reason)):
            raise click.UsageError("name one with --message ID, or --messages with --source or --reason")
        failed = MessageSelection(id=message, source=selection.source, error=selection.reason)
        return _resolve_messages(config_file, failed, because, yes)
    if patients:
        if patient is not None or intent is not None or task_id or patient_id or not resend:
            raise click.UsageError("--patients goes with --resend and --source or --reason")
        return _resend_patients(config_file, selection, because, yes)
    if patient_id is not None and patient is None:
        raise click.UsageError("--created goes with --patient SOURCE/IDENTITY")
    if patient is not None:
        created = str(patient_id) if patient_id else None
        return _resolve_patient(config_file, patient, created, resend, because)
    if bool(task_id) == resend:
        raise click.UsageError("say --sent TASK_ID or --resend")
    if task_id:
        if intent is None:
            raise click.UsageError("--sent needs the INTENT that became this task")
        task = str(task_id)
        count = on_ledger(config_file, lambda ledger: ledger.resolve_sent(intent, task, act(because)))
        return _told(count, "resolved as sent")
    chosen = _chosen(intent, selection)
    if intent is None and not yes:
        confirm("They may have been called already. Is it known of each that nobody was?")
    count = on_ledger(config_file, lambda ledger: ledger.resolve_resend(chosen, act(because)))
    return _told(count, "to be sent again")


@click.command(no_args_is_help=True)
@click.argument("intent", required=False)
@selection_options
@because
@click.pass_obj
def acknowledge(config_file: str | None, intent: str | None, selection: Selection, because: str) -> int:
    """Take an alarm off the work list, once the vendor was told.

    Of one INTENT, or all that a filter names; --reason is the alarm. No state changes, for what was sent was
    sent, and what the source says next may raise it again.

    \b
    fhir-bridge acknowledge Appointment/a1 --because "vendor stops the call"
    fhir-bridge acknowledge --reason payloads-cleared --because "looked through, all too old"
    """
    chosen = _chosen(intent, selection)
    count = on_ledger(config_file, lambda ledger: ledger.acknowledge(chosen, act(because)))
    click.echo(f"{counted(count, 'alarm')} taken off the work list")
    if not count:
        click.echo("  → nothing changed; `fhir-bridge worklist` lists the alarms there are", err=True)
    return 0 if count else 1


def _resolve_messages(config_file: str | None, chosen: MessageSelection, because: str, yes: bool) -> int:
    if chosen.id is None and not yes:
        confirm("Is it seen to of each what it may have said of anybody?")
    count = on_ledger(config_file, lambda ledger: ledger.settle_failed(chosen, act(because)))
    if not count:
        click.echo("no such message failed: `fhir-bridge worklist` lists those that did", err=True)
        return 1
    hold = "holds" if count == 1 else "hold"
    click.echo(f"{counted(count, 'message')} settled, and {hold} nobody's calls any more")
    return 0


def _resolve_patient(
    config_file: str | None, patient: str, patient_id: str | None, resend: bool, because: str
) -> int:
    source, slash, identity = patient.partition("/")
    if not slash or bool(patient_id) == resend:
        raise click.UsageError("say --patient SOURCE/IDENTITY with --created ID or --resend")
    count = on_ledger(
        config_file, lambda ledger: ledger.resolve_patient(source, identity, patient_id, act(because))
    )
    if count < 0:
        raise click.UsageError(f"no patient {identity} of source {source} is in doubt or refused")
    return _told(count, "of this patient to be sent") or 0


def _resend_patients(config_file: str | None, selection: Selection, because: str, yes: bool) -> int:
    async def run() -> tuple[int, int]:
        async with ledger_of(loaded_settings(config_file, secrets=False)) as ledger:
            people, behind = await ledger.stuck_patients(selection)
            told = f"{counted(people, 'patient')}, {counted(behind, 'intent')} waiting for them"
            if people and not yes:
                confirm(f"{told}: create them (again) and send?")
            return await ledger.resend_patients(selection, act(because)) if people else (0, 0)

    people, behind = asyncio.run(run())
    click.echo(
        f"{counted(people, 'patient')} to be created, {counted(behind, 'intent')} of theirs to be sent"
    )
    if not people:
        click.echo("  → nothing changed; `fhir-bridge worklist` lists patients, and why they wait", err=True)
    return 0 if people else 1


def _chosen(intent: str | None, selection: Selection) -> Selection:
    if intent is not None and selection != Selection():
        raise click.UsageError("name an INTENT or a filter, not both")
    chosen = Selection(key=intent) if intent is not None else selection
    if chosen == Selection():
        raise click.UsageError("name an INTENT, or filter with --state, --reason, --source")
    return chosen


def _told(count: int, what: str) -> int:
    click.echo(f"{counted(count, 'intent')} {what}")
    if not count:
        click.echo(
            "  → nothing changed; `fhir-bridge show INTENT` says in which state it is and why", err=True
        )
    return 0 if count else 1
