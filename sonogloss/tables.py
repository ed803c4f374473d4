"""Small tables that people or other tools write: references, predictions, labels, lists of clips.

csv, tsv, json, jsonl and Parquet, plain or compressed (`.gz`, `.zst`, `.bz2`, `.xz`), with the same rules everywhere:
UTF-8 with or without a byte order mark, a heading that names each column once, as many cells in a row as in the
heading, and at least one row. Whatever breaks a rule is one sentence with the file, the line and what to do.

:func:`read_table` keeps the rows, :func:`open_table` reads them each time that they are walked, for tables of any size.
Files of captions have readers of their own; :mod:`sonogloss.transforms.read_captions` streams them.
"""

from __future__ import annotations

import ast
import contextlib
import csv
import io
import itertools
import json
import re
import tokenize
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from sonogloss import files
from sonogloss.errors import FormatError, InputError, MissingInputError

Row = dict[str, Any]

_COMPRESSIONS = (".gz", ".zst", ".bz2", ".xz")
_DELIMITERS = {"csv": ",", "tsv": "\t"}
_RETURN = re.compile("(?<=\r)(?!\n)")  # ends a line by itself, as on old Macs
_ROWS = ("data", "annotations")  # members of a JSON document that hold rows
_LOOKED_AT, _BATCH = 10_000, 8192  # rows

_Parser = Callable[[str, IO[bytes]], tuple[Iterable[str], Iterator[tuple[str, Row]]]]


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
    name, content = f"{option} {path!r}", _read(path, option)
    return _checked(name, *_parser(name, path)(name, io.BytesIO(content)))


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
    rows = _Walked(path, option, _parser(name, path))
    with contextlib.closing(rows.parsed()) as parsed:
        columns = next(parsed)
        assert isinstance(columns, tuple)
        first = _checked(name, columns, itertools.islice(parsed, _LOOKED_AT))
    return Table(name=name, columns=first.columns, rows=rows)


@dataclass(frozen=True)
class _Walked:
    """The rows of a file that is opened again each time."""

    path: str
    option: str
    parser: _Parser

    def __iter__(self) -> Iterator[tuple[str, Row]]:
        parsed = self.parsed()
        next(parsed)
        yield from parsed

    def parsed(self) -> Generator[Any]:
        """The columns, then the rows."""
        with _opened(self.path, self.option) as handle:
            columns, rows = self.parser(f"{self.option} {self.path!r}", handle)
            yield tuple(columns)
            yield from rows


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
    table = _checked(name, *_PARSERS[ending](name, io.BytesIO(content)))
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
    with _opened(path, option) as handle:
        return handle.read()


@contextlib.contextmanager
def _opened(path: str, option: str) -> Iterator[IO[bytes]]:
    if not files.exists(path) or files.is_dir(path):
        raise MissingInputError(f"{option} {path!r} is not a file.", "Check the path.")
    if files.is_pipe(path):
        raise MissingInputError(f"{option} {path!r} is a pipe.", "Write its content to a file first.")
    try:
        with files.open_read(path, compression="infer") as handle:
            yield handle
    except InputError:
        raise
    except Exception as error:  # every kind of compression raises its own errors
        raise FormatError(
            f"{option} {path!r} cannot be read ({error}).", "Check that its content is what its name says."
        ) from error


def _parser(name: str, path: str) -> _Parser:
    parser = _PARSERS.get(_ending(path))
    if parser is None:
        raise FormatError(f"{name} is not a kind of table that can be read.", f"Give one of {_KNOWN}.")
    return parser


def _ending(path: str) -> str:
    name = files.base_name(path).lower()
    for compression in _COMPRESSIONS:
        name = name.removesuffix(compression)
    return name.rpartition(".")[2]


