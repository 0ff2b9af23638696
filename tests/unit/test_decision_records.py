"""A decision as a line of JSON and back."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from fhir_bridge.app.rules import mapping_run
from fhir_bridge.errors import InputError
from fhir_bridge.migration import codec

FIXTURES = Path(__file__).parents[2] / "fixtures"


def test_every_decision_and_statement_comes_back_as_it_was() -> None:
    """Of all stories: calls with drafts and lineage, skips, rejects, and what is said of persons."""
    run = mapping_run(None, None, {}, datetime(2026, 11, 23, 15, tzinfo=UTC))
    arrivals, heard = run.taken(run.read([str(FIXTURES)]))
    records = [*arrivals, *heard]
    assert list(codec.decode_all(codec.encode_all(records))) == records
    assert {type(arrival.decision).__name__ for arrival in arrivals} == {"Call", "Skip", "Reject"}
    assert heard


@pytest.mark.parametrize("line", [b"", b"{}", b'{"v":1,"kind":"call","source":"s"}', b"\xff", b'{"v":1}'])
def test_what_is_no_record_is_refused(line: bytes) -> None:
    """An InputError that shows nothing of the line."""
    with pytest.raises(InputError, match="not a decision record"):
        codec.decode(line)


def test_a_record_of_a_newer_version_is_not_guessed_at() -> None:
    """It may mean something this one does not know."""
    line = msgspec.json.encode({"v": codec.VERSION + 1, "kind": "call", "source": "s"})
    with pytest.raises(InputError, match="newer fhir-bridge"):
        codec.decode(line)
