"""One shard on this machine: its open index, and its captions looked up by row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sonogloss import files
from sonogloss.indexes.flat import Flat
from sonogloss.indexes.format1 import open_faiss_vectors
from sonogloss.indexes.kinds import KINDS, OpenIndex
from sonogloss.indexes.layout import CAPTIONS, INDEX, VECTORS, IndexEntry, ShardEntry, unusable
from sonogloss.indexes.mapped import Mapped
from sonogloss.indexes.scan import BoolArray, Scan
from sonogloss.indexes.vectors import load_vectors
from sonogloss.records import FloatArray, IntArray


class Shard:
    """Captions and vectors of one shard.

    Args:
        locate: gives the datastore's directory on this machine, where the shard's files are by then.
        entry: what the manifest says of the shard.
        index: what the manifest says of the index.
        dtype: of the vectors, `float32` or `float16`.
        keep: stay in memory once read; else :meth:`release` lets captions go, and vectors are mapped for a search only.

    Attributes:
        entry: as given.
        mapped: float32 or float16 [count, dim].
    """

    def __init__(
        self,
        locate: Callable[[], str],
        entry: ShardEntry,
        index: IndexEntry,
        dtype: str = "float32",
        *,
        keep: bool = True,
    ) -> None:
        self.entry = entry
        self._locate = locate
        self.mapped = Mapped(lambda: open_vectors(self._local, entry, dtype), entry.count, keep=keep)
        self._described, self._keep = index, keep
        self._columns: dict[str, pa.Array] = {}

    @cached_property
    def _local(self) -> str:
        return self._locate()

    @property
    def _captions_path(self) -> str:
        return files.join(self._local, self.entry.file(CAPTIONS).path)

    @property
    def vectors(self) -> FloatArray:
        """[count, dim], memory-mapped."""
        return self.mapped.get()

    @cached_property
    def shown(self) -> IntArray:
        """The rows that count, in order."""
        return np.arange(self.entry.count) if self.mapped.shown is None else np.flatnonzero(self.mapped.shown)

    @property
    def ids(self) -> IntArray:
        """[count] caption ids by row."""
        return np.asarray(self.column("id").to_numpy(), dtype=np.int64)

    @property
    def column_names(self) -> list[str]:
        """What is known of the captions."""
        with files.open_read(self._captions_path) as handle:
            return list(pq.read_schema(handle).names)

    @cached_property
    def _index(self) -> OpenIndex:
        path = files.join(self._local, self.entry.file(INDEX).path) if self._described.trained else None
        return KINDS[self._described.kind].open(self.vectors, path, self._described)

    def release(self) -> None:
        """Let captions and index go, where they need not stay."""
        if not self._keep:
            self._columns.clear()
            self.__dict__.pop("_index", None)

    def _read(self, name: str) -> pa.ChunkedArray:
        try:
            table = files.read_table(self._captions_path, [name])
            table.validate(full=True)
        except (OSError, pa.ArrowException) as error:
            raise unusable(self._captions_path, str(error).splitlines()[0]) from error
        if table.num_rows != self.entry.count or table.column_names != [name]:
            raise unusable(self._captions_path, f"it does not hold {self.entry.count} rows of {name!r}")
        return table.column(name)

    def words(self, row: int) -> tuple[str, str]:
        """Text and source of the caption in this row."""
        return self.column("text")[row].as_py(), self.column("source")[row].as_py()

    def column(self, name: str) -> pa.Array:
        """A column of the captions in the order of rows, read when first asked for."""
        if name not in self._columns:
            self._columns[name] = self._read(name).combine_chunks()
        return self._columns[name]

    def look(
        self, queries: FloatArray, *, k: int, temperature: float | None, where: Mapping[str, Sequence[str]]
    ) -> Scan:
        """The nearest captions of queries, and the softmax over the shard's vectors, in one pass if that can be.

        Args:
            queries: float32 [n, dim], finite, C-contiguous.
            k: captions a query, at least 1.
            temperature: tau >= 0; None for no softmax.
            where: captions are found only where each of these columns has one of its values; the softmax is over all.
        """
        if not where and (isinstance(KINDS[self._described.kind], Flat) or self.mapped.shown is not None):
            return self.mapped.scan(queries, ids=self.ids, k=k, temperature=temperature)
        softmax = None if temperature is None else self.mapped.scan(queries, temperature=temperature).softmax
        if where:
            nearest = self.mapped.scan(queries, ids=self.ids, k=k, allowed=self._where(where)).nearest
        else:
            nearest = self._index.search(queries, k, self.ids)
        return Scan(nearest=nearest, softmax=softmax)

    def _where(self, where: Mapping[str, Sequence[str]]) -> BoolArray:
        allowed = np.ones(self.entry.count, bool) if self.mapped.shown is None else self.mapped.shown
        for name, values in where.items():
            column = self.column(name).cast(pa.string())
            allowed = allowed & pc.is_in(column, pa.array(values, pa.string())).to_numpy(zero_copy_only=False)
        return allowed


def hide_duplicates(stores: Sequence[Sequence[Shard]]) -> None:
    """Leave out of each store the captions that an earlier one holds."""
    seen = np.empty(0, np.int64)
    for shards in stores:
        own = [seen]
        for shard in shards:
            own.append(shard.ids)
            twice = np.isin(shard.ids, seen)
            shard.mapped.shown = ~twice if twice.any() else None
            shard.release()
        seen = np.concatenate(own)


def open_vectors(local: str, entry: ShardEntry, dtype: str) -> FloatArray:
    """The vectors of a shard of a local datastore, memory-mapped: [count, dim].

    Args:
        local: the datastore's directory.
        entry: of the shard.
        dtype: `float32` or `float16`.

    Raises:
        StoreFormatError: the file is not what the manifest says.
    """
    path = files.join(local, entry.vectors.path)
    if files.base_name(path) == VECTORS[1]:
        return open_faiss_vectors(path, count=entry.count, dim=entry.dim)
    return load_vectors(path, count=entry.count, dim=entry.dim, dtype=dtype)