def _text(name: str, content: bytes, first: int = 1) -> str:
    """Text out of UTF-8, whose first line has this number."""
    try:
        return content.decode("utf-8-sig" if first == 1 else "utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + first
        raise FormatError(f"{name}, line {line}: not UTF-8 ({error.reason}).", "Save the file as UTF-8.") from error


def _lines(text: str) -> list[str]:
    """The lines of a text. Of all that Unicode calls a line break, only those of files end one."""
    return [line.removesuffix("\n") for line in io.StringIO(text, newline=None)]


def _checked(name: str, columns: Iterable[str], rows: Iterable[tuple[str, Row]]) -> Table:
    found, heading = tuple(rows), tuple(columns)
    if repeated := [column for column in heading if column and heading.count(column) > 1]:
        raise FormatError(f"{name} has two columns {repeated[0]!r}.", "Rename or remove one.")
    if not found:
        raise FormatError(f"{name} holds no rows.", "Give a file with at least one row below its heading.")
    return Table(name=name, columns=heading or tuple(dict.fromkeys(key for _, row in found for key in row)), rows=found)


def _parse_csv(name: str, handle: IO[bytes], delimiter: str) -> tuple[list[str], Iterator[tuple[str, Row]]]:
    lines_of_text = (part for line in _decoded(name, handle) for part in _RETURN.split(line))
    reader = csv.reader(lines_of_text, delimiter=delimiter, skipinitialspace=True, strict=True)
    lines = _csv_lines(name, reader)
    columns = [cell.strip() for cell in next(lines, ("", []))[1]]
    return columns, _csv_rows(name, columns, lines)


def _csv_lines(name: str, reader: Any) -> Iterator[tuple[str, list[str]]]:
    try:
        for cells in reader:
            if len(cells) > 1 or any(cell.strip() for cell in cells):
                yield f"line {reader.line_num}", cells
    except csv.Error as error:
        raise FormatError(f"{name}, line {reader.line_num}: {error}.", "Correct its quotes.") from error


def _csv_rows(name: str, columns: list[str], lines: Iterable[tuple[str, list[str]]]) -> Iterator[tuple[str, Row]]:
    for place, cells in lines:
        if len(cells) != len(columns):
            raise FormatError(
                f"{name}, {place}: {len(cells)} cells where the heading has {len(columns)}.",
                "Give every row a cell for each column; a cell that holds the delimiter needs quotes.",
            )
        yield place, dict(zip(columns, cells, strict=True))


def _decoded(name: str, handle: IO[bytes]) -> Iterator[str]:
    """The lines of UTF-8, with their ends, without a byte order mark."""
    for number, line in enumerate(handle, 1):
        yield _text(name, line, number)


def _parse_json(name: str, handle: IO[bytes]) -> tuple[tuple[()], Iterator[tuple[str, Row]]]:
    """Rows a line, in an array, or in an object of arrays; which columns there are, the rows say."""
    lines = enumerate(_decoded(name, handle), 1)
    start = next(((number, line) for number, line in lines if line.strip()), None)
    return (), iter(()) if start is None else _json_rows(name, *start, lines)


def _json_rows(name: str, number: int, first: str, rest: Iterator[tuple[int, str]]) -> Iterator[tuple[str, Row]]:
    if first.lstrip().startswith("[") or not _is_whole(first):
        document = _load(name, first + "".join(line for _, line in rest), number)
        rows = document if isinstance(document, list) else _rows_of_document(name, document)
        found: Iterable[tuple[str, Any]] = ((f"row {place}", row) for place, row in enumerate(rows, 1))
    else:
        lines = itertools.chain([(number, first)], rest)
        found = ((f"line {place}", _load(name, line.rstrip(), place)) for place, line in lines if line.strip())
    for place, row in found:
        if not isinstance(row, dict):
            raise FormatError(f"{name}, {place}: JSON, but not an object.", "Give one object a row.")
        yield place, row


def _is_whole(line: str) -> bool:
    """Is this the first of many rows of JSON, or the only one, and not the beginning of a document?"""
    try:
        value = json.loads(line)
    except ValueError:
        return not line.rstrip().endswith(("{", "[", ",", "{}"))
    return not isinstance(value, dict) or not any(_is_rows(value.get(member)) for member in _ROWS)


def _is_rows(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, dict) for row in value)


def _rows_of_document(name: str, document: Any) -> list[Row]:
    """The rows of an object that holds them: `data` (WavCaps), or `annotations`, each of one of `images` (COCO)."""
    rows = next((document[member] for member in _ROWS if _is_rows(document.get(member))), None)
    if rows is None:
        raise FormatError(f"{name} is JSON, but holds no rows.", f"Give an array of objects, or one as {_ROWS[0]!r}.")
    described = {image.get("id"): image for member in ("images", "audios") for image in document.get(member) or ()}
    joined = []
    for row in rows:
        owner = described.get(row.get("image_id", row.get("audio_id")), {})
        joined.append({**{key: value for key, value in owner.items() if key != "id"}, **row})
    return joined


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


def _parse_parquet(name: str, handle: IO[bytes]) -> tuple[list[str], Iterator[tuple[str, Row]]]:
    with _parquet(name):
        file = pq.ParquetFile(handle if handle.seekable() else io.BytesIO(handle.read()))
    return list(file.schema_arrow.names), _parquet_rows(name, file)


def _parquet_rows(name: str, file: pq.ParquetFile) -> Iterator[tuple[str, Row]]:
    number = 0
    if len(set(file.schema_arrow.names)) < len(file.schema_arrow.names):
        return
    with _parquet(name):
        for batch in file.iter_batches(_BATCH):
            for row in batch.to_pylist():
                number += 1
                yield f"row {number}", row


@contextlib.contextmanager
def _parquet(name: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise FormatError(
            f"{name} is not Parquet ({reason}).", "Check that its content is what its name says."
        ) from error


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


_PARSERS: dict[str, _Parser] = {
    **{ending: partial(_parse_csv, delimiter=delimiter) for ending, delimiter in _DELIMITERS.items()},
    "json": _parse_json,
    "jsonl": _parse_json,
    "ndjson": _parse_json,
    "parquet": _parse_parquet,
    "pq": _parse_parquet,
}
_KNOWN = ", ".join(f".{ending}" for ending in _PARSERS)
