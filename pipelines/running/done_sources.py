"""Which sources of a job an earlier run has done: the sorted listing joined with what the units on disk hold, sorted.

Memory holds the recordings of one file at a time, a byte a source, and the names of recordings that changed.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from operator import itemgetter
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sonogloss.sources import SourceTable, source_key
from sonogloss.sources.names import printable_name
from sonogloss.sources.source_table import name_as_bytes, name_as_text, sources_in
from sonogloss.sources.spool import Spool
from sonogloss.transforms.work import DoneSource

Name = tuple[str, str | None]
"""Of a recording: uri and member."""

NAMED = 5
"""How many vanished recordings are named."""

_HELD = pa.schema(
    [
        pa.field("uri", pa.large_binary(), nullable=False),
        pa.field("unit", pa.int64()),
        pa.field("member", pa.large_binary()),
        pa.field("key", pa.binary(16)),
        pa.field("retryable", pa.bool_()),
    ]
)
_LISTED = -1  # in the place of a unit's number: a row of the listing


@dataclass(kw_only=True)
class Comparison:
    """What of the work that is done still counts.

    A recording that is listed, but in another version or in other ranges than a unit holds, is replaced there as a
    whole: so no clip can have rows from two versions. So is one that is tried again. Of an earlier format no versions
    are known, and what is done counts.

    Attributes:
        done: which rows of the listing need no work.
        again: which are tried again.
        repeated: numbers of the units that hold what another one has done already: a run was killed between writing
            units again and committing it. They count for nothing.
        dropped: by unit, the recordings whose rows in it are replaced.
        emptied: the units of which nothing stays.
        vanished: how many recordings have rows and are not listed.
        first_vanished: the first of them by name.
    """

    done: npt.NDArray[np.bool_]
    again: npt.NDArray[np.bool_]
    repeated: Collection[int] = ()
    dropped: dict[int, set[Name]] = field(default_factory=lambda: defaultdict(set))
    emptied: set[int] = field(default_factory=set)
    vanished: int = 0
    first_vanished: list[Name] = field(default_factory=list)


def compare(
    table: SourceTable, units: Iterable[tuple[Sequence[DoneSource], Collection[Name]]], *, retry: bool
) -> Comparison:
    """Compare a listing with what is done.

    Args:
        table: the sources of the job, sorted by the name of the file.
        units: the sources of each unit, and the recordings in it that may be tried again, as rows have their names.
        retry: those are tried again.
    """
    left = Counter[int]()  # how many sources of each unit stay
    held = Spool(_spooled(units, left), _HELD).in_order("uri")
    nothing = np.zeros(len(table), bool)
    found = Comparison(done=nothing, again=nothing.copy(), repeated=_repeated(held))
    if not held:
        return found
    merged = heapq.merge(_listed(table), _rows(held), key=itemgetter(0))
    for uri, rows in groupby(merged, key=itemgetter(0)):
        listed: list[Any] = []
        done: list[Any] = []
        for row in rows:
            (listed if row[1] == _LISTED else done).append(row[1:])
        _compare_file(uri, listed, [row for row in done if row[0] not in found.repeated], found, left, retry)
    return found


def _spooled(units: Iterable[tuple[Sequence[DoneSource], Collection[Name]]], left: Counter[int]) -> Iterator[pa.Table]:
    for number, (sources, retryable) in enumerate(units):
        left[number] = len(sources)
        columns = [
            [name_as_bytes(source.uri) for source in sources],
            [number] * len(sources),
            [None if source.member is None else name_as_bytes(source.member) for source in sources],
            [None if source.key is None else bytes.fromhex(source.key) for source in sources],
            [bool(retryable) and printable_name(source.uri, source.member) in retryable for source in sources],
        ]
        yield pa.table([pa.array(cells, field.type) for cells, field in zip(columns, _HELD, strict=True)], _HELD)


def _rows(spool: Spool) -> Iterator[tuple[Any, ...]]:
    for rows in spool.stretches():
        yield from zip(*(column.to_pylist() for column in rows.columns), strict=True)


def _listed(table: SourceTable) -> Iterator[tuple[Any, ...]]:
    """Of each source: its file, its member, the keys by which it may have been done, its number."""
    start = 0
    for rows in table.stretches():
        uris, members, keys, parts = (rows.column(name).to_pylist() for name in ("uri", "member", "key", "part"))
        for number, (uri, member, key, part) in enumerate(zip(uris, members, keys, parts, strict=True)):
            known: tuple[bytes, ...] = (key,)
            if part is not None:  # an earlier release did long recordings in one piece
                (source,) = sources_in(rows.slice(number, 1))
                known = (key, bytes.fromhex(source_key(replace(source, part=None))))
            yield uri, _LISTED, member, known, start + number
        start += len(rows)


def _repeated(held: Spool) -> set[int]:
    """The units that hold a source of another unit before them that counts."""
    before = defaultdict[int, set[int]](set)
    for _, rows in groupby(_rows(held), key=itemgetter(0)):
        first: dict[tuple[bytes | None, bytes | None], set[int]] = {}
        for _, unit, member, key, _ in rows:  # those of one file come unit by unit
            same = first.setdefault((member, key), {unit})
            if len(same) > 1 or unit not in same:
                before[unit] |= same - {unit}
                same.add(unit)
    repeated: set[int] = set()
    for unit in sorted(before):
        if before[unit] - repeated:
            repeated.add(unit)
    return repeated


def _compare_file(
    uri: bytes, listed: Sequence[Any], held: Sequence[Any], found: Comparison, left: Counter[int], retry: bool
) -> None:
    """What is listed of a file or an archive, and what units hold of it; rows are those of below, without the file."""
    members = {member for _, member, _, _ in listed}
    known = {key for _, _, keys, _ in listed for key in keys}
    again = set()
    if retry:  # an archive that could not be opened, too, has members now
        there = {*members, None} if members else members
        again = {member for _, member, _, retryable in held if retryable and member in there}
    dropped = {
        (unit, member)
        for unit, member, key, _ in held
        if member in again or (key is not None and key not in known and member in members)
    }
    kept = [(member, key) for unit, member, key, _ in held if (unit, member) not in dropped]
    done = {key for _, key in kept if key is not None}
    unversioned = {member for member, key in kept if key is None}
    for _, member, keys, number in listed:
        found.done[number] = member in unversioned or not done.isdisjoint(keys)
        found.again[number] = member in again
    for unit, member, _, _ in held if dropped else ():
        if (unit, member) in dropped:
            found.dropped[unit].add(_name(uri, member))
            left[unit] -= 1
            if not left[unit]:
                found.emptied.add(unit)
                del found.dropped[unit]
    if gone := {member for member, _ in kept} - members:
        found.vanished += len(gone)
        names = [*found.first_vanished, *(_name(uri, member) for member in gone)]
        found.first_vanished = heapq.nsmallest(NAMED, names, key=lambda name: (name[0], name[1] or ""))


def _name(uri: bytes, member: bytes | None) -> Name:
    return name_as_text(uri), None if member is None else name_as_text(member)
