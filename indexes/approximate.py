"""The kinds that look at a part of the vectors: FAISS finds candidates, and the stored vectors decide among them.

A shard's `index.faiss` holds its rows in an index that was trained once for the whole store (see
:mod:`sonogloss.indexes.train`). Scores are exact; what may be missed is a row, and how often is in the manifest.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np

from sonogloss.indexes.candidates import DoubleArray, exact_scores
from sonogloss.indexes.layout import IndexEntry, unusable
from sonogloss.records import FloatArray, IntArray

POINTS_A_CENTROID = 39
"""The fewest training rows a centroid that FAISS takes without a warning."""


@dataclass(frozen=True, kw_only=True)
class Approximate:
    """A kind of index that FAISS trains.

    Attributes:
        kind: our name.
        factory: FAISS's name of the index for so many rows of a width.
        bytes_per_vector: what it holds in memory of a row of this width, without centroids.
    """

    kind: str
    factory: Callable[[int, int], str]
    bytes_per_vector: Callable[[int], float]

    def describe(self) -> IndexEntry:
        """What is known before it is trained and measured."""
        return IndexEntry(kind=self.kind, factory="", recall_at_10=0.0, measured_on="not measured")

    def open(self, vectors: FloatArray, path: str | None, entry: IndexEntry) -> ApproximateIndex:
        """The index file of a shard, memory-mapped.

        Raises:
            StoreFormatError: it is no such index, or holds another number of vectors.
        """
        try:
            index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
        except (RuntimeError, MemoryError) as error:
            raise unusable(str(path), "FAISS cannot read it") from error
        if (index.ntotal, index.d) != vectors.shape:
            raise unusable(str(path), f"it holds {index.ntotal} x {index.d} instead of {vectors.shape}")
        opened = ApproximateIndex(vectors, index)
        opened.set(entry.parameters or {})
        return opened


class ApproximateIndex:
    """FAISS's candidates, scored exactly.

    Attributes:
        vectors: [rows, dim] of the shard.
        faiss_index: over the same rows.
        candidates: how many rows FAISS finds for a query, at least four times those asked for.
    """

    def __init__(self, vectors: FloatArray, index: Any) -> None:
        self.vectors, self.faiss_index, self.candidates = vectors, index, 100

    def set(self, parameters: dict[str, int] | Any) -> None:
        """Set `candidates`, and what the index itself has (`nprobe`, `efSearch`)."""
        for name, value in parameters.items():
            if name == "candidates":
                self.candidates = int(value)
            else:
                faiss.ParameterSpace().set_index_parameter(self.faiss_index, name, float(value))

    def search(self, queries: FloatArray, k: int, ids: IntArray) -> list[tuple[DoubleArray, IntArray]]:
        """See :meth:`sonogloss.indexes.kinds.OpenIndex.search`."""
        wanted = min(len(self.vectors), max(self.candidates, 4 * k))
        wider = None
        if isinstance(self.faiss_index, faiss.IndexHNSW):  # a graph finds about efSearch rows, whatever it is asked for
            width = max(wanted, self.faiss_index.hnsw.efSearch)
            wider = faiss.SearchParametersHNSW(efSearch=width)  # type: ignore[attr-defined]  # not in the stubs
        _, found = self.faiss_index.search(queries, wanted, params=wider)
        return [self._settle(query, rows[rows >= 0], k, ids) for query, rows in zip(queries, found, strict=True)]

    def _settle(self, query: FloatArray, rows: IntArray, k: int, ids: IntArray) -> tuple[DoubleArray, IntArray]:
        scores = exact_scores(query, self.vectors[rows])
        order = np.lexsort((rows, ids[rows], -scores))[:k]
        return scores[order], rows[order]


def lists(count: int) -> int:
    """How many inverted lists: about four times the root of the rows, and no more than can be trained."""
    wanted = min(4 * math.sqrt(count), count / POINTS_A_CENTROID)
    return max(1, 2 ** math.floor(math.log2(max(1.0, wanted))))


def _product_quantizer(count: int, dim: int) -> str:
    pieces = next(m for m in range(max(1, dim // 8), 0, -1) if dim % m == 0)
    bits = max(1, min(8, math.floor(math.log2(max(2.0, count / POINTS_A_CENTROID)))))
    rotation = f"OPQ{pieces}," if bits == 8 else ""  # it is trained with 8 bits
    # np: without the polysemous order of codes, which search does not use and which takes most of the training.
    return f"{rotation}IVF{lists(count)},PQ{pieces}x{bits}np"


IVF_FLAT = Approximate(
    kind="ivf-flat", factory=lambda count, dim: f"IVF{lists(count)},Flat", bytes_per_vector=lambda dim: 4 * dim + 8
)
IVF_RABITQ = Approximate(
    kind="ivf-rabitq", factory=lambda count, dim: f"IVF{lists(count)},RaBitQ", bytes_per_vector=lambda dim: dim / 8 + 16
)
IVF_PQ = Approximate(kind="ivf-pq", factory=_product_quantizer, bytes_per_vector=lambda dim: max(1, dim // 8) + 8)
FACTORY = Approximate(kind="factory", factory=lambda count, dim: "", bytes_per_vector=lambda dim: math.inf)
"""Any string of `faiss.index_factory`, which the user names."""
