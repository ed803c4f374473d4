"""Format 1 kept a shard's vectors in a file of FAISS's; what such a file holds, as an array."""

from __future__ import annotations

import faiss
import numpy as np

from sonogloss.indexes.layout import unusable
from sonogloss.records import FloatArray


def open_faiss_vectors(path: str, *, count: int, dim: int) -> FloatArray:
    """The vectors of a flat inner-product index, memory-mapped: float32 [count, dim].

    They begin at a byte that is no multiple of 4, so numpy copies a block before it multiplies.

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
    return np.asarray(_Rows(index))


class _Rows:
    """The vectors of an index as numpy sees them; an array made of this keeps their memory from being unmapped."""

    def __init__(self, index: faiss.IndexFlat) -> None:
        self._index = index
        numbers = faiss.rev_swig_ptr(index.get_xb(), index.ntotal * index.d)
        address, _ = numbers.__array_interface__["data"]
        shape = (index.ntotal, index.d)
        self.__array_interface__ = {"version": 3, "typestr": "<f4", "shape": shape, "data": (address, True)}
