"""read_captions: caption dumps -> caption lines, normalized.

Files are streamed, in any format of :mod:`sonogloss.transforms.caption_formats`. A row that cannot be read costs that
row, and is kept as a dead letter with its file and number.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import PCollection, TaggedOutput

from sonogloss import files
from sonogloss.dumps.layouts import TEXT
from sonogloss.dumps.rows import LeftOut, Numbered
from sonogloss.dumps.texts import WordLimits, carried, normalize, texts_of
from sonogloss.errors import Code, InputError
from sonogloss.records import DEAD_LETTER_SCHEMA, CaptionLine, DeadLetter, caption_id, table
from sonogloss.sources.names import printable
from sonogloss.transforms.caption_formats import Part, caption_format, first_line, lines_before, numbered_rows
from sonogloss.transforms.part_files import DATASTORE, DEAD_LETTERS, KIND_KEY

STAGE = "read_captions"

_MOST_COLUMNS = 256  # further columns of a file; more are keys of a map that somebody wrote as columns
_LETTERS_A_FILE = 50_000  # dead letters that are held before they are written
_BY_ROW = ("json", "parquet", "pq", "tar")


@dataclass(frozen=True, kw_only=True)
class SourceFile:
    """A file of captions, or a part of one.

    Attributes:
        uri: where it lies.
        source: what its captions are credited to.
        text_columns: the columns that hold captions.
        number: its place among the files; of equal captions that of the lowest stays.
        part: the range that is read; None for the whole.
        words: captions outside of these limits are left out.
    """

    uri: str
    source: str
    text_columns: tuple[str, ...] = (TEXT,)
    number: int = 0
    part: Part = None
    words: WordLimits = field(default_factory=WordLimits)


@dataclass(frozen=True, kw_only=True)
class ReadCount:
    """What became of the rows of one source file.

    Attributes:
        source: what its captions are credited to.
        read: captions, whatever becomes of them later.
        empty: captions without a visible letter.
        malformed: dead letters.
        too_short: captions out of `read` that have too few words.
        too_long: captions out of `read` that have too many words.
        broken: 1 if the rest of the file could not be read.
        failed: captions out of `read` that the CLAP could not embed, or whose id another one has.
        columns: for every further column `int`, `float` or `str`.
        left_out: names of columns of which cells were left out.
    """

    source: str
    read: int
    empty: int
    malformed: int
    too_short: int = 0
    too_long: int = 0
    broken: int = 0
    failed: int = 0
    columns: Mapping[str, str] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()


class _Broken(str):
    """What is said of a file whose rest cannot be read."""


def read_captions(file: SourceFile) -> Iterator[tuple[int, CaptionLine] | DeadLetter | ReadCount]:
    """The captions of a source file, each with the number of its row, then one count.

    Text is brought to Unicode NFC and runs of white space to one blank. A list in a text column is several captions.
    Further columns travel along; `id`, `text` and `source` become `original_id` and so on.

    Yields:
        `(row, caption)`, rows counted from 1 in the part that is read; a dead letter for what is no caption; at the
        end the count.
    """
    counts: Counter[str] = Counter()
    columns: dict[str, str] = {}
    left_out: set[str] = set()
    lists = caption_format(file.uri) != "txt"
    place = _Place(file)
    for number, row in _rows_until_broken(file):
        if isinstance(row, str):
            counts.update({"malformed": 1, "broken": int(isinstance(row, _Broken))})
            yield place.dead_letter(number, row)
            continue
        texts, problems = texts_of(row, file.text_columns, lists=lists)
        counts["malformed"] += len(problems)
        yield from (place.dead_letter(number, problem) for problem in problems)
        extra = _extra(row, file.text_columns, columns, left_out) if texts else {}
        for text in texts:
            normal = normalize(text)
            counts["read" if normal else "empty"] += 1
            refused = file.words.refuse(normal) if normal else None
            if refused is not None:
                counts[refused] += 1
            elif normal:
                yield number, CaptionLine(id=caption_id(normal), text=normal, source=file.source, extra=extra)
    names = ("read", "empty", "malformed", "too_short", "too_long", "broken")
    numbers = {name: counts[name] for name in names}
    yield ReadCount(
        source=file.source, columns=dict(sorted(columns.items())), left_out=tuple(sorted(left_out)), **numbers
    )


def _extra(
    row: Mapping[str, Any], text_columns: tuple[str, ...], columns: dict[str, str], left_out: set[str]
) -> dict[str, int | float | str | None]:
    """The further columns of a row; `columns` and `left_out` are updated."""
    extra: dict[str, int | float | str | None] = {}
    for name, value in carried(row, text_columns):
        if isinstance(value, LeftOut) or (name not in columns and len(columns) >= _MOST_COLUMNS):
            if len(left_out) < _MOST_COLUMNS:
                left_out.add(name)
            continue
        extra[name] = value
        if value is not None and columns.get(name) != (kind := type(value).__name__):
            columns[name] = _wider(columns.get(name, kind), kind)
    return extra


def merge_columns(one: Mapping[str, str], other: Mapping[str, str]) -> dict[str, str]:
    """Columns of both, each with a type that holds the values of both: int < float < str."""
    merged = dict(one)
    for name, kind in other.items():
        merged[name] = _wider(merged.get(name, kind), kind)
    return dict(sorted(merged.items()))


def _wider(one: str, other: str) -> str:
    return one if one == other else "float" if {one, other} == {"int", "float"} else "str"


def _rows_until_broken(file: SourceFile) -> Iterator[Numbered]:
    """The rows of a source file; where it breaks (a cut gzip, a damaged page), the rows before stay valid."""
    number = 0
    try:
        for number, row in numbered_rows(file.uri, file.text_columns, file.part):
            yield number, row
    except InputError:
        raise
    except Exception as error:  # noqa: BLE001  # every kind of compression raises its own errors
        yield number + 1, _Broken(f"The file cannot be read from here on ({first_line(error)}).")


class _Place:
    """Says where in its file a row stands."""

    def __init__(self, file: SourceFile) -> None:
        self._file = file
        ending = caption_format(file.uri)
        self._word = "Row" if ending in _BY_ROW else "Line"
        self._before: int | None = 0 if ending in _BY_ROW else None

    def dead_letter(self, number: int, reason: str) -> DeadLetter:
        """The dead letter for a row, by its number in the part; lines before the part are counted for the first one."""
        if self._before is None:
            self._before = lines_before(self._file.uri, self._file.part)
        member = str(self._before + number)
        return DeadLetter(
            clip_id=None,
            uri=printable(self._file.uri),
            member=member,
            stage=STAGE,
            code=Code.CORRUPT.value,
            message=f"{self._word} {member}: {reason}",
        )


def write_dead_letters(file: SourceFile, number: int, dead_letters: Iterable[DeadLetter], output: str) -> str:
    """Keep some unreadable rows of a file as `dead_letters/part-<digest of file, part and number>.parquet`.

    Returns:
        The file's name below `output`.
    """
    name = file.uri.encode("utf-8", "surrogateescape")
    name += f"\x00{file.part}\x00{number}".encode() if file.part or number else b""
    return write_letters(f"part-{hashlib.sha256(name).hexdigest()[:16]}.parquet", dead_letters, output)


def write_letters(name: str, dead_letters: Iterable[DeadLetter], output: str) -> str:
    """Write a file of dead letters of a build; returns its name below the output."""
    path = f"{DEAD_LETTERS}/{name}"
    content = table(dead_letters, DEAD_LETTER_SCHEMA).replace_schema_metadata({KIND_KEY: DATASTORE.encode()})
    files.write_table(files.join(output, path), content)
    return path


@dataclass(frozen=True, kw_only=True)
class Captions:
    """What :class:`ReadCaptions` gives: placed caption lines, one count a file, and the names of dead letter files."""

    lines: PCollection[tuple[tuple[int, int, int], CaptionLine]]
    counts: PCollection[ReadCount]
    dead: PCollection[str]


class ReadCaptions(beam.PTransform[PCollection[SourceFile], Captions]):
    """Source files -> caption lines with their places, see :func:`read_captions`; bad rows go below `output`.

    A place is the file's number, where its part begins, and the row's number.
    """

    def __init__(self, output: str) -> None:
        super().__init__()
        self._output = output

    def expand(self, pcoll: PCollection[SourceFile]) -> Captions:
        read = pcoll | "Read" >> beam.FlatMap(_tagged, output=self._output).with_outputs("dead", "counts", main="lines")
        return Captions(lines=read.lines, counts=read.counts, dead=read.dead)


def _tagged(file: SourceFile, *, output: str) -> Iterator[Any]:
    begin = file.part[0] if file.part is not None else 0
    letters = list[DeadLetter]()
    written = 0
    for item in read_captions(file):
        if isinstance(item, DeadLetter):
            letters.append(item)
        elif isinstance(item, ReadCount):
            yield TaggedOutput("counts", item)
        else:
            yield (file.number, begin, item[0]), item[1]
        if len(letters) >= _LETTERS_A_FILE or (letters and isinstance(item, ReadCount)):
            yield TaggedOutput("dead", write_dead_letters(file, written, letters, output))
            letters, written = [], written + 1
