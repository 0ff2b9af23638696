"""Each story of the made-up hospital, mapped by the command line, is decided as the specification demands."""

from __future__ import annotations

import difflib
import json
from collections import Counter
from datetime import datetime
from typing import Any

import pytest

from fhir_bridge.app.rules import mapping_run
from fhir_bridge.cli.main import run
from fhir_bridge.mapping.gates import Blocked
from fhir_bridge.mapping.printed import decision_data
from fhir_bridge.mapping.reasons import REASONS, SITE


def mapped(story: Any, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[dict[str, Any]], str]:
    """Exit code, decisions and what stderr said, of `fhir-bridge map … --format decisions`.

    The do-not-call list lives in the ledger, which `map` has not: a story with one goes below the command.
    """
    if "do_not_call" in story.told:
        return 0, mapped_with_list(story), ""
    code = run(story.arguments())
    captured = capsys.readouterr()
    return code, [json.loads(line) for line in captured.out.splitlines()], captured.err


def mapped_with_list(story: Any) -> list[dict[str, Any]]:
    """The decisions where the numbers of `do_not_call` must not be called."""
    rules = mapping_run(None, None, story.told["set"], datetime.fromisoformat(story.told["now"]))
    inputs = rules.read([str(path) for path in story.inputs], story.context)
    decisions = rules.decide(inputs, Blocked(numbers=frozenset(story.told["do_not_call"])))
    return [decision_data(decision) for decision in decisions]


def compared(decision: dict[str, Any]) -> dict[str, Any]:
    """What a story speaks of: the decision and its reason, and for a call the whole request and patient."""
    keys = ["trigger", "decision", "reason"]
    if decision["decision"] == "call":
        keys += ["request", "patient"]
    return {key: decision[key] for key in keys}


def difference(expected: list[dict[str, Any]], found: list[dict[str, Any]]) -> str:
    """A diff of two lists of decisions, for people; empty where they say the same."""
    old, new = (json.dumps(each, indent=2, ensure_ascii=False, sort_keys=True) for each in (expected, found))
    return "\n".join(
        difflib.unified_diff(
            old.splitlines(), new.splitlines(), "specification", "fhir-bridge", lineterm="", n=6
        )
    )


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs in an empty folder without settings, so that nothing but the story decides."""
    monkeypatch.chdir(tmp_path)
    for name in ("CONFIG", "API_URL", "API_KEY", "PROJECT_ID", "LEDGER"):
        monkeypatch.delenv(f"FHIR_BRIDGE_{name}", raising=False)


def test_story_is_decided_as_the_specification_demands(
    story: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Same triggers in the same order, each with the decision, reason, request and patient demanded."""
    code, decisions, said = mapped(story, capsys)
    different = difference(story.expected, [compared(each) for each in decisions])
    assert not different, f"{story.folder.name}\n{different}\n{said}"
    wants_a_person = story.told.get("unreadable") or any(d["decision"] == "reject" for d in story.expected)
    assert code == (1 if wants_a_person else 0), said


def test_triggers_that_are_one_call_share_their_intent(
    story: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """`same_intent` in story.toml names triggers that must never become two calls; others do not share."""
    _, decisions, _ = mapped(story, capsys)
    calls = {each["trigger"]: each["intent"] for each in decisions if each["decision"] == "call"}
    together = story.told.get("same_intent", [])
    for group in together:
        assert len({calls[trigger] for trigger in group}) == 1, group
    alone = len(calls) - sum(len(group) - 1 for group in together)
    assert len(set(calls.values())) == alone


def test_mapping_twice_gives_the_same_bytes(story: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Same input, settings and clock: same bytes out (mapping, section 14)."""
    run(story.arguments())
    first = capsys.readouterr().out
    run(story.arguments())
    assert capsys.readouterr().out == first


def test_every_row_is_told_by_a_story(stories: Any) -> None:
    """Rows 1 to 20 of the table of triggers (mapping, section 3)."""
    covered = {mark for story in stories for mark in story.told["covers"]}
    assert not {f"row-{number}" for number in range(1, 21)} - covered


FROM_A_SERVER = {"source-incomplete"}
"""What no file can lead to: tests/integration/test_fetching_unanswered.py has its stories."""


def test_every_gate_and_every_reason_is_told_by_a_story(stories: Any) -> None:
    """Each code that the bridge can give is expected by at least one story, and none is made up."""
    expected = {each["reason"] for story in stories for each in story.expected if each["reason"]}
    own = {reason for reason in expected if reason.startswith(SITE)}
    assert own, "no story tells of a site's own gate"
    assert expected - own == set(REASONS) - FROM_A_SERVER


def test_gates_that_a_story_says_it_covers_are_the_ones_it_expects(story: Any) -> None:
    """`gate:` marks name a reason that the story expects, or one it shows not to hold for a call."""
    reasons = {each["reason"] for each in story.expected}
    for mark in story.told["covers"]:
        kind, _, code = mark.partition(":")
        if kind in ("gate", "reason"):
            assert code in REASONS
            assert code in reasons or None in reasons, mark


def test_the_table_of_stories_is_true(stories: Any) -> None:
    """fixtures/README.md lists every story with its title and decisions, in order, and nothing else."""
    readme = (stories[0].folder.parent / "README.md").read_text(encoding="utf-8")
    listed = [line for line in readme.splitlines() if "/README.md) |" in line]
    assert listed == [table_row(story) for story in stories]


def table_row(story: Any) -> str:
    """The line for a story in fixtures/README.md."""
    counts = Counter(in_words(each) for each in story.expected)
    decisions = ", ".join(word if number == 1 else f"{word} ×{number}" for word, number in counts.items())
    name = story.folder.name
    return f"| [{name}]({name}/README.md) | {story.told['title']} | {decisions or 'none'} |"


def in_words(decision: dict[str, Any]) -> str:
    """`call`, or what else and why."""
    return "call" if decision["decision"] == "call" else f"{decision['decision']} `{decision['reason']}`"
