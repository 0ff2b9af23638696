"""What is decided about every third-party file, held to a scoreboard that a person has reviewed.

`pytest tests/integration/test_scoreboard.py --update-scoreboard` writes it anew. Each line says what is
decided today and, where that differs, at the trigger's own time; which fields are filled; what is noted; and
under `reviewed` the section of the page on mapping that decides. A decision that changes loses its review.
"""

from __future__ import annotations

import difflib
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from fhir_bridge.intake.files import Inputs
from fhir_bridge.mapping.decision import Call, Decision

Json = dict[str, Any]

SCOREBOARD = Path(__file__).parents[1] / "golden" / "scoreboard.json"
NEVER_FROM_FHIR = {"project_id", "patient_id", "task_type", "task_data"}


def test_the_decisions_are_those_that_were_reviewed(mapped_corpora: Any, pytestconfig: pytest.Config) -> None:
    """A change shows as a diff, and wants a person to look at the resource and to name the section."""
    board: Json = {"alone": {}, "together": {}}
    for source, name, inputs in mapped_corpora.each():
        if found := scores(mapped_corpora, inputs, source):
            board["alone" if name in mapped_corpora.alone else "together"][name] = found
    text = SCOREBOARD.read_text(encoding="utf-8") if SCOREBOARD.exists() else "{}"
    keep_reviews(board, json.loads(text))
    if pytestconfig.getoption("--update-scoreboard"):
        SCOREBOARD.write_text(written(board), encoding="utf-8")
    else:
        changes = list(difflib.unified_diff(text.splitlines(), written(board).splitlines(), lineterm="", n=0))
        assert not changes, "decisions changed:\n" + "\n".join(changes[:200])
    unreviewed = [
        f"{place} {label}"
        for places in board.values()
        for place, triggers in places.items()
        for label, told in triggers.items()
        if not told["reviewed"]
    ]
    assert not unreviewed, "review these by hand:\n" + "\n".join(unreviewed)


def scores(corpora: Any, inputs: Inputs, source: str) -> dict[str, Json]:
    """The score of each trigger in a file or folder, by its label."""
    times: dict[str, datetime] = {}
    today = {each.subject.trigger: each for each in corpora.run(source).decide(inputs)}
    for resource in inputs.resources:
        if resource.label in today:
            moment = corpora.own_time(resource)
            times[resource.label] = max(moment, times.get(resource.label, moment))
    found: dict[str, Json] = {}
    for label, decision in today.items():
        decisions = corpora.run(source, times[label], incomplete_address="omit").decide(inputs)
        then = next(each for each in decisions if each.subject.trigger == label)
        found[label] = score(corpora, decision, then)
    return found


def score(corpora: Any, today: Decision, then: Decision) -> Json:
    """One line of the scoreboard: ids, codes and names of fields, never a value."""
    told: Json = {"today": corpora.verdict(today)}
    if corpora.verdict(then) != told["today"]:
        told["then"] = corpora.verdict(then)
    if isinstance(then, Call):
        task = then.task.to_wire()
        told["fields"] = _filled({**task, **task["task_data"]})
        told["patient"] = _filled(then.patient.to_wire())
    notes = sorted({note.code for decision in (today, then) for note in decision.notes})
    return told | ({"notes": notes} if notes else {})


def _filled(wire: Json) -> list[str]:
    return sorted(name for name, value in wire.items() if value is not None and name not in NEVER_FROM_FHIR)


def keep_reviews(board: Json, before: Json) -> None:
    """Takes over the reviews of all that has not changed."""
    for part, places in board.items():
        for place, triggers in places.items():
            for label, told in triggers.items():
                earlier = dict(before.get(part, {}).get(place, {}).get(label, {}))
                review = earlier.pop("reviewed", None)
                told["reviewed"] = review if earlier == told else None


def written(board: Json) -> str:
    """The scoreboard as JSON with a line for each trigger, so that a change is a line of a diff."""
    parts = []
    for part, places in board.items():
        listed = []
        for place, triggers in places.items():
            lines = [f"   {json.dumps(label)}: {json.dumps(told)}" for label, told in triggers.items()]
            listed.append(f"  {json.dumps(place)}: {{\n" + ",\n".join(lines) + "\n  }")
        parts.append(f" {json.dumps(part)}: {{\n" + ",\n".join(listed) + "\n }")
    return "{\n" + ",\n".join(parts) + "\n}\n"
