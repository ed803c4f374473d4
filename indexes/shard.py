"""One shard on this machine: memory-mapped vectors, exact top-k, captions looked up by row."""

from __future__ import annotations

from functools import cached_property

import faiss
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sonogloss import files
from sonogloss.errors import StoreFormatError
from sonogloss.indexes.layout import CAPTIONS, VECTORS, ShardEntry
from sonogloss.records import FloatArray

IntArray = npt.NDArray[np.int64]

# FAISS sums float32 products in an order that depends on how many queries come together. A few rows more than asked for
# are fetched, so that the exact scores can decide who is in.
_MARGIN = 8


class Shard:
    """Captions and vectors of one shard.

    Attributes:
        entry: what the manifest says of it.
        vectors: float32 [count, dim], a view of the memory-mapped index.
    """

    def __init__(self, local: str, entry: ShardEntry) -> None:
        self.entry = entry
        self._captions_path = files.join(local, entry.file(CAPTIONS).path)
        self._index = open_index(files.join(local, entry.file(VECTORS).path), entry)
        self.vectors: FloatArray = np.asarray(_Rows(self._index))
        self._columns: dict[str, pa.Array] = {}
        self._error = (entry.dim + 2) * 2.0**-23  # bounds |float32 score - exact score| for unit rows in any order

    @cached_property
    def ids(self) -> IntArray:
        """[count] caption ids by row."""
        return np.asarray(self._read("id").to_numpy(), dtype=np.int64)

    def _read(self, name: str) -> pa.ChunkedArray:
        try:
            table = files.read_table(self._captions_path, [name])
            table.validate(full=True)
        except (OSError, pa.ArrowException) as error:
            raise _unusable(self._captions_path, str(error).splitlines()[0]) from error
        if table.num_rows != self.entry.count or table.column_names != [name]:
            raise _unusable(self._captions_path, f"it does not hold {self.entry.count} rows of {name!r}")
        return table.column(name)

    def words(self, row: int) -> tuple[str, str]:
        """Text and source of the caption in this row."""
        return self.column("text")[row].as_py(), self.column("source")[row].as_py()

    def column(self, name: str) -> pa.Array:
        """A column of the captions in the order of rows, read when first asked for."""
        if name not in self._columns:
            self._columns[name] = self._read(name).combine_chunks()
        return self._columns[name]

    def nearest(self, queries: FloatArray, k: int) -> list[tuple[FloatArray, IntArray]]:
        """The `k` rows nearest to each query, best first, equal scores by ascending caption id.

        Scores are inner products summed in float64 and then rounded to float32, so neither they nor the choice of rows
        depend on the other queries.

        Args:
            queries: float32 [n, dim], finite, C-contiguous.
            k: at least 1; fewer rows come back when the shard holds fewer.

        Returns:
            For each query: scores float32 [<= k] and rows [<= k].
        """
        fetched = min(self.entry.count, k + _MARGIN)
        rough, rows = self._index.search(queries, fetched)
        return [self._settle(query, rows[i], float(rough[i, -1]), k) for i, query in enumerate(queries)]

    def _settle(self, query: FloatArray, rows: IntArray, last: float, k: int) -> tuple[FloatArray, IntArray]:
        """Re-score what FAISS found; ask again, by threshold, when a row it left out might still belong."""
        scores = self._exact(query, rows)
        if len(rows) < self.entry.count:
            threshold = float(np.sort(scores)[-k]) - self._error * float(np.linalg.norm(query))
            if last >= threshold:
                _, _, rows = self._index.range_search(query[None], np.nextafter(np.float32(threshold), np.float32(-9)))
                scores = self._exact(query, rows)
        order = np.lexsort((rows, self.ids[rows], -scores))[:k]
        return scores[order], rows[order]

    def _exact(self, query: FloatArray, rows: IntArray) -> FloatArray:
        products = self.vectors[rows].astype(np.float64) * query.astype(np.float64)
        return np.asarray(products.sum(axis=1), dtype=np.float32)


class _Rows:
    """The vectors of an index as numpy sees them; an array made of this keeps their memory from being unmapped."""

    def __init__(self, index: faiss.IndexFlat) -> None:
        self._index = index
        numbers = faiss.rev_swig_ptr(index.get_xb(), index.ntotal * index.d)
        address, _ = numbers.__array_interface__["data"]
        shape = (index.ntotal, index.d)
        self.__array_interface__ = {"version": 3, "typestr": "<f4", "shape": shape, "data": (address, True)}


def open_index(path: str, entry: ShardEntry) -> faiss.IndexFlat:
    """The memory-mapped flat index in a local file.

    Raises:
        StoreFormatError: it is not an inner-product IndexFlat of the listed size.
    """
    try:
        index = faiss.read_index(path, faiss.IO_FLAG_MMAP_IFC)
    except (RuntimeError, MemoryError) as error:
        raise _unusable(path, "FAISS cannot read it") from error
    if not isinstance(index, faiss.IndexFlat) or index.metric_type != faiss.METRIC_INNER_PRODUCT:
        raise _unusable(path, f"it is not a flat inner-product index but {type(index).__name__}")
    if (index.ntotal, index.d) != (entry.count, entry.dim):
        raise _unusable(path, f"it holds {index.ntotal} x {index.d} instead of {entry.count} x {entry.dim} numbers")
    return index


def _unusable(path: str, why: str) -> StoreFormatError:
    return StoreFormatError(
        f"{path!r} cannot be used: {why}.", "Run `sonogloss verify`; restore the file or build the datastore again."
    )
