"""The rows of a listing: text and tables become names, ranges, ids and what else they say."""

from __future__ import annotations

import codecs
import csv
import io
import json
import math
import os
import posixpath
import unicodedata
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sonogloss.errors import Code, FormatError
from sonogloss.sources.carried import carried
from sonogloss.sources.handles import Opened
from sonogloss.sources.names import ending, id_text, unprinted
from sonogloss.sources.parquet import ParquetTable
from sonogloss.sources.places import Entry
from sonogloss.sources.source import Skipped, SourceLimits
from sonogloss.urls import is_url

_COLUMNS = ("uri", "member", "start", "start_s", "end", "end_s", "id")
_LONGEST_LINE = 1 << 20
_LONGEST_ROW = 64  # lines, of a csv cell with line breaks
_TOO_LONG = "the line is too long"
_UNIT_KEY = b"sonogloss.unit"  # in the footer of the part files of results
_DEAD_LETTER_COLUMNS = ("uri", "member", "start_s", "end_s", "source_id", "extra")
_DELIMITERS = {".csv": ",", ".tsv": "\t"}


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row, checked: the place that it names, and what it says about it; `told` are the file's bytes and version."""

    uri: str
    member: str | None = None
    start_s: float | None = None
    end_s: float | None = None
    id: str | None = None
    told: tuple[int, str] | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


def rows_of(entry: Entry, handle: Opened, limits: SourceLimits) -> Iterator[Row | Skipped]:
    """The rows of an open listing; a bad one is a failure of its own.

    Raises:
        FormatError: it is a table without a column `uri`.
        ClipError: it is Parquet that cannot be read.
    """
    failures = _dead_letters(handle)
    for where, cells in _cells(entry, handle) if failures is None else failures:
        try:
            if isinstance(cells, str):
                raise ValueError(cells)
            yield (_row if failures is None else _failed_row)(cells, entry, limits)
        except ValueError as error:
            yield Skipped(uri=entry.uri, code=Code.BAD_ROW, reason=f"{where}: {error}.")


def _dead_letters(handle: Opened) -> Iterator[tuple[str, Mapping[str, Any]]] | None:
    """The rows of a table of our dead letters; None for another listing."""
    handle.seek(0)
    if handle.read(4) != b"PAR1":
        return None
    table = ParquetTable(handle)
    if _UNIT_KEY not in (table.schema.metadata or {}) or not {"uri", "code"} <= set(table.columns):
        return None
    columns = [name for name in _DEAD_LETTER_COLUMNS if name in table.columns]
    rows = (row for group in range(table.groups) for row in table.cells(group, columns))
    return ((f"Row {number}", row) for number, row in enumerate(rows, 1))


def _failed_row(cells: Mapping[str, Any], entry: Entry, limits: SourceLimits) -> Row:
    """The input that a dead letter stands for, with what stood beside it at first.

    Raises:
        ValueError: it names no recording.
    """
    named = {name: cells.get(name) for name in ("uri", "member", "start_s", "end_s")}
    row = _row({**named, "id": cells.get("source_id")}, entry, limits)
    extra = json.loads(cells.get("extra") or "{}")
    return replace(row, extra=carried(extra, limits.max_extra_bytes) if isinstance(extra, dict) else {})


def _cells(entry: Entry, handle: Opened) -> Iterator[tuple[str, Mapping[str, Any] | str]]:
    """Where each row stands, and its cells or what is wrong with it."""
    kind = ending(entry.name)
    handle.seek(0)
    if handle.read(4) == b"PAR1":
        table = ParquetTable(handle)
        _check_columns(entry, table.columns)
        columns = list(dict.fromkeys([*(name for name in _COLUMNS if name in table.columns), *table.small_columns()]))
        rows = (row for group in range(table.groups) for row in table.cells(group, columns))
        yield from ((f"Row {number}", row) for number, row in enumerate(rows, 1))
        return
    lines = _lines(handle)
    if kind in _DELIMITERS:
        yield from _csv(entry, lines, _DELIMITERS[kind])
    elif kind in (".jsonl", ".ndjson"):
        yield from ((where, _json(line)) for where, line in lines)
    else:
        yield from ((where, {"uri": line} if line else _TOO_LONG) for where, line in lines)


def _lines(handle: Opened) -> Iterator[tuple[str, str]]:
    """The lines that are not blank, without their ends, and where each stands; one that is too long comes empty."""
    handle.seek(0)
    head = handle.read(1 << 16)
    handle.seek(0)
    encoding = "utf-16" if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    newline = "\r" if b"\r" in head and b"\n" not in head else "\n"
    errors = "surrogateescape" if encoding == "utf-8-sig" else "replace"
    text = io.TextIOWrapper(handle, encoding, errors, newline=newline)
    number = 0
    while line := text.readline(_LONGEST_LINE):
        number += 1
        if len(line) == _LONGEST_LINE and not line.endswith(newline):
            while line and not line.endswith(newline):
                line = text.readline(_LONGEST_LINE)
            yield f"Line {number}", ""
        elif (line := line.removesuffix(newline).removesuffix("\r")).strip():
            yield f"Line {number}", line


