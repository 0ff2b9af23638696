"""`fhir-bridge validate`: whether FHIR files conform; advice, never a condition for being mapped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import click

from fhir_bridge.cli import screen
from fhir_bridge.cli.options import files_argument, json_option
from fhir_bridge.errors import InputError
from fhir_bridge.fhir.resource import Resource
from fhir_bridge.fhir.resource_types import RESOURCE_TYPES
from fhir_bridge.fhir.validation import Issue
from fhir_bridge.fhir.validation import validate as check
from fhir_bridge.fhir.views import View
from fhir_bridge.intake.files import read_inputs

Finding = tuple[Resource[View], Issue]


@click.command()
@files_argument
@json_option
def validate(files: tuple[str, ...], as_json: bool) -> int:
    """Check FHIR files against the standard.

    Each resource of a type that the bridge reads is checked against the version its own elements show (STU3,
    R4 or R5), whatever it declares. What is wrong is advice: the bridge maps sloppy data too, and notes it.
    With --json the findings are one FHIR OperationOutcome.

    Exit code 1 where something does not conform.
    """
    with screen.progress("reading", len(files)) as seen:
        inputs = read_inputs(files, seen=seen)
    with screen.progress("checking", len(inputs.resources)) as checked:
        findings = list(_findings(inputs.resources, checked))
    if as_json:
        click.echo(operation_outcome(findings, inputs.problems).model_dump_json(indent=2, exclude_none=True))
    else:
        _print(findings)
    screen.tell_problems(inputs.problems)
    wrong = len({id(resource) for resource, _ in findings})
    click.echo(f"checked {len(inputs.resources)} resources: {wrong} do not conform", err=True)
    if inputs.others:
        kinds = ", ".join(
            f"{kind} {count}{'' if kind in RESOURCE_TYPES else ' (no type of FHIR)'}"
            for kind, count in sorted(inputs.others.items())
        )
        click.echo(f"not checked, for the bridge does not read them: {kinds}", err=True)
    if inputs.nothing_readable:
        return 4
    return 1 if findings or inputs.problems else 0


def _findings(resources: Sequence[Resource[View]], seen: Any) -> Iterator[Finding]:
    for resource in resources:
        for issue in check(resource.raw, str(resource.origin)):
            yield resource, issue
        seen(resource.label)


def operation_outcome(findings: Sequence[Finding], problems: Sequence[InputError]) -> Any:
    """The findings as an OperationOutcome (https://hl7.org/fhir/R4/operationoutcome.html), made of codes and
    places."""
    from fhir.resources.R4B.operationoutcome import OperationOutcome

    issues: list[dict[str, Any]] = [
        {
            "severity": "error",
            "code": "structure",
            "diagnostics": f"{resource.origin}: {resource.label}: {issue.type} ({issue.version})",
            "expression": [issue.element],
        }
        for resource, issue in findings
    ]
    issues += [
        {"severity": "fatal", "code": "structure", "diagnostics": str(problem)} for problem in problems
    ]
    sound = [{"severity": "information", "code": "informational", "diagnostics": "everything conforms"}]
    return OperationOutcome.model_validate({"resourceType": "OperationOutcome", "issue": issues or sound})


def _print(findings: Sequence[Finding]) -> None:
    from rich.console import Console
    from rich.table import Table

    if not findings:
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for column in ("where", "resource", "element", "what"):
        table.add_column(column, overflow="fold")
    counts = Counter((str(resource.origin), resource.label, issue) for resource, issue in findings)
    for (where, label, issue), count in counts.items():
        times = f" ×{count}" if count > 1 else ""
        table.add_row(where, label, issue.element, f"{issue.type.replace('_', ' ')}{times} ({issue.version})")
    Console(highlight=False).print(table)
