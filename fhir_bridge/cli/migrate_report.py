"""What a migration would do, for people and for machines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import UTC
from typing import Any

import click
import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fhir_bridge.app.rules import pacing_of
from fhir_bridge.cli.screen import counted, superseded_text
from fhir_bridge.fhir.resource_types import RESOURCE_TYPES
from fhir_bridge.mapping.noted import meaning_of
from fhir_bridge.mapping.printed import instant
from fhir_bridge.mapping.reasons import reason_of
from fhir_bridge.mapping_run import MappingRun
from fhir_bridge.migration.plan import by_day, plan
from fhir_bridge.migration.run import Report, in_order
from fhir_bridge.migration.tally import PLACES
from fhir_bridge.settings import Loaded
from fhir_bridge.settings.values import rate_text

ROWS = 20
"""Rows of a table that people are shown; JSON has all."""

MOST_TYPES = 6
"""Names of types that were passed over."""

_KINDS = ("call", "reject", "skip")
"""In the order in which people want to know of them."""


def report_data(report: Report, loaded: Loaded, run: MappingRun, pace: float | None) -> dict[str, Any]:
    """All of it as JSON data. With `pace`, in calls a second, that one counts and not the settings'."""
    hours, set_pace = pacing_of(loaded.settings, run.profile)
    pace = pace or set_pace
    tally = report.tally
    found = plan(tally.queues(), run.now, run.profile.source.zone, hours, pace)
    clinics = Counter[str]()
    for queue, count in tally.queues():
        clinics[queue.clinic] += count
    return {
        "files": report.files,
        "resources": report.resources,
        "passed_over": dict(_by_count(report.others)),
        "no_fhir_types": sorted(name for name in report.others if name not in RESOURCE_TYPES),
        "files_passed_over": dict(_by_count(report.files_passed_over)),
        "errors": len(report.errors),
        "errors_by_code": _errors_by_code(report),
        "errors_about_nobody_knows_whom": report.about_nobody_knows_whom,
        "triggers": tally.triggers,
        "decisions": dict(_by_count(tally.decisions)),
        "calls": tally.decisions.get("call", 0) - tally.same_call,
        "same_call": tally.same_call,
        "only_in_context": 0 if run.profile.source.base_url else tally.only_in_context,
        "deleted": len(report.gone),
        "older_versions": dict(sorted(tally.older.items())),
        "persons_not_to_be_called": dict(sorted(_stops(report).items())),
        "pace": None if pace is None else rate_text(pace),
        "calling_hours": str(hours),
        "zone": str(run.profile.source.zone),
        "ends_at": instant(found.ends_at.astimezone(UTC)) if found.ends_at else None,
        "overdue": found.overdue,
        "by_day": by_day(found.days),
        "by_clinic": dict(_by_count(clinics)),
        "by_clinic_and_day": {
            clinic: {
                day.isoformat(): each[clinic] for day, each in sorted(found.days.items()) if each[clinic]
            }
            for clinic, _ in _by_count(clinics)[:ROWS]
        },
        "by_hour": {f"{hour:02d}": count for hour, count in sorted(found.hours.items())},
        "notes": {
            code: {"count": each.count, "for_instance": [where for _, where in each.places]}
            for code, each in sorted(tally.notes.items(), key=lambda pair: (-pair[1].count, pair[0]))
        },
        "unmapped": [
            {**dict(zip(("map", "system", "code"), key.split("\t"), strict=True)), "count": count}
            for key, count in sorted(tally.unmapped.items(), key=lambda pair: (-pair[1], pair[0]))
        ],
        "samples": [orjson.loads(sample.text) for sample in tally.samples],
        "texts": list(dict.fromkeys(text.text for text in tally.texts)),
        "written": report.written,
    }