def _csv(
    entry: Entry, lines: Iterator[tuple[str, str]], delimiter: str
) -> Iterator[tuple[str, Mapping[str, Any] | str]]:
    """The rows of a csv or tsv. A quote that never closes costs its line, and in a tsv it is a letter."""
    heading: list[str] = []
    waiting: deque[tuple[str, str]] = deque()  # lines that were read ahead
    while line := waiting.popleft() if waiting else next(lines, None):
        cells = _split(line[1], delimiter) if line[1] else _TOO_LONG
        ahead: list[tuple[str, str]] = []
        while (
            cells is None
            and len(ahead) < _LONGEST_ROW
            and (more := waiting.popleft() if waiting else next(lines, None))
        ):
            ahead.append(more)
            cells = _split("\n".join([line[1], *(text for _, text in ahead)]), delimiter)
        if not isinstance(cells, list):
            waiting.extendleft(reversed(ahead))
            cells = line[1].split(delimiter) if delimiter == "\t" and line[1] else cells or "a quote is never closed"
        if isinstance(cells, str):
            yield line[0], cells
        elif not heading:
            heading = [cell.strip() for cell in cells]
            _check_columns(entry, heading)
        elif len(cells) != len(heading):
            yield line[0], f"{len(cells)} cells where the heading has {len(heading)}"
        else:
            yield line[0], dict(zip(heading, cells, strict=True))


def _split(text: str, delimiter: str) -> list[str] | str | None:
    """The cells of a row; None while a quote is open; in words, what is wrong with it."""
    try:
        return next(csv.reader([text], delimiter=delimiter, strict=True))
    except csv.Error as error:
        return None if "unexpected end" in str(error) else str(error)


def _json(line: str) -> Mapping[str, Any] | str:
    if not line:
        return _TOO_LONG
    try:
        cells = json.loads(line)
    except (ValueError, RecursionError) as error:
        return f"not JSON ({error})"
    return cells if isinstance(cells, dict) else "JSON, but not an object"


def _check_columns(entry: Entry, columns: Iterable[str]) -> None:
    columns = list(columns)
    if "uri" not in columns:
        raise FormatError(
            f"The listing {entry.uri!r} has no column uri (columns: {', '.join(columns)[:200]}).",
            "Give it a column uri with the path or URL of each recording.",
        )
    if twice := [name for name in columns if name and columns.count(name) > 1]:
        raise FormatError(f"The listing {entry.uri!r} has two columns {twice[0]!r}.", "Rename or remove one.")


def _row(cells: Mapping[str, Any], entry: Entry, limits: SourceLimits) -> Row:
    """A row out of its cells.

    Raises:
        ValueError: they name no recording.
    """
    cells = dict(cells)
    uri, member, id_ = (_text(cells.pop(name, None), name) for name in ("uri", "member", "id"))
    if not uri:
        raise ValueError("it has no uri")
    start, end = (_seconds(cells.pop(name, cells.pop(f"{name}_s", None)), name) for name in ("start", "end"))
    if start is not None and end is not None and end <= start:
        raise ValueError(f"the range from {start:g} to {end:g} s is empty")
    told = _told(cells.get("bytes"), cells.get("version"))
    if told is not None:
        del cells["bytes"], cells["version"]
    extra = carried(cells, limits.max_extra_bytes)
    return Row(uri=_place(uri, entry), member=member, start_s=start, end_s=end, id=id_, told=told, extra=extra)


def _told(size: Any, version: Any) -> tuple[int, str] | None:
    """Bytes and version of a file where a row gives both; else columns of these names mean something else."""
    if not str(size).isdecimal() or isinstance(version, bool) or not isinstance(version, str | int) or version == "":
        return None
    return int(size), str(version)


def _text(value: Any, name: str) -> str | None:
    text = id_text(value)
    whole = isinstance(value, str | int) or (isinstance(value, float) and value.is_integer())
    if text is not None and (isinstance(value, bool) or not whole):
        raise ValueError(f"{name} is neither text nor a whole number")
    try:
        os.fsencode(text or "")
    except UnicodeEncodeError as error:
        raise ValueError(f"{name} holds half a character") from error
    return text


def _seconds(value: Any, name: str) -> float | None:
    if value is None or value == "":
        return None
    try:
        seconds = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds >= 0):
        raise ValueError(f"{name} {str(value)[:50]!r} is no number of seconds")
    return seconds


def _place(text: str, entry: Entry) -> str:
    """The place that a listing names: a file that exists under that very name, then a URL, then any path."""
    if is_url(text) and "://" in text and not os.path.lexists(text):
        return text
    if text.startswith(("file://", "local://")):
        return os.path.normpath(text.partition("://")[2])
    if is_url(entry.uri) and not text.startswith("/"):
        protocol, _, folder = posixpath.dirname(entry.uri).partition("://")
        return f"{protocol}://{posixpath.normpath(posixpath.join(folder, text))}"
    folder = "/" if is_url(entry.uri) else os.path.dirname(entry.uri)
    path = os.path.normpath(os.path.join(folder, text))
    if os.path.lexists(path):
        return path
    others = (unprinted(text), unicodedata.normalize("NFC", text), unicodedata.normalize("NFD", text))
    names = (os.path.normpath(os.path.join(folder, other)) for other in others)
    return next(filter(os.path.lexists, names), path)
