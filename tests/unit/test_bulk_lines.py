"""Bytes into lines, whatever they come packed in."""

from __future__ import annotations

import gzip
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_bridge.errors import InputError
from fhir_bridge.intake.bulk import lines
from fhir_bridge.intake.bulk.lines import blocks, chunks, is_ndjson, lines_between
from fhir_bridge.intake.bulk.pieces import Piece, find


def cut(data: bytes, size: int) -> Iterator[bytes]:
    """The bytes in chunks."""
    return (data[at : at + size] for at in range(0, len(data), size))


def piece_of(path: Path, start: int = 0, end: int | None = None) -> Piece:
    """A file, or a part of it."""
    return Piece(0, 0, str(path), path.stat().st_size, start=start, end=end, is_lines=True)


@given(st.lists(st.binary(max_size=12).filter(lambda line: b"\n" not in line)), st.integers(1, 9))
def test_lines_are_as_split_says(found: list[bytes], size: int) -> None:
    """However the chunks fall; numbers from 1, offsets to the byte. No line has U+0000."""
    data = b"\n".join(found)
    number, offset, seen = 1, 0, []
    for block in blocks(cut(data, size)):
        assert (block.first, block.offset) == (number, offset)
        seen += block.lines
        number += len(block.lines)
        offset += sum(map(len, block.lines))
    told = data.replace(lines.NUL, lines.INSTEAD)
    whole = told.split(b"\n") if told[-1:] != b"\n" and told else told.split(b"\n")[:-1]
    assert seen == [line + b"\n" for line in whole]


@given(st.lists(st.binary(max_size=9).filter(lambda line: b"\n" not in line)), st.integers(1, 30))
def test_every_line_is_in_one_piece(found: list[bytes], length: int) -> None:
    """Wherever a file is cut, each of its lines is read once, from the piece it begins in."""
    import tempfile

    data = b"\n".join((b"{}", *found)) + b"\n"
    told = data.replace(lines.NUL, lines.INSTEAD)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "f"
        path.write_bytes(data)
        seen: list[bytes] = []
        for start in range(0, len(data), length):
            for block in lines_between(piece_of(path, start, start + length)):
                assert told[block.offset :].startswith(b"".join(block.lines))
                seen += block.lines
    assert b"".join(seen) == told


def test_a_line_without_end_is_passed_over_and_the_next_is_read() -> None:
    """It is never held: a file of one endless line would fill the memory."""
    found = list(blocks(cut(b"one\n" + b"x" * 1000 + b"\ntwo", 64), most=100))
    assert [(block.first, block.lines, block.is_too_long) for block in found] == [
        (1, [b"one\n"], False),
        (2, [], True),
        (3, [b"two\n"], False),
    ]


def test_a_gzip_that_ends_too_early_gives_what_it_has(tmp_path: Path) -> None:
    """And says so."""
    path = tmp_path / "x.ndjson.gz"
    data = b"".join(b'{"n":%d}\n' % number for number in range(100_000))
    path.write_bytes(gzip.compress(data)[:-2000])
    read = b""
    with pytest.raises(InputError, match="ends too early"):
        for chunk in chunks(piece_of(path)):
            read += chunk
    assert data.startswith(read)
    assert len(read) > len(data) // 2


def test_a_gzip_of_several_is_read_whole(tmp_path: Path) -> None:
    """As `cat a.gz b.gz` makes it."""
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(b"one\n") + gzip.compress(b"two\n"))
    assert b"".join(chunks(piece_of(path))) == b"one\ntwo\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_every_encoding_of_json_is_read(
    tmp_path: Path, encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RFC 8259 knows one, files have more; a character may fall between two chunks."""
    monkeypatch.setattr(lines, "CHUNK", 5)
    path = tmp_path / "x.json"
    path.write_bytes('{"a":"Zoë — 東京"}'.encode(encoding))
    assert b"".join(chunks(piece_of(path))).decode() == '{"a":"Zoë — 東京"}'


def test_the_files_in_a_zip_are_files_of_their_own(tmp_path: Path) -> None:
    """Each under its name within the zip."""
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("a.ndjson", b"{}\n{}\n")
        archive.writestr("folder/b.json", b"{}")
    names = [piece.name for piece in find([str(tmp_path / "x.zip")]).pieces]
    assert names == [f"{tmp_path}/x.zip/a.ndjson", f"{tmp_path}/x.zip/folder/b.json"]


def test_what_is_not_there_is_a_problem_and_no_more(tmp_path: Path) -> None:
    """The other PATHs are read."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.json").write_bytes(b"{}")
    found = find([str(tmp_path / "no"), str(tmp_path / "empty"), str(tmp_path / "a.json")])
    assert [error.code for error in found.problems] == ["no-file", "empty-folder"]
    assert len(found.pieces) == 1


@pytest.mark.parametrize(
    ("head", "is_it"),
    [(b'{"a":1}\n{"b":2}', True), (b'\n{"a":1}\r\n{', True), (b'{"a":1}\n\n', False), (b'{\n"a":1}', False)],
)
def test_ndjson_is_told_by_its_first_line(head: bytes, is_it: bool) -> None:
    """As `fhir.documents` tells it of a whole file."""
    assert is_ndjson(head) is is_it
