"""Sources in columns: a few hundred bytes a recording, in memory and on disk, where objects take a thousand."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, overload

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sonogloss.errors import Code
from sonogloss.sources.source import Skipped, Source, source_key

# Names are bytes, for not all of them are UTF-8.
SCHEMA = pa.schema(
    [
        pa.field("uri", pa.large_binary(), nullable=False),
        pa.field("member", pa.large_binary()),
        pa.field("bytes", pa.int64()),
        pa.field("version", pa.large_string()),
        pa.field("start_s", pa.float64()),
        pa.field("end_s", pa.float64()),
        pa.field("part_from", pa.int64()),
        pa.field("part_to", pa.int64()),
        pa.field("container", pa.string()),
        pa.field("more", pa.large_string()),  # JSON: id, extra, place, refused
    ]
)
_AT_ONCE = 8192


class SourceTable(Sequence[Source]):
    """Sources that are made into objects one by one, as they are asked for.

    Attributes:
        table: the columns.
        keys: the :func:`source_key` of each, bytes of 32 hex digits.
    """

    def __init__(self, table: pa.Table, keys: npt.NDArray[np.bytes_] | None = None) -> None:
        self.table = table
        self.keys = np.array([source_key(each) for each in self], "S32") if keys is None else keys

    @classmethod
    def of(cls, sources: Iterable[Source]) -> SourceTable:
        """The table of these sources; a table is itself."""
        if isinstance(sources, SourceTable):
            return sources
        pieces, keys = [], [np.zeros(0, "S32")]
        coming = iter(sources)
        while some := list(islice(coming, _AT_ONCE)):
            pieces.append(pa.Table.from_pylist([_row(source) for source in some], SCHEMA))
            keys.append(np.array([source_key(source) for source in some], "S32"))
        table = pa.concat_tables([SCHEMA.empty_table(), *pieces]).combine_chunks()
        return cls(table, np.concatenate(keys))

    def in_order(self) -> SourceTable:
        """Sorted by the name of the file; members of one keep their order."""
        return self.take(pc.sort_indices(self.table, [("uri", "ascending")]).to_numpy().astype(np.int64))

    def take(self, rows: npt.NDArray[Any]) -> SourceTable:
        """Those at some places."""
        if len(rows) and np.array_equal(rows, np.arange(rows[0], rows[0] + len(rows))):
            return self[int(rows[0]) : int(rows[-1]) + 1]
        return SourceTable(self.table.take(pa.array(rows)), self.keys[rows])

    @property
    def sizes(self) -> npt.NDArray[np.int64]:
        """Bytes of each; -1 where nobody said."""
        found: npt.NDArray[np.int64] = self.table.column("bytes").fill_null(-1).to_numpy()
        return found

    @property
    def parts(self) -> npt.NDArray[np.int64]:
        """The first window of each that is a part of a long recording; -1 of whole ones."""
        found: npt.NDArray[np.int64] = self.table.column("part_from").fill_null(-1).to_numpy()
        return found

    def names(self) -> Iterator[tuple[str, str | None]]:
        """Uri and member of each."""
        for start in range(0, len(self), _AT_ONCE):
            some = self.table.slice(start, _AT_ONCE)
            members = some.column("member").to_pylist()
            for uri, member in zip(some.column("uri").to_pylist(), members, strict=True):
                yield _text(uri), None if member is None else _text(member)

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @overload
    def __getitem__(self, place: int) -> Source: ...
    @overload
    def __getitem__(self, place: slice) -> SourceTable: ...
    def __getitem__(self, place: int | slice) -> Source | SourceTable:
        if isinstance(place, int):
            return _source(self.table.slice(range(len(self))[place], 1).to_pylist()[0])
        start, stop, step = place.indices(len(self))
        if step != 1:
            return self.take(np.arange(start, stop, step))
        return SourceTable(self.table.slice(start, max(0, stop - start)), self.keys[start:stop])

    def __iter__(self) -> Iterator[Source]:
        for start in range(0, len(self), _AT_ONCE):
            yield from map(_source, self.table.slice(start, _AT_ONCE).to_pylist())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or len(self) != len(other):
            return False
        return all(one == each for one, each in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]  # as of lists


def _bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogatepass")


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogatepass")


def _row(source: Source) -> dict[str, Any]:
    refused = source.refused
    more = {
        "id": source.id,
        "extra": dict(source.extra),
        "place": source.place,
        "refused": None if refused is None else vars(refused),
    }
    more = {name: value for name, value in more.items() if value not in (None, {})}
    part = source.part or (None, None)
    return {
        "uri": _bytes(source.uri),
        "member": None if source.member is None else _bytes(source.member),
        "bytes": source.bytes,
        "version": source.version,
        "start_s": source.start_s,
        "end_s": source.end_s,
        "part_from": part[0],
        "part_to": part[1],
        "container": source.container,
        "more": json.dumps(more, default=_iso) if more else None,
    }


def _iso(value: Any) -> str:
    """A time as text, and what else JSON does not know: rows hold it so."""
    return str(value.isoformat() if hasattr(value, "isoformat") else value)


def _source(row: dict[str, Any]) -> Source:
    more = json.loads(row["more"]) if row["more"] else {}
    if more.get("refused"):
        more["refused"] = Skipped(**{**more["refused"], "code": Code(more["refused"]["code"])})
    if more.get("place") is not None:
        more["place"] = tuple(more["place"])
    return Source(
        uri=_text(row["uri"]),
        member=None if row["member"] is None else _text(row["member"]),
        bytes=row["bytes"],
        version=row["version"],
        start_s=row["start_s"],
        end_s=row["end_s"],
        part=None if row["part_from"] is None else (row["part_from"], row["part_to"]),
        container=row["container"],
        **more,
    )
