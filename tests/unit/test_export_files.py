"""What is looked at in the files of an export: lines, pages, outcomes, deletions; and how long is waited."""

from __future__ import annotations

import json
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_bridge.errors import UsageError
from fhir_bridge.intake.export import crawl_patients, lines
from fhir_bridge.intake.export.bundle_lines import label, one_line, resource_lines
from fhir_bridge.intake.export.crawl_plan import CrawlRules, groups_of
from fhir_bridge.intake.export.deletions import date_deletions
from fhir_bridge.intake.export.folder import ExportFolder
from fhir_bridge.intake.export.outcomes import issues_in
from fhir_bridge.intake.export.waiting import Pace, Waits


@pytest.mark.parametrize(
    ("body", "count", "fault", "unended"),
    [
        (b"", 0, False, False),
        (b"\n\r\n", 0, False, False),
        (b'{"a":1}\n{"b":2}\n', 2, False, False),
        (b'{"a":1}\r\n\r\n{"b":2}\r\n', 2, False, False),
        (b'{"a":1}\n{"b":2}', 2, False, True),
        (b'{"a":1}\n{"b":', 2, True, True),
        (b"<html>\n</html>\n", 2, True, False),
        (b'{"a":"\xc3', 1, True, True),
    ],
)
def test_a_file_is_whole_where_its_last_line_is(
    tmp_path: Path, body: bytes, count: int, fault: bool, unended: bool
) -> None:
    """Blank lines do not count, and a last one without its end does, if it is JSON."""
    (tmp_path / "f").write_bytes(body)
    found = lines.lines_of(tmp_path / "f")
    assert (found.count, bool(found.fault), found.unended, found.size) == (count, fault, unended, len(body))


@given(
    st.lists(st.sampled_from([b'{"a": 1}', b"{}", b"", b" ", b"\r", b"\t \r"]), max_size=12),
    st.integers(1, 9),
)
def test_lines_are_counted_as_they_were_written(rows: list[bytes], block: int) -> None:
    """Blank ones never, wherever the blocks end that the file is read in."""
    with tempfile.NamedTemporaryFile() as file, pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "_BLOCK", block)
        file.write(b"".join(row + b"\n" for row in rows))
        file.flush()
        found = lines.lines_of(Path(file.name))
    assert (found.count, found.fault) == (sum(row.startswith(b"{") for row in rows), None)


def test_a_page_becomes_lines_byte_for_byte() -> None:
    """Numbers keep their digits; printed JSON is laid on one line; outcomes are apart."""
    page = b"""{"resourceType": "Bundle", "entry": [
      {"resource": {"resourceType": "Patient",
         "id": "p1", "x": 1.10}},
      {"resource": {"resourceType": "OperationOutcome"}, "search": {"mode": "outcome"}},
      {"fullUrl": "nothing"}]}"""
    found, outcomes = resource_lines(page)
    assert found == [b'{"resourceType": "Patient",          "id": "p1", "x": 1.10}\n']
    assert len(outcomes) == 1
    assert label(found[0]) == "Patient/p1"
    assert [label(line) for line in (b"{}", b"x", b'{"resourceType": "Patient"}')] == [None] * 3


@given(st.dictionaries(st.text(), st.text() | st.integers()))
def test_one_line_means_the_same(resource: dict[str, object]) -> None:
    """Within texts JSON has no line ends, so none is lost."""
    line = one_line(json.dumps(resource, indent=2, ensure_ascii=False).encode())
    assert line.count(b"\n") == 1
    assert json.loads(line) == resource


def test_issues_are_counted_by_code_and_never_quoted(tmp_path: Path) -> None:
    """What is no OperationOutcome, or has no code, is counted too."""
    issue = {"severity": "error", "code": "not-found", "diagnostics": "Juniper Sample"}
    odd = {"severity": "Juniper Sample!", "code": None}
    lines = [
        json.dumps({"resourceType": "OperationOutcome", "issue": each}) for each in ([issue, odd], [issue])
    ]
    (tmp_path / "e").write_text("\n".join([*lines, "", "not JSON"]))
    assert issues_in([tmp_path / "e"]) == {
        ("error", "not-found"): 2,
        ("unknown", "unknown"): 1,
        ("error", "unreadable"): 1,
    }


