"""The kinds of index a datastore may have, by name.

A new kind is a class in a file of its own and an entry in :data:`KINDS`. Every kind keeps the vectors themselves, and
search ends with their exact inner products, so that scores are comparable between kinds and between shards.
"""

from __future__ import annotations

from typing import Any, Protocol

from sonogloss.errors import unknown
from sonogloss.indexes.flat import Flat
from sonogloss.indexes.layout import IndexEntry
from sonogloss.records import FloatArray, IntArray

AUTO = "auto"


class OpenIndex(Protocol):
    """An index that answers."""

    vectors: FloatArray
    """float32 [count, dim], memory-mapped."""

    def search(self, queries: FloatArray, k: int, ids: IntArray) -> list[tuple[FloatArray, IntArray]]:
        """The `k` rows nearest to each query, best first, equal scores by ascending id.

        Scores are inner products summed in float64 and then rounded to float32, so neither they nor the choice of rows
        depend on the other queries.

        Args:
            queries: float32 [n, dim], finite, C-contiguous.
            k: at least 1; fewer rows come back when the index holds fewer.
            ids: [count] caption ids by row.

        Returns:
            For each query: scores float32 [<= k] and rows [<= k].
        """


class IndexKind(Protocol):
    """How vectors of one shard are indexed. `Any` is the kind's own FAISS index."""

    def describe(self) -> IndexEntry:
        """What the manifest says of it."""

    def train(self, sample: FloatArray) -> Any:
        """An index without vectors, trained on some unit vectors [rows, dim]."""

    def add(self, index: Any, vectors: FloatArray) -> None:
        """Append unit vectors [rows, dim] in their order."""

    def open(self, path: str, *, count: int, dim: int) -> OpenIndex:
        """The index in a local file of FAISS's.

        Raises:
            StoreFormatError: it is not this kind of index, or holds another number of vectors.
        """


KINDS: dict[str, IndexKind] = {"flat": Flat()}


def choose_kind(name: str) -> str:
    """The kind to build for what a user asked for; `auto` is the exact one.

    Raises:
        OptionError: there is no such kind.
    """
    if name != AUTO and name not in KINDS:
        raise unknown("index", name, [AUTO, *KINDS])
    return "flat" if name == AUTO else name
