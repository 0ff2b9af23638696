"""CSV files that operators bring: rows by column with their lines, and errors that name the line."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fhir_bridge.errors import InputError


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

    `needed` columns must be there; with none, one of the optional ones. Raises InputError that names file and
    line, and never a cell: it may be somebody's number.
    """
    reader = csv.reader(io.StringIO(_text(name), newline=""), strict=True)
    try:
        header = [column.strip().lower() for column in next(reader, [])]
        _check_header(name, header, needed, optional)
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) > len(header):
                raise InputError(f"{name}:{reader.line_num}: more cells than the header has columns")
            named = zip(header, cells, strict=False)
            yield Row(reader.line_num, {column: cell.strip() for column, cell in named})
    except csv.Error:
        raise InputError(f"{name}:{reader.line_num}: not CSV: a quotation mark is out of place") from None


def _text(name: str) -> str:
    try:
        raw = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        return raw.decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"{name}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{name}: not UTF-8 (byte {error.start})") from None


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
