"""Formats of caption dumps: what their names end in, and how their rows are read.

A new format is a reader and its endings in :data:`FORMATS`. A reader takes a dump's place, the names of the text
columns and the part that is asked for, and yields rows with their numbers. For a row that cannot be read it yields a
sentence that says why, and goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice

from sonogloss import files
from sonogloss.dumps.csv_rows import csv_rows
from sonogloss.dumps.json_rows import is_lines, json_lines, json_values
from sonogloss.dumps.lines import decoded, lines, part_of
from sonogloss.dumps.parquet_rows import parquet_columns, parquet_parts, parquet_rows
from sonogloss.dumps.rows import Numbered
from sonogloss.dumps.streams import Joined, as_utf8, is_plain_utf8, open_dump, seekable, without_packing
from sonogloss.dumps.tar_rows import tar_rows
from sonogloss.errors import FormatError
from sonogloss.sources.handles import Opened
from sonogloss.sources.names import printable

Part = tuple[int, int] | None
"""A range of bytes or of row groups, from the first to before the last; None for the whole."""
Reader = Callable[[str, tuple[str, ...], Part], Iterator[Numbered]]
_Lines = Callable[[Iterable[bytes | None], tuple[str, ...]], Iterator[Numbered]]

PART_BYTES = 64 << 20
"""A dump that may be read in parts is cut into parts of at most this size."""

_LEAST_PART = 1 << 20
_PARTS = 16  # of a file in which they are smaller than PART_BYTES

_HEAD = 1 << 16
_PEEKED_ROWS = 100


def caption_format(uri: str) -> str:
    """The ending out of :data:`FORMATS` that a file's name has, compressed or not.

    Raises:
        FormatError: none of these.
    """
    ending = _ending(uri)
    if ending not in FORMATS:
        known = ", ".join(f".{ending}" for ending in FORMATS)
        raise FormatError(
            f"--captions {printable(uri)!r} is not a kind of caption file that can be read.",
            f"Give files that end in one of {known}, or in one of these and .gz, .zst, .bz2 or .xz.",
        )
    return ending


def is_caption_file(name: str) -> bool:
    """Is a file of this name a kind that can be read?"""
    return _ending(name) in FORMATS


def _ending(uri: str) -> str:
    return without_packing(files.base_name(uri)).rpartition(".")[2]


def numbered_rows(uri: str, text_columns: tuple[str, ...], part: Part = None) -> Iterator[Numbered]:
    """The rows of a caption file, streamed; a sentence in place of a row says why there is none.

    Numbers of lines count from the begin of the part, others through the file.
    """
    return FORMATS[caption_format(uri)](uri, text_columns, part)


def columns_of(uri: str, text_columns: tuple[str, ...]) -> tuple[str, ...] | None:
    """The columns of a file, as its first rows show them; None where it has no columns, or no row that can be read."""
    ending = caption_format(uri)
    if ending == "txt":
        next(numbered_rows(uri, text_columns), None)
        return None
    if ending in ("parquet", "pq"):
        with open_dump(uri) as stream, seekable(stream) as handle:
            return parquet_columns(handle)
    rows = (row for _, row in islice(numbered_rows(uri, text_columns), _PEEKED_ROWS) if not isinstance(row, str))
    return tuple(dict.fromkeys(name for row in rows for name in row)) or None


def parts_of(uri: str) -> list[Part]:
    """The parts that several workers may read: row groups of Parquet, ranges of bytes of plain txt and JSON lines."""
    ending = caption_format(uri)
    if ending not in ("parquet", "pq", "txt", "jsonl", "ndjson"):
        return [None]
    with open_dump(uri) as stream:
        if not isinstance(stream, Opened):
            return [None]
        size = min(PART_BYTES, max(_LEAST_PART, stream.size // _PARTS))
        if stream.size <= (PART_BYTES if ending in ("parquet", "pq") else size):
            return [None]
        if ending in ("parquet", "pq"):
            return list(parquet_parts(stream))
        head = stream.read(_HEAD)
        if not is_plain_utf8(head) or (ending != "txt" and head.lstrip().startswith(b"[")):
            return [None]
        return [(start, min(start + size, stream.size)) for start in range(0, stream.size, size)]


def lines_before(uri: str, part: Part) -> int:
    """How many lines begin before a part of a dump."""
    if part is None or part[0] == 0:
        return 0
    with open_dump(uri) as stream:
        return sum(1 for _ in part_of(stream, 0, part[0]))


def first_line(error: Exception) -> str:
    """The first line of what an exception says, or its name."""
    message = getattr(error, "message", None) or str(error)
    return (message.strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def _by_lines(parse: _Lines, uri: str, text_columns: tuple[str, ...], part: Part) -> Iterator[Numbered]:
    with open_dump(uri) as stream:
        if part is not None and isinstance(stream, Opened):
            stream.seek(max(0, part[0] - 1))
            yield from parse(part_of(stream, *part), text_columns)
        else:
            yield from parse((line for _, line in lines(as_utf8(stream))), text_columns)


def _text(found: Iterable[bytes | None], text_columns: tuple[str, ...]) -> Iterator[Numbered]:
    name = text_columns[0]
    for number, line in enumerate(found, 1):
        text, problem = decoded(line)
        yield number, {name: text} if problem is None else problem


def _json(uri: str, text_columns: tuple[str, ...], part: Part, *, by_lines: bool) -> Iterator[Numbered]:
    if part is not None:
        yield from _by_lines(json_lines, uri, text_columns, part)
        return
    with open_dump(uri) as stream:
        plain = as_utf8(stream)
        head = b""
        while len(head) < _HEAD and (block := plain.read(_HEAD - len(head))):
            head += block
        plain = Joined(head, plain)
        if is_lines(head) or (by_lines and not head.lstrip().startswith(b"[")):
            yield from json_lines((line for _, line in lines(plain)), text_columns)
        else:
            yield from json_values(plain, text_columns)


def _parquet(uri: str, text_columns: tuple[str, ...], part: Part) -> Iterator[Numbered]:
    with open_dump(uri) as stream, seekable(stream) as handle:
        yield from parquet_rows(handle, text_columns, part)


def _tar(uri: str, text_columns: tuple[str, ...], part: Part) -> Iterator[Numbered]:
    return tar_rows(uri)


FORMATS: dict[str, Reader] = {
    "txt": partial(_by_lines, _text),
    "json": partial(_json, by_lines=False),
    "jsonl": partial(_json, by_lines=True),
    "ndjson": partial(_json, by_lines=True),
    "csv": partial(_by_lines, partial(csv_rows, delimiter=",")),
    "tsv": partial(_by_lines, partial(csv_rows, delimiter="\t")),
    "parquet": _parquet,
    "pq": _parquet,
    "tar": _tar,
}
