"""What is asked of $export, and from which moment on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import msgspec
import pytest

from fhir_bridge.errors import UsageError
from fhir_bridge.intake.export.beginning import fresh, going_on, last_time, unfinished
from fhir_bridge.intake.export.folder import ExportFolder
from fhir_bridge.intake.export.request import (
    ExportRequest,
    checked_filters,
    checked_types,
    group_scope,
    instant,
)

BASE = "https://ehr.example/fhir"


def test_a_kick_off_names_each_parameter_once() -> None:
    """With commas between types and between filters; a comma within a filter is escaped."""
    request = ExportRequest(
        base_url=BASE,
        scope="Group/g1",
        types=("Patient", "ServiceRequest"),
        since="2026-11-23T10:00:00Z",
        type_filters=("ServiceRequest?status=active,draft", "ServiceRequest?intent=order"),
    )
    assert request.kick_off_url() == (
        f"{BASE}/Group/g1/$export?_type=Patient,ServiceRequest&_since=2026-11-23T10:00:00Z"
        "&_typeFilter=ServiceRequest%3Fstatus%3Dactive%252Cdraft,ServiceRequest%3Fintent%3Dorder"
    )


def test_a_post_has_each_filter_as_a_parameter() -> None:
    """As the Parameters of the operation's definition."""
    request = ExportRequest(
        base_url=BASE, since="2026-11-23T10:00:00Z", type_filters=("A?x=1,2", "A?y=3"), output_format="ndjson"
    )
    assert request.body()["parameter"] == [
        {"name": "_since", "valueInstant": "2026-11-23T10:00:00Z"},
        {"name": "_typeFilter", "valueString": "A?x=1,2"},
        {"name": "_typeFilter", "valueString": "A?y=3"},
        {"name": "_outputFormat", "valueString": "ndjson"},
    ]


def test_everything_is_asked_for_without_parameters() -> None:
    """The system, all types, from the beginning."""
    assert ExportRequest(base_url=BASE).kick_off_url() == f"{BASE}/$export"


def test_types_and_filters_are_checked_before_anything_is_asked() -> None:
    """Each type once; a filter belongs to a type that is asked for."""
    assert checked_types(("Patient,Appointment", "Patient")) == ("Patient", "Appointment")
    assert checked_filters(("Patient?active=true",), ()) == ("Patient?active=true",)
    for types in (("patient",), ("Patient/1",), ("", "Pat ient")):
        with pytest.raises(UsageError):
            checked_types(types)
    for text in ("Patient", "Patient?", "?active=true"):
        with pytest.raises(UsageError):
            checked_filters((text,), ())


@pytest.mark.parametrize("group", ["", "a b", "../x", "x" * 65, "g?x=1"])
def test_a_group_is_named_by_its_id(group: str) -> None:
    """What is none makes no path of its own."""
    assert group_scope("Group/g-1.2") == "Group/g-1.2"
    with pytest.raises(UsageError):
        group_scope(group)


def test_an_instant_is_in_utc_and_as_exact_as_it_was() -> None:
    """FHIR's form; milliseconds where there are any."""
    east = timezone(timedelta(hours=1))
    assert instant(datetime(2026, 11, 23, 11, tzinfo=east)) == "2026-11-23T10:00:00Z"
    assert instant(datetime(2026, 11, 23, 10, 0, 0, 123456, tzinfo=UTC)) == "2026-11-23T10:00:00.123Z"


def finished(folder: Path, request: ExportRequest, time: str, source: str = "ehr") -> None:
    """A folder with a manifest, as a finished export leaves it."""
    folder.mkdir(parents=True)
    extension = {"source": source, "request": msgspec.to_builtins(request)}
    (folder / "manifest.json").write_bytes(
        msgspec.json.encode({"transactionTime": time, "extension": extension})
    )


def test_the_newest_export_of_the_same_is_built_upon(tmp_path: Path) -> None:
    """By what its moment means, not by how it is written; others beside it do not count."""
    request = ExportRequest(base_url=BASE, types=("Patient",))
    finished(tmp_path / "1", request, "2026-11-23T23:30:00Z")
    finished(tmp_path / "2", request, "2026-11-24T00:45:00+02:00")
    finished(tmp_path / "3", ExportRequest(base_url=BASE), "2026-11-25T00:00:00Z")
    finished(tmp_path / "4", request, "2026-11-25T00:00:00Z", source="other")
    finished(tmp_path / "5", request, "yesterday")
    (tmp_path / "6").mkdir()
    (tmp_path / "6" / "manifest.json").write_text("not JSON")
    assert last_time(ExportFolder(tmp_path / "new"), "ehr", request) == "2026-11-23T23:30:00Z"
    with pytest.raises(UsageError, match="no finished export"):
        last_time(ExportFolder(tmp_path / "new"), "third", request)


def test_only_the_same_request_goes_on(tmp_path: Path) -> None:
    """But for the moment, where that was looked up when it was begun."""
    folder = ExportFolder(tmp_path / "out")
    folder.make()
    request = ExportRequest(base_url=BASE, types=("Patient",))
    state = fresh("ehr", msgspec.structs.replace(request, since="2026-11-23T10:00:00Z"))
    folder.save(state)
    assert unfinished(folder) is None  # nothing was done but asking
    state.job_url = f"{BASE}/jobs/1"
    folder.save(state)
    begun = unfinished(folder)
    assert begun == state
    assert going_on(begun, "ehr", request, since_last=True) is begun
    for source, since_last in (("ehr", False), ("other", True)):
        with pytest.raises(UsageError, match="not finished"):
            going_on(begun, source, request, since_last=since_last)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"version": 99}', "\xff", '{"version": 1, "source": 3}'])
def test_a_state_that_cannot_be_read_is_said_so(tmp_path: Path, text: str) -> None:
    """Cut off, of another version, or somebody else's."""
    (tmp_path / "export-state.json").write_text(text, encoding="latin-1")
    with pytest.raises(UsageError, match=r"cannot|not one"):
        ExportFolder(tmp_path).state()
