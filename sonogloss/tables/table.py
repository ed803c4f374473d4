"""Small tables that people or other tools write: references, predictions, labels, lists of clips.

csv, tsv, json, jsonl and Parquet, plain or compressed (`.gz`, `.zst`, `.bz2`, `.xz`), with the same rules everywhere:
UTF-8 with or without a byte order mark, a heading that names each column once, as many cells in a row as in the
heading, and at least one row. Whatever breaks a rule is one sentence with the file, the line and what to do.

:func:`read_table` keeps the rows, :func:`open_table` reads them each time that they are walked, for tables of any size.
Files of captions have readers of their own; :mod:`sonogloss.transforms.read_captions` streams them.
"""

from __future__ import annotations

import contextlib
import io
import itertools
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from sonogloss.errors import FormatError
from sonogloss.tables.formats import Parser, Row, opened, parser_of, read_whole

_LOOKED_AT = 10_000  # rows


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table.

    Attributes:
        name: what messages call it: the option and the path.
        columns: the names of its columns, in its order.
        rows: where each row stands (`line 3`, or `row 3` in files without lines), and its cells by column. Cells of csv
            and tsv are strings; a JSON object may lack some.
    """

    name: str
    columns: tuple[str, ...]
    rows: Iterable[tuple[str, Row]]

    def find(self, names: Iterable[str]) -> str | None:
        """The first of these names that is a column."""
        return next((name for name in names if name in self.columns), None)

    def require(self, *names: str) -> str:
        """The first of these names that is a column.

        Raises:
            FormatError: none of them is.
        """
        found = self.find(names)
        if found is None:
            raise FormatError(
                f"{self.name} has no column {' or '.join(names)} (columns: {', '.join(self.columns)}).",
                f"Give it a column {names[0]}.",
            )
        return found

    def wrong(self, place: str, what: str) -> FormatError:
        """The error for a row whose cells cannot be used."""
        return FormatError(f"{self.name}, {place}: {what}.", "Correct the row.")


def read_table(path: str, *, option: str) -> Table:
    """A table out of a file, read whole.

    Args:
        path: of the file; its ending says what it is.
        option: the option that names it, for messages.

    Raises:
        MissingInputError: there is no such file.
        FormatError: it is not a table of the kind that its name says.
    """
    name, content = f"{option} {path!r}", read_whole(path, option)
    return check_table(name, *parser_of(name, path)(name, io.BytesIO(content)))


def open_table(path: str, *, option: str) -> Table:
    """A table out of a file, whose rows are read each time that they are walked.

    The columns of JSON are those of its first 10,000 rows. What is wrong with a row is found when it is read.

    Args:
        path: as of :func:`read_table`.
        option: likewise.

    Raises:
        MissingInputError: there is no such file.
        FormatError: it is not a table of the kind that its name says.
    """
    name = f"{option} {path!r}"
    rows = _Walked(path, option, parser_of(name, path))
    with contextlib.closing(rows.parsed()) as parsed:
        columns = next(parsed)
        assert isinstance(columns, tuple)
        first = check_table(name, columns, itertools.islice(parsed, _LOOKED_AT))
    return Table(name=name, columns=first.columns, rows=rows)


@dataclass(frozen=True)
class _Walked:
    """The rows of a file that is opened again each time."""

    path: str
    option: str
    parser: Parser

    def __iter__(self) -> Iterator[tuple[str, Row]]:
        parsed = self.parsed()
        next(parsed)
        yield from parsed

    def parsed(self) -> Generator[Any]:
        """The columns, then the rows."""
        with opened(self.path, self.option) as handle:
            columns, rows = self.parser(f"{self.option} {self.path!r}", handle)
            yield tuple(columns)
            yield from rows


def check_table(name: str, columns: Iterable[str], rows: Iterable[tuple[str, Row]]) -> Table:
    """A table out of what was read; the columns are those of the rows where no heading names them.

    Raises:
        FormatError: a column stands there twice, or there are no rows.
    """
    found, heading = tuple(rows), tuple(columns)
    if repeated := [column for column in heading if column and heading.count(column) > 1]:
        raise FormatError(f"{name} has two columns {repeated[0]!r}.", "Rename or remove one.")
    if not found:
        raise FormatError(f"{name} holds no rows.", "Give a file with at least one row below its heading.")
    return Table(name=name, columns=heading or tuple(dict.fromkeys(key for _, row in found for key in row)), rows=found)
