"""A decision as a line of JSON and back."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from fhir_bridge.app.rules import mapping_run
from fhir_bridge.errors import InputError
from fhir_bridge.ledger.records import Broken, Heard
from fhir_bridge.mapping.statements import Statement
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


def test_what_could_not_be_read_comes_back_and_an_older_release_refuses_it() -> None:
    """It would go on as if nothing had been said; all else it can read."""
    at = datetime(2026, 11, 23, 8, tzinfo=UTC)
    names = frozenset({"Patient/p1", "Appointment/a1"})
    broken = Broken("ehr", "a.ndjson:7", "not-json", b"\x00\xff", names, "Appointment/a1", "3", at)
    for record in (broken, Broken("ehr", "b.json", "encoding", b"other")):
        line = codec.encode(record)
        assert (codec.decode(line), codec.is_broken(line)) == (record, True)
        assert msgspec.json.decode(line)["v"] == 2
    heard = codec.encode(Heard("ehr", Statement(("Patient/p1",), "Patient/p1", None)))
    assert (msgspec.json.decode(heard)["v"], codec.is_broken(heard)) == (1, False)


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
