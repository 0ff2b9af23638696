"""The worked examples of docs/site-rules.md: rules, a record, and what comes of them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from fhir_bridge.case.case import Case
from fhir_bridge.cli.lineage import value_at
from fhir_bridge.mapping.decide import decide
from fhir_bridge.mapping.decision import Call
from fhir_bridge.mapping.expressions import VARIABLES
from fhir_bridge.mapping.printed import decision_data, kind
from fhir_bridge.mapping.profile import SourceFacts
from fhir_bridge.profiles.load import load_profile

PAGE = (Path(__file__).parents[2] / "docs" / "site-rules.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```yaml\n(.*?)```\n```json\n(.*?)```\n```text\n(.*?)\n```", PAGE, re.DOTALL)


def test_every_yaml_of_the_page_is_an_example() -> None:
    """None is only looked at."""
    assert len(EXAMPLES) == PAGE.count("```yaml") >= 9


@pytest.mark.parametrize(("rules", "record", "outcome"), EXAMPLES, ids=range(len(EXAMPLES)))
def test_example_does_what_it_says(
    rules: str,
    record: str,
    outcome: str,
    tmp_path: Path,
    case_of: Callable[..., Case],
    marigold: dict[str, Any],
    proposed: dict[str, Any],
    order: dict[str, Any],
    now: datetime,
) -> None:
    """The record is a proposed appointment, or an order, of Marigold with what the example adds."""
    site = tmp_path / "site.yaml"
    site.write_text(rules, encoding="utf-8")
    profile = load_profile(SourceFacts(), site)
    added = json.loads(record)
    trigger = order if "ServiceRequest" in added else proposed
    trigger = {**trigger, **added.get(trigger["resourceType"], {})}
    case = case_of(trigger, {**marigold, **added.get("Patient", {})})
    without = decision_data(decide(case, load_profile(SourceFacts()), now))
    decision = decide(case, profile, now)
    data = decision_data(decision)
    field, colon, value = outcome.partition(": ")
    if not colon:
        assert " ".join(filter(None, (kind(decision), data["reason"]))) == outcome
        assert data["decision"] != without["decision"]
        return
    assert isinstance(decision, Call)
    assert value_at(data["request"], data["patient"], field) == value
    assert value_at(without["request"], without["patient"], field) != value


def test_the_page_tells_every_name_an_expression_may_use() -> None:
    """And what each holds."""
    assert re.findall(r"\| `%(\w+)` \|", PAGE) == list(VARIABLES)
