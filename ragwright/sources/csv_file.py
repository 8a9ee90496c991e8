"""CSV, with or without a header."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from ragwright.documents import shortened
from ragwright.errors import SourceError
from ragwright.settings import SourceSettings
from ragwright.sources.columns import Columns, match_columns, names_the_columns
from ragwright.sources.rows import MAX_CELL_CHARS, Malformed, Record
from ragwright.sources.text import open_text, undecodable

if TYPE_CHECKING:
    from _csv import Reader as _CsvRows


class CsvReader:
    """Reads a CSV by its header; two columns without one are question and answer, with a notice.

    Quoting is strict. A quote out of place makes every later record boundary a guess, so it is an error of the file
    and not of one record; a record with the wrong number of cells is malformed by itself.
    """

    def __init__(self, path: Path, place: str, settings: SourceSettings, *, tabs: bool = False) -> None:
        self._path, self._place, self._encoding = path, place, settings.encoding
        self._delimiter = settings.delimiter or ("\t" if tabs else ",")
        self.notices: tuple[str, ...] = ()
        self.columns: tuple[str, ...] = ()
        cells = next(self._cells(), None)
        if cells is None:
            raise SourceError("the file holds nothing but blank lines", place=place, hint="Export the FAQ again.")
        if names_the_columns(cells, settings):
            self.columns = tuple(cell.strip() for cell in cells)
            self._indices = _indices(self.columns, match_columns(self.columns, settings, place))
        elif len(cells) == 2 and not settings.key_column and not settings.metadata_columns:
            self._indices = _Indices(0, 1, None, {})
            self.notices = (
                f"{place}: no header names {settings.question_column!r} and {settings.answer_column!r}; the two "
                f"columns are read as question and answer, from the first line on: {shortened(cells[0], 60)!r}",
            )
        else:
            raise self._no_header(cells, settings)
        self._width = len(cells)

    def records(self) -> Iterator[Record | Malformed]:
        """Every record after the header."""
        at = self._indices
        for cells in islice(self._cells(), 1 if self.columns else 0, None):
            if len(cells) != self._width:
                found = ", ".join(map(repr, map(shortened, cells)))
                yield Malformed("", "cell-count", found, f"{len(cells)} cells where there should be {self._width}")
                continue
            yield Record(
                cells[at.question],
                cells[at.answer],
                None if at.key is None else cells[at.key],
                {name: cells[index] for name, index in at.metadata.items()} if at.metadata else None,
            )

    def _cells(self) -> Iterator[list[str]]:
        """Every record, the header included; blank lines are no records."""
        # The limit is the process's, not the reader's: nothing else in ragwright reads CSV.
        csv.field_size_limit(MAX_CELL_CHARS)
        with open_text(self._path, self._place, self._encoding, newline="") as file:
            rows = csv.reader(file, delimiter=self._delimiter, strict=True)
            row = 0
            while True:
                line = rows.line_num + 1
                try:
                    cells = next(rows)
                except StopIteration:
                    return
                except UnicodeDecodeError as error:
                    raise undecodable(self._path, self._place, self._encoding) from error
                except csv.Error as error:
                    raise self._broken(row, line, rows, error) from error
                if cells:
                    yield cells
                    row += 1

    def _broken(self, record: int, line: int, rows: _CsvRows, error: csv.Error) -> SourceError:
        """Say where the record with the bad quote began: that is where the quote was opened."""
        with open_text(self._path, self._place, self._encoding, newline="") as file:
            opening = next(islice(file, line - 1, None), "").rstrip("\r\n")
        row = record - (1 if self.columns else 0)
        where = "header" if row < 0 else f"row {row}"
        if "unexpected end of data" in str(error):
            what = f"a quote is opened and never closed; it swallows the rest of the file, to line {rows.line_num}"
        elif "field limit" in str(error):
            what = f"a cell is longer than {MAX_CELL_CHARS:,} characters; most likely a quote is never closed"
        else:
            what = f"a quote is out of place ({error}, line {rows.line_num})"
        return SourceError(
            f"{what}: {shortened(opening, 80)!r}",
            place=f"{self._place}, {where} (line {line})",
            hint='Close the quote, and write a quote inside a quoted cell twice: "".',
        )

    def _no_header(self, cells: list[str], settings: SourceSettings) -> SourceError:
        shown = [shortened(cell, 40) for cell in cells[:20]]
        hint = (
            "Give the file a header, or name its columns with source.question_column and source.answer_column "
            "(RAGWRIGHT_SOURCE__QUESTION_COLUMN, RAGWRIGHT_SOURCE__ANSWER_COLUMN)."
        )
        other = next((sign for sign in ";\t|" if len(cells) == 1 and sign in cells[0]), None)
        if other:
            hint = f"Cells seem to be separated by {other!r}: set source.delimiter (RAGWRIGHT_SOURCE__DELIMITER)."
        return SourceError(
            f"the first row names neither {settings.question_column!r} nor {settings.answer_column!r}; "
            f"found {len(cells)} columns: {shown!r}",
            place=self._place,
            hint=hint,
        )


class _Indices:
    """Where in a record each value is."""

    def __init__(self, question: int, answer: int, key: int | None, metadata: dict[str, int]) -> None:
        self.question, self.answer, self.key, self.metadata = question, answer, key, metadata


def _indices(header: tuple[str, ...], columns: Columns) -> _Indices:
    return _Indices(
        header.index(columns.question),
        header.index(columns.answer),
        None if columns.key is None else header.index(columns.key),
        {name: header.index(column) for name, column in columns.metadata.items()},
    )
