"""Products of stored vectors and queries, each as fast as its number of queries allows.

Scores that only choose candidates may have any bits: few queries take FAISS's inner products, which read memory at its
full rate and many times from cache; many take one matrix product. Scores that go into a softmax have to be alike in
every batch: they come from products of the few shapes of :mod:`sonogloss.indexes.tiles`.
"""

from __future__ import annotations

import faiss
import numpy as np

from sonogloss.indexes.tiles import QueryTile
from sonogloss.records import FloatArray

FEW = 8
"""Queries up to which products with one query at a time are faster than a matrix product, which packs the rows."""
LOOSE_ROWS = 2048
"""Rows of a product of any shape with more queries."""
_LOOSE_QUERIES = 1024
_CACHED = 256  # rows that stay in the second level of the cache for the next query: 512 KiB at a width of 512
_FOLDED = 64  # rows side by side when maxima are taken: numpy is slow where rows are short


def loose_tiles(queries: FloatArray) -> list[QueryTile]:
    """Queries side by side: candidates do not need the same bits every time."""
    parts = [(first, queries[first : first + _LOOSE_QUERIES]) for first in range(0, len(queries), _LOOSE_QUERIES)]
    return [QueryTile(first=first, places=np.arange(len(part)), columns=part) for first, part in parts]


def multiply_alike(block: FloatArray, columns: FloatArray, memory: dict[int, FloatArray]) -> FloatArray:
    """Scores [rows, columns], in memory that is used again."""
    if len(columns) not in memory:
        memory[len(columns)] = np.empty((len(block), len(columns)), np.float32)
    return np.matmul(block, columns.T, out=memory[len(columns)])


def multiply_loosely(block: FloatArray, columns: FloatArray, memory: dict[int, FloatArray]) -> FloatArray:
    """The same, by the fastest way whose bits may depend on the number of queries."""
    n = len(columns)
    if n not in memory or memory[n].shape[1] != len(block):
        memory[n] = np.empty((n, len(block)), np.float32)
    scores = memory[n]
    if n > FEW:
        np.matmul(columns, block.T, out=scores)
        return scores.T
    step = len(block) if n == 1 else _CACHED
    inner_products = faiss.fvec_inner_products_ny  # type: ignore[attr-defined]  # not in the stubs
    pointers = [faiss.swig_ptr(query) for query in columns]
    for start in range(0, len(block), step):
        rows = block[start : start + step]
        stored = faiss.swig_ptr(rows)
        for query, part in zip(pointers, scores[:, start : start + step], strict=True):
            inner_products(faiss.swig_ptr(part), query, stored, rows.shape[1], len(rows))
    return scores.T


def column_maxima(scores: FloatArray) -> FloatArray:
    """The largest score of each column of [rows, columns]."""
    rows, width = scores.shape
    if scores.flags.c_contiguous and rows % _FOLDED == 0:
        folded = scores.reshape(-1, _FOLDED * width).max(axis=0)
        return np.asarray(folded.reshape(_FOLDED, width).max(axis=0))
    return np.asarray(scores.max(axis=0))
