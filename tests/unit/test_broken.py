"""What cannot be read in files, told apart as the ledger is to know it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fhir_bridge.intake.files import read_inputs
from fhir_bridge.ledger.records import Broken
from fhir_bridge.migration.broken import broken_of, unread_in

META = '"meta":{"versionId":"3","lastUpdated":"2026-11-23T08:00:00Z"}'
DEAD = '{"resourceType":"Pateint","id":"p1",' + META + ',"deceasedBoolean":true}'
NOBODY = '{"resourceType":"Consent","id":"c1","sta'
FINE = '{"resourceType":"Patient","id":"p9"}'


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are named from here."""
    monkeypatch.chdir(tmp_path)


def read(**files: str) -> list[Broken]:
    """What of these files cannot be read."""
    for name, text in files.items():
        Path(f"{name}.ndjson").write_text(text)
    return broken_of("ehr", unread_in(read_inputs([f"{name}.ndjson" for name in files]).problems))


def test_a_text_that_names_somebody_is_told_with_its_place_and_version() -> None:
    """As far as it shows them."""
    (found,) = read(a="\n".join((FINE, DEAD)))
    assert (found.source, found.place, found.error) == ("ehr", "a.ndjson:2", "type-misspelt")
    assert (found.names, found.about, found.version_id) == ({"Patient/p1"}, "Patient/p1", "3")
    assert found.last_updated == datetime(2026, 11, 23, 8, tzinfo=UTC)


OWN = '"meta":{"versionId":"3","tag":[]},'
OTHERS = '"contained":[{"resourceType":"Patient","id":"x","meta":{"versionId":"9"}}],"extension":[{"id":"e"'
FRONT = '{"resourceType":"Appointment","id":"a1",'


@pytest.mark.parametrize(
    ("text", "about", "version"),
    [
        (FRONT + OTHERS, "Appointment/a1", None),
        (FRONT + OWN + OTHERS, "Appointment/a1", "3"),
        ('{ "resourcetype" : "Apointment", "id" : "a1",' + OWN + OTHERS, "Appointment/a1", "3"),
        ('{"id":"a1","resourceType":"Appointment",' + OWN, "Appointment/a1", "3"),
        ('{"status":"booked",' + OTHERS + ',"id":"a1","resourceType":"Appointment"', None, None),
        ('{"resourceType":"Bundle","id":"b","entry":[{' + FRONT, None, None),
    ],
)
def test_which_record_it_was_is_told_where_that_is_sure(
    text: str, about: str | None, version: str | None
) -> None:
    """What it contains has a type, an id and a version too; those in front are its own."""
    (found,) = read(a="\n".join((FINE, text)))
    assert (found.about, found.version_id) == (about, version)


def test_the_same_text_is_told_once_wherever_it_stands() -> None:
    """In a run, and from run to run: by its digest, which another text does not have."""
    (one,) = read(a="\n".join((FINE, DEAD, DEAD)), b="\n".join((FINE, FINE, DEAD)))
    (again,) = read(c="\n".join((FINE, FINE, FINE, DEAD)))
    (other,) = read(a="\n".join((FINE, DEAD.replace("true", "false"))))
    assert one.digest == again.digest != other.digest


def test_what_names_nobody_is_told_once_for_each_file() -> None:
    """By all of it together: more of it is another thing to look at."""
    first, second = read(a="\n".join((FINE, NOBODY, NOBODY + "x")), b="\n".join((FINE, NOBODY)))
    assert (first.place, first.names, second.place, second.names) == ("a.ndjson", set(), "b.ndjson:2", set())
    assert first.digest != second.digest


def test_a_bundle_tells_of_all_who_stand_beside_what_names_nobody() -> None:
    """Once; and what names only a trigger may be about anybody there too, and is told by itself."""
    torn = {"resourceType": "Bundle", "entry": [{"resource": {"resourceType": 5}}] * 2}
    torn["entry"] += [{"resource": {"resourceType": "Pateint", "id": "p1"}}]  # type: ignore[operator]
    torn["entry"] += [{"resource": json.loads(FINE)}]  # type: ignore[operator]
    named, beside = read(a=json.dumps(torn))
    assert named.names == {"Patient/p1"}
    assert (beside.place, beside.names) == ("a.ndjson", {"Patient/p1", "Patient/p9"})


def test_what_decides_nothing_leaves_nothing() -> None:
    """A broken laboratory result stops no call."""
    noise = '{"resourceType":"Observation","id":"o","subject":{"reference":"Patient/p1"},"val'
    assert read(a="\n".join((FINE, noise))) == []
