"""drop_duplicates: of equal captions the first by file and row stays, in whatever order they come.

Captions travel in blocks of one range of ids: a runner then keeps and moves some thousand large elements, which are
compressed, in place of a hundred million small ones. Equal captions have equal ids, so they meet in a range, and there
their texts are compared: two captions that share an id are not taken for one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from apache_beam.pvalue import PCollection
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.windowed_value import WindowedValue

from sonogloss.records import CaptionLine

# Where a line stood, so that "first" means the same on every runner: (number of the file, begin of the part, row).
Place = tuple[int, int, int]
Placed = tuple[Place, CaptionLine]

SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("text", pa.string()),
        ("source", pa.string()),
        ("extra", pa.string()),  # JSON: what type further columns have is known only when all dumps are read
        ("file", pa.int64()),
        ("part", pa.int64()),
        ("row", pa.int64()),
    ]
)
_COMPRESSED = pa.ipc.IpcWriteOptions(compression="zstd")
_HELD = 100_000  # lines before they are sorted into blocks
_BLOCK = 4096  # lines
_BYTES_A_RANGE = 2 << 20  # of dumps: in memory, a range is some ten thousand captions
_MOST_RANGES = 4096


def choose_ranges(dump_bytes: int) -> int:
    """Into how many ranges of ids captions are sorted, by the bytes of all dumps."""
    return max(1, min(_MOST_RANGES, dump_bytes // _BYTES_A_RANGE))


def range_start(number: int, ranges: int) -> int:
    """The first id of one of equal ranges; ids are uniform 63-bit numbers."""
    return -(-(number << 63) // ranges)


def to_row(placed: Placed) -> tuple[Any, ...]:
    """A line with its place as a row of :data:`SCHEMA`."""
    place, line = placed
    return line.id, line.text, line.source, json.dumps(line.extra) if line.extra else None, *place


def to_table(rows: Sequence[tuple[Any, ...]]) -> pa.Table:
    """Rows as a table."""
    columns = [[row[number] for row in rows] for number in range(len(SCHEMA))]
    return pa.table([pa.array(column, each.type) for column, each in zip(columns, SCHEMA, strict=True)], schema=SCHEMA)


def pack(table: pa.Table) -> bytes:
    """A table of lines as bytes."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, SCHEMA, options=_COMPRESSED) as writer:
        writer.write_table(table.combine_chunks())
    return bytes(sink.getvalue())


def unpack(blocks: Iterable[bytes]) -> pa.Table:
    """The lines of blocks, see :func:`first_of_each`."""
    return first_of_each(pa.concat_tables([pa.ipc.open_stream(block).read_all() for block in blocks]))


def first_of_each(table: pa.Table) -> pa.Table:
    """Lines in order of id and place; of equal texts the line that stands first. Different texts of one id all stay."""
    keys = [(name, "ascending") for name in ("id", "file", "part", "row")]
    table = table.take(pc.sort_indices(table, sort_keys=keys)).combine_chunks()
    begins = np.flatnonzero(np.diff(table.column("id").to_numpy(), prepend=-1))
    firsts = np.repeat(begins, np.diff([*begins, len(table)]))  # by line, the first one of its id
    later = np.setdiff1d(np.arange(len(table)), begins, assume_unique=True)
    texts = table.column("text")
    others = later[pc.not_equal(texts.take(later), texts.take(firsts[later])).to_numpy()]
    kept = {texts[row].as_py(): row for row in reversed(others.tolist())}
    return table.take(np.sort(np.array([*begins, *kept.values()], np.int64)))


def split(table: pa.Table, ranges: int) -> Iterator[tuple[int, pa.Table]]:
    """Lines in order of id by the ranges that they are in."""
    ids = table.column("id").to_numpy()
    starts = np.array([range_start(number, ranges) for number in range(ranges)])
    numbers = np.searchsorted(starts, ids, side="right") - 1
    begins = np.flatnonzero(np.diff(numbers, prepend=-1))
    for begin, end in zip(begins, [*begins[1:], len(ids)], strict=True):
        yield int(numbers[begin]), table.slice(begin, end - begin)


class _Blocks(beam.DoFn):
    """Placed lines -> (range, block), sorted when so many are held."""

    def __init__(self, ranges: int) -> None:
        self._ranges = ranges

    def start_bundle(self) -> None:
        self._held: list[tuple[Any, ...]] = []

    def process(self, element: Placed) -> Iterator[tuple[int, bytes]]:
        self._held.append(to_row(element))
        if len(self._held) >= _HELD:
            yield from self._flush()

    def finish_bundle(self) -> Iterator[WindowedValue]:
        for keyed in self._flush():
            yield WindowedValue(keyed, GlobalWindow().max_timestamp(), (GlobalWindow(),))

    def _flush(self) -> Iterator[tuple[int, bytes]]:
        if self._held:
            lines, self._held = first_of_each(to_table(self._held)), []
            yield from ((number, pack(some)) for number, some in split(lines, self._ranges))


def distinct(gathered: tuple[int, Iterable[bytes]]) -> Iterator[tuple[int, bytes]]:
    """The lines of a range, each text once, as blocks with their number of lines."""
    lines = unpack(gathered[1])
    for start in range(0, len(lines), _BLOCK):
        some = lines.slice(start, _BLOCK)
        yield len(some), pack(some)


class DropDuplicates(beam.PTransform[PCollection[Placed], PCollection[Any]]):
    """Caption lines with their places -> each text once, in blocks with their number of lines.

    Args:
        ranges: of ids that lines meet in, see :func:`choose_ranges`.
    """

    def __init__(self, ranges: int) -> None:
        super().__init__()
        self._ranges = ranges

    def expand(self, pcoll: PCollection[Placed]) -> PCollection[Any]:
        return (
            pcoll
            | "Block" >> beam.ParDo(_Blocks(self._ranges)).with_output_types(tuple[int, bytes])
            | "GatherRange" >> beam.GroupByKey()
            | "First" >> beam.FlatMap(distinct).with_output_types(tuple[int, bytes])
        )
