"""embed_text: distinct captions -> units of them on disk, in order of id, with their CLAP text embeddings.

A unit is a range of ids and holds about 25,000 captions. It is the piece of work that a worker takes and that a build
which was ended does not do again: its vectors are a file below `units/`, named by range, CLAP, precision and content.
Only ids and texts pass between workers, as bytes, never vectors.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.pvalue import AsSingleton, PCollection
from apache_beam.transforms.combiners import Count

from sonogloss import files
from sonogloss.clap import BatchedText, Clap
from sonogloss.errors import OptionError
from sonogloss.indexes.vectors import raw, write_header
from sonogloss.records import CaptionLine, FloatArray
from sonogloss.transforms.batch_step import Step
from sonogloss.transforms.models import ClapReference
from sonogloss.transforms.progress_file import note, note_total

UNITS = "units"
CAPTIONS_A_UNIT = 25_000
CAPTIONS_A_SHARD = 1_000_000
_BATCH = 256  # texts a call, for a CLAP that does not batch by itself
_ID_BYTES = 8


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How captions are spread: `shards` ranges of ids, each of as many units."""

    shards: int
    units: int


@dataclass(frozen=True, kw_only=True)
class Unit:
    """A unit on disk: `name` and `.npy` is the file of its vectors, with `.parquet` that of its captions."""

    shard: int
    number: int
    count: int
    dim: int
    name: str


def choose_layout(captions: int, shards: int | None, progress: str | None = None) -> Layout:
    """As many shards as were asked for, or one per million captions, in units of about 25,000."""
    note_total(progress, captions)
    shards = shards or max(1, math.ceil(captions / CAPTIONS_A_SHARD))
    return Layout(shards=shards, units=shards * max(1, math.ceil(captions / (CAPTIONS_A_UNIT * shards))))


def range_number(caption_id: int, ranges: int) -> int:
    """Which of equal ranges an id is in: ids are uniform 63-bit numbers, so the ranges are equal shares."""
    return caption_id * ranges >> 63


def pack(line: CaptionLine) -> bytes:
    """A caption as bytes that begin with its id; Beam keeps and moves them as they are."""
    content = json.dumps([line.text, line.source, line.extra], ensure_ascii=False, separators=(",", ":"))
    return line.id.to_bytes(_ID_BYTES, "big") + content.encode("utf-8", "surrogatepass")


def unpack(packed: bytes) -> CaptionLine:
    """The caption of these bytes."""
    text, source, extra = json.loads(packed[_ID_BYTES:].decode("utf-8", "surrogatepass"))
    return CaptionLine(id=packed_id(packed), text=text, source=source, extra=extra)


def packed_id(packed: bytes) -> int:
    """The id of a packed caption."""
    return int.from_bytes(packed[:_ID_BYTES], "big")


