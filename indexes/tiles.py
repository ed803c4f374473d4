"""Products whose bits do not depend on the batch.

Libraries sum in an order that may depend on the shape of a product and on where in it a query stands: OpenBLAS sums the
first eight of 48 queries otherwise than the next ones. The same query would get scores that differ in their last bits
from batch to batch. Here every product has one of a few fixed shapes, and queries stand only at places that are summed
in one and the same order. These places are found once a process, by giving one query to all of them: an order of
summation depends on shapes, not on numbers. oneDNN sums all of them alike.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import cache

import numpy as np

from sonogloss.indexes.products import multiply
from sonogloss.one_thread import one_thread
from sonogloss.records import FloatArray, IntArray

ROWS = 4096
"""Stored vectors of one tile: 8 MiB at a width of 512, read from memory once and then from cache."""
# Queries of one product, with those that only fill it up. One alone is summed in an order of its own everywhere.
_WIDTHS = (2, 8, 16, 32, 48, 64, 112, 144, 320)
_LOOSE_WIDTH = 1024
# Packing the rows for a product costs as much as multiplying them with so many more queries.
_PACKING = 20
_PART = 128


class RowTiles:
    """Stored vectors [n, dim], float32 or float16, memory-mapped or not, in tiles of :data:`ROWS`.

    Args:
        vectors: what is cut into tiles.
        padded: fill the last tile up with zeros.
    """

    def __init__(self, vectors: FloatArray, *, padded: bool) -> None:
        self._vectors, self._padded = np.asarray(vectors), padded
        self._own = threading.local()
        self.starts = range(0, len(vectors), ROWS)

    def read(self, start: int) -> tuple[int, FloatArray]:
        """How many rows a tile has, and the tile: aligned float32, [ROWS, dim] where padded.

        A thread may use the same memory for every tile.
        """
        block = self._vectors[start : start + ROWS]
        count = len(block)
        if block.dtype != np.float32 or not block.flags.aligned or (self._padded and count < ROWS):
            if not hasattr(self._own, "buffer"):
                self._own.buffer = np.empty((ROWS, self._vectors.shape[1]), np.float32)
            buffer: FloatArray = self._own.buffer
            buffer[:count] = block
            buffer[count:] = 0
            block = buffer if self._padded else buffer[:count]
        return count, block


@dataclass(frozen=True, kw_only=True, eq=False)
class QueryTile:
    """Some queries of a batch at their places in a product.

    Attributes:
        first: the first of them, by its number in the batch.
        places: [m], where they stand.
        rows: float32 [width, dim], zero at the other places.
    """

    first: int
    places: IntArray
    rows: FloatArray


def query_tiles(queries: FloatArray) -> list[QueryTile]:
    """Queries [n, dim] at places where the product of :data:`ROWS` rows with them does not depend on the batch."""
    n, dim = queries.shape
    places = _places(dim)
    found, first = [], 0
    for width in plan_widths(tuple((width, len(usable)) for width, usable in places.items()), n):
        taken = places[width][: n - first]
        rows = np.zeros((width, dim), np.float32)
        rows[taken] = queries[first : first + len(taken)]
        found.append(QueryTile(first=first, places=taken, rows=rows))
        first += len(taken)
    return found


def loose_tiles(queries: FloatArray) -> list[QueryTile]:
    """Queries side by side, for candidates: their scores may have any bits."""
    parts = [(first, queries[first : first + _LOOSE_WIDTH]) for first in range(0, len(queries), _LOOSE_WIDTH)]
    return [QueryTile(first=first, places=np.arange(len(part)), rows=part) for first, part in parts]


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
    """The cost, in queries, of tiles for so many queries, and their widths, the widest first."""
    if left <= 0:
        return 0, ()
    choices = []
    for width, count in usable:
        cost, rest = _cheapest(usable, left - count)
        choices.append((cost + width + _PACKING, tuple(sorted((width, *rest), reverse=True))))
    return min(choices)


def weighted_sums(weights: FloatArray, rows: FloatArray) -> FloatArray:
    """The sums [width, dim] of rows [ROWS, dim] with weights [width, ROWS].

    They are summed in parts: in float32 the error of a long sum of like numbers grows with its length.
    """
    total = multiply(weights[:, :_PART], rows[:_PART].T)
    for start in range(_PART, ROWS, _PART):
        total += multiply(weights[:, start : start + _PART], rows[start : start + _PART].T)
    return total


@cache
def _places(dim: int) -> dict[int, IntArray]:
    """By width of a tile, the places that are summed in the order that is the commonest in the widest one."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((ROWS, dim), dtype=np.float32)
    query, weights = rng.standard_normal(dim, dtype=np.float32), rng.standard_normal(ROWS, dtype=np.float32)
    with one_thread():
        orders = {width: _orders(rows, query, weights, width) for width in _WIDTHS}
    widest = orders[_WIDTHS[-1]]
    common = max(set(widest), key=lambda order: (widest.count(order), order))
    return {w: np.flatnonzero([order == common for order in found]) for w, found in orders.items() if common in found}


def _orders(rows: FloatArray, query: FloatArray, weights: FloatArray, width: int) -> list[bytes]:
    """The bits that each place of a tile gets for the same query and for the same weights."""
    scores = multiply(np.tile(query, (width, 1)), rows)
    sums = weighted_sums(np.tile(weights, (width, 1)), rows)
    return [scores[place].tobytes() + sums[place].tobytes() for place in range(width)]
