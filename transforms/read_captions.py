"""read_captions: text dumps -> caption lines, normalised, without doubles.

A dump is txt (one caption a line), jsonl, csv, tsv or parquet, plain or compressed (`.gz`, `.zst`, `.bz2`, `.xz`).
Files are streamed. A line that cannot be read costs that line, and is kept as a dead letter with its file and number.
"""

from __future__ import annotations

import codecs
import csv
import hashlib
import json
import math
import unicodedata
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import IO, Any

import apache_beam as beam
import pyarrow.parquet as pq
from apache_beam.pvalue import PCollection, TaggedOutput

from sonogloss import files
from sonogloss.errors import Code, FormatError
from sonogloss.records import DEAD_LETTER_SCHEMA, CaptionLine, DeadLetter, caption_id, table

STAGE = "read_captions"
LONGEST_LINE = 1 << 20  # bytes; a longer "line" is not a caption, and must not fill the memory
_KINDS = ("txt", "jsonl", "csv", "tsv", "parquet")
_COMPRESSIONS = (".gz", ".zst", ".bz2", ".xz")
_RESERVED = ("id", "text", "source")

_Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Dump:
    """A text dump: where it lies, what its captions are credited to, and the column that holds them."""

    uri: str
    source: str
    text_column: str = "text"


@dataclass(frozen=True, kw_only=True)
class ReadCount:
    """What became of the lines of one dump. `columns` says of every further column `int`, `float` or `str`."""

    source: str
    read: int
    empty: int
    malformed: int
    columns: Mapping[str, str] = field(default_factory=dict)


def dump_kind(uri: str) -> str:
    """`txt`, `jsonl`, `csv`, `tsv` or `parquet`, by the name's ending.

    Raises:
        FormatError: none of these.
    """
    name = files.base_name(uri).lower()
    for ending in _COMPRESSIONS:
        name = name.removesuffix(ending)
    kind = {"ndjson": "jsonl", "pq": "parquet"}.get(name.rpartition(".")[2], name.rpartition(".")[2])
    if kind not in _KINDS:
        raise FormatError(
            f"--captions {uri!r} is not a kind of text dump that can be read.",
            "Give files that end in .txt, .jsonl, .csv, .tsv or .parquet, or in one of these and .gz or .zst.",
        )
    return kind


def check_dump(dump: Dump) -> None:
    """Look at the head of a dump: can it be opened, and does it have the text column?

    Raises:
        FormatError: it cannot, or it has not; the columns it has are named.
    """
    rows = _rows(dump)
    try:
        first = next((row for _, row in rows if isinstance(row, Mapping)), None)
    except (OSError, EOFError, ValueError) as error:  # pyarrow's errors are ValueErrors, gzip's are OSErrors
        raise FormatError(
            f"--captions {dump.uri!r} cannot be read ({_first_line(error)}).",
            "Check that its content is what its name says.",
        ) from error
    if first is not None and dump_kind(dump.uri) != "txt" and dump.text_column not in first:
        found = ", ".join(str(name) for name in first if name is not None)
        raise FormatError(
            f"--text-column {dump.text_column!r}: {dump.uri!r} has no such column.", f"It has these: {found}."
        )


def read_captions(dump: Dump) -> Iterator[tuple[int, CaptionLine] | DeadLetter | ReadCount]:
    """The captions of a dump, each with the number of its line, then one count.

    Text is brought to Unicode NFC and runs of white space to one blank. A text column that holds a list of strings
    gives one caption a string. Further columns travel along; `id`, `text` and `source` become `original_id` and so on.

    Yields:
        `(line number, caption)`; a dead letter for a line that cannot be read; at the end the count.
    """
    read = empty = malformed = 0
    columns: dict[str, str] = {}
    for number, row in _rows_until_broken(dump):
        texts = [] if isinstance(row, str) else _texts(row.get(dump.text_column))
        if isinstance(row, str) or isinstance(texts, str):
            malformed += 1
            yield _malformed(dump, number, row if isinstance(row, str) else str(texts))
            continue
        extra = {_extra_name(name): _scalar(value) for name, value in row.items() if name != dump.text_column}
        columns = merge_columns(
            columns, {name: type(value).__name__ for name, value in extra.items() if value is not None}
        )
        for text in texts:
            if normal := normalise(text):
                read += 1
                yield number, CaptionLine(id=caption_id(normal), text=normal, source=dump.source, extra=extra)
            else:
                empty += 1
    yield ReadCount(source=dump.source, read=read, empty=empty, malformed=malformed, columns=columns)


def normalise(text: str) -> str:
    """Unicode NFC, white space (and invisible control characters) to single blanks, none at the ends."""
    visible = "".join(" " if unicodedata.category(letter) == "Cc" else letter for letter in text)
    return " ".join(unicodedata.normalize("NFC", visible).split())


def merge_columns(one: Mapping[str, str], other: Mapping[str, str]) -> dict[str, str]:
    """Columns of both, each with a type that holds the values of both: int < float < str."""
    merged = dict(one)
    for name, kind in other.items():
        kinds = {merged.get(name, kind), kind}
        merged[name] = kind if len(kinds) == 1 else "float" if kinds == {"int", "float"} else "str"
    return dict(sorted(merged.items()))


