"""embed_text: distinct captions -> units of them on disk, in order of id, with their CLAP text embeddings.

A unit is a range of ids and holds about 25,000 captions. It is the piece of work that a worker takes and that a build
which was ended does not do again: its vectors are a file below `units/`, named by range, CLAP, precision and content.
Only captions pass between workers, in compressed blocks, never vectors.
"""

from __future__ import annotations

import ctypes
import hashlib
import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from apache_beam.pvalue import AsSingleton, PCollection

from sonogloss import files
from sonogloss.clap import BatchedText, Clap
from sonogloss.errors import ClipError, Code, InputError, OptionError
from sonogloss.indexes.vectors import bad_rows, raw, write_header
from sonogloss.records import FloatArray, IntArray
from sonogloss.transforms.batch_step import Step
from sonogloss.transforms.drop_duplicates import pack, range_start, split, unpack
from sonogloss.transforms.isolate import dead_letter, run_isolated
from sonogloss.transforms.models import ClapReference
from sonogloss.transforms.progress_file import note, note_total
from sonogloss.transforms.read_captions import write_letters

STAGE = "embed_text"
UNITS = "units"
CAPTIONS_A_UNIT = 25_000
CAPTIONS_A_SHARD = 1_000_000
_BATCH = 256  # texts a call, for a CLAP that does not batch by itself
_BATCHES_A_RELEASE = 16

KNOWN = pa.schema([("id", pa.int64()), ("text", pa.string())])
_SHARES_ID = ClipError(Code.DUPLICATE_KEY, "Another caption has the same id, and stays in its place.")

_UnitKey = tuple[int, int, int]
"""A unit's shard, its number, and the number of all units."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How captions are spread: `shards` ranges of ids, each of as many units."""

    shards: int
    units: int


@dataclass(frozen=True, kw_only=True)
class Unit:
    """A unit on disk: `name` and `.npy` is the file of its vectors, with `.parquet` that of its captions.

    `failed` captions are left out, because the CLAP failed on them or another caption has their id.
    """

    shard: int
    number: int
    count: int
    dim: int
    name: str
    failed: int = 0


def choose_layout(captions: int, shards: int | None, progress: str | None = None) -> Layout:
    """As many shards as were asked for, or one per million captions, in units of about 25,000."""
    note_total(progress, captions)
    shards = shards or max(1, math.ceil(captions / CAPTIONS_A_SHARD))
    return Layout(shards=shards, units=shards * max(1, math.ceil(captions / (CAPTIONS_A_UNIT * shards))))


def known_captions(paths: Sequence[str], lines: pa.Table) -> pa.Table:
    """What files of captions hold with the ids of lines: `id` and `text`.

    Args:
        paths: of the files.
        lines: in order of id; row groups outside of their range are not read.
    """
    ids = lines.column("id")
    found = [KNOWN.empty_table()]
    if len(lines):
        id_ = pc.field("id")
        wanted = (id_ >= ids[0]) & (id_ <= ids[-1]) & id_.isin(ids.combine_chunks())
        for path in paths:
            with files.open_read(path) as handle:
                found.append(pq.read_table(handle, columns=KNOWN.names, filters=wanted).cast(KNOWN))
    return pa.concat_tables(found)


def settle(lines: pa.Table, known: pa.Table) -> tuple[pa.Table, pa.Table]:
    """New captions, and captions that are new but whose id another one has.

    Ids are 63 bits of a digest: of a hundred million captions two share one with a chance of 1 in 2,000. The first in
    the datastore, else in the dumps, keeps it.

    Args:
        lines: in order of id and place, each text once.
        known: `id` and `text` of captions that the datastore has.
    """
    repeated = np.diff(lines.column("id").to_numpy(), prepend=-1) == 0
    places = pc.index_in(lines.column("id"), known.column("id"))
    there = places.is_valid().to_numpy()
    same = pc.equal(lines.column("text"), known.column("text").take(places)).fill_null(False).to_numpy()
    return lines.filter(~there & ~repeated), lines.filter(np.where(there, ~same, repeated))


def _unit_name(number: int, units: int, lines: pa.Table, clap: Clap, precision: str) -> str:
    return unit_name(number, units, lines.column("id").to_numpy(), made_with(clap.fingerprint, precision))


def unit_name(number: int, units: int, ids: Sequence[int] | IntArray, made_with: str) -> str:
    """The name of a unit below the output, without ending: where its range of ids begins, the CLAP, and the ids."""
    first = range_start(number, units)
    content = hashlib.sha256(np.asarray(ids, ">i8").tobytes()).hexdigest()
    return f"{UNITS}/{first:016x}-{units:06d}-{made_with[:16]}-{content[:16]}"


def made_with(fingerprint: str, precision: str) -> str:
    """The digest of what decides a vector beside its text: CLAP and precision."""
    return hashlib.sha256(f"{fingerprint} {precision}".encode()).hexdigest()


