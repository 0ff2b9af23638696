"""docs/security.md promises nothing that no test shows."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROMISES = re.findall(
    r"^\| .+ \| `(tests/\S+)` `(\w+)` \|$", (ROOT / "docs" / "security.md").read_text(), re.MULTILINE
)


def test_every_promise_names_a_test_that_there_is() -> None:
    """A test that was renamed would leave its promise to itself."""
    assert len(PROMISES) > 15
    missing = [
        name
        for file, name in PROMISES
        if not re.search(rf"^(?:async )?def {name}\(", (ROOT / file).read_text(), re.MULTILINE)
    ]
    assert missing == []
