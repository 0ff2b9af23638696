"""CSV files that operators bring: rows by column with their lines, and errors that name the line."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fhir_bridge.errors import InputError

NOTHING_TAKEN = "Nothing was taken in: mend the line, then the same command takes all of them."


@dataclass(frozen=True, slots=True)
class Row:
    """A line of a CSV file (the header is line 1) and its cells by column, without outer blanks."""

    line: int
    cells: dict[str, str]

    def __getitem__(self, column: str) -> str:
        """The cell; empty where the line has none."""
        return self.cells.get(column, "")


def read_rows(name: str, needed: tuple[str, ...], optional: tuple[str, ...] = ()) -> Iterator[Row]:
    """The lines of a UTF-8 CSV file with a header; `-` is standard input. Blank lines are passed over.

    `needed` columns must be there; with none, one of the optional ones. What a spreadsheet makes of it is
    read too: semicolons or tabs between the cells, empty cells at the end. Raises InputError that names file
    and line, and never a cell: it may be somebody's number.
    """
    text = _text(name)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=_delimiter(text))
    try:
        header = _filled([column.lower() for column in next(reader, [])])
        _check_header(name, header, needed, optional)
        for line in reader:
            cells = _filled(line)
            if not cells:
                continue
            if len(cells) > len(header):
                raise InputError(
                    f"{name}:{reader.line_num}: more cells than the header has columns", hint=NOTHING_TAKEN
                )
            yield Row(reader.line_num, dict(zip(header, cells, strict=False)))
    except csv.Error:
        raise InputError(
            f"{name}:{reader.line_num}: not CSV: a quotation mark is out of place", hint=NOTHING_TAKEN
        ) from None


def _delimiter(text: str) -> str:
    """What the header has between its columns, none of whose names holds any of these."""
    header = text.partition("\n")[0]
    return next((mark for mark in ",;\t" if mark in header), ",")


def _filled(cells: list[str]) -> list[str]:
    """The cells without their outer blanks and without empty ones at the end."""
    stripped = [cell.strip() for cell in cells]
    while stripped and not stripped[-1]:
        stripped.pop()
    return stripped


def _text(name: str) -> str:
    try:
        raw = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        return raw.decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"{name}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise InputError(
            f"{name}: not UTF-8 (byte {error.start})", hint="Save it as CSV UTF-8; nothing was taken in."
        ) from None


def _check_header(name: str, header: list[str], needed: tuple[str, ...], optional: tuple[str, ...]) -> None:
    """A file whose columns are not known must not be half understood."""
    known = (*needed, *optional)
    missing = [column for column in needed if column not in header]
    if missing or not set(known) & set(header):
        wanted = ", ".join(missing or optional)
        raise InputError(
            f"{name}:1: no column {wanted}", hint=f"The first line names them: {','.join(known)}"
        )
    if len(set(header)) != len(header) or not set(header) <= set(known):
        raise InputError(f"{name}:1: a column is unknown or there twice", hint=f"Known: {','.join(known)}")
