"""Each invariant of a chaos run fails on evidence that breaks it, and it alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.acceptance.chaos_evidence import (
    INVARIANTS,
    Evidence,
    Exchange,
    Intent,
    Kill,
    Task,
    breaches,
    unsettled_by_the_operator,
)

SOUND = Evidence(
    offered=frozenset({"Appointment/a1", "Appointment/a2", "Appointment/a3"}),
    triggers={"Appointment/a1": 1, "Appointment/a2": 2, "Appointment/a3": 3},
    intents={1: Intent("sent", "t1"), 2: Intent("in_doubt"), 3: Intent("parked")},
    states={"sent": 1, "in_doubt": 1, "parked": 1},
    tasks=[Task("t1", "Appointment/a1"), Task("t2", "Appointment/a2")],
    exchanges=[Exchange("+1", 0.0, 1.0), Exchange("+1", 1.0, 2.0), Exchange("+2", 0.5, 1.5)],
    kills=[Kill(1.0, "worker", "outside", 1)],
    unfinished=1,
    max_in_flight=1,
    acts=2,
    audit_rows=2,
)

TWICE, LOST, FEW, ACCOUNTED, AUDIT, LANES, LEFT = INVARIANTS

DOCTORED: list[tuple[str, dict[str, Any]]] = [
    (TWICE, {"tasks": [*SOUND.tasks, Task("t2b", "Appointment/a2")]}),
    (LOST, {"offered": SOUND.offered | {"Appointment/a4"}}),
    (LOST, {"offered": SOUND.offered - {"Appointment/a3"}}),
    (LOST, {"intents": {**SOUND.intents, 4: Intent("parked")}, "states": {**SOUND.states, "parked": 2}}),
    (LOST, {"triggers": {**SOUND.triggers, "a/4": 3}, "offered": SOUND.offered | {"a/4"}}),
    (LOST, {"states": {**SOUND.states, "parked": 2}}),
    (FEW, {"kills": [Kill(1.0, "worker", "outside", 2)]}),
    (FEW, {"unfinished": 2}),
    (ACCOUNTED, {"tasks": [*SOUND.tasks, Task("t3", "Appointment/a3")]}),
    (ACCOUNTED, {"tasks": [*SOUND.tasks, Task("t9", "Appointment/a9")]}),
    (ACCOUNTED, {"tasks": [Task("t8", "Appointment/a1"), Task("t1", "Appointment/a2")]}),
    (ACCOUNTED, {"tasks": SOUND.tasks[1:]}),
    (AUDIT, {"audit_broken_at": 1}),
    (AUDIT, {"audit_rows": 1}),
    (LANES, {"exchanges": [*SOUND.exchanges, Exchange("+2", 1.4, 1.6)]}),
    (LEFT, {"intents": {1: Intent("sent", "t1"), 2: Intent("in_doubt"), 3: Intent("ready")},
            "states": {"sent": 1, "in_doubt": 1, "ready": 1}}),
]  # fmt: skip


def test_sound_evidence_breaks_nothing() -> None:
    """Else the tests below would prove nothing."""
    assert breaches(SOUND) == []


@pytest.mark.parametrize(("name", "doctored"), DOCTORED)
def test_each_invariant_sees_what_breaks_it(name: str, doctored: dict[str, Any]) -> None:
    """And no other one cries with it."""
    found = replace(SOUND, **doctored)
    assert [invariant for invariant, holds in INVARIANTS.items() if holds(found)] == [name]


def test_every_invariant_was_shown_to_fail() -> None:
    """None is left out above."""
    assert {name for name, _ in DOCTORED} == set(INVARIANTS)


def test_what_an_operator_left_unsettled_is_seen() -> None:
    """In doubt, parked, or without a task."""
    assert len(unsettled_by_the_operator(SOUND)) == 3
    settled = {number: Intent("done", f"t{number}") for number in (1, 2, 3)}
    assert unsettled_by_the_operator(replace(SOUND, intents=settled))
    tasks = [*SOUND.tasks, Task("t3", "Appointment/a3")]
    assert unsettled_by_the_operator(replace(SOUND, intents=settled, tasks=tasks)) == []
