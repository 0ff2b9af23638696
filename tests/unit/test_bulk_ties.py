"""Who belongs together, and the scratch files that say so."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_bridge.fhir import reading
from fhir_bridge.fhir.resource import Origin
from fhir_bridge.intake.bulk.glance import KINDS, glance
from fhir_bridge.intake.bulk.joining import Together
from fhir_bridge.intake.bulk.names import key_of
from fhir_bridge.intake.bulk.spill import About, Stream, Writer
from fhir_bridge.intake.bulk.spilled import Reader
from fhir_bridge.intake.bulk.ties import Ties


def groups(tmp_path: Path, kind: str, **elements: Any) -> tuple[int | None, int]:
    """The group of a resource told by its bytes alone, and by its view."""
    raw = json.dumps({"resourceType": kind, "id": "x", **elements}).encode()
    writer = Writer(tmp_path / "s", 3)
    ties = Ties(writer, lambda system: system)
    seen = glance(raw)
    found = ties.plain(raw, seen, KINDS[type(seen)]), ties.of(reading.read(raw, Origin("f")), {})
    writer.close({})
    return found


@pytest.mark.parametrize(
    ("kind", "elements"),
    [
        ("Patient", {}),
        ("Encounter", {"subject": {"reference": "Patient/p"}}),
        ("Appointment", {"participant": [{"actor": {"reference": "Patient/p"}}]}),
        ("Coverage", {"beneficiary": {"reference": "Patient/p"}, "payor": [{"reference": "Patient/q"}]}),
        ("Encounter", {"subject": {"reference": "https://ehr.example/fhir/Patient/p"}}),
        ("Encounter", {"subject": {"reference": "http://ehr.example:8080/Patient/p/_history/3"}}),
    ],
)
def test_bytes_and_view_tell_the_same_group(tmp_path: Path, kind: str, elements: dict[str, Any]) -> None:
    """The patient's key, whichever way it was found."""
    by_bytes, by_view = groups(tmp_path, kind, **elements)
    assert by_bytes == by_view == key_of(b"Patient/x" if kind == "Patient" else b"Patient/p")


@pytest.mark.parametrize(
    "elements",
    [
        {},
        {"subject": "Patient/p"},
        {"subject": {"Reference": "Patient/p"}},
        {"subject": {"reference": "https://ehr.example/fhir/Patient/p"}, "performer": ["Patient/q"]},
        {"subject": {"reference": "https://ehr.example/fhir/Patient/p", "x": "Patient/q"}},
        {"subject": {"reference": "https://ehr.example/fhir/Patient?identifier=s|v"}},
        {"subject": {"reference": "Patient\\/p"}},
        {"subject": {"reference": "Patient/q"}, "encounter": {"reference": "PATIENT/p"}},
        {"subject": {"reference": "Patient/q"}, "encounter": {"reference": "https://ehr.example/Pateint/p"}},
        {"subject": {"reference": "Pateint/p"}, "requester": {"reference": "Practitioner/p"}},
        {"subject": {"identifier": {"system": "s", "value": "v"}}},
        {"subject": {"reference": "#p"}, "contained": [{"resourceType": "Patient", "id": "p"}]},
    ],
)
def test_bytes_that_do_not_tell_leave_it_to_the_view(tmp_path: Path, elements: dict[str, Any]) -> None:
    """Nothing is guessed from them."""
    by_bytes, by_view = groups(tmp_path, "ServiceRequest", **elements)
    assert by_bytes is None
    assert by_view


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=40))
def test_what_is_tied_has_one_group_and_what_is_not_has_not(pairs: list[tuple[int, int]]) -> None:
    """Against sets that are merged one by one."""
    together, sets = Together(), [{number} for number in range(31)]
    for one, other in pairs:
        together.tie(one, other)
        both = next(each for each in sets if one in each) | next(each for each in sets if other in each)
        sets = [each for each in sets if not each & both] + [both]
    for each in sets:
        assert {together.of(number) for number in each} == {min(each)}


def test_a_scratch_file_gives_back_what_was_written(tmp_path: Path) -> None:
    """Records and pairs of each partition, in their order."""
    writer = Writer(tmp_path / "s", 2)
    writer.add(Stream.RESOURCES, 4, b"one", 7, 1, 0)
    writer.add(Stream.RESOURCES, 5, b"two", 7, 2, 4, entry=3, flags=1, full_url="urn:uuid:é")
    writer.flush()
    writer.add(Stream.RESOURCES, 6, b"three", 7, 3, 8)
    writer.pair(Stream.NAMES, 2**64 - 1, 4)
    writer.close({7: About(lines=3)})
    reader = Reader(tmp_path / "s")
    assert [record.raw for record in reader.records(Stream.RESOURCES, 0)] == [b"one", b"three"]
    (two,) = reader.records(Stream.RESOURCES, 1)
    assert (two.line, two.entry, two.flags, two.full_url, two.offset) == (2, 3, 1, "urn:uuid:é", 4)
    assert list(reader.pairs(Stream.NAMES, 1)) == [(2**64 - 1, 4)]
    assert reader.abouts[7].lines == 3


def test_a_scratch_file_that_is_not_whole_is_none(tmp_path: Path) -> None:
    """Cut anywhere, or changed in its index."""
    writer = Writer(tmp_path / "s", 1)
    writer.add(Stream.RESOURCES, 1, b"x" * 100, 0, 1, 0)
    assert not (tmp_path / "s").exists()
    writer.close({})
    data = (tmp_path / "s").read_bytes()
    for end in (*range(0, len(data), 17), len(data) - 1):
        (tmp_path / "cut").write_bytes(data[:end])
        with pytest.raises(ValueError, match="not whole"):
            Reader(tmp_path / "cut")
    (tmp_path / "cut").write_bytes(data[:-30] + b"\0" + data[-29:])
    with pytest.raises(ValueError, match="not whole"):
        Reader(tmp_path / "cut")


def test_keys_of_many_names_differ() -> None:
    """Of a million made-up ids none has another's."""
    keys = sorted(key_of(b"Patient/p%d" % number) for number in range(200_000))
    assert all(one != other for one, other in pairwise(keys))


def test_a_scratch_file_of_an_older_release_is_none(tmp_path: Path) -> None:
    """Its records are laid out otherwise: a run that was killed before an upgrade reads them anew."""
    writer = Writer(tmp_path / "s", 1)
    writer.add(Stream.RESOURCES, 1, b"{}", 0, 1, 0)
    writer.close({})
    data = (tmp_path / "s").read_bytes()
    (tmp_path / "old").write_bytes(data.replace(b"fhirspl2", b"fhirspl1"))
    with pytest.raises(ValueError, match="not whole"):
        Reader(tmp_path / "old")
