"""Files that operators are given: whole or not at all, and their own."""

from __future__ import annotations

import csv
import errno
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fhir_bridge.cli.csv_rows import read_rows
from fhir_bridge.cli.whole_file import whole_file
from fhir_bridge.errors import UsageError
from fhir_bridge.migration.results import write_plain


def test_a_file_whose_writing_fails_is_as_it_was(tmp_path: Path) -> None:
    """And nothing is left beside it."""
    path = tmp_path / "known.csv"
    path.write_text("before")
    with pytest.raises(RuntimeError), whole_file(str(path)) as out:
        out.write("half")
        raise RuntimeError
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_its_disk_cannot_hold_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By name, and what was there before stays."""
    path = tmp_path / "known.csv"
    path.write_text("before")

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with (
        pytest.raises(UsageError, match=r"known\.csv cannot be written: No space"),
        whole_file(str(path)) as out,
    ):
        out.write("half")
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def _written(path: Path) -> None:
    with whole_file(str(path)) as out:
        out.write("line\n")


@pytest.mark.parametrize("write", [_written, lambda path: write_plain(path, [b"line"])])
def test_a_pipe_is_written_to_and_a_link_stays_one(tmp_path: Path, write: Callable[[Path], None]) -> None:
    """As /dev/null and /dev/stdout must be: whoever may write to /dev would have replaced them by a file."""
    pipe, link, target = (tmp_path / name for name in ("pipe", "link", "target"))
    os.mkfifo(pipe)
    link.symlink_to(target)
    with ThreadPoolExecutor(1) as pool:
        read = pool.submit(pipe.read_bytes)
        write(pipe)
        assert read.result(10) == b"line\n"
    write(link)
    assert pipe.is_fifo() and link.is_symlink()
    assert target.read_bytes() == b"line\n"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["link", "pipe", "target"]


def test_a_file_is_its_owners_even_where_another_was_open_to_all(tmp_path: Path) -> None:
    """The new one takes its place with rights of its own."""
    path = tmp_path / "known.csv"
    path.write_text("before")
    path.chmod(0o644)
    with whole_file(str(path)) as out:
        out.write("after")
    assert path.read_text() == "after"
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_is_written_as_csv_is_read_again(tmp_path: Path) -> None:
    """Quotation marks, commas and line ends in a cell; the line is that of the cell's end."""
    path = tmp_path / "a.csv"
    with path.open("w", newline="") as out:
        csv.writer(out).writerows([["number", "patient"], ['a "b", c', "d\ne"], ["f", ""]])
    rows = list(read_rows(str(path), ("number", "patient")))
    assert [(row.line, row["number"], row["patient"]) for row in rows] == [
        (3, 'a "b", c', "d\ne"),
        (4, "f", ""),
    ]
