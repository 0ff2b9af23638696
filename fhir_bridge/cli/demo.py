"""`fhir-bridge demo`: the whole bridge on a made-up hospital and an emulated endpoint; nobody is phoned."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import httpx
from pydantic import SecretStr
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fhir_bridge.app.delivery import dispatcher_of
from fhir_bridge.app.ledgers import breaker_of, ledger_at
from fhir_bridge.app.rules import run_with
from fhir_bridge.cli import screen
from fhir_bridge.cli.explain import explanation, print_explanations
from fhir_bridge.cli.look import print_states, print_waiting
from fhir_bridge.cli.stories import Story, stories
from fhir_bridge.dispatch.clock import started_at
from fhir_bridge.dispatch.dispatcher import Until
from fhir_bridge.ledger.records import Arrival, Status
from fhir_bridge.logs import set_up_logs
from fhir_bridge.mapping.decision import Call, Decision
from fhir_bridge.mapping.gates import Blocked
from fhir_bridge.mapping.reasons import reason_of
from fhir_bridge.sandbox.server import running_sandbox
from fhir_bridge.sandbox.settings import SandboxSettings
from fhir_bridge.settings import Loaded, Settings

MONDAY = datetime(2026, 11, 23, 15, 0, tzinfo=UTC)
"""When the demonstration takes place, whenever it is run: Monday, 10:00 in New York."""

PROJECT = "00000000-0000-4000-8000-000000000001"
KEY = "demo-key"
DESTINATION = "http://localhost/demo"
"""What the ledger is told it belongs to: the emulated endpoint has another port in each run."""

EXPLAINED = "57-referral-by-role"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the demonstration did: its arrivals, what the ledger then held, what the endpoint got."""

    arrivals: list[Arrival]
    status: Status
    tasks: list[dict[str, Any]]
    tasks_before: int


@click.command()
@click.option("--fresh", is_flag=True, help="Start over: forget what an earlier run kept.")
@click.option("--folder", type=click.Path(file_okay=False, path_type=Path), default=Path(".demo"),
              show_default=True, help="Where ledger and emulated endpoint are kept.")  # fmt: skip
def demo(fresh: bool, folder: Path) -> None:
    """Watch a made-up hospital's appointments become tasks.

    Nobody is phoned. Every story of fixtures/ is read, decided on, kept in a ledger and sent to the task
    API, emulated on this machine. Run it again: no second task is created, for the ledger knows what was
    sent.
    """
    if fresh:
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    set_up_logs(logging.ERROR)
    console = Console(highlight=False)
    told = list(stories())
    console.print(f"{len(told)} stories of a made-up hospital, on Monday 23 November 2026, 10:00 in New York")
    outcome = asyncio.run(_play(told, folder))
    decisions = [arrival.decision for arrival in outcome.arrivals]
    _print_decisions(decisions, console)
    _print_tasks(outcome, console)
    _print_explanation(outcome.arrivals, console)
    console.print(Text("\nThe ledger", "bold"))
    print_states(outcome.status, console)
    print_waiting(outcome.status, console)
    _print_next(folder, console)


async def _play(told: Sequence[Story], folder: Path) -> Outcome:
    clock = started_at(MONDAY)
    sandbox = SandboxSettings(api_keys=(SecretStr(KEY),), storage=folder / "endpoint.db", call_seconds=0.2)
    async with running_sandbox(sandbox) as endpoint, httpx.AsyncClient(base_url=endpoint.url) as visitor:
        settings = _settings(endpoint.url, told)
        before = (await visitor.get("/_sandbox/stats")).json()["tasks"]
        arrivals = []
        with screen.progress("deciding", len(told)) as seen:
            for story in told:
                arrivals += story_arrivals(story)
                seen(story.name)
        async with (
            ledger_at(folder / "ledger.db", DESTINATION, PROJECT, breaker_of(settings)) as ledger,
            dispatcher_of(settings, ledger, clock=clock) as dispatcher,
        ):
            await ledger.accept(arrivals, now=clock())
            await dispatcher.run(asyncio.Event(), Until(drained=timedelta(seconds=1)))
            status = await ledger.status(clock())
        tasks = (await visitor.get("/_sandbox/tasks")).json()
    return Outcome(arrivals, status, tasks, before)


def story_arrivals(story: Story) -> list[Arrival]:
    """A story's decisions, on the Monday of the demonstration."""
    settings = Loaded(_settings(DESTINATION, [story]), {})
    run = run_with(settings, story.name, story.overrides, MONDAY)
    return run.arrivals(story.read(run), Blocked(numbers=story.do_not_call))


def _settings(url: str, told: Sequence[Story]) -> Settings:
    sources = {
        story.name: {name: story.overrides[name] for name in ("jurisdiction", "timezone")} for story in told
    }
    return Settings.model_validate(
        {
            "api": {"url": url, "key": KEY, "project_id": PROJECT},
            "dispatch": {"min_gap": "0s"},
            "sources": sources,
        }
    )


def _print_decisions(decisions: Sequence[Decision], console: Console) -> None:
    table = Table("decision", "reason", "", "what it means", title="Decisions", title_justify="left")
    counts = Counter(screen.outcome(decision) for decision in decisions)
    for told, count in sorted(counts.items()):
        kind, _, reason = told.partition(" ")
        told_reason = reason_of(reason)
        meaning = told_reason.meaning if told_reason else "Somebody is to be called."
        table.add_row(kind, reason, str(count), meaning)
    console.print(table)


def _print_tasks(outcome: Outcome, console: Console) -> None:
    table = Table("number", "task", "when", title="Tasks, as the endpoint got them", title_justify="left")
    for task in sorted(outcome.tasks, key=lambda task: str(task["request"]["phone_number"])):
        request = task["request"]
        when = request["task_data"].get("timeframe_availability") or request["task_data"].get(
            "existing_appointment"
        )
        table.add_row(request["phone_number"], request["task"], when or "")
    console.print(table)
    new = len(outcome.tasks) - outcome.tasks_before
    if outcome.tasks_before:
        console.print(
            f"{new} new tasks in this run; {outcome.tasks_before} were there before, and none was sent twice"
        )
    else:
        console.print(f"{new} tasks; run it again, and no second one is created")


def _print_explanation(arrivals: Sequence[Arrival], console: Console) -> None:
    """One call in full: where every value came from."""
    calls = [a.decision for a in arrivals if a.source == EXPLAINED and isinstance(a.decision, Call)]
    console.print(Text(f"\nOne of them explained (story {EXPLAINED})", "bold"))
    print_explanations([explanation(call, PROJECT) for call in calls[:1]], console)


def _print_next(folder: Path, console: Console) -> None:
    console.print(Text("\nWhat to try next", "bold"))
    for command, why in (
        ("fhir-bridge demo", "again: no second task"),
        ("fhir-bridge map YOUR-FILE.json", "the requests your own FHIR becomes"),
        ("fhir-bridge explain YOUR-FILE.json", "why, and where every value came from"),
        ("fhir-bridge sandbox --port 8484", "the emulated endpoint, to send to"),
        ("fhir-bridge submit YOUR-FILE.json --dry-run", "exactly what would be sent"),
    ):
        console.print(Text(f"  {command:<46}{why}"), soft_wrap=True)
    console.print(Text(f"  kept in {folder}: ledger.db and endpoint.db; --fresh starts over", "dim"))
