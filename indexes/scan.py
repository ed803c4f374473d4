"""One pass over stored vectors: the nearest rows of each query, the softmax over all rows, or both.

A tile of vectors is read once, by one of several threads. Its products with all queries give candidates for the nearest
rows (:mod:`sonogloss.indexes.candidates`) and weights of the softmax, whose sums are joined in float64, tile after
tile, so that the number of threads changes no bit. The rows that weigh most get float64 scores in the end: an error of
float32 in a score is divided by the temperature, and only a heavy row can carry it into the result.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, TypedDict, Unpack

import numpy as np
import numpy.typing as npt

from sonogloss.bridge import SoftmaxState, empty_state, merge, partial_softmax
from sonogloss.in_parallel import in_order
from sonogloss.indexes.candidates import Candidates, DoubleArray, Near
from sonogloss.indexes.products import FEW, multiply, multiply_few
from sonogloss.indexes.softmax import Softmax, TileSums
from sonogloss.indexes.tiles import RowTiles, loose_tiles
from sonogloss.one_thread import one_thread
from sonogloss.records import FloatArray, IntArray

BoolArray = npt.NDArray[np.bool_]

# Rows whose weights are computed in float64, at least; each of the others weighs less than a ninth.
HEAVIEST = 8
# Below this temperature the error of float32 scores shows even so: all scores are float64 then, as in the bridge.
SHARP = 0.005


@dataclass(frozen=True, kw_only=True, eq=False)
class Scan:
    """What a pass found.

    Attributes:
        nearest: for each query exact scores and rows of the nearest, best first; empty where none were asked for.
        softmax: the state of the softmax over the rows; None where no projection was asked for.
    """

    nearest: list[tuple[DoubleArray, IntArray]]
    softmax: SoftmaxState | None


class Wanted(TypedDict, total=False):
    """What is asked of a pass beside its queries.

    Attributes:
        ids: [rows] caption ids, by which equal scores are ordered; by default the rows' numbers.
        k: how many of the nearest rows to find; 0, the default, for none.
        temperature: tau >= 0 of the softmax; None, the default, for no softmax.
        allowed: [rows], which ones count; by default all.
    """

    ids: IntArray | None
    k: int
    temperature: float | None
    allowed: BoolArray | None


def scan(vectors: FloatArray, queries: FloatArray, **wanted: Unpack[Wanted]) -> Scan:
    """Compare queries with all vectors.

    Args:
        vectors: [rows, dim], float32 or float16, unit rows; memory-mapped ones are read once, in order.
        queries: float32 [n, dim], finite, C-contiguous.
        wanted: see :class:`Wanted`.

    Returns:
        What was found; nothing of it depends on the other queries.
    """
    ids, k, temperature, allowed = read_wanted(wanted, len(vectors))
    sharp = temperature is not None and temperature < SHARP
    softmax = None if temperature is None or sharp else Softmax(queries, temperature)
    kept = max(k, 0 if softmax is None else HEAVIEST)
    candidates = Candidates(vectors, ids, queries, kept) if kept else None
    state = None
    if candidates is not None:
        _walk(vectors, queries, allowed, candidates, softmax)
    if softmax is not None and candidates is not None:
        state = softmax.state(candidates)
    elif temperature is not None:
        state = _sharp_softmax(vectors, queries, allowed, temperature)
    nearest = [candidates.nearest(query, k) for query in range(len(queries))] if candidates is not None and k else []
    return Scan(nearest=nearest, softmax=state)


def read_wanted(wanted: Wanted, rows: int) -> tuple[IntArray, int, float | None, BoolArray | None]:
    """What is asked for, with its defaults: ids, k, temperature, allowed."""
    ids = wanted.get("ids")
    chosen = np.arange(rows) if ids is None else ids
    return chosen, wanted.get("k", 0), wanted.get("temperature"), wanted.get("allowed")


class _Seen(NamedTuple):
    """What a tile of vectors holds for every tile of queries."""

    near: list[Near]
    sums: list[TileSums]


def _walk(
    vectors: FloatArray,
    queries: FloatArray,
    allowed: BoolArray | None,
    candidates: Candidates,
    softmax: Softmax | None,
) -> None:
    """Compare every tile of vectors with the queries, by as many threads as PyTorch has."""
    tiles = loose_tiles(queries) if softmax is None else softmax.tiles
    product = multiply_few if softmax is None and len(queries) <= FEW else multiply
    rows = RowTiles(vectors, padded=softmax is not None)

    def look(start: int) -> _Seen | None:
        count, block = rows.read(start)
        mask = None if allowed is None else allowed[start : start + count]
        if mask is not None and not mask.any():
            return None
        seen = _Seen([], [])
        for tile in tiles:
            scores = product(tile.rows, block)
            scores[:, count:] = -np.inf
            if mask is not None:
                scores[:, :count][:, ~mask] = -np.inf
            best = scores.max(axis=1)
            seen.near.append(candidates.near(tile.first, tile.places, scores, best, start))
            if softmax is not None:
                seen.sums.append(softmax.sums(scores, best, block))
        return seen

    with one_thread() as threads:
        for seen in in_order(look, rows.starts, min(threads, len(rows.starts))):
            if seen is None:
                continue
            for near in seen.near:
                candidates.take(near)
            candidates.settle(at_once=False)
            if softmax is not None:
                for number, sums in enumerate(seen.sums):
                    softmax.add(number, sums)
    candidates.settle(at_once=True)


def _sharp_softmax(
    vectors: FloatArray, queries: FloatArray, allowed: BoolArray | None, temperature: float
) -> SoftmaxState:
    state = empty_state(len(queries), vectors.shape[1])
    rows = RowTiles(vectors, padded=False)
    for start in rows.starts:
        count, block = rows.read(start)
        kept = block if allowed is None else block[allowed[start : start + count]]
        if len(kept):
            state = merge(state, partial_softmax(queries, kept, temperature), temperature)
    return state
