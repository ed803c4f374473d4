"""What is in a file of rows: csv, tsv, json, jsonl or Parquet, plain or compressed."""

from __future__ import annotations

import codecs
import contextlib
import csv
import io
import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from sonogloss import files
from sonogloss.errors import FormatError, InputError, MissingInputError
from sonogloss.tables.cells import whole_letters

Row = dict[str, Any]
Parser = Callable[[str, IO[bytes]], tuple[Iterable[str], Iterator[tuple[str, Row]]]]
"""From the name of a file, for messages, and its bytes to its columns and rows, each with where it stands."""

_COMPRESSIONS = (".gz", ".zst", ".bz2", ".xz")
DELIMITERS = {"csv": ",", "tsv": "\t"}
_RETURN = re.compile("(?<=\r)(?!\n)")  # ends a line by itself, as on old Macs
_ROWS = ("data", "annotations")  # members of a JSON document that hold rows
_BATCH = 8192  # rows


@contextlib.contextmanager
def opened(path: str, option: str) -> Iterator[IO[bytes]]:
    """A file for reading, with what it is compressed by undone.

    Raises:
        MissingInputError: there is no such file.
        FormatError: it cannot be read, now or while it is open.
    """
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


def read_whole(path: str, option: str) -> bytes:
    """The bytes of a file, as :func:`opened` gives them."""
    with opened(path, option) as handle:
        return handle.read()


def parser_of(name: str, path: str) -> Parser:
    """What reads the rows of a file of this path.

    Raises:
        FormatError: nothing does.
    """
    parser = PARSERS.get(ending_of(path))
    if parser is None:
        raise FormatError(f"{name} is not a kind of table that can be read.", f"Give one of {_KNOWN}.")
    return parser


def ending_of(path: str) -> str:
    """What the name of a file ends with, without the compression and the dot: `csv` of `a.csv.gz`."""
    name = files.base_name(path).lower()
    for compression in _COMPRESSIONS:
        name = name.removesuffix(compression)
    return name.rpartition(".")[2]


def decode_text(name: str, content: bytes, first: int = 1) -> str:
    """Text out of UTF-8, whose first line has this number."""
    try:
        return content.decode("utf-8-sig" if first == 1 else "utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + first
        is_utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        reason = "it is UTF-16" if is_utf16 else error.reason
        raise FormatError(f"{name}, line {line}: not UTF-8 ({reason}).", "Save the file as UTF-8.") from error


def split_lines(text: str) -> list[str]:
    """The lines of a text. Of all that Unicode calls a line break, only those of files end one."""
    return [line.removesuffix("\n") for line in io.StringIO(text, newline=None)]


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
        yield decode_text(name, line, number)


def _parse_json(name: str, handle: IO[bytes]) -> tuple[tuple[()], Iterator[tuple[str, Row]]]:
    """Rows a line, in an array, or in an object of arrays; which columns there are, the rows say."""
    lines = enumerate(_decoded(name, handle), 1)
    start = next(((number, line) for number, line in lines if line.strip()), None)
    return (), iter(()) if start is None else _json_rows(name, *start, lines)


def _json_rows(name: str, number: int, first: str, rest: Iterator[tuple[int, str]]) -> Iterator[tuple[str, Row]]:
    if first.lstrip().startswith("[") or not _is_whole(first):
        document = load_json(name, first + "".join(line for _, line in rest), number)
        rows = document if isinstance(document, list) else _rows_of_document(name, document)
        found: Iterable[tuple[str, Any]] = ((f"row {place}", row) for place, row in enumerate(rows, 1))
    else:
        lines = itertools.chain([(number, first)], rest)
        found = ((f"line {place}", load_json(name, line.rstrip(), place)) for place, line in lines if line.strip())
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


def load_json(name: str, text: str, line: int = 1) -> Any:
    """The value of a JSON text that begins in this line of its file. Half an emoji becomes U+FFFD.

    Raises:
        FormatError: it is not JSON, or an object in it names a key twice.
    """
    try:
        return whole_letters(json.loads(text, object_pairs_hook=_unique), text)
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


PARSERS: dict[str, Parser] = {
    **{ending: partial(_parse_csv, delimiter=delimiter) for ending, delimiter in DELIMITERS.items()},
    "json": _parse_json,
    "jsonl": _parse_json,
    "ndjson": _parse_json,
    "parquet": _parse_parquet,
    "pq": _parse_parquet,
}
_KNOWN = ", ".join(f".{ending}" for ending in PARSERS)
