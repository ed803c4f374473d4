"""Listings: files that name recordings, one a row.

A txt has a path or URL a line, as it stands: nothing is a comment, and spaces belong to the name. A csv, tsv, jsonl or
Parquet has a column `uri` and may have `member` (the name inside the archive at `uri`), `start` and `end` (a range in
seconds) and `id`; its other columns are carried along. Rows that give `bytes` and `version` are believed: their files
are not looked at before they are read. A relative path is relative to the listing's folder. What stands
there is a name, never a pattern, and a file that exists under it is meant before any URL is. A row that names a whole
archive stands for all its members.

Text is UTF-8, with or without a byte order mark, or UTF-16 with one. In UTF-8, bytes that are not stand for themselves,
as file systems have them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice

from sonogloss.errors import ClipError, Code
from sonogloss.in_parallel import in_parallel
from sonogloss.sources.carried import joined
from sonogloss.sources.handles import Opened
from sonogloss.sources.listing_rows import Row, rows_of
from sonogloss.sources.names import plain, printable
from sonogloss.sources.parquet import ParquetTable
from sonogloss.sources.places import Entry, Kind, described, look, open_file
from sonogloss.sources.registry import container, kind_of
from sonogloss.sources.source import SkipCode, Skipped, Source, SourceLimits
from sonogloss.urls import is_url

ENDINGS = (".txt", ".csv", ".tsv", ".jsonl", ".ndjson")

_TOGETHER = 4096  # rows that are looked up together: an archive that they name is listed once


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
            rows = rows_of(entry, handle, limits)
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
            next(rows_of(entry, handle, limits), None)
    except ClipError:
        return  # listing it will say so


def open_members(
    uri: str, sources: Sequence[Source], limits: SourceLimits
) -> Iterator[tuple[Source, Opened | ClipError]]:
    """Never: what a listing names lies elsewhere."""
    yield from ((source, ClipError(Code.READ_ERROR, "A listing holds no recordings.")) for source in sources)


def _sources(entry: Entry, rows: Sequence[Row | Skipped], limits: SourceLimits) -> Iterator[Source | Skipped]:
    """What some rows stand for."""
    entries: dict[str, Entry | Skipped] = {
        row.uri: described(row.uri, *row.told) for row in rows if isinstance(row, Row) and row.told is not None
    }
    places = list(dict.fromkeys(row.uri for row in rows if isinstance(row, Row) and row.uri not in entries))
    store = next(filter(is_url, places), "")
    entries |= zip(places, in_parallel(_look, places, place=store), strict=True)
    wanted: dict[str, set[str]] = {}
    for row in rows:
        if isinstance(row, Row) and row.member is not None:
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


def _whole(entry: Entry | Skipped, row: Row, limits: SourceLimits) -> Iterator[Source | Skipped]:
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
    alike: dict[str, Source | Skipped] = {}
    asked = set(map(plain, names))
    for each in container(kind).list_members(entry, limits):
        if each.member is None:
            problem = each if isinstance(each, Skipped) else problem
            continue
        for name in {each.member, printable(each.member)} & names:
            found[name] = _better(found.get(name), each)
        if (name := plain(each.member)) in asked:
            alike[name] = _better(alike.get(name), each)
    near = {name: alike[plain(name)] for name in names if plain(name) in alike}
    return {**near, **found, "": problem}


def _better(first: Source | Skipped | None, second: Source | Skipped) -> Source | Skipped:
    """Of two members that are called the same, the first that can be opened."""
    return first if isinstance(first, Source) else second


def _as_row(source: Source, row: Row) -> Source:
    extra = joined(source.extra, row.extra)
    return replace(source, start_s=row.start_s, end_s=row.end_s, id=row.id, extra=extra)
