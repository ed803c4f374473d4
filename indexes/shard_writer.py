"""Write one shard piece by piece: captions and vectors stream into their files, one piece at a time is in memory."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sonogloss import files
from sonogloss.errors import InputError
from sonogloss.indexes.layout import CAPTIONS, FORMAT_VERSION, VECTORS, FileEntry, ShardEntry, to_json
from sonogloss.indexes.vectors import check_stored, raw, write_header
from sonogloss.records import FloatArray

_LEADING_COLUMNS = (("id", pa.int64()), ("text", pa.string()), ("source", pa.string()))


class ShardWriter:
    """Writes `shards/NNNNN`; both files appear under their names when the context ends without an error.

    Args:
        directory: the datastore's path or URL.
        number: the shard's number, 0 <= number < 100000; it names the folder.
        rows: how many captions there will be.
        dim: width of the vectors.
        dtype: `float32` or `float16`, what vectors are stored as.

    Example::

        with ShardWriter("store", 0, rows=2, dim=512) as writer:
            writer.add(captions, vectors)
        entry = writer.entry()

    Raises:
        InputError: what is added does not fit.
        OutputError: the place cannot be written.
    """

    def __init__(self, directory: str, number: int, *, rows: int, dim: int, dtype: str = "float32") -> None:
        self._directory, self.number, self._rows, self._dim = directory, number, rows, dim
        self._dtype = np.dtype(dtype)
        self._names = tuple(f"shards/{number:05d}/{name}" for name in (CAPTIONS, VECTORS[FORMAT_VERSION]))
        self._written = 0
        self._sources: Counter[str] = Counter()
        self._stack = ExitStack()
        self._parquet: pq.ParquetWriter | None = None

    def __enter__(self) -> Self:
        """Open both files under temporary names."""
        captions, vectors = (
            self._stack.enter_context(files.atomic_write(files.join(self._directory, name))) for name in self._names
        )
        self._captions, self._vectors = captions, vectors
        write_header(vectors, self._rows, self._dim, self._dtype)
        return self

    def add(self, captions: pa.Table, vectors: FloatArray) -> None:
        """Append captions and their vectors.

        Args:
            captions: columns id (int64), text, source without nulls, then others, the same in every piece.
            vectors: float32 [rows, dim], unit rows, row i for caption i.
        """
        what = f"shard {self.number}"
        captions = with_leading_columns(captions, what)
        checked = check_stored(vectors, what=what)
        if len(checked) != captions.num_rows:
            raise InputError(
                f"Shard {self.number} has {captions.num_rows} captions and {len(checked)} vectors.",
                "Give one vector a caption.",
            )
        if self._parquet is None:
            self._parquet = pq.ParquetWriter(self._captions, captions.schema, compression="zstd")
        self._parquet.write_table(captions)
        self._vectors.write(raw(checked, self._dtype))
        self._written += len(checked)
        for item in captions.column("source").value_counts().to_pylist():
            self._sources[item["values"]] += item["counts"]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Name the files, or remove them after an error."""
        if self._parquet is not None:
            self._parquet.close()
        if error is None and self._written != self._rows:
            error = InputError(f"Shard {self.number} got {self._written} of {self._rows} captions.", "Write them all.")
            self._stack.__exit__(type(error), error, None)
            raise error
        self._stack.__exit__(kind, error, trace)

    def entry(self) -> dict[str, Any]:
        """The shard's entry for :func:`sonogloss.indexes.build.commit_datastore`, as plain JSON values."""
        return to_json(
            ShardEntry(
                number=self.number,
                count=self._rows,
                dim=self._dim,
                sources=dict(sorted(self._sources.items())),
                files=tuple(
                    FileEntry(
                        path=name,
                        bytes=handle.size,
                        sha256=handle.sha256,
                        sample=files.sample_digest(files.join(self._directory, name)),
                    )
                    for name, handle in zip(self._names, (self._captions, self._vectors), strict=True)
                ),
            )
        )


def file_entry(directory: str, name: str) -> FileEntry:
    """What the manifest says of a file below the datastore's directory."""
    entry = files.file_entry(directory, name)
    return FileEntry(**entry, sample=files.sample_digest(files.join(directory, name)))


def with_leading_columns(captions: pa.Table, what: str) -> pa.Table:
    """The captions with id, text and source first, of the right types and without nulls.

    Raises:
        InputError: they lack one, or have nulls in one; `what` is named.
    """
    names = [name for name, _ in _LEADING_COLUMNS]
    if missing := set(names) - set(captions.column_names):
        raise InputError(f"The captions of {what} lack {sorted(missing)}.", "Give columns id, text and source.")
    columns = {name: pc.cast(captions.column(name), kind) for name, kind in _LEADING_COLUMNS}
    if empty := [name for name, column in columns.items() if column.null_count]:
        raise InputError(f"The captions of {what} have nulls in {empty}.", "Drop these rows first.")
    others = {name: captions.column(name) for name in captions.column_names if name not in names}
    schema = [pa.field(name, kind, nullable=False) for name, kind in _LEADING_COLUMNS]
    schema += [captions.schema.field(name) for name in others]
    return pa.table([*columns.values(), *others.values()], schema=pa.schema(schema)).combine_chunks()
