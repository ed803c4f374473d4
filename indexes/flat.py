"""The kind `flat`: exact inner products with every vector, whatever the order and number of queries."""

from __future__ import annotations

from sonogloss.indexes.candidates import DoubleArray
from sonogloss.indexes.layout import IndexEntry
from sonogloss.indexes.scan import scan
from sonogloss.records import FloatArray, IntArray


class Flat:
    """No index beside the vectors: all of them are compared."""

    def describe(self) -> IndexEntry:
        """Exact by construction."""
        return IndexEntry(kind="flat", factory="Flat", recall_at_10=1.0, measured_on="exact by construction")

    def open(self, vectors: FloatArray, path: str | None, entry: IndexEntry) -> FlatIndex:
        """Ready to search the vectors of a shard; there is no file."""
        return FlatIndex(vectors)


class FlatIndex:
    """Exact search in vectors [rows, dim]."""

    def __init__(self, vectors: FloatArray) -> None:
        self.vectors = vectors

    def search(self, queries: FloatArray, k: int, ids: IntArray) -> list[tuple[DoubleArray, IntArray]]:
        """The `k` rows nearest to each query; see :meth:`sonogloss.indexes.kinds.OpenIndex.search`."""
        return scan(self.vectors, queries, k=k, ids=ids).nearest
