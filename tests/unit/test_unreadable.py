"""What cannot be read may have been the reason not to call: it holds the calls it may speak about, and no
others."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from fhir_bridge.fhir.resource_types import RESOURCE_TYPES, meant_type
from fhir_bridge.intake.files import read_inputs
from fhir_bridge.intake.notifications import parse
from fhir_bridge.mapping.profile import Profile
from fhir_bridge.mapping_run import MappingRun
from fhir_bridge.processing.reading import inputs_of

Json = dict[str, Any]
HELD = "record-unreadable"


def reasons(run: MappingRun, *files: Path) -> list[str | None]:
    """Why each trigger of some files is not called; None for a call."""
    decided = run.decide(read_inputs([str(file) for file in files]))
    return [getattr(decision, "reason", None) for decision in decided]


@pytest.fixture
def run(us: Profile, now: datetime) -> MappingRun:
    """Maps by an American site's rules."""
    return MappingRun(us, now)


@pytest.fixture
def other(proposed: Json, marigold: Json) -> list[Json]:
    """Somebody else who is to be called."""
    actor = {"reference": "Patient/other"}
    trigger = {**proposed, "id": "a2", "participant": [{"actor": actor, "status": "accepted"}]}
    return [trigger, {**marigold, "id": "other", "telecom": [{"system": "phone", "value": "212-555-0102"}]}]


def lines(*parts: Json | str) -> str:
    """NDJSON, some lines of it as they are."""
    return "\n".join(part if isinstance(part, str) else json.dumps(part) for part in parts) + "\n"


def bundle(*resources: Any, urls: dict[int, str] | None = None) -> Json:
    """A Bundle of these, in entries with a fullUrl where one is given by number."""
    entries: list[Json] = [{"resource": each} for each in resources]
    for number, url in (urls or {}).items():
        entries[number]["fullUrl"] = url
    return {"resourceType": "Bundle", "type": "collection", "entry": entries}


CUT = {
    "a death": '{"resourceType":"Patient","id":"marigold","deceasedBool',
    "a denial": '{"resourceType":"Consent","id":"c","patient":{"reference":"Patient/marigold"},"',
    "a cancellation": '{"resourceType":"Appointment","id":"a1","sta',
    "a booking": '{"resourceType" : "Appointment","participant":[{"actor":{"reference":"Patient\\/marigold',
    "no type": '{"id":"c1","status":"active","patient":{"reference":"https://ehr.example/Patient/marigold"},"pro',
    "another case": '{"resourceType":"Consent","id":"c","patient":{"reference":"PATIENT/marigold"},"',
    "a misspelt type": '{"resourceType":"Consent","id":"c","patient":{"reference":"Pateint/marigold"},"',
    "no known type": '{"resourceType":"Consent","id":"c","patient":{"reference":"Client/marigold"},"',
    "a misspelt order": '{"resourceType":"Appointment","id":"b","basedOn":[{"reference":"APPOINTMENT/a1"}],"',
    "a Bundle": '{"resourceType":"Bundle","entry":[{"resource":{"resourceType":"Patient","id":"marigold",',
}


@pytest.mark.parametrize("cut", CUT.values(), ids=CUT)
def test_a_line_that_is_cut_off_holds_the_calls_of_whom_it_names(
    cut: str, run: MappingRun, tmp_path: Path, proposed: Json, marigold: Json, other: list[Json]
) -> None:
    """Wherever it stands, and nobody else's."""
    file, broken = tmp_path / "a.ndjson", tmp_path / "b.ndjson"
    file.write_text(lines(proposed, marigold, *other, cut))
    assert reasons(run, file) == [HELD, None]
    file.write_text(lines(proposed, marigold, *other))
    broken.write_text(lines(cut, cut))
    assert reasons(run, file, broken) == [HELD, None]
    broken.write_text(cut)
    assert reasons(run, file, broken) == [HELD, None]


@pytest.mark.parametrize(
    "cut",
    [
        '{"resourceType":"Observation","id":"o","subject":{"reference":"Patient/marigold"},"val',
        '{"resourceTy',
        "%%%",
        '{"resourceType":"Patient","id":"a1","deceasedBool',
        '{"trigger":"Appointment/a1","lineage":[{"resource":"Patient/marigold"}]}',
        '{"resourceType":"Encounter","id":"e","subject":{"reference":"Patient/marigold"},"per',
    ],
)
def test_a_line_that_decides_nothing_or_names_nobody_here_stops_no_export(
    cut: str, run: MappingRun, tmp_path: Path, proposed: Json, marigold: Json
) -> None:
    """One broken line among millions is told of, and no more."""
    file = tmp_path / "a.ndjson"
    file.write_text(lines(proposed, marigold, cut))
    assert reasons(run, file) == [None]


