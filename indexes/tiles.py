"""Matrix products whose bits do not depend on the batch.

BLAS sums in an order that depends on the shape of a product and on where in it a query stands: OpenBLAS's kernels treat
the first eight columns of a product otherwise than the next ones, and 48 columns otherwise than 16. So the same query
gets scores that differ in their last bits from batch to batch. Here every product has one of a few fixed shapes, and
queries stand only at places where BLAS sums in one and the same order. These places are found once a process, by
giving one query to all of them: an order of summation depends on shapes, not on numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np

from sonogloss.records import FloatArray, IntArray

ROWS = 4096
"""Stored vectors of one tile: 8 MiB at a width of 512, read from memory once and then from cache."""
_WIDTHS = (32, 48, 64, 128, 256)
_PARTS = 4
# A tile is taken for the last queries of a batch if at most so many of its columns are for each of them.
_SPARE = 1.6


def row_tiles(vectors: FloatArray, *, padded: bool) -> Iterator[tuple[int, int, FloatArray]]:
    """Walk stored vectors [n, dim], float32 or float16, memory-mapped or not.

    Args:
        vectors: what is walked, in order.
        padded: fill the last tile up with zeros.

    Yields:
        The first row of a tile, how many rows it has, and the tile: aligned float32, [ROWS, dim] where padded. The same
        memory may be used for every tile.
    """
    buffer = None
    for start in range(0, len(vectors), ROWS):
        rows = vectors[start : start + ROWS]
        count = len(rows)
        if rows.dtype != np.float32 or not rows.flags.aligned or (padded and count < ROWS):
            if buffer is None:
                buffer = np.empty((ROWS, vectors.shape[1]), np.float32)
            buffer[:count] = rows
            buffer[count:] = 0
            rows = buffer if padded else buffer[:count]
        yield start, count, np.asarray(rows)


@dataclass(frozen=True, kw_only=True, eq=False)
class QueryTile:
    """Some queries of a batch at their places in a product.

    Attributes:
        first: the first of them, by its number in the batch.
        places: [m] their columns.
        columns: float32 [width, dim], zero at the other places.
    """

    first: int
    places: IntArray
    columns: FloatArray


def query_tiles(queries: FloatArray) -> list[QueryTile]:
    """Queries [n, dim] at places where the product of :data:`ROWS` rows with them does not depend on the batch."""
    n, dim = queries.shape
    places = _places(dim)
    found, first = [], 0
    while first < n:
        width = _choose_width({width: len(usable) for width, usable in places.items()}, n - first)
        taken = places[width][: n - first]
        columns = np.zeros((width, dim), np.float32)
        columns[taken] = queries[first : first + len(taken)]
        found.append(QueryTile(first=first, places=taken, columns=columns))
        first += len(taken)
    return found


def _choose_width(usable: dict[int, int], left: int) -> int:
    """The narrowest tile that takes all queries left, or the widest that they fill where that wastes less."""
    covering = [width for width, count in usable.items() if count >= left]
    filled = [width for width, count in usable.items() if 0 < count <= left]
    if filled and not (covering and min(covering) <= _SPARE * left):
        return max(filled)
    return min(covering)


def weighted_sums(rows: FloatArray, weights: FloatArray) -> FloatArray:
    """The sums [dim, width] of rows [ROWS, dim] with weights [ROWS, width].

    They are summed in parts: in float32 the error of a long sum of like numbers grows with its length.
    """
    shape = _PARTS, ROWS // _PARTS, -1
    return np.asarray((rows.reshape(shape).transpose(0, 2, 1) @ weights.reshape(shape)).sum(axis=0))


@cache
def _places(dim: int) -> dict[int, IntArray]:
    """By width of a tile, the columns that BLAS sums in the order that is the commonest in the widest one."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((ROWS, dim), dtype=np.float32)
    query, weights = rng.standard_normal(dim, dtype=np.float32), rng.standard_normal(ROWS, dtype=np.float32)
    orders = {width: _orders(rows, query, weights, width) for width in _WIDTHS}
    widest = orders[_WIDTHS[-1]]
    common = max(set(widest), key=lambda order: (widest.count(order), order))
    return {w: np.flatnonzero([order == common for order in found]) for w, found in orders.items() if common in found}


def _orders(rows: FloatArray, query: FloatArray, weights: FloatArray, width: int) -> list[bytes]:
    """The bits that each column of a tile gets for the same query and for the same weights."""
    scores = rows @ np.tile(query, (width, 1)).T
    sums = weighted_sums(rows, np.repeat(weights[:, None], width, axis=1))
    return [scores[:, column].tobytes() + sums[:, column].tobytes() for column in range(width)]
