"""The kinds of index a datastore may have, by name.

A new kind is a class in a file of its own and an entry in :data:`KINDS`. Vectors lie beside every index, and search
ends with their exact inner products, so that scores are comparable between kinds and between shards.
"""

from __future__ import annotations

from typing import Protocol

from sonogloss.indexes.approximate import FACTORY, IVF_FLAT, IVF_PQ, IVF_RABITQ
from sonogloss.indexes.candidates import DoubleArray
from sonogloss.indexes.flat import Flat
from sonogloss.indexes.layout import IndexEntry
from sonogloss.records import FloatArray, IntArray

AUTO = "auto"


class OpenIndex(Protocol):
    """An index that answers."""

    def search(self, queries: FloatArray, k: int, ids: IntArray) -> list[tuple[DoubleArray, IntArray]]:
        """The `k` rows nearest to each query, best first, equal scores by ascending id.

        Scores are those of :func:`sonogloss.indexes.candidates.exact_scores`, so they do not depend on the other
        queries, and with `flat` neither does the choice of rows.

        Args:
            queries: float32 [n, dim], finite, C-contiguous.
            k: at least 1; fewer rows come back when the index holds fewer.
            ids: [count] caption ids by row.

        Returns:
            For each query: scores float64 [<= k] and rows [<= k].
        """


class IndexKind(Protocol):
    """How vectors of one shard are searched."""

    def describe(self) -> IndexEntry:
        """What the manifest says of it."""

    def open(self, vectors: FloatArray, path: str | None, entry: IndexEntry) -> OpenIndex:
        """The index of a shard.

        Args:
            vectors: float32 or float16 [count, dim], memory-mapped.
            path: the shard's local index file, None where the kind needs none.
            entry: what the manifest says of the index.

        Raises:
            StoreFormatError: the file is not this kind of index, or holds another number of vectors.
        """


KINDS: dict[str, IndexKind] = {
    "flat": Flat(),
    **{kind.kind: kind for kind in (IVF_FLAT, IVF_RABITQ, IVF_PQ, FACTORY)},
}
