"""One shard on this machine: its open index, and its captions looked up by row."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import pyarrow as pa

from sonogloss import files
from sonogloss.indexes.kinds import KINDS, OpenIndex
from sonogloss.indexes.layout import CAPTIONS, VECTORS, ShardEntry, unusable
from sonogloss.records import FloatArray, IntArray


class Shard:
    """Captions and vectors of one shard.

    Attributes:
        entry: what the manifest says of it.
        vectors: float32 [count, dim], a view of the memory-mapped index.
    """

    def __init__(self, local: str, entry: ShardEntry, kind: str) -> None:
        self.entry = entry
        self._captions_path = files.join(local, entry.file(CAPTIONS).path)
        self._index = open_index(local, entry, kind)
        self.vectors = self._index.vectors
        self._columns: dict[str, pa.Array] = {}

    @cached_property
    def ids(self) -> IntArray:
        """[count] caption ids by row."""
        return np.asarray(self._read("id").to_numpy(), dtype=np.int64)

    def _read(self, name: str) -> pa.ChunkedArray:
        try:
            table = files.read_table(self._captions_path, [name])
            table.validate(full=True)
        except (OSError, pa.ArrowException) as error:
            raise unusable(self._captions_path, str(error).splitlines()[0]) from error
        if table.num_rows != self.entry.count or table.column_names != [name]:
            raise unusable(self._captions_path, f"it does not hold {self.entry.count} rows of {name!r}")
        return table.column(name)

    def words(self, row: int) -> tuple[str, str]:
        """Text and source of the caption in this row."""
        return self.column("text")[row].as_py(), self.column("source")[row].as_py()

    def column(self, name: str) -> pa.Array:
        """A column of the captions in the order of rows, read when first asked for."""
        if name not in self._columns:
            self._columns[name] = self._read(name).combine_chunks()
        return self._columns[name]

    def nearest(self, queries: FloatArray, k: int) -> list[tuple[FloatArray, IntArray]]:
        """Scores and rows of the `k` captions nearest to each query; see :meth:`OpenIndex.search`."""
        return self._index.search(queries, k, self.ids)


def open_index(local: str, entry: ShardEntry, kind: str) -> OpenIndex:
    """The index of a shard of a local datastore.

    Raises:
        StoreFormatError: the file is not what the manifest says.
    """
    return KINDS[kind].open(files.join(local, entry.file(VECTORS).path), count=entry.count, dim=entry.dim)
