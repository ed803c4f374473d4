"""One shard on this machine: its open index, and its captions looked up by row."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import pyarrow as pa

from sonogloss import files
from sonogloss.indexes.format1 import open_faiss_vectors
from sonogloss.indexes.kinds import KINDS
from sonogloss.indexes.layout import CAPTIONS, INDEX, VECTORS, IndexEntry, ShardEntry, unusable
from sonogloss.indexes.vectors import load_vectors
from sonogloss.records import FloatArray, IntArray


class Shard:
    """Captions and vectors of one shard.

    Attributes:
        entry: what the manifest says of it.
        vectors: float32 or float16 [count, dim], memory-mapped.
    """

    def __init__(self, local: str, entry: ShardEntry, index: IndexEntry, dtype: str = "float32") -> None:
        self.entry = entry
        self._captions_path = files.join(local, entry.file(CAPTIONS).path)
        self.vectors = open_vectors(local, entry, dtype)
        path = files.join(local, entry.file(INDEX).path) if index.trained else None
        self._index = KINDS[index.kind].open(self.vectors, path, index)
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


def open_vectors(local: str, entry: ShardEntry, dtype: str) -> FloatArray:
    """The vectors of a shard of a local datastore, memory-mapped: [count, dim].

    Args:
        local: the datastore's directory.
        entry: of the shard.
        dtype: `float32` or `float16`.

    Raises:
        StoreFormatError: the file is not what the manifest says.
    """
    path = files.join(local, entry.vectors.path)
    if files.base_name(path) == VECTORS[1]:
        return open_faiss_vectors(path, count=entry.count, dim=entry.dim)
    return load_vectors(path, count=entry.count, dim=entry.dim, dtype=dtype)
