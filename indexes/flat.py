"""The kind `flat`: exact inner products with every vector, whatever the order and number of queries."""

from __future__ import annotations

import faiss
import numpy as np

from sonogloss.indexes.layout import IndexEntry, unusable
from sonogloss.records import FloatArray, IntArray

# FAISS sums float32 products in an order that depends on how many queries come together. A few rows more than asked for
# are fetched, so that the exact scores can decide who is in.
_MARGIN = 8


class Flat:
    """FAISS's IndexFlatIP."""

    def describe(self) -> IndexEntry:
        """Exact by construction."""
        return IndexEntry(kind="flat", factory="Flat", recall_at_10=1.0, measured_on="exact by construction")

    def train(self, sample: FloatArray) -> faiss.IndexFlat:
        """An empty index of the sample's width; there is nothing to learn."""
        return faiss.IndexFlatIP(sample.shape[1])

    def add(self, index: faiss.Index, vectors: FloatArray) -> None:
        """Append the vectors."""
        index.add(vectors)

    def open(self, path: str, *, count: int, dim: int) -> FlatIndex:
        """The memory-mapped index in a local file.

        Raises:
            StoreFormatError: it is not an inner-product IndexFlat of this size.
        """
        try:
            index = faiss.read_index(path, faiss.IO_FLAG_MMAP_IFC)
        except (RuntimeError, MemoryError) as error:
            raise unusable(path, "FAISS cannot read it") from error
        if not isinstance(index, faiss.IndexFlat) or index.metric_type != faiss.METRIC_INNER_PRODUCT:
            raise unusable(path, f"it is not a flat inner-product index but {type(index).__name__}")
        if (index.ntotal, index.d) != (count, dim):
            raise unusable(path, f"it holds {index.ntotal} x {index.d} instead of {count} x {dim} numbers")
        return FlatIndex(index)


class FlatIndex:
    """An open flat index; `vectors` is a view of the memory-mapped file."""

    def __init__(self, index: faiss.IndexFlat) -> None:
        self._index = index
        self.vectors: FloatArray = np.asarray(_Rows(index))
        self._error = (index.d + 2) * 2.0**-23  # bounds |float32 score - exact score| for unit rows in any order

    def search(self, queries: FloatArray, k: int, ids: IntArray) -> list[tuple[FloatArray, IntArray]]:
        """The `k` rows nearest to each query; see :meth:`sonogloss.indexes.kinds.OpenIndex.search`."""
        fetched = min(len(self.vectors), k + _MARGIN)
        rough, rows = self._index.search(queries, fetched)
        return [self._settle(query, rows[i], float(rough[i, -1]), k, ids) for i, query in enumerate(queries)]

    def _settle(
        self, query: FloatArray, rows: IntArray, last: float, k: int, ids: IntArray
    ) -> tuple[FloatArray, IntArray]:
        """Re-score what FAISS found; ask again, by threshold, when a row it left out might still belong."""
        scores = self._exact(query, rows)
        if len(rows) < len(self.vectors):
            threshold = float(np.sort(scores)[-k]) - self._error * float(np.linalg.norm(query))
            if last >= threshold:
                _, _, rows = self._index.range_search(query[None], np.nextafter(np.float32(threshold), np.float32(-9)))
                scores = self._exact(query, rows)
        order = np.lexsort((rows, ids[rows], -scores))[:k]
        return scores[order], rows[order]

    def _exact(self, query: FloatArray, rows: IntArray) -> FloatArray:
        products = self.vectors[rows].astype(np.float64) * query.astype(np.float64)
        return np.asarray(products.sum(axis=1), dtype=np.float32)


class _Rows:
    """The vectors of an index as numpy sees them; an array made of this keeps their memory from being unmapped."""

    def __init__(self, index: faiss.IndexFlat) -> None:
        self._index = index
        numbers = faiss.rev_swig_ptr(index.get_xb(), index.ntotal * index.d)
        address, _ = numbers.__array_interface__["data"]
        shape = (index.ntotal, index.d)
        self.__array_interface__ = {"version": 3, "typestr": "<f4", "shape": shape, "data": (address, True)}
