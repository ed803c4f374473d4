"""Sources in columns, on disk: a few hundred bytes a recording where objects take a thousand, and none in memory."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, overload

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sonogloss.errors import Code
from sonogloss.sources.source import SkipCode, Skipped, Source, source_key
from sonogloss.sources.spool import STRETCH, Spool

# Names are bytes, for not all of them are UTF-8.
SCHEMA = pa.schema(
    [
        pa.field("uri", pa.large_binary(), nullable=False),
        pa.field("member", pa.large_binary()),
        pa.field("bytes", pa.int64()),
        pa.field("version", pa.large_string()),
        pa.field("container", pa.string()),
        pa.field("more", pa.large_string()),  # JSON of what few sources have: range, part, id, extra, place, refused
    ]
)
_KEY, _PART = pa.field("key", pa.binary(16)), pa.field("part", pa.int64())  # see `digests` and `parts`
_SPOOLED = SCHEMA.append(_KEY).append(_PART)


class SourceTable(Sequence[Source]):
    """Sources that are made into objects one by one, as they are asked for; they lie in a file without a name.

    Args:
        spool: the rows.
        rows: which of them these are, ascending; None for all.
    """

    def __init__(self, spool: Spool, rows: range | npt.NDArray[np.int64] | None = None) -> None:
        self._spool = spool
        self.rows: range | npt.NDArray[np.int64] = range(len(spool)) if rows is None else rows

    @classmethod
    def of(cls, sources: Iterable[Source]) -> SourceTable:
        """The table of these sources; a table is itself."""
        return sources if isinstance(sources, SourceTable) else cls(Spool(_tables(sources), _SPOOLED))

    def in_order(self) -> SourceTable:
        """All of them, sorted by the name of the file; members of one keep their order."""
        return SourceTable(self._spool.in_order("uri"))

    def take(self, places: npt.NDArray[Any]) -> SourceTable:
        """Those at some places, ascending."""
        rows = self.rows
        return SourceTable(self._spool, rows.start + places if isinstance(rows, range) else rows[places])

    def stretches(self, *columns: str) -> Iterator[pa.Table]:
        """Some rows after the other: these columns, or all."""
        starts, at = self._spool.starts, 0
        while at < len(self.rows):
            number = bisect_right(starts, self.rows[at]) - 1
            first, after = starts[number], starts[number + 1]
            content = self._spool.stretch(number, columns)
            if isinstance(self.rows, range):
                stop = min(len(self.rows), at + after - self.rows[at])
                yield content.slice(self.rows[at] - first, stop - at)
            else:
                stop = int(np.searchsorted(self.rows, after))
                yield content.take(pa.array(self.rows[at:stop] - first))
            at = stop

    @property
    def table(self) -> pa.Table:
        """The columns of these rows."""
        return pa.concat_tables([SCHEMA.empty_table(), *self.stretches(*SCHEMA.names)])

    def sizes(self) -> Iterator[npt.NDArray[np.int64]]:
        """Bytes of each, by stretches; -1 where nobody said."""
        for rows in self.stretches("bytes"):
            yield rows.column(0).fill_null(-1).to_numpy()

    def parts(self) -> Iterator[npt.NDArray[np.int64]]:
        """The first window of each that is a part of a long recording, by stretches; -1 of whole ones."""
        for rows in self.stretches("part"):
            yield rows.column(0).fill_null(-1).to_numpy()

    def keys(self) -> Iterator[str]:
        """The :func:`source_key` of each."""
        for rows in self.stretches("key"):
            yield from (key.hex() for key in rows.column(0).to_pylist())

    def names(self) -> Iterator[tuple[str, str | None]]:
        """Uri and member of each."""
        for rows in self.stretches("uri", "member"):
            for uri, member in zip(*(column.to_pylist() for column in rows.columns), strict=True):
                yield name_as_text(uri), None if member is None else name_as_text(member)

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, place: int) -> Source: ...
    @overload
    def __getitem__(self, place: slice) -> SourceTable: ...
    def __getitem__(self, place: int | slice) -> Source | SourceTable:
        if isinstance(place, slice):
            return SourceTable(self._spool, self.rows[place])
        row = int(self.rows[place])
        return next(iter(SourceTable(self._spool, range(row, row + 1))))

    def __iter__(self) -> Iterator[Source]:
        for rows in self.stretches(*SCHEMA.names):
            yield from sources_in(rows)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or len(self) != len(other):
            return False
        return all(one == each for one, each in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]  # as of lists


def _tables(sources: Iterable[Source]) -> Iterator[pa.Table]:
    coming = iter(sources)
    while some := list(islice(coming, STRETCH)):
        cells = zip(*map(_row, some), strict=True)
        yield pa.table([pa.array(column, field.type) for field, column in zip(_SPOOLED, cells, strict=True)], _SPOOLED)


def name_as_bytes(name: str) -> bytes:
    """A name as columns hold it: it need not be UTF-8."""
    return name.encode("utf-8", "surrogatepass")


def name_as_text(name: bytes) -> str:
    """The name that columns hold."""
    return name.decode("utf-8", "surrogatepass")


def _row(source: Source) -> tuple[Any, ...]:
    """The cells, in the order of the columns."""
    refused = source.refused
    more = {
        "start_s": source.start_s,
        "end_s": source.end_s,
        "part": source.part,
        "id": source.id,
        "extra": dict(source.extra),
        "place": source.place,
        "refused": None if refused is None else vars(refused),
    }
    more = {name: value for name, value in more.items() if value not in (None, {})}
    return (
        name_as_bytes(source.uri),
        None if source.member is None else name_as_bytes(source.member),
        source.bytes,
        source.version,
        source.container,
        json.dumps(more, default=_iso) if more else None,
        bytes.fromhex(source_key(source)),
        None if source.part is None else source.part[0],
    )


def _iso(value: Any) -> str:
    """A time as text, and what else JSON does not know: rows hold it so."""
    return str(value.isoformat() if hasattr(value, "isoformat") else value)


def _source(row: dict[str, Any]) -> Source:
    more = json.loads(row["more"]) if row["more"] else {}
    if more.get("refused"):
        code = more["refused"]["code"]
        kind = SkipCode if code in SkipCode.__members__ else Code
        more["refused"] = Skipped(**{**more["refused"], "code": kind(code)})
    for name in {"place", "part"} & more.keys():
        more[name] = tuple(more[name])
    return Source(
        uri=name_as_text(row["uri"]),
        member=None if row["member"] is None else name_as_text(row["member"]),
        bytes=row["bytes"],
        version=row["version"],
        container=row["container"],
        **more,
    )


def sources_in(table: pa.Table) -> Iterator[Source]:
    """The sources of a table that was written."""
    return map(_source, table.to_pylist())
