"""Rows on disk, of which memory holds a stretch: written once, read in their order or sorted by a column."""

from __future__ import annotations

import os
import tempfile
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc

from sonogloss.errors import OutputError

STRETCH = 4096
"""Rows that are read together."""
RUN = 1 << 17
"""Rows that are sorted in memory."""

_ORDER = "order"


class Spool:
    """A file of rows in the folder of temporary files. It has no name, so it goes with this object or its process.

    Args:
        tables: the rows.
        schema: their columns.

    Raises:
        OutputError: there is no room.
    """

    def __init__(self, tables: Iterable[pa.Table], schema: pa.Schema) -> None:
        self.schema, self.starts = schema, [0]
        with _told():
            handle, path = tempfile.mkstemp(prefix="sonogloss-")
            os.close(handle)
        try:
            with _told():
                sink = pa.OSFile(path, "wb")
                writer = pa.ipc.new_file(sink, schema, options=pa.ipc.IpcWriteOptions(compression="lz4"))
            for table in tables:
                for batch in table.combine_chunks().to_batches(STRETCH):
                    with _told():
                        writer.write_batch(batch)
                    self.starts.append(self.starts[-1] + batch.num_rows)
            with _told():
                writer.close()
                sink.close()
                self._file = pa.OSFile(path, "rb")
        finally:
            os.unlink(path)
        self._readers: dict[tuple[str, ...], pa.ipc.RecordBatchFileReader] = {}

    def __len__(self) -> int:
        return self.starts[-1]

    def stretch(self, number: int, columns: Sequence[str] = ()) -> pa.Table:
        """Some rows that stand together, from `starts[number]` on: these columns, or all."""
        wanted = tuple(columns)
        if wanted not in self._readers:
            fields = [self.schema.get_field_index(name) for name in wanted] or None
            options = pa.ipc.IpcReadOptions(included_fields=fields, use_threads=False)
            self._readers[wanted] = pa.ipc.open_file(self._file, options=options)
        return pa.Table.from_batches([self._readers[wanted].get_batch(number)])

    def stretches(self, columns: Sequence[str] = ()) -> Iterator[pa.Table]:
        """All rows, in their order."""
        return (self.stretch(number, columns) for number in range(len(self.starts) - 1))

    def in_order(self, column: str) -> Spool:
        """The rows sorted by a column that has no nulls; those of one value keep their order."""
        if self._is_sorted(column):
            return self
        schema = self.schema.append(pa.field(_ORDER, pa.int64()))
        runs = [Spool([_sorted(rows, column)], schema) for rows in self._runs()]
        return Spool((rows.drop_columns([_ORDER]) for rows in _merged(runs, column)), self.schema)

    def _is_sorted(self, column: str) -> bool:
        before = None
        for rows in self.stretches([column]):
            values = rows.column(0).combine_chunks()
            first = values if before is None else pa.concat_arrays([before, values])
            if not pc.all(pc.less_equal(first[:-1], first[1:])).as_py():
                return False
            before = values[-1:]
        return True

    def _runs(self) -> Iterator[pa.Table]:
        """As many rows as may be sorted in memory, numbered."""
        held: list[pa.Table] = []
        for start, rows in zip(self.starts, self.stretches(), strict=False):
            held.append(rows.append_column(_ORDER, pa.array(range(start, start + len(rows)), pa.int64())))
            if sum(map(len, held)) >= RUN:
                yield pa.concat_tables(held)
                held = []
        if held:
            yield pa.concat_tables(held)


@contextmanager
def _told() -> Iterator[None]:
    """A full disk in words."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"The folder of temporary files cannot be written ({error}).",
            "Make room there, or name another one in the environment variable TMPDIR.",
        ) from error


def _sorted(rows: pa.Table, column: str) -> pa.Table:
    keys = rows.select([column, _ORDER])
    return rows.take(pc.sort_indices(keys, [(column, "ascending"), (_ORDER, "ascending")]))


def _merged(runs: Sequence[Spool], column: str) -> Iterator[pa.Table]:
    """The rows of sorted runs, sorted: each time all up to the least of those that end what is held of a run."""
    coming = [run.stretches() for run in runs]
    held = [next(rows) for rows in coming]
    while held:
        bound = min(_place(rows, column, len(rows) - 1) for rows in held)
        ends = [bisect_right(range(len(rows)), bound, key=partial(_place, rows, column)) for rows in held]
        yield _sorted(pa.concat_tables(rows[:end] for rows, end in zip(held, ends, strict=True)), column)
        for number, end in enumerate(ends):
            rows = held[number]
            held[number] = rows[end:] if end < len(rows) else next(coming[number], None)
        coming = [more for more, rows in zip(coming, held, strict=True) if rows is not None]
        held = [rows for rows in held if rows is not None]


def _place(rows: pa.Table, column: str, row: int) -> tuple[object, int]:
    return rows.column(column)[row].as_py(), rows.column(_ORDER)[row].as_py()
