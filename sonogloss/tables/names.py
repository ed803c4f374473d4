"""Lists of names out of files: labels, keywords."""

from __future__ import annotations

import contextlib
import csv
import io
from typing import Any

from sonogloss.errors import FormatError
from sonogloss.tables.formats import DELIMITERS, PARSERS, decode_text, ending_of, load_json, read_whole, split_lines
from sonogloss.tables.table import check_table


def read_names(path: str, *, option: str, columns: tuple[str, ...]) -> list[str]:
    """A list of names out of a file, as they stand there.

    Args:
        path: a table with one of the `columns`; a text with one name a line, which may be called csv or tsv; or JSON: a
            list of names, or an object from index to name or from name to index.
        option: the option that names it, for messages.
        columns: what the column of names may be called.

    Raises:
        MissingInputError: there is no such file.
        FormatError: it does not hold a list of names.
    """
    name, content, ending = f"{option} {path!r}", read_whole(path, option), ending_of(path)
    if ending not in PARSERS:
        return split_lines(decode_text(name, content))
    found = None
    if ending == "json":
        found = _json_names(name, content)
    elif ending in DELIMITERS:
        found = _list_without_heading(decode_text(name, content), ending, columns)
    if found is not None:
        return found
    table = check_table(name, *PARSERS[ending](name, io.BytesIO(content)))
    column = table.require(*columns)
    for place, row in table.rows:
        if not isinstance(row.get(column), str):
            raise table.wrong(place, f"{column} is not text")
    return [row[column] for _, row in table.rows]


def _list_without_heading(text: str, ending: str, columns: tuple[str, ...]) -> list[str] | None:
    """The lines of a csv or tsv that has one column and no heading: one whose first line is a name itself."""
    lines = [line for line in split_lines(text) if line.strip()]
    with contextlib.suppress(csv.Error):
        cells = [next(csv.reader([line], delimiter=DELIMITERS[ending], skipinitialspace=True)) for line in lines]
        if cells and len(cells[0]) == 1 and cells[0][0].strip() not in columns:
            return [row[0] if len(row) == 1 else line for row, line in zip(cells, lines, strict=True)]
    return None


def _json_names(name: str, content: bytes) -> list[str] | None:
    """The names in a JSON file that is not a table."""
    value = load_json(name, decode_text(name, content))
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        return None
    if isinstance(value, dict):
        by_name = not all(isinstance(item, str) for item in value.values())
        value = sorted(value, key=lambda key: _index(name, value[key])) if by_name else list(value.values())
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise FormatError(
            f"{name} is JSON, but holds no names.", "Give a list of names, or an object from index to name."
        )
    return value


def _index(name: str, value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError) as error:
        raise FormatError(f"{name}: {value!r} is not the index of a name.", "Give every name a number.") from error
