"""What is seen of a line at one glance, and what becomes of lines that are not as most are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fhir_bridge.intake.bulk import scanning
from fhir_bridge.intake.bulk.glance import KINDS, UNSEEN, glance
from fhir_bridge.intake.bulk.pieces import Piece
from fhir_bridge.intake.bulk.spill import EVENT, About, Record, Stream
from fhir_bridge.intake.bulk.spilled import Reader

VISIT = {"resourceType": "Encounter", "id": "e1", "subject": {"reference": "Patient/p"}}


def scanned(tmp_path: Path, *lines: bytes) -> tuple[About, list[Record]]:
    """What is known of a file of these lines, and the resources in its one partition."""
    path = tmp_path / "x.ndjson"
    path.write_bytes(b"\n".join(lines))
    piece = Piece(0, 0, str(path), path.stat().st_size, is_lines=True)
    scanning.scan([piece], tmp_path / "read", 1, lambda system: system)
    reader = Reader(tmp_path / "read")
    return reader.abouts[0], list(reader.records(Stream.RESOURCES, 0))


@pytest.mark.parametrize(
    ("line", "name", "id_"),
    [
        (b'{"resourceType":"Patient","id":"p-1.2"}\n', "Patient", b"p-1.2"),
        (b'{"id": "p1", "resourceType" : "Slot"}', "Slot", b"p1"),
        (b'{"resourceType":"Encounter","id":"${id}"}', "Encounter", None),
        (b'{"resourceType":"Appointment"}', "Appointment", None),
    ],
)
def test_type_and_plain_id_are_seen(line: bytes, name: str, id_: bytes | None) -> None:
    """Wherever they stand; an id that nobody filled in is none."""
    seen = glance(line)
    assert (type(seen).__name__, seen.plain_id) == (name, id_)
    assert KINDS[type(seen)].prefix == f"{name}/".encode()


@pytest.mark.parametrize(
    "line",
    [
        b'{"resourceType":"Observation","status":"final"',
        b'{"resourceType":"Patient","id":"p1"}}',
        b'{"resourceType":"Patient","id":17}',
        b'{"resourceType":"Banana"}',
        b"[]",
        b"\n",
    ],
)
def test_what_is_not_as_most_lines_is_left_to_a_closer_look(line: bytes) -> None:
    """Broken, of another form, of a type that is rare."""
    with pytest.raises(UNSEEN):
        glance(line)


def test_visits_are_told_from_what_must_be_looked_at(tmp_path: Path) -> None:
    """In any language, if they are whole; bytes come back as they stood, those of the last line too."""
    plain = json.dumps(VISIT).encode()
    accented = json.dumps(VISIT | {"note": "Zoë"}, ensure_ascii=False).encode()
    spoilt = accented.replace("ë".encode(), b"\xeb")
    about, records = scanned(tmp_path, plain, accented + b"\r", spoilt, plain)
    assert [record.raw for record in records] == [plain, accented + b"\r", spoilt, plain]
    assert [bool(record.flags & EVENT) for record in records] == [True, True, False, True]
    assert (about.resources, about.lines, about.problems) == (4, 4, [])


def test_every_line_that_cannot_be_read_is_told_with_its_place(tmp_path: Path) -> None:
    """Line and first byte, whatever type it is of; what is passed over is counted."""
    noise, visit = b'{"resourceType":"Observation"}', json.dumps(VISIT).encode()
    about, records = scanned(tmp_path, noise, noise[:-1], b" ", visit[:-1], b"{}", noise)
    told = [(problem.line, problem.offset, problem.code) for problem in about.problems]
    assert told == [(2, 31, "not-json"), (4, 63, "not-json"), (5, 63 + len(visit), "not-fhir")]
    assert (about.others, records) == ({"Observation": 2}, [])


def test_what_too_many_lines_lost_is_not_lost_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the most that are told they are one problem, which still says whose calls it speaks against."""
    monkeypatch.setattr(scanning, "MOST_PROBLEMS", 1)
    broken = [b'{"resourceType":"Patient","id":"p%d"' % number for number in range(3)]
    about, _ = scanned(tmp_path, *broken)
    assert [problem.code for problem in about.problems] == ["not-json", "more-problems"]
    assert "2 more" in about.problems[1].text
    names = [lost.names for lost in about.problems[1].lost]
    assert names == [{"Patient/p1"}, {"Patient/p2"}]
