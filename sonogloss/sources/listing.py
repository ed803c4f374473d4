"""Listings: files that name recordings, one a row.

A txt has a path or URL a line, as it stands: nothing is a comment, and spaces belong to the name. A csv, tsv, jsonl or
Parquet has a column `uri` and may have `member` (the name inside the archive at `uri`), `start` and `end` (a range in
seconds) and `id`; its other columns are carried along. A relative path is relative to the listing's folder. What stands
there is a name, never a pattern, and a file that exists under it is meant before any URL is. A row that names a whole
archive stands for all its members.

Text is UTF-8, with or without a byte order mark, or UTF-16 with one. In UTF-8, bytes that are not stand for themselves,
as file systems have them.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import math
import os
import posixpath
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from sonogloss.errors import ClipError, Code, FormatError
from sonogloss.sources.doors import Entry, Kind, is_url, look, open_file
from sonogloss.sources.handles import Opened
from sonogloss.sources.names import ending, unprinted
from sonogloss.sources.parquet import ParquetTable, small
from sonogloss.sources.registry import container, kind_of
from sonogloss.sources.source import SkipCode, Skipped, Source, SourceLimits

ENDINGS = (".txt", ".csv", ".tsv", ".jsonl", ".ndjson")

_TOGETHER = 4096  # rows that are looked up together: an archive that they name is listed once
_LOOKERS = 16  # objects that are asked for at the same time
_LONGEST_LINE = 1 << 20
_LONGEST_ROW = 64  # lines, of a csv cell with line breaks
_TOO_LONG = "the line is too long"
_DELIMITERS = {".csv": ",", ".tsv": "\t"}


def recognizes(head: bytes, handle: Opened) -> bool:
    """Parquet with a column `uri`. A text is known by its name alone."""
    if not head.startswith(b"PAR1"):
        return False
    try:
        return "uri" in ParquetTable(handle).columns
    except ClipError:
        return False


def list_members(entry: Entry, limits: SourceLimits) -> Iterator[Source | Skipped]:
    """The recordings that the rows name, in their order.

    Raises:
        FormatError: it is a table without a column `uri`.
    """
    try:
        with open_file(entry.uri) as handle:
            rows = _rows(entry, handle, limits)
            while together := list(islice(rows, _TOGETHER)):
                yield from _sources(entry, together, limits)
            handle.check()
    except ClipError as error:
        yield Skipped(uri=entry.uri, code=error.code, reason=error.message, byte_offset=error.byte_offset)


def check_heading(entry: Entry, limits: SourceLimits) -> None:
    """Look at the first row only.

    Raises:
        FormatError: it is a table without a column `uri`.
    """
    try:
        with open_file(entry.uri) as handle:
            next(_rows(entry, handle, limits), None)
    except ClipError:
        return  # listing it will say so


def open_members(
    uri: str, sources: Sequence[Source], limits: SourceLimits
) -> Iterator[tuple[Source, Opened | ClipError]]:
    """Never: what a listing names lies elsewhere."""
    yield from ((source, ClipError(Code.READ_ERROR, "A listing holds no recordings.")) for source in sources)


@dataclass(frozen=True, kw_only=True)
class _Row:
    """A row, checked: the place that it names, and what it says about it."""

    uri: str
    member: str | None = None
    start_s: float | None = None
    end_s: float | None = None
    id: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


def _rows(entry: Entry, handle: Opened, limits: SourceLimits) -> Iterator[_Row | Skipped]:
    for where, cells in _cells(entry, handle):
        try:
            if isinstance(cells, str):
                raise ValueError(cells)
            yield _row(cells, entry, limits)
        except ValueError as error:
            yield Skipped(uri=entry.uri, code=Code.BAD_ROW, reason=f"{where}: {error}.")


def _cells(entry: Entry, handle: Opened) -> Iterator[tuple[str, Mapping[str, Any] | str]]:
    """Where each row stands, and its cells or what is wrong with it."""
    kind = ending(entry.name)
    if handle.read(4) == b"PAR1":
        table = ParquetTable(handle)
        _check_columns(entry, table.columns)
        columns = table.small_columns()
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


def _row(cells: Mapping[str, Any], entry: Entry, limits: SourceLimits) -> _Row:
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
    extra = {key: value for key, value in cells.items() if small(value, limits.max_extra_bytes)}
    return _Row(uri=_place(uri, entry), member=member, start_s=start, end_s=end, id=id_, extra=extra)


def _text(value: Any, name: str) -> str | None:
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(f"{name} is neither text nor a number")
    os.fsencode(str(value))  # half an emoji names nothing; the error is a ValueError
    return str(value)


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
    if not os.path.lexists(path) and os.path.lexists(name := os.path.normpath(os.path.join(folder, unprinted(text)))):
        return name
    return path


def _sources(entry: Entry, rows: Sequence[_Row | Skipped], limits: SourceLimits) -> Iterator[Source | Skipped]:
    """What some rows stand for."""
    places = list(dict.fromkeys(row.uri for row in rows if isinstance(row, _Row)))
    with ThreadPoolExecutor(_LOOKERS) as lookers:
        ask = lookers.map if any(is_url(place) for place in places) else map
        entries = dict(zip(places, ask(_look, places), strict=True))
    wanted: dict[str, set[str]] = {}
    for row in rows:
        if isinstance(row, _Row) and row.member is not None:
            wanted.setdefault(row.uri, set()).add(row.member)
    members = {uri: _members(entries[uri], names, limits) for uri, names in wanted.items()}
    for row in rows:
        if isinstance(row, Skipped):
            yield row
        elif row.member is not None:
            found = members[row.uri].get(row.member) or members[row.uri][""]
            yield _as_row(found, row) if isinstance(found, Source) else replace(found, uri=row.uri, member=row.member)
        else:
            yield from _whole(entries[row.uri], row, limits)


def _look(place: str) -> Entry | Skipped:
    """The file at a place, or why there is none."""
    try:
        entry = look(place)
    except ClipError as error:
        return Skipped(uri=place, code=error.code, reason=error.message)
    if entry is None:
        return Skipped(uri=place, code=Code.READ_ERROR, reason="There is no such file.")
    if entry.kind is not Kind.FILE:
        what = entry.what or "a folder; a listing names files"
        return Skipped(uri=place, code=SkipCode.NOT_A_FILE, reason=f"This is {what}.")
    return entry


def _whole(entry: Entry | Skipped, row: _Row, limits: SourceLimits) -> Iterator[Source | Skipped]:
    """What a row without a member stands for."""
    if isinstance(entry, Skipped):
        yield entry
        return
    try:
        kind = kind_of(entry) or "file"
    except ClipError as error:
        yield Skipped(uri=entry.uri, code=error.code, reason=error.message)
        return
    if kind == "listing":
        yield Skipped(uri=entry.uri, code=SkipCode.NESTED, reason="A listing in a listing is not followed.")
    elif kind != "file" and (row.start_s is not None or row.end_s is not None):
        yield Skipped(uri=entry.uri, code=Code.BAD_ROW, reason="A range needs the member of the archive that it is of.")
    else:
        for found in container(kind).list_members(entry, limits):
            if isinstance(found, Source):
                found = _as_row(found, row if kind == "file" else replace(row, id=found.id))
            yield found


def _members(entry: Entry | Skipped, names: set[str], limits: SourceLimits) -> dict[str, Source | Skipped]:
    """Some members of an archive, by name; under the empty name, why others are not there."""
    if isinstance(entry, Skipped):
        return {"": entry}
    found: dict[str, Source | Skipped] = {}
    reason = "The archive has no such member."
    problem = Skipped(uri=entry.uri, code=Code.READ_ERROR, reason=reason)
    try:
        kind = kind_of(entry)
    except ClipError as error:
        return {"": Skipped(uri=entry.uri, code=error.code, reason=error.message)}
    if kind in (None, "file", "listing"):
        reason = "The file is not an archive that can be read, so it has no such member."
        return {"": replace(problem, reason=reason)}
    assert kind is not None
    for each in container(kind).list_members(entry, limits):
        if isinstance(each, Skipped) and each.member is None:
            problem = each
        elif each.member in names and not isinstance(found.get(each.member or ""), Source):
            found[each.member or ""] = each
    return {**found, "": problem}


def _as_row(source: Source, row: _Row) -> Source:
    extra = {**source.extra, **row.extra}
    return replace(source, start_s=row.start_s, end_s=row.end_s, id=row.id, extra=extra)
