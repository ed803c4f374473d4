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
# Columns of one product. 8 are the fewest that some BLAS sums like the columns of a wide product; OpenBLAS cuts what is
# wider than 320 into pieces with edges of their own.
_WIDTHS = (8, 32, 48, 64, 112, 144, 320)
# Packing the rows for a product costs as much as multiplying them with so many more columns.
_PACKING = 20
_PARTS = 4


def row_tiles(vectors: FloatArray, *, rows: int = ROWS, padded: bool) -> Iterator[tuple[int, int, FloatArray]]:
    """Walk stored vectors [n, dim], float32 or float16, memory-mapped or not.

    Args:
        vectors: what is walked, in order.
        rows: of a tile.
        padded: fill the last tile up with zeros.

    Yields:
        The first row of a tile, how many rows it has, and the tile: aligned float32, [rows, dim] where padded. The same
        memory may be used for every tile.
    """
    vectors, buffer = np.asarray(vectors), None
    for start in range(0, len(vectors), rows):
        block = vectors[start : start + rows]
        count = len(block)
        if block.dtype != np.float32 or not block.flags.aligned or (padded and count < rows):
            if buffer is None:
                buffer = np.empty((rows, vectors.shape[1]), np.float32)
            buffer[:count] = block
            buffer[count:] = 0
            block = buffer if padded else buffer[:count]
        yield start, count, block


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
    for width in plan_widths(tuple((width, len(usable)) for width, usable in places.items()), n):
        taken = places[width][: n - first]
        columns = np.zeros((width, dim), np.float32)
        columns[taken] = queries[first : first + len(taken)]
        found.append(QueryTile(first=first, places=taken, columns=columns))
        first += len(taken)
    return found


def plan_widths(usable: tuple[tuple[int, int], ...], n: int) -> list[int]:
    """The widths of the tiles that take n queries at the least cost: the widest while they are full, then the cheapest.

    Args:
        usable: widths, ascending, and how many queries each takes.
        n: queries, at least 0.
    """
    widest, most = usable[-1]
    full = n // most
    return [widest] * full + list(_cheapest(usable, n - full * most)[1])


@cache
def _cheapest(usable: tuple[tuple[int, int], ...], left: int) -> tuple[int, tuple[int, ...]]:
    """The cost, in columns, of tiles for so many queries, and their widths, the widest first."""
    if left <= 0:
        return 0, ()
    choices = []
    for width, count in usable:
        cost, rest = _cheapest(usable, left - count)
        choices.append((cost + width + _PACKING, tuple(sorted((width, *rest), reverse=True))))
    return min(choices)


def weighted_sums(rows: FloatArray, weights: FloatArray, memory: FloatArray) -> FloatArray:
    """The sums [dim, width] of rows [ROWS, dim] with weights [ROWS, width].

    They are summed in parts: in float32 the error of a long sum of like numbers grows with its length.

    Args:
        rows: vectors.
        weights: of the rows, a column a query.
        memory: of :func:`sums_memory`; the result lies there until the next call.
    """
    shape = _PARTS, ROWS // _PARTS, -1
    np.matmul(rows.reshape(shape).transpose(0, 2, 1), weights.reshape(shape), out=memory[1:])
    return np.sum(memory[1:], axis=0, out=memory[0])


def sums_memory(dim: int, width: int) -> FloatArray:
    """Where :func:`weighted_sums` works; memory that is taken anew for every tile would be paid for page by page."""
    return np.empty((1 + _PARTS, dim, width), np.float32)


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
    memory = sums_memory(len(query), width)
    sums = weighted_sums(rows, np.repeat(weights[:, None], width, axis=1), memory)
    return [scores[:, column].tobytes() + sums[:, column].tobytes() for column in range(width)]
