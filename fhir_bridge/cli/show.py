"""`fhir-bridge show`: all that the ledger knows of one intent."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from fhir_bridge.app.ledgers import ledger_of
from fhir_bridge.app.rules import loaded_settings
from fhir_bridge.cli.acting import act
from fhir_bridge.cli.lineage import DECISION, print_field, told, value_at
from fhir_bridge.cli.look import json_text
from fhir_bridge.cli.options import json_option
from fhir_bridge.mapping.printed import instant

APART = ("request", "lineage", "patient", "attempts", "triggers", "members", "outdated", "blocked")
"""What is shown below the intent's own row, each in a form of its own."""


@click.command()
@click.argument("intent")
@json_option
@click.pass_obj
def show(config_file: str | None, intent: str, as_json: bool) -> None:
    """Show all that is known of one intent: decision, patient, attempts.

    INTENT is its key, a beginning of it that fits no other, a trigger such as Appointment/a1, or its number
    in the log. What is shown holds patient data: it goes to your screen only, and the audit says that you
    looked.
    """

    async def look() -> dict[str, Any]:
        async with ledger_of(loaded_settings(config_file, secrets=False)) as ledger:
            return await ledger.show(intent, act("shown at the command line"))

    found = asyncio.run(look())
    if as_json:
        click.echo(json_text(found))
    else:
        _print(found, Console(highlight=False))


def _print(found: dict[str, Any], console: Console) -> None:
    for name, text in _rows({name: value for name, value in found.items() if name not in APART}):
        console.print(Text.assemble((f"{name:<17}", "bold"), text), soft_wrap=True)
    for trigger in found["triggers"]:
        decided = " ".join(filter(None, (trigger["trigger"], trigger["decision"], trigger["reason"])))
        console.print(Text.assemble((f"{'trigger':<17}", "bold"), decided), soft_wrap=True)
    _print_section("patient", found["patient"] or {}, console)
    for entry in found["blocked"]:
        _print_section("not to be called", entry, console)
    for aside in found["outdated"]:
        _print_section("versions left aside, for a newer one was known", aside, console)
    for number, attempt in enumerate(found["attempts"], 1):
        _print_section(f"attempt {number}", attempt, console)
    _print_lineage(found, console)


def _print_section(title: str, values: dict[str, Any], console: Console) -> None:
    console.print(Text(title, "bold"))
    for name, text in _rows(values):
        console.print(Text(f"  {name:<15}{text}"), soft_wrap=True)


def _print_lineage(found: dict[str, Any], console: Console) -> None:
    """The request, field by field with where it came from; the answer to "who said so?"."""
    console.print(Text("request", "bold"))
    patient = (found["patient"] or {}).get("request")
    for entry in (found["lineage"] or {}).get("lineage", ()):
        if entry["field"] != DECISION:
            print_field({**entry, "value": value_at(found["request"], patient, entry["field"])}, console)


def _rows(values: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What is known, as texts."""
    for name, value in values.items():
        if value not in (None, "", []) and name != "request":
            yield name, instant(value) if isinstance(value, datetime) else told(value)
