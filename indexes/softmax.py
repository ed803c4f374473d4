"""The softmax of a batch of queries over stored vectors, tile by tile, in float32 where that is enough.

Weights are relative to the largest score of their tile. Tiles may be summed by several threads; their sums are joined
in float64, in the order of the tiles. An error of a float32 score is divided by the temperature, and only a row that
weighs much can carry it into the result, so the nearest rows get their weights from float64 scores in the end.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sonogloss.bridge import SoftmaxState
from sonogloss.indexes.candidates import Candidates, DoubleArray
from sonogloss.indexes.tiles import QueryTile, query_tiles, weighted_sums
from sonogloss.records import FloatArray

# exp(-80) is 1e-35: nothing beside the largest weight, 1, and not yet a denormal number, which would be slow.
FAINTEST = np.float32(-80)
# Scores of unit vectors do not differ by more; of damaged ones they may, and then the result has to be finite at least.
_FARTHEST = np.float32(1e-3)


@dataclass(frozen=True, eq=False)
class TileSums:
    """What one tile of queries has summed: like :class:`~sonogloss.bridge.SoftmaxState`, a row a place."""

    maximum: DoubleArray
    total: DoubleArray
    vector: DoubleArray | FloatArray


class Softmax:
    """The sums of a batch.

    Args:
        queries: float32 [n, dim].
        temperature: tau > 0.

    Attributes:
        tiles: the queries, in the tiles whose scores :meth:`sums` takes.
    """

    def __init__(self, queries: FloatArray, temperature: float) -> None:
        self.tiles: list[QueryTile] = query_tiles(queries)
        self._shape, self._temperature = queries.shape, temperature
        self._sums = []
        for tile in self.tiles:
            width, dim = tile.rows.shape
            self._sums.append(TileSums(np.full(width, -np.inf), np.zeros(width), np.zeros((width, dim))))

    def sums(self, scores: FloatArray, best: FloatArray, block: FloatArray) -> TileSums:
        """The sums over one tile of vectors.

        Args:
            scores: [width, ROWS]; -inf where a row does not count, and not so for at least one row. Overwritten.
            best: [width], the largest of each place.
            block: [ROWS, dim], the vectors.
        """
        scores -= best[:, None]
        scores *= np.float32(1 / self._temperature)
        if scores.min() < FAINTEST:
            np.maximum(scores, FAINTEST, out=scores)
        weights = np.exp(scores, out=scores)
        return TileSums(best.astype(np.float64), weights.sum(axis=1, dtype=np.float64), weighted_sums(weights, block))

    def add(self, number: int, more: TileSums) -> None:
        """Join the sums of a tile of queries over one more tile of vectors."""
        had = self._sums[number]
        maximum = np.maximum(had.maximum, more.maximum)
        first, second = (np.exp((each.maximum - maximum) / self._temperature) for each in (had, more))
        total = had.total * first + more.total * second
        self._sums[number] = TileSums(maximum, total, had.vector * first[:, None] + more.vector * second[:, None])

    def state(self, candidates: Candidates) -> SoftmaxState:
        """The state of the batch, with the weights of the nearest rows as float64 scores give them."""
        n, dim = self._shape
        state = SoftmaxState(maximum=np.empty(n), total=np.empty(n), vector=np.empty((n, dim)))
        for tile, sums in zip(self.tiles, self._sums, strict=True):
            part = slice(tile.first, tile.first + len(tile.places))
            state.maximum[part] = sums.maximum[tile.places]
            state.total[part] = sums.total[tile.places]
            state.vector[part] = sums.vector[tile.places]
        return weigh_exactly(state, candidates, self._temperature)


def weigh_exactly(state: SoftmaxState, candidates: Candidates, temperature: float) -> SoftmaxState:
    """The state, with float64 scores of the nearest rows in place of the float32 ones that it was summed with."""
    for query in np.flatnonzero(np.isfinite(state.maximum)):
        rough, exact, rows = candidates.heaviest(int(query))
        exact = np.clip(exact, rough - _FARTHEST, rough + _FARTHEST)
        had, due = (np.exp((scores - state.maximum[query]) / temperature) for scores in (rough, exact))
        state.total[query] += (due - had).sum()
        state.vector[query] += ((due - had)[:, None] * rows).sum(axis=0)
    return state
