"""Which rows may be among the nearest? Float32 scores choose candidates with a margin, and float64 scores decide.

A float32 product of two unit vectors is off by at most an error that the width bounds, whatever the order of its sum. A
row whose score is lower than the k-th best one by more than twice this error cannot be among the k nearest; every other
row is a candidate, and its exact score decides. So the answer is that of float64 arithmetic, however the float32
products were computed.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sonogloss.records import FloatArray, IntArray

DoubleArray = npt.NDArray[np.float64]

# Candidates of a query before exact scores thin them out: reached where thousands of rows tie.
_LIMIT = 4096
_NO_FLOOR = -1e30
_ALL = slice(None)
# Candidates a query that wait before the thresholds are raised.
_WAITING = 4


def exact_scores(query: FloatArray, rows: FloatArray) -> DoubleArray:
    """Inner products of a query [dim] with rows [n, dim], summed in float64 in an order that dim alone decides."""
    products = rows.astype(np.float64) * query.astype(np.float64)
    return np.asarray(products.sum(axis=1))


class Near(NamedTuple):
    """Pairs of a query and a row, by number, with their float32 scores."""

    queries: IntArray
    rows: IntArray
    scores: FloatArray


def _below(floors: DoubleArray) -> FloatArray:
    return np.nextafter(floors.astype(np.float32), -np.inf, dtype=np.float32)


class Candidates:
    """The rows of one array of vectors that may be among the `k` nearest of each query.

    Args:
        vectors: [count, dim], unit rows, as they are stored.
        ids: [count]; equal scores come by ascending id.
        queries: float32 [n, dim].
        k: at least 1.
    """

    def __init__(self, vectors: FloatArray, ids: IntArray, queries: FloatArray, k: int) -> None:
        self._vectors, self._ids, self._queries, self._k = vectors, ids, queries, k
        n, dim = queries.shape
        # Twice the bound, for rows whose length is one up to the tolerance of what is stored.
        self._error = (dim + 2) * 2.0**-23 * np.linalg.norm(queries.astype(np.float64), axis=1)
        self._floor = np.full(n, _NO_FLOOR)
        self._scores = [np.empty(0, np.float32)] * n
        self._rows = [np.empty(0, np.int64)] * n
        self._waiting: list[Near] = []

    def near(self, first: int, places: IntArray, scores: FloatArray, best: FloatArray, start: int) -> Near:
        """What may be near among the scores of one tile. It only reads, so several threads may look at once.

        Args:
            first: the first query of the tile.
            places: [m], where its queries stand.
            scores: [width, rows]; -inf where a row may not be found.
            best: [width], the largest score of each place.
            start: the tile's first row.
        """
        near = np.flatnonzero(best[places] >= self._floor[first : first + len(places)])
        chosen = scores[places[near]]
        near += first
        floors = self._floor[near]
        if len(near) and chosen.shape[1] > self._k and floors.min() == _NO_FLOOR:
            floors = np.maximum(floors, self._floors_of(np.partition(chosen, -self._k, axis=1)[:, -self._k], near))
        found = np.flatnonzero(chosen >= _below(floors)[:, None])
        queries, rows = np.divmod(found, chosen.shape[1])
        return Near(near[queries], start + rows, chosen.ravel()[found])

    def _floors_of(self, kth: FloatArray, queries: IntArray | slice = _ALL) -> DoubleArray:
        return np.asarray(kth - 2 * self._error[queries])

    def raise_floors(self, kth: FloatArray) -> None:
        """Let go what is farther than the k-th best scores `kth` among some rows, one a query."""
        self._floor = np.maximum(self._floor, self._floors_of(kth))

    def thresholds(self) -> FloatArray:
        """The float32 scores from which rows are candidates, one a query."""
        return _below(self._floor)

    def take(self, near: Near) -> None:
        """Take what may be near."""
        if len(near.rows):
            self._waiting.append(near)

    def settle(self, *, at_once: bool) -> None:
        """Raise the thresholds, if enough candidates wait for it."""
        if not at_once and sum(len(near.rows) for near in self._waiting) < _WAITING * len(self._rows):
            return
        if self._waiting:
            queries, rows, scores = (np.concatenate(part) for part in zip(*self._waiting, strict=True))
            self._waiting = []
            order = np.argsort(queries, kind="stable")
            queries, rows, scores = queries[order], rows[order], scores[order]
            for part in np.split(np.arange(len(queries)), np.flatnonzero(np.diff(queries)) + 1):
                self._join(int(queries[part[0]]), scores[part], rows[part])

    def _join(self, query: int, scores: FloatArray, rows: IntArray) -> None:
        scores = np.concatenate([self._scores[query], scores])
        rows = np.concatenate([self._rows[query], rows])
        if len(rows) >= self._k:
            kth = float(np.partition(scores, -self._k)[-self._k])
            self._floor[query] = max(self._floor[query], kth - 2 * self._error[query])
            keep = scores >= self._floor[query]
            scores, rows = scores[keep], rows[keep]
        if len(rows) > _LIMIT + 2 * self._k:
            exact, order = self._ranked(query, rows)
            order = order[: self._k]
            self._floor[query] = max(self._floor[query], exact[order[-1]] - self._error[query])
            scores, rows = scores[order], rows[order]
        self._scores[query], self._rows[query] = scores, rows

    def _ranked(self, query: int, rows: IntArray) -> tuple[DoubleArray, IntArray]:
        """Exact scores of some rows, and the order from the nearest on."""
        exact = exact_scores(self._queries[query], self._vectors[rows])
        return exact, np.lexsort((self._ids[rows], -exact))

    def nearest(self, query: int, k: int) -> tuple[DoubleArray, IntArray]:
        """Exact scores and rows of the nearest, best first; fewer than k where there are fewer."""
        rows = self._rows[query]
        exact, order = self._ranked(query, rows)
        return exact[order[:k]], rows[order[:k]]

    def heaviest(self, query: int) -> tuple[FloatArray, DoubleArray, FloatArray]:
        """Float32 scores, exact scores and vectors of the k nearest."""
        exact, order = self._ranked(query, self._rows[query])
        order = order[: self._k]
        return self._scores[query][order], exact[order], self._vectors[self._rows[query][order]]
