"""`fhir-bridge explain`: why each decision was made, and where each value of a request came from."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from fhir_bridge.app.rules import mapping_run
from fhir_bridge.app.servers import completed
from fhir_bridge.cli import screen
from fhir_bridge.cli.lineage import DECISION, decided_by, print_field, print_note, taken_from, value_at
from fhir_bridge.cli.map import exit_code
from fhir_bridge.cli.options import (
    fetch_option,
    files_argument,
    json_option,
    mapping_options,
    now_option,
)
from fhir_bridge.mapping.decision import Decision
from fhir_bridge.mapping.noted import meaning_of
from fhir_bridge.mapping.printed import decision_data
from fhir_bridge.mapping.reasons import reason_of

COLOURS = {"call": "bold green", "skip": "bold yellow", "reject": "bold red"}


@click.command()
@files_argument
@json_option
@click.option("--trigger", metavar="TYPE/ID", help="Only this trigger, for instance Appointment/a1.")
@mapping_options
@fetch_option
@now_option
@click.pass_obj
def explain(
    config_file: str | None,
    files: tuple[str, ...],
    as_json: bool,
    trigger: str | None,
    source: str | None,
    overrides: tuple[tuple[str, str], ...],
    context: tuple[Path, ...],
    fetch: bool,
    now: datetime | None,
) -> int:
    """Say why each decision was made, and where each value came from.

    Sends nothing. For a call: each field, its value, the element it was taken from (with its version), the
    rule, and the concept map's row or the layer that had a say. For the others: the row or gate, and what
    would change it.

    \b
    fhir-bridge explain bundle.json
    fhir-bridge explain bundle.json --trigger Appointment/a1 --json
    """
    run = mapping_run(config_file, source, dict(overrides), now)
    with screen.progress("reading", len(files)) as seen:
        inputs = run.read(files, context, seen)
    if fetch:
        inputs = completed(config_file, run, inputs)
    decisions = run.decide(inputs)
    wanted = [decision for decision in decisions if trigger in (None, decision.subject.trigger)]
    if trigger is not None and not wanted:
        raise click.UsageError(f"no trigger {trigger} in these files; `fhir-bridge map` lists them")
    told = [explanation(decision, run.project_id) for decision in wanted]
    if as_json:
        click.echo(json.dumps(told, indent=2, ensure_ascii=False))
    else:
        print_explanations(told, Console(highlight=False))
    screen.tell_problems(inputs.problems)
    screen.tell_gaps(inputs.gaps)
    screen.tell_without_trigger(inputs)
    return exit_code(inputs.nothing_readable, bool(inputs.problems), decisions)


def explanation(decision: Decision, project_id: str | None = None) -> dict[str, Any]:
    """The decision's data (mapping, section 18), with `meaning`, each field's value in its lineage, and
    what each note means."""
    data = decision_data(decision, project_id)
    reason = reason_of(data["reason"] or "", "reject" if data["decision"] == "reject" else "skip")
    if reason is not None:
        data["meaning"] = {"decided_by": reason.where, "meaning": reason.meaning, "to_change": reason.remedy}
        data["meaning"]["seen"] = getattr(decision, "detail", None)
    for entry in data["lineage"]:
        entry["value"] = value_at(data["request"], data["patient"], entry["field"])
    for note in data["notes"]:
        note["meaning"] = meaning_of(note["code"])
    return data


def print_explanations(told: Iterable[dict[str, Any]], console: Console) -> None:
    """Prints explanations for people, one after the other."""
    for number, data in enumerate(told):
        if number:
            console.print()
        _print_head(data, console)
        for entry in data["lineage"]:
            if entry["field"] != DECISION:
                print_field(entry, console)
        for note in data["notes"]:
            print_note(note, console)


def _print_head(data: dict[str, Any], console: Console) -> None:
    head = Text.assemble(
        (data["trigger"], "bold"), "  ", (data["decision"].upper(), COLOURS[data["decision"]])
    )
    head.append(f"  {data['reason'] or ''}")
    console.print(head)
    decided = [entry for entry in data["lineage"] if entry["field"] == DECISION]
    rows = [("intent", data["intent"]), ("valid until", data.get("valid_until"))]
    meaning = data.get("meaning")
    where = f" ({meaning['decided_by']})" if meaning else ""
    rows += [("decided by", f"{decided_by(entry)}{where}, on {taken_from(entry)}") for entry in decided]
    if meaning:
        rows += [("because", meaning["meaning"]), ("seen", meaning["seen"]), ("look at", data["expression"]),
                 ("to change", meaning["to_change"])]  # fmt: skip
    for name, text in rows:
        if text:
            console.print(Text(f"  {name:<11} {text}"), soft_wrap=True)
