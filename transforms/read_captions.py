"""read_captions: source files -> caption lines, normalized.

Files are streamed, in any format of :mod:`sonogloss.transforms.caption_formats`. A line that cannot be read costs that
line, and is kept as a dead letter with its file and number.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import PCollection, TaggedOutput

from sonogloss import files
from sonogloss.errors import Code, FormatError, InputError
from sonogloss.records import DEAD_LETTER_SCHEMA, CaptionLine, DeadLetter, caption_id, table
from sonogloss.transforms.caption_formats import Row, first_line, numbered_rows
from sonogloss.transforms.part_files import DATASTORE, KIND_KEY

STAGE = "read_captions"
_RESERVED = ("id", "text", "source")


@dataclass(frozen=True, kw_only=True)
class SourceFile:
    """A file of captions: where it lies, what its captions are credited to, and the column that holds them."""

    uri: str
    source: str
    text_column: str = "text"


@dataclass(frozen=True, kw_only=True)
class ReadCount:
    """What became of the lines of one source file. `columns` says of every further column `int`, `float` or `str`."""

    source: str
    read: int
    empty: int
    malformed: int
    columns: Mapping[str, str] = field(default_factory=dict)


def check_source_file(file: SourceFile) -> None:
    """Look at the first row of a source file: can it be opened, and does it have the text column?

    Raises:
        FormatError: it cannot, or it has not; the columns it has are named.
    """
    rows = numbered_rows(file.uri, file.text_column)
    try:
        first = next((row for _, row in rows if isinstance(row, Mapping)), None)
    except InputError:
        raise
    except Exception as error:  # every kind of compression raises its own errors
        raise FormatError(
            f"--captions {file.uri!r} cannot be read ({first_line(error)}).",
            "Check that its content is what its name says.",
        ) from error
    if first is not None and file.text_column not in first:
        found = ", ".join(str(name) for name in first if name is not None)
        raise FormatError(
            f"--text-column {file.text_column!r}: {file.uri!r} has no such column.", f"It has these: {found}."
        )


def read_captions(file: SourceFile) -> Iterator[tuple[int, CaptionLine] | DeadLetter | ReadCount]:
    """The captions of a source file, each with the number of its line, then one count.

    Text is brought to Unicode NFC and runs of white space to one blank. A text column that holds a list of strings
    gives one caption a string. Further columns travel along; `id`, `text` and `source` become `original_id` and so on.

    Yields:
        `(line number, caption)`; a dead letter for a line that cannot be read; at the end the count.
    """
    read = empty = malformed = 0
    columns: dict[str, str] = {}
    for number, row in _rows_until_broken(file):
        texts = [] if isinstance(row, str) else _texts(row.get(file.text_column))
        if isinstance(row, str) or isinstance(texts, str):
            malformed += 1
            yield _malformed(file, number, row if isinstance(row, str) else str(texts))
            continue
        extra = {_extra_name(name): _scalar(value) for name, value in row.items() if name != file.text_column}
        columns = merge_columns(
            columns, {name: type(value).__name__ for name, value in extra.items() if value is not None}
        )
        for text in texts:
            if normal := normalize(text):
                read += 1
                yield number, CaptionLine(id=caption_id(normal), text=normal, source=file.source, extra=extra)
            else:
                empty += 1
    yield ReadCount(source=file.source, read=read, empty=empty, malformed=malformed, columns=columns)


def normalize(text: str) -> str:
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


def _rows_until_broken(file: SourceFile) -> Iterator[tuple[int, Row | str]]:
    """The rows of a source file; where it breaks (a cut gzip, a damaged page), the rows before stay valid."""
    number = 0
    try:
        for number, row in numbered_rows(file.uri, file.text_column):
            yield number, row
    except InputError:
        raise
    except Exception as error:  # noqa: BLE001  # every kind of compression raises its own errors
        yield number + 1, f"The file cannot be read from here on ({first_line(error)})."


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


def _malformed(file: SourceFile, number: int, reason: str) -> DeadLetter:
    message = f"Line {number}: {reason}"
    return DeadLetter(
        clip_id=None, uri=file.uri, member=str(number), stage=STAGE, code=Code.CORRUPT.value, message=message
    )


def write_dead_lines(lines: tuple[str, Iterable[DeadLetter]], *, output: str) -> str:
    """Keep the unreadable lines of one file, in order, as `dead_letters/part-<digest of the file's name>.parquet`.

    Returns:
        The file's name below `output`.
    """
    uri, dead_letters = lines
    name = f"dead_letters/part-{hashlib.sha256(uri.encode('utf-8', 'surrogateescape')).hexdigest()[:16]}.parquet"
    ordered = sorted(dead_letters, key=lambda dead_letter: int(dead_letter.member or 0))
    content = table(ordered, DEAD_LETTER_SCHEMA).replace_schema_metadata({KIND_KEY: DATASTORE.encode()})
    files.write_table(files.join(output, name), content)
    return name


@dataclass(frozen=True, kw_only=True)
class Captions:
    """What :class:`ReadCaptions` gives: placed caption lines, one count a file, and the names of dead letter files."""

    lines: PCollection[tuple[tuple[str, int], CaptionLine]]
    counts: PCollection[ReadCount]
    dead: PCollection[str]


class ReadCaptions(beam.PTransform[PCollection[SourceFile], Captions]):
    """Source files -> caption lines with their places, see :func:`read_captions`; bad lines go below `output`."""

    def __init__(self, output: str) -> None:
        super().__init__()
        self._output = output

    def expand(self, pcoll: PCollection[SourceFile]) -> Captions:
        read = pcoll | "Read" >> beam.FlatMap(_tagged).with_outputs("dead", "counts", main="lines")
        dead = (
            read.dead
            | "KeyByFile" >> beam.Map(lambda dead_letter: (dead_letter.uri, dead_letter))
            | "GatherDead" >> beam.GroupByKey()
            | "WriteDead" >> beam.Map(write_dead_lines, output=self._output)
        )
        return Captions(lines=read.lines, counts=read.counts, dead=dead)


def _tagged(file: SourceFile) -> Iterator[Any]:
    for item in read_captions(file):
        if isinstance(item, DeadLetter):
            yield TaggedOutput("dead", item)
        elif isinstance(item, ReadCount):
            yield TaggedOutput("counts", item)
        else:
            number, line = item
            yield (file.uri, number), line