BROKEN: dict[str, tuple[Any, str | None, bool, bool]] = {
    "a death": ({"resourceType": 5, "id": "marigold", "deceasedBoolean": True}, None, True, True),
    "nothing": (None, None, True, True),
    "a text": ("Patient/marigold", None, True, True),
    "an address": (None, "https://ehr.example/Patient/marigold", True, False),
    "a URN": ({"status": "active"}, "urn:uuid:7", True, True),
    "noise": ({"status": "final"}, "https://ehr.example/Observation/o1", False, False),
    "a denial by URN": (
        {"id": "c", "status": "active", "patient": {"reference": "urn:uuid:1"}, "provision": {}},
        None, True, True,
    ),
    "a denial": (
        {"id": "c", "status": "active", "patient": {"reference": "Patient/marigold"}}, None, True, False,
    ),
}  # fmt: skip
"""What stands in an entry, its fullUrl, and whether that holds the call of the one who may be meant, and of
the other."""


@pytest.mark.parametrize(("resource", "url", "hers", "others"), BROKEN.values(), ids=BROKEN)
def test_an_entry_that_cannot_be_read_holds_its_bundles_calls_unless_it_shows_whom_it_is_about(
    resource: Any,
    url: str | None,
    hers: bool,
    others: bool,
    run: MappingRun,
    now: datetime,
    tmp_path: Path,
    proposed: Json,
    marigold: Json,
    other: list[Json],
) -> None:
    """In a file, in a line of one, and in a message alike; not those of another Bundle."""
    told = bundle(resource, proposed, marigold, *other, urls={0: url} if url else None)
    expected = [HELD if hers else None, HELD if others else None]
    file = tmp_path / "a.json"
    file.write_text(json.dumps(told))
    assert reasons(run, file) == expected
    third = {**other[0], "id": "a3"}
    file.write_text(lines(told, bundle(third)))
    assert reasons(run, file) == [*expected, None]
    message = inputs_of(parse(json.dumps(told).encode()), "message", now)
    assert [getattr(each, "reason", None) for each in run.decide(message)] == expected


def test_what_is_rightly_skipped_stays_so(
    run: MappingRun, tmp_path: Path, proposed: Json, marigold: Json
) -> None:
    """A person looks only at calls that somebody wanted."""
    file = tmp_path / "a.json"
    file.write_text(json.dumps(bundle("?", proposed, {**marigold, "deceasedBoolean": True})))
    assert reasons(run, file) == ["patient-deceased"]


def test_the_decision_says_where_it_stands(
    run: MappingRun, tmp_path: Path, proposed: Json, marigold: Json
) -> None:
    """By file, line and entry, without a word of what is in it."""
    file = tmp_path / "a.ndjson"
    nameless = bundle({"subject": {"reference": "Patient/marigold"}})
    file.write_text(lines(proposed, marigold, CUT["a death"], nameless))
    (decision,) = run.decide(read_inputs([str(file)]))
    assert getattr(decision, "detail", None) == f"{file}:3, {file}:4 entry 0"


@pytest.mark.parametrize("spelt", ["Pateint", "PATEINT", "Patients", "Pat ient"])
def test_a_misspelt_type_is_a_problem_and_holds_the_calls_it_may_speak_against(
    spelt: str,
    run: MappingRun,
    now: datetime,
    tmp_path: Path,
    proposed: Json,
    marigold: Json,
    other: list[Json],
) -> None:
    """By file and line, with what was probably meant; in a line, a Bundle and a message alike."""
    dead = {"resourceType": spelt, "id": "marigold", "deceasedBoolean": True}
    file = tmp_path / "a.ndjson"
    file.write_text(lines(proposed, marigold, *other, dead))
    (problem,) = read_inputs([str(file)]).problems
    assert (problem.code, f"{file}:5" in str(problem)) == ("type-misspelt", True)
    assert f"resourceType {spelt} is no type of FHIR's: Patient was probably meant" in str(problem)
    assert reasons(run, file) == [HELD, None]
    file.write_text(json.dumps(bundle(dead, proposed, marigold, *other)))
    assert reasons(run, file) == [HELD, None]
    message = inputs_of(parse(file.read_bytes()), "message", now)
    assert [getattr(each, "reason", None) for each in run.decide(message)] == [HELD, None]


@pytest.mark.parametrize("kind", ["PaymentNotice", "Obervation", "SiteThing", "RiskEvidenceSynthesis"])
def test_a_type_that_nobody_reads_is_passed_over_however_spelt(
    kind: str, run: MappingRun, tmp_path: Path, proposed: Json, marigold: Json
) -> None:
    """It can say nothing against a call."""
    file = tmp_path / "a.ndjson"
    file.write_text(lines(proposed, marigold, {"resourceType": kind, "id": "x"}))
    found = read_inputs([str(file)])
    assert (found.problems, dict(found.others)) == ([], {kind: 1})
    assert reasons(run, file) == [None]


def test_no_type_of_fhir_is_taken_for_another() -> None:
    """Of whatever release."""
    assert {kind: meant for kind in RESOURCE_TYPES if (meant := meant_type(kind))} == {}