def _range_start(number: int, ranges: int) -> int:
    return -(-(number << 63) // ranges)


def known_ids(paths: Sequence[str], number: int, ranges: int) -> set[int]:
    """The ids in a range that files of captions hold; row groups outside of it are not read."""
    low, high = _range_start(number, ranges), _range_start(number + 1, ranges) - 1
    found: set[int] = set()
    for path in paths:
        with files.open_read(path) as handle:
            table = pq.read_table(handle, columns=["id"], filters=[("id", ">=", low), ("id", "<=", high)])
        found.update(table.column("id").to_pylist())
    return found


def unit_name(number: int, units: int, ids: Sequence[int], made_with: str) -> str:
    """The name of a unit below the output, without ending: where its range of ids begins, the CLAP, and the ids."""
    first = _range_start(number, units)
    content = hashlib.sha256(np.asarray(ids, ">i8").tobytes()).hexdigest()
    return f"{UNITS}/{first:016x}-{units:06d}-{made_with[:16]}-{content[:16]}"


def made_with(fingerprint: str, precision: str) -> str:
    """The digest of what decides a vector beside its text: CLAP and precision."""
    return hashlib.sha256(f"{fingerprint} {precision}".encode()).hexdigest()


def embed_unit(
    unit: tuple[tuple[int, int, int], Iterable[bytes]],
    clap: Clap,
    *,
    output: str,
    precision: str = "float32",
    progress: str | None = None,
    known: Sequence[str] = (),
) -> Unit:
    """Write a unit's captions, and its vectors unless a build before this one has.

    Args:
        unit: its shard, its number and the number of all units; its packed captions in any order, no id twice.
        clap: the model.
        output: the datastore's directory.
        precision: what the text tower computes in.
        progress: a local file to note progress in.
        known: files with captions of shards that the datastore has; what is there is left out.

    Returns:
        The unit; without files where no caption is new.
    """
    (shard, number, units), packed = unit
    lines = [unpack(each) for each in sorted(packed)]
    if known:
        there = known_ids(known, number, units)
        note_total(progress, -sum(line.id in there for line in lines))
        lines = [line for line in lines if line.id not in there]
    if not lines:
        return Unit(shard=shard, number=number, count=0, dim=clap.dim, name="")
    name = unit_name(number, units, [line.id for line in lines], made_with(clap.fingerprint, precision))
    files.write_table(files.join(output, f"{name}.parquet"), _table(lines))
    path = files.join(output, f"{name}.npy")
    if files.exists(path):
        note_total(progress, -len(lines))
    else:
        vectors = embed_texts([line.text for line in lines], clap, precision, progress)
        with files.atomic_write(path) as handle:
            write_header(handle, len(vectors), clap.dim, vectors.dtype)
            handle.write(raw(vectors, vectors.dtype))
    return Unit(shard=shard, number=number, count=len(lines), dim=clap.dim, name=name)


def embed_texts(
    texts: Sequence[str], clap: Clap, precision: str = "float32", progress: str | None = None
) -> FloatArray:
    """Embed texts: float32 [texts, dim], unit rows.

    Texts of equal length share a batch, because a batch is as wide as its longest. On the same kind of processor a text
    gives the same bytes beside any others.
    """
    vectors: FloatArray = np.empty((len(texts), clap.dim), np.float32)
    if isinstance(clap, BatchedText):
        for rows, found in clap.embed_text_batches(texts, precision=precision):
            vectors[rows] = found
            note(progress, done=len(rows))
        return vectors
    if precision != "float32":
        raise OptionError(f"The CLAP {clap.name!r} embeds text in float32 only.", "Leave --precision out.")
    order = sorted(range(len(texts)), key=lambda row: (len(texts[row]), row))
    for start in range(0, len(order), _BATCH):
        rows = order[start : start + _BATCH]
        vectors[rows] = clap.embed_text([texts[row] for row in rows])
        note(progress, done=len(rows))
    return vectors


def _table(lines: Sequence[CaptionLine]) -> pa.Table:
    """The captions of a unit; what type further columns have is known only when all dumps are read."""
    return pa.table(
        {
            "id": pa.array([line.id for line in lines], pa.int64()),
            "text": pa.array([line.text for line in lines], pa.string()),
            "source": pa.array([line.source for line in lines], pa.string()),
            "extra": pa.array([json.dumps(line.extra) if line.extra else None for line in lines], pa.string()),
        }
    )


class EmbedText(beam.PTransform[PCollection[CaptionLine], PCollection[Unit]]):
    """Distinct captions -> units on disk.

    Args:
        clap: the model.
        output: the datastore's directory.
        shards: how many, None for one per million captions.
        precision: what the text tower computes in.
        progress: a local file to note progress in, None for none.
        known: files with captions that the datastore has.
    """

    def __init__(
        self,
        clap: ClapReference,
        *,
        output: str,
        shards: int | None,
        precision: str,
        progress: str | None,
        known: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self._clap, self._shards = clap, shards
        self._arguments: dict[str, Any] = {
            "output": output,
            "precision": precision,
            "progress": progress,
            "known": tuple(known),
        }

    def expand(self, pcoll: PCollection[CaptionLine]) -> PCollection[Unit]:
        packed = pcoll | "Pack" >> beam.Map(pack).with_output_types(bytes)
        layout = (
            packed
            | "CountCaptions" >> Count.Globally()
            | "ChooseLayout" >> beam.Map(choose_layout, self._shards, self._arguments["progress"])
        )
        return (
            packed
            | "KeyByUnit" >> beam.Map(_keyed, AsSingleton(layout)).with_output_types(tuple[tuple[int, int, int], bytes])
            | "GatherUnit" >> beam.GroupByKey()
            | "Embed" >> Step(embed_unit, clap=self._clap, **self._arguments)
            | "WithCaptions" >> beam.Filter(lambda unit: unit.count > 0)
        )


def _keyed(packed: bytes, layout: Layout) -> tuple[tuple[int, int, int], bytes]:
    number = range_number(packed_id(packed), layout.units)
    return (number * layout.shards // layout.units, number, layout.units), packed