def test_deletions_are_dated_once_and_others_left_alone(tmp_path: Path) -> None:
    """Those that say when keep it; lines that are no Bundle keep every byte."""
    dated = {
        "request": {"method": "DELETE", "url": "A/2"},
        "response": {"lastModified": "2026-01-01T00:00:00Z"},
    }
    entries = [{"request": {"method": "DELETE", "url": "A/1"}}, dated, {"request": {"method": "PUT"}}, 3]
    lines = [json.dumps({"resourceType": "Bundle", "entry": entries}), "not JSON", '{"entry": 3}', "[]"]
    (tmp_path / "d").write_text("\n".join(lines))
    for _ in range(2):
        date_deletions(ExportFolder(tmp_path), ["d"], "2026-11-23T10:00:00Z")
    first, *rest = (tmp_path / "d").read_text().split("\n")
    assert rest == lines[1:]
    after = json.loads(first)["entry"]
    assert after[0]["response"] == {"status": "204", "lastModified": "2026-11-23T10:00:00Z"}
    assert after[1:] == entries[1:]


def test_a_wait_is_the_servers_within_bounds_else_longer_each_time() -> None:
    """0 is not taken at its word, nor a year; failing for too long ends it, and work in between does not."""
    now = [0.0]
    waits = Waits(Pace(first=1, longest=8, cap=100, patience=20), clock=lambda: now[0])
    assert [waits.working(said) for said in (None, None, 0, 30, 1e9, None)] == [1, 2, 1, 30, 100, 4]
    assert waits.failing(15) == 15
    now[0] = 10
    assert waits.failing(15) is None
    assert waits.working(None) == 8
    assert waits.failing(15) == 15
    fresh = Waits(Pace(), clock=lambda: now[0])
    assert [fresh.failed(3) is None for _ in range(3)] == [False, False, True]


RULES = CrawlRules(
    by_patient={"Appointment": "patient={patient}&date=ge{since_day}&date=lt{until}"},
    by_date={"Appointment": ["date=ge{since_day}&date=lt{until_day}", "status=proposed,pending"]},
    window=(datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 11, 10, tzinfo=UTC)),
    roles="practitioner={practitioner}",
    changed_query="_lastUpdated=ge{changed}",
)


def test_a_query_is_filled_in_and_what_is_filled_in_stays_a_value() -> None:
    """An id that looks like a query makes none."""
    searches = RULES.of_patients("Appointment", ["p0", "p1&status=x{since}"])
    assert [each[-1] for each in searches] == [
        (
            ("patient", "p1&status=x{since}"),
            ("date", "ge2026-11-01"),
            ("date", "lt2026-11-10T00:00:00Z"),
        )
    ]


def test_dates_are_asked_week_by_week_and_the_rest_once() -> None:
    """The last week ends with the window."""
    assert list(RULES.of_weeks("Appointment")) == [
        (("date", "ge2026-11-01"), ("date", "lt2026-11-08")),
        (("date", "ge2026-11-08"), ("date", "lt2026-11-10")),
        (("status", "proposed,pending"),),
    ]
    assert list(RULES.of_weeks("Coverage")) == []


@given(st.integers(0, 350), st.integers(0, 3))
def test_groups_hold_each_question_once_in_order(number: int, already: int) -> None:
    """The same however often it is planned, each group with a name of its own."""
    ids = [str(each) for each in range(number)]
    groups = groups_of("Patient", ids=ids, already=already)
    assert [one for group in groups for one in group.ids] == ids
    assert groups == groups_of("Patient", ids=ids, already=already)
    assert [group.number for group in groups] == list(range(already + 1, already + 1 + len(groups)))
    assert all(group.size <= 100 for group in groups)


@pytest.mark.parametrize("line", ["Juniper Sample", "{}", '{"resourceType": "Group", "id": "g"}', "a/b"])
def test_a_list_of_patients_is_read_strictly(tmp_path: Path, line: str) -> None:
    """A line that names nobody is an error with its number, and its words are not repeated."""
    (tmp_path / "list").write_text(f"p1\n{line}\n")
    with pytest.raises(UsageError, match=":2:") as error:
        crawl_patients.listed(tmp_path / "list")
    assert "Juniper" not in str(error.value)