def _errors_by_code(report: Report) -> dict[str, Any]:
    found: dict[str, dict[str, Any]] = {}
    for error in in_order(report.errors):
        reason = {"reason": error["reason"], "count": 0, "for_instance": []}
        each = found.setdefault(str(error["code"]), reason)
        each["count"] += 1
        if each["count"] <= PLACES:
            each["for_instance"].append(
                f"{error['file']}:{error['line']}" if error["line"] else error["file"]
            )
    return dict(sorted(found.items(), key=lambda pair: (-pair[1]["count"], pair[0])))


def _by_count(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """The most first, and of as many by name: every run says it in the same order."""
    return sorted(counts.items(), key=lambda each: (-each[1], each[0]))


def _stops(report: Report) -> Counter[str]:
    return Counter(report.tally.stops) + Counter(person.stop or "" for person in report.people_gone)


def print_report(data: dict[str, Any]) -> None:
    """For people: what would happen, when, and what is wrong with the data."""
    console = Console(highlight=False)
    head = (
        f"{data['triggers']:,} appointments and orders among {counted(data['resources'], 'resource')} in "
        f"{counted(data['files'], 'file')}"
    )
    console.print(Text(head, "bold"))
    _print_left_aside(data, console)
    errors = ((Text(code, "yellow"), f"{each['reason']}. At {each['for_instance'][0]}", each["count"])
              for code, each in data["errors_by_code"].items())  # fmt: skip
    _table(console, "what could not be read, and so is in no decision", errors)
    decided = sorted(data["decisions"].items(), key=lambda each: _KINDS.index(each[0].partition(" ")[0]))
    _table(console, "decisions", ((_colour(name), _said(name), count) for name, count in decided))
    stops = ((reason, _meaning(reason), count) for reason, count in data["persons_not_to_be_called"].items())
    _table(console, "persons not to be called, also where a call of theirs waits already", stops)
    if data["calls"]:
        _print_plan(data, console)
    notes = ((code, f"{meaning_of(code) or ''} At {each['for_instance'][0]}", each["count"])
             for code, each in data["notes"].items())  # fmt: skip
    _table(console, "findings in the data", notes)
    unmapped = ((one["code"], f"{one['map']}: {one['system']}", one["count"]) for one in data["unmapped"])
    _table(console, "codes that no map has a row for, by map: they say nothing there", unmapped)
    if data["texts"]:
        console.print(Text("what the voice agent would be told besides, for instance", "bold"))
        for text in data["texts"]:
            console.print(Text(f"  {text}"))
    if data["samples"]:
        console.print(Text(f"{counted(len(data['samples']), 'decision')} as a sample", "bold"))
    for sample in data["samples"]:
        console.print(Text(f"{sample['trigger']}  {sample['decision']} {sample['reason'] or ''}", "bold"))
        shown = sample["request"] or sample["lineage"][:1]
        console.print(Text(orjson.dumps(shown, option=orjson.OPT_INDENT_2).decode()), soft_wrap=True)


def print_next(data: dict[str, Any]) -> None:
    """For people, below a preview: that it was one, and what to do next."""
    click.echo("Nothing was kept or sent. What to do next:", err=True)
    worst = next((name for name in data["decisions"] if name.startswith("reject")), None)
    worst = worst or next((name for name in data["decisions"] if name.startswith("skip")), None)
    if worst:
        reason = worst.partition(" ")[2]
        click.echo(
            f"  --only {reason} --sample 5   shows some of them; docs/reasons.md has what helps", err=True
        )
    if data["unmapped"]:
        click.echo("  fhir-bridge mappings unmapped   writes the codes down for you to fill in", err=True)
    if data["calls"] and not data["pace"]:
        click.echo("  --pace 200/h   spreads the calls: without it they go as fast as they can", err=True)
    if data["calls"] and data["errors_about_nobody_knows_whom"]:
        click.echo(f"  {mend_first(data)}", err=True)
    if data["calls"]:
        click.echo(f"  --send   keeps all this and makes {counted(data['calls'], 'call')}", err=True)


def mend_first(data: dict[str, Any]) -> str:
    """What to do before anybody is called, where more is missing than can be told."""
    count = data["errors_about_nobody_knows_whom"]
    return (
        f"mend first: {count:,} of what could not be read may hide anything about anybody, "
        "a death or a booking too"
    )


def _print_left_aside(data: dict[str, Any], console: Console) -> None:
    if data["files_passed_over"]:
        files = counted(sum(data["files_passed_over"].values()), "file")
        ends = ", ".join(data["files_passed_over"])
        console.print(Text(f"passed over: {files} in folders and zips whose names end in {ends}", "yellow"))
    if data["passed_over"]:
        names = list(data["passed_over"])
        more = f" and {len(names) - MOST_TYPES} more" if len(names) > MOST_TYPES else ""
        total = f"{sum(data['passed_over'].values()):,}"
        told = f"besides, {total} of types that say nothing here: {', '.join(names[:MOST_TYPES])}{more}"
        console.print(Text(told, "dim"))
    if data["no_fhir_types"]:
        shown = ", ".join(data["no_fhir_types"][:MOST_TYPES])
        console.print(Text(f"some of these are no types of FHIR's: {shown}", "yellow"))
    if data["older_versions"]:
        console.print(Text(f"older versions left aside: {superseded_text(data['older_versions'])}", "dim"))
    if count := data["only_in_context"]:
        told = (
            f"{counted(count, 'trigger')} of these patients only in --context, and so not decided on: a call "
            "that waits keeps the number and the words that it has. To renew it, name both exports as PATHs"
        )
        console.print(Text(told, "yellow"))
    if data["deleted"]:
        console.print(Text(f"{counted(data['deleted'], 'appointment or order')} deleted: no call is made"))


def _print_plan(data: dict[str, Any], console: Console) -> None:
    pace = data["pace"] or "as fast as the endpoint takes them"
    until = f"until {data['ends_at']}" if data["ends_at"] else "for more than a year"
    hours = data["calling_hours"]
    when = "at any hour of the day" if hours == "off" else f"within {hours} where the person is"
    told = f"{counted(data['calls'], 'call')}, {pace}, {until}; {when}"
    console.print(Text(told, "bold"))
    if same := data["same_call"]:
        are = "is about a call that is" if same == 1 else "are about calls that are"
        console.print(Text(f"  {same:,} more {are} counted already"))
    if data["overdue"]:
        console.print(Text(f"  {data['overdue']:,} of them end before their turn: raise the pace", "yellow"))
    days = ((day, "", count) for day, count in data["by_day"].items())
    _table(console, f"by day ({data['zone']})", days)
    _table(console, "by clinic", ((clinic, "", count) for clinic, count in data["by_clinic"].items()))
    hours = ((f"{hour}:00", "", count) for hour, count in data["by_hour"].items())
    _table(console, f"by hour of the day ({data['zone']})", hours, 24)


def _table(console: Console, title: str, rows: Any, most: int = ROWS) -> None:
    shown = list(rows)
    if not shown:
        return
    console.print(Text(title, "bold"))
    table = Table.grid(padding=(0, 2))
    table.add_column(overflow="fold")
    table.add_column(justify="right", no_wrap=True)
    table.add_column(overflow="fold", style="dim")
    for name, said, count in shown[:most]:
        table.add_row(
            Text("  ") + name if isinstance(name, Text) else Text(f"  {name}"), f"{count:,}", Text(said)
        )
    console.print(table)
    if len(shown) > most:
        console.print(Text(f"  and {len(shown) - most:,} more: --json has all"))


def _colour(outcome: str) -> Text:
    styles = {"call": "green", "reject": "yellow"}
    return Text(outcome, styles.get(outcome.partition(" ")[0], ""))


def _said(outcome: str) -> str:
    kind, _, reason = outcome.partition(" ")
    if kind == "call":
        return "The patient, or who answers for them, would be phoned."
    return _meaning(reason)


def _meaning(reason: str) -> str:
    known = reason_of(reason)
    return known.meaning if known else ""