def embed_unit(
    unit: tuple[_UnitKey, Iterable[bytes]],
    clap: Clap,
    *,
    output: str,
    precision: str = "float32",
    progress: str | None = None,
    known: Sequence[str] = (),
) -> Unit:
    """Write a unit's captions, and its vectors unless a build before this one has.

    Args:
        unit: its shard, its number and the number of all units; its captions as blocks.
        clap: the model.
        output: the datastore's directory.
        precision: what the text tower computes in.
        progress: a local file to note progress in.
        known: files with captions of shards that the datastore has; what is there is left out.

    Returns:
        The unit; without files where no caption is new.

    Raises:
        Exception: the CLAP can embed no caption of the unit.
    """
    (shard, number, units), blocks = unit
    gathered = unpack(blocks).select(["id", "text", "source", "extra"])
    lines, refused = settle(gathered, known_captions(known, gathered))
    if len(lines) < len(gathered):
        note_total(progress, len(lines) - len(gathered))
    if len(refused):
        _write_dead_letters(refused, dict.fromkeys(range(len(refused)), _SHARES_ID), output, f"{number}/{units} ids")
    failures = dict[int, Exception]()
    name = _unit_name(number, units, lines, clap, precision)
    if files.exists(files.join(output, f"{name}.npy")):
        note_total(progress, -len(lines))
    elif len(lines):
        vectors, failures = embed_each(lines.column("text").to_pylist(), clap, precision, progress)
        if failures:
            _write_dead_letters(lines, failures, output, name)
            stay = np.setdiff1d(np.arange(len(lines)), [*failures])
            lines, vectors = lines.take(stay), vectors[stay]
            name = _unit_name(number, units, lines, clap, precision)
        with files.atomic_write(files.join(output, f"{name}.npy")) as handle:
            write_header(handle, len(vectors), clap.dim, vectors.dtype)
            handle.write(raw(vectors, vectors.dtype))
    if len(lines):
        files.write_table(files.join(output, f"{name}.parquet"), lines)
    return Unit(
        shard=shard, number=number, count=len(lines), dim=clap.dim, name=name, failed=len(failures) + len(refused)
    )


def _release_memory() -> None:
    """Give freed memory back to the system: batches of many sizes leave gaps, of hundreds of megabytes in a unit."""
    pa.default_memory_pool().release_unused()
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)):  # musl has none
        trim(0)


def embed_each(
    texts: Sequence[str], clap: Clap, precision: str, progress: str | None = None
) -> tuple[FloatArray, dict[int, Exception]]:
    """The embeddings of texts, and by row why some have none, or one that is not of unit length.

    Raises:
        Exception: the CLAP can embed none of them.
    """
    outcomes = run_isolated(lambda some: embed_texts(some, clap, precision, progress), texts, stage=STAGE)
    failures = {row: outcome for row, outcome in enumerate(outcomes) if isinstance(outcome, Exception)}
    none: FloatArray = np.zeros(clap.dim, np.float32)
    vectors = np.stack([none if isinstance(outcome, Exception) else outcome for outcome in outcomes])
    for row in bad_rows(vectors).tolist():
        failures.setdefault(
            row, ClipError(Code.NON_FINITE, "The embedding of the text is not finite and of unit length.")
        )
    if len(failures) == len(texts):
        if not isinstance(failures[0], ClipError):
            raise failures[0]
        raise InputError(
            f"The CLAP {clap.name!r} embeds none of {len(texts):,} captions: {failures[0].message}",
            "Check its weights, or use --precision float32.",
        )
    return vectors, failures


def _write_dead_letters(lines: pa.Table, failures: Mapping[int, Exception], output: str, unit: str) -> None:
    letters = [
        dead_letter(
            error, stage=STAGE, uri=lines.column("source")[row].as_py(), member=lines.column("text")[row].as_py()
        )
        for row, error in failures.items()
    ]
    digest = hashlib.sha256(unit.encode()).hexdigest()
    write_letters(f"part-{digest[:16]}.parquet", letters, output)


def embed_texts(
    texts: Sequence[str], clap: Clap, precision: str = "float32", progress: str | None = None
) -> FloatArray:
    """Embed texts: float32 [texts, dim], unit rows.

    Texts of equal length share a batch, because a batch is as wide as its longest. On the same kind of processor a text
    gives the same bytes beside any others.
    """
    vectors: FloatArray = np.empty((len(texts), clap.dim), np.float32)
    if isinstance(clap, BatchedText):
        for number, (rows, found) in enumerate(clap.embed_text_batches(texts, precision=precision), 1):
            vectors[rows] = found
            note(progress, done=len(rows))
            if number % _BATCHES_A_RELEASE == 0:
                _release_memory()
        return vectors
    if precision != "float32":
        raise OptionError(f"The CLAP {clap.name!r} embeds text in float32 only.", "Leave --precision out.")
    order = sorted(range(len(texts)), key=lambda row: (len(texts[row]), row))
    for start in range(0, len(order), _BATCH):
        rows = order[start : start + _BATCH]
        vectors[rows] = clap.embed_text([texts[row] for row in rows])
        note(progress, done=len(rows))
    return vectors


class EmbedText(beam.PTransform[PCollection[Any], PCollection[Unit]]):
    """Distinct captions, in blocks with their number of lines -> units on disk.

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

    def expand(self, pcoll: PCollection[Any]) -> PCollection[Unit]:
        layout = (
            pcoll
            | "Counts" >> beam.Keys().with_output_types(int)
            | "CountCaptions" >> beam.CombineGlobally(sum)
            | "ChooseLayout" >> beam.Map(choose_layout, self._shards, self._arguments["progress"])
        )
        return (
            pcoll
            | "SplitByUnit" >> beam.FlatMap(_by_unit, AsSingleton(layout)).with_output_types(tuple[_UnitKey, bytes])
            | "GatherUnit" >> beam.GroupByKey()
            | "Embed" >> Step(embed_unit, clap=self._clap, **self._arguments)
            | "WithCaptions" >> beam.Filter(lambda unit: unit.count > 0)
        )


def _by_unit(counted: tuple[int, bytes], layout: Layout) -> Iterator[tuple[_UnitKey, bytes]]:
    for number, some in split(unpack([counted[1]]), layout.units):
        yield (number * layout.shards // layout.units, number, layout.units), pack(some)