def _rows(dump: Dump) -> Iterator[tuple[int, _Row | str]]:
    """Numbered rows from 1; a string instead of a row says why there is none."""
    kind = dump_kind(dump.uri)
    with files.open_read(dump.uri, compression=None if kind == "parquet" else "infer") as handle:
        if kind == "parquet":
            yield from _parquet_rows(handle)
        elif kind in ("csv", "tsv"):
            yield from _csv_rows(handle, "\t" if kind == "tsv" else ",")
        else:
            for number, line in _lines(handle):
                yield number, line if isinstance(line, str) else _line_row(line[0], kind, dump.text_column)


def _rows_until_broken(dump: Dump) -> Iterator[tuple[int, _Row | str]]:
    """The rows of a dump; where the file itself breaks (a cut gzip, a damaged page), what came before stays valid."""
    number = 0
    try:
        for number, row in _rows(dump):
            yield number, row
    except (OSError, EOFError, ValueError, zlib.error) as error:
        yield number + 1, f"The file cannot be read from here on ({_first_line(error)})."


def _lines(handle: IO[bytes]) -> Iterator[tuple[int, tuple[str] | str]]:
    number = 0
    while line := handle.readline(LONGEST_LINE):
        number += 1
        if len(line) == LONGEST_LINE and not line.endswith(b"\n"):
            while (rest := handle.readline(LONGEST_LINE)) and not rest.endswith(b"\n"):
                pass
            yield number, f"The line is longer than {LONGEST_LINE:,} bytes."
            continue
        try:
            yield number, (line.decode("utf-8-sig" if number == 1 else "utf-8"),)
        except UnicodeDecodeError as error:
            yield number, f"The line is not UTF-8 ({error.reason} at byte {error.start})."


def _line_row(line: str, kind: str, text_column: str) -> _Row | str:
    if kind == "txt":
        return {text_column: line}
    if not line.strip():
        return {text_column: ""}
    try:
        row = json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        return f"The line is not JSON ({_first_line(error)})."
    return row if isinstance(row, dict) else "The line is JSON, but not an object."


def _csv_rows(handle: IO[bytes], delimiter: str) -> Iterator[tuple[int, _Row | str]]:
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


def _checked_csv_row(row: dict[Any, Any]) -> _Row | str:
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


def _parquet_rows(handle: IO[bytes]) -> Iterator[tuple[int, _Row | str]]:
    number = 0
    for batch in pq.ParquetFile(handle).iter_batches(batch_size=4096):
        for row in batch.to_pylist():
            number += 1
            yield number, row


def _texts(value: Any) -> list[str] | str:
    """The captions in a text field; a string says why there are none."""
    if value is None:
        return "The text column is missing or null."
    if isinstance(value, str):
        return [value]
    if isinstance(value, int | float):
        return [str(value)]
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return value
    return f"The text column holds {type(value).__name__}, not text."


def _extra_name(name: str) -> str:
    return f"original_{name}" if name in _RESERVED else str(name)


def _scalar(value: Any) -> int | float | str | None:
    """What a column of the datastore can hold; anything nested is kept as JSON text."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value if not isinstance(value, int) or -(2**63) <= value < 2**63 else str(value)
    return json.dumps(value, ensure_ascii=False, default=str)


def _malformed(dump: Dump, number: int, reason: str) -> DeadLetter:
    message = f"Line {number}: {reason}"
    return DeadLetter(
        clip_id=None, uri=dump.uri, member=str(number), stage=STAGE, code=Code.CORRUPT.value, message=message
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def write_dead_lines(lines: tuple[str, Iterable[DeadLetter]], *, output: str) -> str:
    """Keep the unreadable lines of one dump, in order, as `dead_letters/part-<digest of the dump's name>.parquet`.

    Returns:
        The file's name below `output`.
    """
    uri, letters = lines
    name = f"dead_letters/part-{hashlib.sha256(uri.encode('utf-8', 'surrogateescape')).hexdigest()[:16]}.parquet"
    ordered = sorted(letters, key=lambda letter: int(letter.member or 0))
    files.write_table(files.join(output, name), table(ordered, DEAD_LETTER_SCHEMA))
    return name


@dataclass(frozen=True, kw_only=True)
class Captions:
    """What :class:`ReadCaptions` gives: placed caption lines, one count a dump, and the names of dead letter files."""

    lines: PCollection[tuple[tuple[str, int], CaptionLine]]
    counts: PCollection[ReadCount]
    dead: PCollection[str]


class ReadCaptions(beam.PTransform[PCollection[Dump], Captions]):
    """Dumps -> caption lines with their places, see :func:`read_captions`; bad lines are written below `output`."""

    def __init__(self, output: str) -> None:
        super().__init__()
        self._output = output

    def expand(self, pcoll: PCollection[Dump]) -> Captions:
        read = pcoll | "Read" >> beam.FlatMap(_tagged).with_outputs("dead", "counts", main="lines")
        dead = (
            read.dead
            | "KeyByDump" >> beam.Map(lambda letter: (letter.uri, letter))
            | "GatherDead" >> beam.GroupByKey()
            | "WriteDead" >> beam.Map(write_dead_lines, output=self._output)
        )
        return Captions(lines=read.lines, counts=read.counts, dead=dead)


def _tagged(dump: Dump) -> Iterator[Any]:
    for item in read_captions(dump):
        if isinstance(item, DeadLetter):
            yield TaggedOutput("dead", item)
        elif isinstance(item, ReadCount):
            yield TaggedOutput("counts", item)
        else:
            number, line = item
            yield (dump.uri, number), line
