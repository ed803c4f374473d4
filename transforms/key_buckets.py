"""Buckets of keys: files of rows and references, spread by a digest of their keys.

Whoever joins a bucket holds the references of its keys and no others. Of every `ROWS_A_PART` rows of the results each
bucket has one Arrow batch: who wants some rows in the order of the results reads the batches of that range out of all
buckets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import numpy as np
import pyarrow as pa

from sonogloss import files
from sonogloss.metrics.ngrams import Integers

ROWS_A_PART = 16_384
REFERENCES, ROWS = "references", "rows"

TEXTS = pa.large_list(pa.large_string())
_KEYED = [pa.field("number", pa.int64(), nullable=False), pa.field("key", pa.string(), nullable=False)]
SCHEMAS = {
    # `name` is the file as it was written, where keys are file names without their folders.
    REFERENCES: pa.schema([*_KEYED, pa.field("name", pa.string()), pa.field("texts", TEXTS)]),
    ROWS: pa.schema(
        [
            *_KEYED,
            pa.field("name", pa.string()),
            pa.field("clip_id", pa.string()),
            pa.field("caption", pa.string(), nullable=False),
            pa.field("clap_score", pa.float64()),
        ]
    ),
}
JOINED_SCHEMA = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),
        pa.field("key", pa.string(), nullable=False),
        pa.field("clip_id", pa.string()),
        pa.field("caption", pa.string(), nullable=False),
        pa.field("references", TEXTS, nullable=False),
        pa.field("clap_score", pa.float64()),
    ]
)
_COMPRESSED = pa.ipc.IpcWriteOptions(compression="lz4")


def bucket_path(folder: str, kind: str, bucket: int) -> str:
    """Of a file of a bucket."""
    return files.join(folder, f"{kind}-of-bucket-{bucket:02d}")


@contextmanager
def bucket_writer(folder: str, kind: str, buckets: int) -> Iterator[Callable[[Sequence[tuple[Any, ...]]], None]]:
    """A function that spreads rows over the buckets, a batch to each: `REFERENCES` or `ROWS`, as in `SCHEMAS`."""
    schema = SCHEMAS[kind]
    with ExitStack() as stack:
        writers = [
            stack.enter_context(arrow_writer(bucket_path(folder, kind, number), schema)) for number in range(buckets)
        ]

        def write(rows: Sequence[tuple[Any, ...]]) -> None:
            columns = [pa.array(column, one.type) for one, column in zip(schema, zip(*rows, strict=True), strict=True)]
            batch = pa.record_batch(columns, schema=schema)
            digests = (crc32(row[1].encode("utf-8", "surrogatepass")) for row in rows)
            owners = np.fromiter(digests, np.int64, len(rows)) % buckets
            order = np.argsort(owners, kind="stable")
            ends = np.searchsorted(owners[order], np.arange(buckets + 1)).tolist()
            batch = batch.take(pa.array(order))
            for writer, start, end in zip(writers, ends, ends[1:], strict=False):
                writer.write_batch(batch.slice(start, end - start))

        yield write


@contextmanager
def arrow_writer(path: str, schema: pa.Schema) -> Iterator[Any]:
    """Of an Arrow file of batches, whole or not at all."""
    with files.atomic_write(path) as handle, pa.ipc.new_file(handle, schema, options=_COMPRESSED) as writer:
        yield writer


def read_batches(folder: str, kind: str, bucket: int) -> Iterator[pa.RecordBatch]:
    """The batches of a file of a bucket, in order."""
    with files.open_read(bucket_path(folder, kind, bucket)) as handle, pa.ipc.open_file(handle) as reader:
        for number in range(reader.num_record_batches):
            yield reader.get_batch(number)


@dataclass(frozen=True, kw_only=True)
class Cut:
    """Scored rows in the order of the results.

    All batches from `start` to before `stop`, of all buckets and ordered, hold them: `size` rows behind `skip` others.
    """

    start: int
    stop: int
    skip: int
    size: int


def cut_parts(kept: Integers) -> list[Cut]:
    """Parts of `ROWS_A_PART` rows, and of what is left.

    Args:
        kept: how many rows of each range are scored.
    """
    ends = np.cumsum(kept)
    cuts = []
    for first in range(0, int(ends[-1]), ROWS_A_PART):
        last = min(first + ROWS_A_PART, int(ends[-1]))
        start, stop = int(np.searchsorted(ends, first, side="right")), int(np.searchsorted(ends, last)) + 1
        cuts.append(Cut(start=start, stop=stop, skip=first - int(ends[start] - kept[start]), size=last - first))
    return cuts


def read_part(folder: str, buckets: int, cut: Cut) -> pa.Table:
    """Rows beside their references, as `JOINED_SCHEMA` has them."""
    batches = []
    for bucket in range(buckets):
        with files.open_read(bucket_path(folder, "joined", bucket)) as handle, pa.ipc.open_file(handle) as reader:
            batches += [reader.get_batch(number) for number in range(cut.start, cut.stop)]
    found = pa.Table.from_batches(batches).combine_chunks()
    return found.take(np.argsort(found["row"].to_numpy(), kind="stable")[cut.skip : cut.skip + cut.size])
