"""`validation` of a source, and `--set validation`, at the file door."""

from __future__ import annotations

import json
from typing import Any

import pytest

SETTINGS = """
[sources.ehr]
timezone = "America/New_York"
validation = "{validation}"
"""


@pytest.fixture
def odd(hospital: Any) -> str:
    """A Bundle whose Appointment has an element that no version knows."""
    return str(hospital.write("odd.json", hospital.patient(), hospital.appointment(zzUnknown=1)))


def mapped(bridge: Any, name: str, *arguments: str) -> tuple[dict[str, Any], str, int]:
    """The one decision, what stderr said, and the exit code."""
    ran = bridge("map", name, "--format", "decisions", *arguments)
    return json.loads(ran.out), ran.err, ran.code


@pytest.mark.parametrize(
    ("validation", "decision", "counted", "code"),
    [("off", "call", False, 0), ("warn", "call", True, 0), ("strict", "reject", True, 1)],
)
def test_a_source_says_how_strict_it_is(
    validation: str, decision: str, counted: bool, code: int, bridge: Any, odd: str
) -> None:
    """off says nothing, warn notes and counts, strict rejects; each by the source's own setting."""
    (bridge.folder / "bridge.toml").write_text(SETTINGS.format(validation=validation))
    found, said, exit_code = mapped(bridge, odd, "--source", "ehr")
    assert (found["decision"], exit_code) == (decision, code)
    codes = [note["code"] for note in found["notes"] if note["code"].startswith("validation:")]
    assert bool(codes) == ("not conformant: 1 of 1" in said) == counted
    if decision == "reject":
        assert (found["reason"], found["expression"]) == ("not-conformant", "Appointment.zzUnknown")


def test_a_run_may_say_it_for_itself(bridge: Any, odd: str) -> None:
    """`--set` wins over the source."""
    found, _, _ = mapped(bridge, odd, "--set", "validation=strict")
    assert found["reason"] == "not-conformant"


def test_another_word_is_refused(bridge: Any, odd: str) -> None:
    """With the words there are."""
    ran = bridge("map", odd, "--set", "validation=strictly")
    assert ran.code == 3
    assert "must be one of off, warn, strict" in ran.err
