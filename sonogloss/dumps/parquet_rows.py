"""Rows of Parquet: only the columns that are kept are read, a batch at a time, and nothing larger than it says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sonogloss.dumps.csv_rows import check_header
from sonogloss.dumps.lines import LONGEST_LINE
from sonogloss.dumps.rows import LEFT_OUT, Numbered
from sonogloss.dumps.streams import LIMITS
from sonogloss.errors import ClipError, Code
from sonogloss.sources.handles import Opened
from sonogloss.sources.parquet import ParquetTable

BATCH = 8192
_MOST_DECODED = 128 << 20  # bytes of a batch; above, rows are decoded one by one
_MOST_ROWS = 1 << 24  # of a row group, whatever its bytes
PART_BYTES = 64 << 20
"""Row groups are read together up to this size."""


def parquet_columns(handle: Opened) -> tuple[str, ...]:
    """The names of the columns.

    Raises:
        ClipError: it is no Parquet.
        ValueError: two columns have one name.
    """
    columns = ParquetTable(handle).columns
    check_header(columns)
    return tuple(columns)


def parquet_parts(handle: Opened) -> list[tuple[int, int]]:
    """Ranges of row groups that several workers may read."""
    metadata = ParquetTable(handle).file.metadata
    parts, first, size = [], 0, 0
    for group in range(metadata.num_row_groups):
        size += metadata.row_group(group).total_byte_size
        if size >= PART_BYTES:
            parts.append((first, group + 1))
            first, size = group + 1, 0
    return [*parts, (first, metadata.num_row_groups)] if first < metadata.num_row_groups or not parts else parts


def parquet_rows(
    handle: Opened, text_columns: tuple[str, ...], groups: tuple[int, int] | None = None
) -> Iterator[Numbered]:
    """The rows, numbered from 1 through the whole file. Columns that hold bytes or long lists are left out.

    Args:
        handle: the file.
        text_columns: the columns that are read in any case.
        groups: the first row group and that behind the last; None for all.

    Raises:
        ClipError: it is cut off or damaged, or unpacks to more than it may.
    """
    table = ParquetTable(handle)
    small = set(table.small_columns())
    kept = [name for name in table.columns if name in small or name in text_columns]
    left_out = dict.fromkeys((name for name in table.columns if name not in kept), LEFT_OUT)
    first, last = groups or (0, table.groups)
    number = sum(table.rows_of(group) for group in range(first))
    try:
        # Strings that are stored once and meant often stay so: a batch is as large as its bytes in the file.
        file = pq.ParquetFile(handle, read_dictionary=_string_leaves(table.file), pre_buffer=False, buffer_size=1 << 20)
        for group in range(first, last):
            _check_size(file.metadata.row_group(group), set(kept))
            for batch in file.iter_batches(BATCH, row_groups=[group], columns=kept, use_threads=False):
                for row in _rows(batch):
                    number += 1
                    yield number, {**row, **left_out}
    except (pa.ArrowException, OSError, ValueError, KeyError, IndexError) as error:
        handle.check()
        reason = (str(error).splitlines() or [type(error).__name__])[0][:300]
        raise ClipError(Code.ARCHIVE_CORRUPT, f"It is cut off or damaged: {reason}") from error


def _string_leaves(file: pq.ParquetFile) -> list[str]:
    leaves = [file.schema.column(number) for number in range(len(file.schema))]
    return [leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY"]


def _check_size(group: Any, kept: set[str]) -> None:
    packed = unpacked = 0
    for number in range(group.num_columns):
        if group.column(number).path_in_schema.partition(".")[0] in kept:
            packed += group.column(number).total_compressed_size
            unpacked += group.column(number).total_uncompressed_size
    if LIMITS.too_dense(packed, unpacked):
        sentence = f"a row group of {packed:,} bytes unpacks to {unpacked:,}, a ratio over the limit"
        raise ClipError(Code.LIMIT, sentence)
    if group.num_rows > _MOST_ROWS and group.num_rows > packed:
        raise ClipError(Code.LIMIT, f"a row group of {packed:,} bytes holds {group.num_rows:,} rows, over the limit")


def _rows(batch: pa.RecordBatch) -> Iterator[dict[str, Any]]:
    nested = [column for column in batch.columns if not pa.types.is_dictionary(column.type)]
    if sum(map(_decoded_bytes, nested)) <= _MOST_DECODED:
        names = batch.schema.names
        columns = [_cells(column) for column in batch.columns]
        yield from (dict(zip(names, cells, strict=True)) for cells in zip(*columns, strict=True))
        return
    for start in range(batch.num_rows):
        row = batch.slice(start, 1)
        yield {
            name: column.to_pylist()[0] if _decoded_bytes(column) <= LONGEST_LINE else LEFT_OUT
            for name, column in zip(batch.schema.names, row.columns, strict=True)
        }


def _cells(column: pa.Array) -> list[Any]:
    """The cells of a column; equal strings are one object, and those that are too long are left out."""
    if not pa.types.is_dictionary(column.type):
        return list(column.to_pylist())
    indices = column.indices.to_pylist()
    lengths = pc.binary_length(column.dictionary)
    values = {
        index: column.dictionary[index].as_py() if lengths[index].as_py() <= LONGEST_LINE else LEFT_OUT
        for index in set(indices)
        if index is not None
    }
    return [None if index is None else values[index] for index in indices]


def _decoded_bytes(array: pa.Array) -> int:
    """How many bytes the strings of an array take once each stands for itself."""
    kind = array.type
    if pa.types.is_dictionary(kind):
        lengths = pc.binary_length(array.dictionary).take(array.indices)
        return int(pc.sum(pc.cast(lengths, pa.int64())).as_py() or 0)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return _decoded_bytes(array.flatten())
    if pa.types.is_struct(kind):
        return sum(_decoded_bytes(array.field(number)) for number in range(kind.num_fields))
    return int(array.nbytes)
