"""Formats of caption files: what their names end in, and how their rows are read from a stream.

A new format is a reader and its endings in :data:`FORMATS`. A reader takes a binary stream and the name of the text
column, and yields rows with their numbers from 1, by line where the format has lines. For a row that cannot be read it
yields a sentence that says why, and goes on.
"""

from __future__ import annotations

import codecs
import csv
import json
import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import IO, Any

import pyarrow.parquet as pq

from sonogloss import files
from sonogloss.errors import FormatError

LONGEST_LINE = 1 << 20  # bytes; a longer "line" is not a caption, and must not fill the memory
COMPRESSIONS = (".gz", ".zst", ".bz2", ".xz")

Row = Mapping[str, Any]
Reader = Callable[[IO[bytes], str], Iterator[tuple[int, Row | str]]]


def caption_format(uri: str) -> str:
    """The ending out of :data:`FORMATS` that a file's name has, compressed or not.

    Raises:
        FormatError: none of these.
    """
    name = files.base_name(uri).lower()
    for compression in COMPRESSIONS:
        name = name.removesuffix(compression)
    ending = name.rpartition(".")[2]
    if ending not in FORMATS:
        known = ", ".join(f".{ending}" for ending in FORMATS)
        raise FormatError(
            f"--captions {uri!r} is not a kind of caption file that can be read.",
            f"Give files that end in one of {known}, or in one of these and .gz or .zst.",
        )
    return ending


def numbered_rows(uri: str, text_column: str) -> Iterator[tuple[int, Row | str]]:
    """The rows of a caption file, streamed; a sentence in place of a row says why there is none."""
    with files.open_read(uri, compression="infer") as handle:
        yield from FORMATS[caption_format(uri)](handle, text_column)


def first_line(error: Exception) -> str:
    """The first line of what an exception says, or its name."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _lines(handle: IO[bytes], parse: Callable[[str], Row | str]) -> Iterator[tuple[int, Row | str]]:
    number = 0
    while line := handle.readline(LONGEST_LINE):
        number += 1
        if len(line) == LONGEST_LINE and not line.endswith(b"\n"):
            while (rest := handle.readline(LONGEST_LINE)) and not rest.endswith(b"\n"):
                pass
            yield number, f"The line is longer than {LONGEST_LINE:,} bytes."
            continue
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            yield number, f"The line is not UTF-8 ({error.reason} at byte {error.start})."
        else:
            yield number, parse(text)


def _text_rows(handle: IO[bytes], text_column: str) -> Iterator[tuple[int, Row | str]]:
    return _lines(handle, lambda line: {text_column: line})


def _json_rows(handle: IO[bytes], text_column: str) -> Iterator[tuple[int, Row | str]]:
    return _lines(handle, lambda line: _parse_json(line) if line.strip() else {text_column: ""})


def _parse_json(line: str) -> Row | str:
    try:
        row = json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        return f"The line is not JSON ({first_line(error)})."
    return row if isinstance(row, dict) else "The line is JSON, but not an object."


def _csv_rows(handle: IO[bytes], text_column: str, delimiter: str = ",") -> Iterator[tuple[int, Row | str]]:
    # Bytes that are not UTF-8 become lone surrogates here, which no valid file holds: they are told apart below.
    reader = csv.DictReader(codecs.iterdecode(handle, "utf-8-sig", "surrogateescape"), delimiter=delimiter)
    while True:
        try:
            row = next(reader, None)
        except csv.Error as error:
            yield reader.line_num, f"The row is not CSV ({error})."
            continue
        if row is None:
            return
        yield reader.line_num, _checked_csv_row(row)


def _checked_csv_row(row: dict[Any, Any]) -> Row | str:
    if None in row:
        return "The row has more fields than the header; a text that holds the delimiter needs quotes."
    if any(value is not None and any("\ud800" <= letter <= "\udfff" for letter in value) for value in row.values()):
        return "The row is not UTF-8."
    return {name: _number(value) for name, value in row.items()}


def _number(value: str | None) -> Any:
    """CSV knows no types. What Python would print the same way is a number; `007` or `1e5` stay what they are."""
    for kind in (int, float):
        try:
            if value is not None and str(number := kind(value)) == value and math.isfinite(number):
                return number
        except ValueError:
            continue
    return value


def _parquet_rows(handle: IO[bytes], text_column: str) -> Iterator[tuple[int, Row | str]]:
    number = 0
    for batch in pq.ParquetFile(handle).iter_batches(batch_size=4096):
        for row in batch.to_pylist():
            number += 1
            yield number, row


FORMATS: dict[str, Reader] = {
    "txt": _text_rows,
    "jsonl": _json_rows,
    "ndjson": _json_rows,
    "csv": _csv_rows,
    "tsv": partial(_csv_rows, delimiter="\t"),
    "parquet": _parquet_rows,
    "pq": _parquet_rows,
}
