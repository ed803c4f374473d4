"""Rows of csv and tsv. Cells in quotes may hold line breaks; a quote that never closes costs its own line only.

A row that goes on over lines is taken for one only where its quotes close as they must. If they do not within
`LONGEST_ROW` lines, or what follows the closing quote is no delimiter, then its first line alone is a bad row, and
reading goes on at the line behind it.
"""

from __future__ import annotations

import contextlib
import csv
import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence

from sonogloss.dumps.lines import LONGEST_LINE, decoded
from sonogloss.dumps.rows import Numbered, Row

LONGEST_ROW = 64
"""Lines of one row."""

_OPEN = "A quote opens that does not close; double the quotes inside a quoted cell."
_TOO_MANY = "The row has more fields than the header; a text that holds the delimiter needs quotes."
_LIKE_ROWS = 3  # so many lines inside a quoted cell, each like a row itself, are rows that an open quote swallowed
_NAN = ("nan", "NaN")  # as Python, NumPy and JavaScript print it


def csv_rows(lines: Iterable[bytes | None], text_columns: tuple[str, ...], delimiter: str) -> Iterator[Numbered]:
    """The rows of a csv (or tsv, by its delimiter), numbered by their first line.

    Raises:
        ValueError: the header names a column twice.
    """
    header: list[str] | None = None
    for number, cells in _Records(lines, delimiter):
        if isinstance(cells, str):
            yield number, cells
        elif header is None:
            header = [name.strip() for name in cells]
            check_header(header)
        elif len(cells) > len(header):
            yield number, _TOO_MANY
        else:
            yield number, _row(header, cells, text_columns)


def check_header(header: Sequence[str]) -> None:
    """Does no name stand for two columns?

    Raises:
        ValueError: one does.
    """
    if twice := [name for name in header if name and header.count(name) > 1]:
        raise ValueError(f"its header names the column {twice[0]!r} twice")


def _row(header: list[str], cells: list[str], text_columns: tuple[str, ...]) -> Row:
    row: dict[str, object] = dict.fromkeys(header)
    for name, cell in zip(header, cells, strict=False):
        if name not in text_columns:
            row[name] = number_or_text(cell)
        else:
            row[name] = math.nan if cell.strip() in _NAN else cell
    return row


def number_or_text(value: str) -> int | float | str:
    """CSV knows no types. What Python would print the same way is a number; `007` or `1e5` stay what they are."""
    if value[:1] in "-0123456789":
        for kind in (int, float):
            try:
                if str(number := kind(value)) == value and math.isfinite(number):
                    return number
            except ValueError:
                continue
    return value


class _Records:
    """The cells of each row that is not blank, or what is wrong with it, and the number of its first line."""

    def __init__(self, lines: Iterable[bytes | None], delimiter: str) -> None:
        self._lines = iter(lines)
        self._delimiter = delimiter
        self._ahead: deque[bytes | None] = deque()  # lines that were read and not used
        self._number = 0
        self._width = 0

    def __iter__(self) -> Iterator[tuple[int, list[str] | str]]:
        while True:
            try:
                line = self._ahead.popleft() if self._ahead else next(self._lines)
            except StopIteration:
                return
            self._number += 1
            number = self._number
            text, problem = decoded(line)
            if problem is not None:
                yield number, problem
            elif text.strip("\r\n"):
                cells = self._cells(text)
                if isinstance(cells, list):
                    self._width = self._width or len(cells)
                yield number, cells

    def _cells(self, text: str) -> list[str] | str:
        if '"' not in text:
            return text.rstrip("\r\n").split(self._delimiter)
        try:
            cells = self._parse([text])
        except csv.Error as error:
            return f"The row is not CSV ({error})."
        if cells is not None:
            return cells
        found = self._over_lines(text)
        return (self._escaped(text) or found) if isinstance(found, str) else found

    def _over_lines(self, text: str) -> list[str] | str:
        """The cells of a row whose quotes are open at the end of its first line."""
        row, taken, size = [text], list[bytes | None](), len(text)
        cells: list[str] | None = None
        while len(row) < LONGEST_ROW and size <= LONGEST_LINE:
            line = self._ahead.popleft() if self._ahead else next(self._lines, b"")
            if line == b"":
                break
            taken.append(line)
            more, problem = decoded(line)
            if problem is not None:
                break
            row.append(more)
            size += len(more)
            if '"' in more:
                try:
                    cells = self._parse(row, strict=True)
                except csv.Error:
                    break
                if cells is not None:
                    break
        if cells is None or self._swallowed(row):
            self._ahead.extendleft(reversed(taken))
            return _OPEN
        self._number += len(taken)
        return cells

    def _parse(self, row: list[str], *, strict: bool = False) -> list[str] | None:
        """The cells of a row; None where a quote is still open.

        Raises:
            csv.Error: it is no row.
        """
        try:
            return next(csv.reader(row, delimiter=self._delimiter, strict=True), [])
        except csv.Error as error:
            if "unexpected end of data" in str(error):
                return None
            if strict or len(row) > 1:
                raise
        # Letters behind a closing quote: `"Hello" says a man` is text that nobody quoted.
        return self._escaped(row[0]) or next(csv.reader(row, delimiter=self._delimiter), [])

    def _escaped(self, text: str) -> list[str] | None:
        r"""The cells of a row in which `\"` stands for a quote, as Spark and MySQL write it; None for any other."""
        if '\\"' in text:
            with contextlib.suppress(csv.Error):
                cells = next(csv.reader([text], delimiter=self._delimiter, strict=True, escapechar="\\"))
                return cells if len(cells) == self._width else None
        return None

    def _swallowed(self, row: list[str]) -> bool:
        """Is each line inside the quotes like a row of its own: cells without quotes, as many as the header has?"""
        inside = row[1:-1]
        if self._width < 2 or len(inside) < _LIKE_ROWS:
            return False
        cells = [line.split(self._delimiter) for line in inside if '"' not in line]
        return len(cells) == len(inside) and all(
            len(each) == self._width and all(map(str.strip, each)) for each in cells
        )
