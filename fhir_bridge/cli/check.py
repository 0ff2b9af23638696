"""`fhir-bridge check`: tries a source's FHIR server and the endpoint, and says what to do about each step."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict

import click
from rich.console import Console
from rich.text import Text

from fhir_bridge.app.checks import check_steps
from fhir_bridge.app.rules import loaded_settings
from fhir_bridge.checkup.step import Mark, Step
from fhir_bridge.cli.options import json_option
from fhir_bridge.settings import Loaded

MARKS = {
    Mark.OK: ("✓", "green"),
    Mark.WARN: ("!", "yellow"),
    Mark.FAIL: ("✗", "bold red"),
    Mark.UNTRIED: ("·", "dim"),
}


@click.command()
@click.argument("source", required=False, metavar="[SOURCE]")
@click.option("--read", metavar="TYPE/ID", help="Read this record in earnest, for instance Patient/123.")
@json_option
@click.pass_obj
def check(config_file: str | None, source: str | None, read: str | None, as_json: bool) -> int:
    """Try a source's FHIR server and the endpoint, step by step.

    Proxy and authorities, name, certificate, clock, what the server says of itself, our credentials, a read,
    every search that a case needs, the Subscriptions that post to us; then the endpoint and our key. Nothing
    is changed anywhere: nobody is called, and what is asked for is about nobody.

    Exit code 0 where all is well, 1 where something works and somebody should know, 5 where the FHIR server
    or the endpoint is out of reach or refuses us.

    \b
    fhir-bridge check ehr
    fhir-bridge check ehr --read Patient/123 --json
    """
    loaded = loaded_settings(config_file, secrets=False)
    name = loaded.settings.source(source, demand=True).name
    if read is not None and not (len(parts := read.split("/")) == 2 and all(parts)):
        raise click.UsageError(f"--read {read}: write it like Patient/123")
    steps = asyncio.run(_steps(loaded, name, read, as_json))
    if as_json:
        told = {"source": name, "ok": exit_code(steps) == 0, "steps": [asdict(step) for step in steps]}
        click.echo(json.dumps(told, indent=2, ensure_ascii=False))
    return exit_code(steps)


async def _steps(loaded: Loaded, name: str, read: str | None, quiet: bool) -> list[Step]:
    """The steps, each printed as soon as it is done."""
    console, steps = Console(highlight=False), []
    async for step in check_steps(loaded, name, read):
        steps.append(step)
        if not quiet:
            print_step(step, console)
    return steps


def print_step(step: Step, console: Console) -> None:
    """One line with its mark, and one with what to do."""
    mark, style = MARKS[step.mark]
    line = Text.assemble((mark, style), " ", (f"{step.name:<23}", "bold"), " ", step.found)
    console.print(line, soft_wrap=True)
    if step.to_do and step.mark is not Mark.OK:
        console.print(Text(f"  {'':<23} → {step.to_do}", "dim"), soft_wrap=True)


def exit_code(steps: Sequence[Step]) -> int:
    """5 where a step failed, 1 where one is to be looked at, else 0 (intake, section 3)."""
    marks = {step.mark for step in steps}
    if Mark.FAIL in marks:
        return 5
    return 1 if marks & {Mark.WARN, Mark.UNTRIED} else 0
