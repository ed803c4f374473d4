"""The kind `flat`: exact inner products with every vector, whatever the order and number of queries."""

from __future__ import annotations

import numpy as np

from sonogloss.indexes.layout import IndexEntry
from sonogloss.records import FloatArray, IntArray

# Products in float32 are summed in an order that depends on how many queries come together. A few rows more than asked
# for are fetched, so that the exact scores can decide who is in.
_MARGIN = 8
_BLOCK = 16_384


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
        self._error = (vectors.shape[1] + 2) * 2.0**-23  # bounds |float32 score - exact score| of unit rows

    def search(self, queries: FloatArray, k: int, ids: IntArray) -> list[tuple[FloatArray, IntArray]]:
        """The `k` rows nearest to each query; see :meth:`sonogloss.indexes.kinds.OpenIndex.search`."""
        fetched = min(len(self.vectors), k + _MARGIN)
        rough, rows = self._nearest(queries, fetched)
        return [self._settle(query, rows[i], float(rough[i].min()), k, ids) for i, query in enumerate(queries)]

    def _nearest(self, queries: FloatArray, fetched: int) -> tuple[FloatArray, IntArray]:
        """The highest float32 scores and their rows, in any order: [n, fetched] both."""
        best = np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
        for start in range(0, len(self.vectors), _BLOCK):
            products = queries @ self.vectors[start : start + _BLOCK].astype(np.float32, copy=False).T
            places = np.broadcast_to(np.arange(start, start + products.shape[1]), products.shape)
            scores, rows = np.hstack([best[0], products]), np.hstack([best[1], places])
            chosen = np.argpartition(-scores, min(fetched, scores.shape[1]) - 1, axis=1)[:, :fetched]
            best = np.take_along_axis(scores, chosen, 1), np.take_along_axis(rows, chosen, 1)
        return best

    def _settle(
        self, query: FloatArray, rows: IntArray, last: float, k: int, ids: IntArray
    ) -> tuple[FloatArray, IntArray]:
        """Score exactly what was found; look again, by threshold, when a row that was left out might still belong."""
        scores = self._exact(query, rows)
        if len(rows) < len(self.vectors):
            error = self._error * float(np.linalg.norm(query))
            threshold = float(np.sort(scores)[-k]) - error
            if last >= threshold - error:
                rows = self._above(query, threshold - error)
                scores = self._exact(query, rows)
        order = np.lexsort((rows, ids[rows], -scores))[:k]
        return scores[order], rows[order]

    def _above(self, query: FloatArray, threshold: float) -> IntArray:
        found = [
            start + np.flatnonzero(self.vectors[start : start + _BLOCK].astype(np.float32) @ query >= threshold)
            for start in range(0, len(self.vectors), _BLOCK)
        ]
        return np.concatenate(found)

    def _exact(self, query: FloatArray, rows: IntArray) -> FloatArray:
        products = self.vectors[rows].astype(np.float64) * query.astype(np.float64)
        return np.asarray(products.sum(axis=1), dtype=np.float32)
