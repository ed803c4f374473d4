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
        pa.field("container", pa.string()),
        pa.field("more", pa.large_string()),  # JSON of what few sources have: range, part, id, extra, place, refused
    ]
)
_AT_ONCE, _PIECES = 8192, 16


class SourceTable(Sequence[Source]):
    """Sources that are made into objects one by one, as they are asked for.

    Args:
        table: the columns.
        keys: the :func:`source_key` of each row, as bytes [rows, 16].
        rows: which rows these are, and in which order; None for all.
    """

    def __init__(self, table: pa.Table, keys: npt.NDArray[np.uint8], rows: npt.NDArray[np.int64] | None = None) -> None:
        self._table, self._keys = table, keys
        self._rows = np.arange(table.num_rows) if rows is None else rows

    @classmethod
    def of(cls, sources: Iterable[Source]) -> SourceTable:
        """The table of these sources; a table is itself."""
        if isinstance(sources, SourceTable):
            return sources
        pieces: list[list[pa.Array]] = [[pa.array([], field.type)] for field in SCHEMA]
        keys = bytearray()
        coming = iter(sources)
        while some := list(islice(coming, _AT_ONCE)):
            cells = zip(*map(_row, some), strict=True)
            for field, column, found in zip(SCHEMA, cells, pieces, strict=True):
                found.append(pa.array(column, field.type))
                if len(found) > _PIECES and len(found[-_PIECES]) == _AT_ONCE:  # small ones waste memory
                    found[-_PIECES:] = [pa.concat_arrays(found[-_PIECES:])]
            keys += bytes.fromhex("".join(map(source_key, some)))
        whole = [pa.concat_arrays(pieces.pop(0)) for _ in SCHEMA]  # one after the other, to have one twice at a time
        if len(keys) > 16 * _AT_ONCE * _PIECES:
            pa.default_memory_pool().release_unused()  # what the pieces took, as much again
        return cls(pa.Table.from_arrays(whole, schema=SCHEMA), np.frombuffer(keys, np.uint8).reshape(-1, 16))

    def in_order(self) -> SourceTable:
        """Sorted by the name of the file; members of one keep their order."""
        uris = self._table.select(["uri"])
        return SourceTable(self._table, self._keys, pc.sort_indices(uris, [("uri", "ascending")]).to_numpy())

    def take(self, rows: npt.NDArray[Any]) -> SourceTable:
        """Those at some places."""
        return SourceTable(self._table, self._keys, self._rows[rows])

    @property
    def table(self) -> pa.Table:
        """The columns of these rows."""
        return self._table.take(pa.array(self._rows)) if len(self._rows) else SCHEMA.empty_table()

    @property
    def sizes(self) -> npt.NDArray[np.int64]:
        """Bytes of each; -1 where nobody said."""
        found: npt.NDArray[np.int64] = self._table.column("bytes").fill_null(-1).to_numpy()[self._rows]
        return found

    @property
    def parts(self) -> npt.NDArray[np.int64]:
        """The first window of each that is a part of a long recording; -1 of whole ones."""
        more = self._table.column("more")
        found = np.full(len(more), -1)
        for row in np.flatnonzero(more.is_valid().to_numpy()):
            part = json.loads(more[int(row)].as_py()).get("part")
            found[row] = -1 if part is None else part[0]
        return found[self._rows]

    @property
    def digests(self) -> npt.NDArray[np.bytes_]:
        """The :func:`source_key` of each as 16 bytes, to sort and to search."""
        return self._keys[self._rows].view("S16").reshape(-1)

    def keys(self) -> Iterator[str]:
        """The :func:`source_key` of each."""
        for start in range(0, len(self), _AT_ONCE):
            content = self._keys[self._rows[start : start + _AT_ONCE]].tobytes().hex()
            yield from (content[place : place + 32] for place in range(0, len(content), 32))

    def names(self) -> Iterator[tuple[str, str | None]]:
        """Uri and member of each."""
        names = SourceTable(self._table.select(["uri", "member"]), self._keys, self._rows)
        for start in range(0, len(self), _AT_ONCE):
            for row in names[start : start + _AT_ONCE].table.to_pylist():
                yield _text(row["uri"]), None if row["member"] is None else _text(row["member"])

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, place: int) -> Source: ...
    @overload
    def __getitem__(self, place: slice) -> SourceTable: ...
    def __getitem__(self, place: int | slice) -> Source | SourceTable:
        if isinstance(place, slice):
            return SourceTable(self._table, self._keys, self._rows[place])
        return _source(self._table.slice(int(self._rows[place]), 1).to_pylist()[0])

    def __iter__(self) -> Iterator[Source]:
        for start in range(0, len(self), _AT_ONCE):
            yield from map(_source, self[start : start + _AT_ONCE].table.to_pylist())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or len(self) != len(other):
            return False
        return all(one == each for one, each in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]  # as of lists


def _bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogatepass")


def _text(name: bytes) -> str:
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
        _bytes(source.uri),
        None if source.member is None else _bytes(source.member),
        source.bytes,
        source.version,
        source.container,
        json.dumps(more, default=_iso) if more else None,
    )


def _iso(value: Any) -> str:
    """A time as text, and what else JSON does not know: rows hold it so."""
    return str(value.isoformat() if hasattr(value, "isoformat") else value)


def _source(row: dict[str, Any]) -> Source:
    more = json.loads(row["more"]) if row["more"] else {}
    if more.get("refused"):
        more["refused"] = Skipped(**{**more["refused"], "code": Code(more["refused"]["code"])})
    for name in {"place", "part"} & more.keys():
        more[name] = tuple(more[name])
    return Source(
        uri=_text(row["uri"]),
        member=None if row["member"] is None else _text(row["member"]),
        bytes=row["bytes"],
        version=row["version"],
        container=row["container"],
        **more,
    )


def sources_in(table: pa.Table) -> Iterator[Source]:
    """The sources of a table that was written."""
    return map(_source, table.to_pylist())
