"""Write a store's captions again as new shards: in order of id, without the sources that are to go, a piece at a time.

Shards hold their captions in order of id, so they merge like sorted lists, and no more than a piece of each is read at
once. The old shards stay as they are until the new manifest is written.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sonogloss import files
from sonogloss.errors import StoreFormatError
from sonogloss.indexes.layout import CAPTIONS, Manifest, ShardEntry
from sonogloss.indexes.shard_writer import ShardWriter
from sonogloss.indexes.train import Rows
from sonogloss.records import FloatArray

_PIECE = 25_000
_END = 1 << 63


def rewrite(
    directory: str, manifest: Manifest, *, without: Collection[str], shards: int, first: int
) -> list[dict[str, Any]]:
    """Write all captions but those of some sources.

    Args:
        directory: the datastore's path or URL.
        manifest: of the datastore as it is.
        without: sources whose captions are left out.
        shards: how many shards to write, equal ranges of ids.
        first: the number of the first; no shard of the manifest has it or a higher one.

    Returns:
        Entries of the shards for :func:`sonogloss.indexes.build.commit_datastore`.

    Raises:
        StoreFormatError: a shard is not in order of id, which no build of ours writes.
    """
    rows = Rows(directory, manifest.shards, manifest.vectors)
    counts = _count(directory, rows.shards, without, shards)
    schema = _schema(directory, rows.shards)
    entries = []
    with ExitStack() as stack:
        cursors = [_Cursor(directory, shard, rows.open(shard), stack) for shard in rows.shards]
        for number, count in enumerate(counts):
            pieces = max(1, math.ceil(count / _PIECE)) * shards
            begin = number * pieces // shards
            with ShardWriter(directory, first + number, rows=count, dim=manifest.dim, dtype=manifest.vectors) as writer:
                for piece in range(begin, begin + pieces // shards):
                    captions, vectors = _merge(cursors, -(-((piece + 1) << 63) // pieces), schema)
                    kept = np.flatnonzero(~np.isin(captions.column("source").to_numpy(), list(without)))
                    if len(kept):
                        writer.add(captions.take(kept), vectors[kept])
            entries.append(writer.entry())
    return entries


def _count(directory: str, shards: Sequence[ShardEntry], without: Collection[str], ranges: int) -> list[int]:
    """How many captions stay in each range of ids."""
    counts = np.zeros(ranges, np.int64)
    bounds = np.array([-(-(number << 63) // ranges) for number in range(ranges)], np.uint64)
    for shard in shards:
        table = files.read_table(files.join(directory, shard.file(CAPTIONS).path), ["id", "source"])
        ids = table.column("id").to_numpy()
        if (np.diff(ids) <= 0).any():
            raise StoreFormatError(
                f"Shard {shard.number} of {directory!r} is not in order of id.", "Build the datastore again."
            )
        kept = ids[~np.isin(table.column("source").to_numpy(), list(without))]
        counts += np.bincount(np.searchsorted(bounds, kept.astype(np.uint64), side="right") - 1, minlength=ranges)
    return [int(count) for count in counts]


def _schema(directory: str, shards: Sequence[ShardEntry]) -> pa.Schema:
    """Columns of all shards, each with a type that holds its values in all of them: int < float < text."""
    types: dict[str, set[pa.DataType]] = {}
    for shard in shards:
        with files.open_read(files.join(directory, shard.file(CAPTIONS).path)) as handle:
            for column in pq.read_schema(handle):
                types.setdefault(column.name, set()).add(column.type)
    numbers = {pa.int64(), pa.float64()}
    return pa.schema(
        (name, found.pop() if len(found) == 1 else pa.float64() if found <= numbers else pa.string())
        for name, found in types.items()
    )


def _with_schema(captions: pa.Table, schema: pa.Schema) -> pa.Table:
    """The same captions with these columns; null where they lack one."""
    columns = [
        captions.column(column.name).cast(column.type)
        if column.name in captions.column_names
        else pa.chunked_array([pa.nulls(captions.num_rows, column.type)])
        for column in schema
    ]
    return pa.table(columns, schema=schema)


def _merge(cursors: Sequence[_Cursor], bound: int, schema: pa.Schema) -> tuple[pa.Table, FloatArray]:
    """What all shards hold below an id, in order of id."""
    taken = [cursor.take(bound) for cursor in cursors]
    captions = pa.concat_tables([_with_schema(table, schema) for table, _ in taken])
    order = pc.sort_indices(captions, sort_keys=[("id", "ascending")])
    vectors = np.concatenate([vectors for _, vectors in taken])
    return captions.take(order), vectors[order.to_numpy()]


class _Cursor:
    """A shard that is read once, from its first id to its last."""

    def __init__(self, directory: str, shard: ShardEntry, vectors: FloatArray, stack: ExitStack) -> None:
        handle = stack.enter_context(files.open_read(files.join(directory, shard.file(CAPTIONS).path)))
        parquet = pq.ParquetFile(handle)
        self._batches: Iterator[pa.RecordBatch] = parquet.iter_batches(batch_size=_PIECE)
        self._held = pa.Table.from_batches([], schema=parquet.schema_arrow.remove_metadata())
        self._vectors, self._row, self._ended = vectors, 0, False

    def take(self, bound: int) -> tuple[pa.Table, FloatArray]:
        """The next captions with ids below the bound, and their vectors in float32."""
        while not self._ended and not (self._held.num_rows and self._held.column("id")[-1].as_py() >= bound):
            batch = next(self._batches, None)
            if batch is None:
                self._ended = True
            else:
                more = pa.Table.from_batches([batch]).replace_schema_metadata(None)
                self._held = pa.concat_tables([self._held, more])
        ids = self._held.column("id").to_numpy()
        count = len(ids) if bound >= _END else int(np.searchsorted(ids, bound))
        captions, self._held = self._held.slice(0, count), self._held.slice(count)
        vectors = self._vectors[self._row : self._row + count].astype(np.float32)
        self._row += count
        return captions, vectors
