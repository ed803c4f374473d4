"""Small tables that people or other tools write: references, predictions, labels, lists of clips.

csv, tsv, json, jsonl and Parquet, plain or compressed (`.gz`, `.zst`, `.bz2`, `.xz`), with the same rules everywhere:
UTF-8 with or without a byte order mark, a heading that names each column once, as many cells in a row as in the
heading, and at least one row. Whatever breaks a rule is one sentence with the file, the line and what to do.

Files of captions are too large for this; :mod:`sonogloss.transforms.read_captions` streams them.
"""

from __future__ import annotations

import ast
import contextlib
import csv
import io
import json
import tokenize
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sonogloss import files
from sonogloss.errors import FormatError, InputError, MissingInputError

Row = dict[str, Any]

_COMPRESSIONS = (".gz", ".zst", ".bz2", ".xz")
_DELIMITERS = {"csv": ",", "tsv": "\t"}


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table that was read whole.

    Attributes:
        name: what messages call it: the option and the path.
        columns: the names of its columns, in its order.
        rows: where each row stands (`line 3`, or `row 3` in files without lines), and its cells by column. Cells of csv
            and tsv are strings; a JSON object may lack some.
    """

    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, Row], ...]

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
    """A table out of a file.

    Args:
        path: of the file; its ending says what it is.
        option: the option that names it, for messages.

    Raises:
        MissingInputError: there is no such file.
        FormatError: it is not a table of the kind that its name says.
    """
    name, content = f"{option} {path!r}", _read(path, option)
    parse = _PARSERS.get(_ending(path))
    if parse is None:
        raise FormatError(f"{name} is not a kind of table that can be read.", f"Give one of {_KNOWN}.")
    return _checked(name, *parse(name, content))


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
    name, content, ending = f"{option} {path!r}", _read(path, option), _ending(path)
    if ending not in _PARSERS:
        return _lines(_text(name, content))
    if ending == "json" and (found := _json_names(name, content)) is not None:
        return found
    if ending in ("csv", "tsv") and (found := _list_without_heading(_text(name, content), ending, columns)) is not None:
        return found
    table = _checked(name, *_PARSERS[ending](name, content))
    column = table.require(*columns)
    for place, row in table.rows:
        if not isinstance(row.get(column), str):
            raise table.wrong(place, f"{column} is not text")
    return [row[column] for _, row in table.rows]


def cell_values(row: Mapping[str, Any], many: str, one: str) -> list[Any]:
    """What a row holds in the column `many`, a list, or else in the column `one`, a single value.

    In csv a list is written as JSON, or as Python spells it, which is what pandas writes.
    """
    value = row.get(many, row.get(one))
    if isinstance(value, str) and many in row and value.lstrip().startswith("["):
        if (found := text_list(value)) is not None:
            return found
        for parse in (json.loads, ast.literal_eval):
            with contextlib.suppress(ValueError, SyntaxError, RecursionError, MemoryError):
                value = parse(value)
                break
    return value if isinstance(value, list) else [value]


def text_list(cell: str) -> list[str] | None:
    """The strings of a list that is written in a cell as JSON, or as Python or NumPy spell it; None for anything else.

    NumPy puts no commas: `['rain' 'wind']`.
    """
    with contextlib.suppress(ValueError, RecursionError):
        value = json.loads(cell)
        return value if isinstance(value, list) and all(isinstance(item, str) for item in value) else None
    try:
        tokens = [
            token for token in tokenize.generate_tokens(io.StringIO(cell.strip()).readline) if token.string.strip()
        ]
        inside = [token for token in tokens[1:-1] if token.string != ","]
        if [tokens[0].string, tokens[-1].string] != ["[", "]"] or any(t.type != tokenize.STRING for t in inside):
            return None
        values = [ast.literal_eval(token.string) for token in inside]
    except (tokenize.TokenError, IndexError, SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    return values if all(isinstance(value, str) for value in values) else None


def _read(path: str, option: str) -> bytes:
    if not files.exists(path) or files.is_dir(path):
        raise MissingInputError(f"{option} {path!r} is not a file.", "Check the path.")
    try:
        with files.open_read(path, compression="infer") as handle:
            return handle.read()
    except InputError:
        raise
    except Exception as error:  # every kind of compression raises its own errors
        raise FormatError(
            f"{option} {path!r} cannot be read ({error}).", "Check that its content is what its name says."
        ) from error


def _ending(path: str) -> str:
    name = files.base_name(path).lower()
    for compression in _COMPRESSIONS:
        name = name.removesuffix(compression)
    return name.rpartition(".")[2]


def _text(name: str, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise FormatError(f"{name}, line {line}: not UTF-8 ({error.reason}).", "Save the file as UTF-8.") from error


def _lines(text: str) -> list[str]:
    """The lines of a text. Of all that Unicode calls a line break, only those of files end one."""
    return [line.removesuffix("\n") for line in io.StringIO(text, newline=None)]


def _checked(name: str, columns: Iterable[str], rows: Iterable[tuple[str, Row]]) -> Table:
    table = Table(name=name, columns=tuple(columns), rows=tuple(rows))
    if repeated := [column for column in table.columns if column and table.columns.count(column) > 1]:
        raise FormatError(f"{name} has two columns {repeated[0]!r}.", "Rename or remove one.")
    if not table.rows:
        raise FormatError(f"{name} holds no rows.", "Give a file with at least one row below its heading.")
    return table


def _parse_csv(name: str, content: bytes, delimiter: str) -> tuple[list[str], list[tuple[str, Row]]]:
    text = io.StringIO(_text(name, content), newline="")
    reader = csv.reader(text, delimiter=delimiter, skipinitialspace=True, strict=True)
    columns: list[str] = []
    rows: list[tuple[str, Row]] = []
    try:
        for cells in reader:
            place = f"line {reader.line_num}"
            if not any(cell.strip() for cell in cells) and len(cells) < 2:
                continue
            if not columns:
                columns = [cell.strip() for cell in cells]
                continue
            if len(cells) != len(columns):
                raise FormatError(
                    f"{name}, {place}: {len(cells)} cells where the heading has {len(columns)}.",
                    "Give every row a cell for each column; a cell that holds the delimiter needs quotes.",
                )
            rows.append((place, dict(zip(columns, cells, strict=True))))
    except csv.Error as error:
        raise FormatError(f"{name}, line {reader.line_num}: {error}.", "Correct its quotes.") from error
    return columns, rows


def _parse_json(name: str, content: bytes) -> tuple[Iterable[str], list[tuple[str, Row]]]:
    text = _text(name, content)
    if text.lstrip().startswith("["):
        found = [(f"row {number}", value) for number, value in enumerate(_load(name, text), 1)]
    else:
        lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
        found = [(f"line {number}", _load(name, line, number)) for number, line in lines]
    for place, value in found:
        if not isinstance(value, dict):
            raise FormatError(f"{name}, {place}: JSON, but not an object.", "Give one object a row.")
    return dict.fromkeys(key for _, row in found for key in row), found


def _load(name: str, text: str, line: int = 1) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        place = f"line {line + error.lineno - 1}"
        raise FormatError(f"{name}, {place}: not JSON ({error.msg}).", "Correct the line.") from error
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{name}, line {line}: {error}.", "Correct the line.") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(found := dict(pairs)) < len(pairs):
        raise ValueError("an object names a key twice")
    return found


def _parse_parquet(name: str, content: bytes) -> tuple[list[str], list[tuple[str, Row]]]:
    try:
        table = pq.ParquetFile(pa.BufferReader(content)).read()
        rows = table.to_pylist() if len(set(table.column_names)) == table.num_columns else []
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise FormatError(
            f"{name} is not Parquet ({reason}).", "Check that its content is what its name says."
        ) from error
    return table.column_names, [(f"row {number}", row) for number, row in enumerate(rows, 1)]


def _list_without_heading(text: str, ending: str, columns: tuple[str, ...]) -> list[str] | None:
    """The lines of a csv or tsv that has one column and no heading: one whose first line is a name itself."""
    lines = [line for line in _lines(text) if line.strip()]
    with contextlib.suppress(csv.Error):
        cells = [next(csv.reader([line], delimiter=_DELIMITERS[ending], skipinitialspace=True)) for line in lines]
        if cells and len(cells[0]) == 1 and cells[0][0].strip() not in columns:
            return [row[0] if len(row) == 1 else line for row, line in zip(cells, lines, strict=True)]
    return None


def _json_names(name: str, content: bytes) -> list[str] | None:
    """The names in a JSON file that is not a table."""
    value = _load(name, _text(name, content))
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


_Parser = Callable[[str, bytes], tuple[Iterable[str], list[tuple[str, Row]]]]
_PARSERS: dict[str, _Parser] = {
    **{ending: partial(_parse_csv, delimiter=delimiter) for ending, delimiter in _DELIMITERS.items()},
    "json": _parse_json,
    "jsonl": _parse_json,
    "ndjson": _parse_json,
    "parquet": _parse_parquet,
    "pq": _parse_parquet,
}
_KNOWN = ", ".join(f".{ending}" for ending in _PARSERS)
