"""What travels between the steps of a caption job.

A :class:`Unit` names some sources and is all that is ever reshuffled. A :class:`Batch` carries decoded clips through
the fused middle and never crosses a shuffle. A :class:`UnitResult` names the files that a unit left on disk.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from sonogloss.records import Clip, Context, DeadLetter, FloatArray, LabelScore
from sonogloss.sources import Source, SourceTable, source_key

SMALLEST_UNIT = 20
LARGEST_UNIT = 2048
UNITS = 64
SMALLEST_UNIT_BYTES = 64 << 20
NO_VECTORS: FloatArray = np.zeros((0, 0), np.float32)
_NO_SAMPLES: FloatArray = np.zeros(0, np.float32)


@dataclass(frozen=True, kw_only=True)
class Unit:
    """Sources that are captioned together and whose rows share part files; `id` is a digest of their keys."""

    id: str
    sources: Sequence[Source]


@dataclass(frozen=True, kw_only=True)
class DoneSource:
    """A source that a unit has done.

    `key` is None where an earlier format did not note it. `silent` of its windows were left out as silent.
    """

    key: str | None
    uri: str
    member: str | None = None
    silent: int = 0


@dataclass(frozen=True, kw_only=True)
class Window:
    """A window that was read: its source, and the clip without its samples; None where the source could not be read."""

    source: Source
    clip: Clip | None


def without_samples(clip: Clip) -> Clip:
    """The same clip when its sound is no longer needed."""
    return replace(clip, samples=_NO_SAMPLES)


def _no_vectors() -> FloatArray:
    return NO_VECTORS


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """Clips on their way through the models.

    `inputs` counts the clips and dead sources that were read into this batch, whatever became of them later, and the
    `silent` windows that were left out. `number` counts the batches of a unit from 0; `last` marks the unit's end.
    `sources` were read to their end when the batch was full, `bytes` is their size. `seconds` is what each step took.
    `windows` are what was read, in order, dead sources too; no step takes any away.

    All other fields but `dead` are columns with a row a clip, empty until their step fills them. `loudness` [clips] is
    the root mean square of the samples, where windows are weighted by it. `embeddings` and
    `projected` are [clips, dim]. `candidates` come from a decoder that was asked for several captions a clip, and
    `rerank_embeddings` [clips, dim] from the CLAP that chooses among them, where it is another one.
    `caption_embeddings` [clips, dim] are there where one caption of a recording is chosen later. `labels` (best
    first) are what a prompt named, or what tagging found; tagging also fills `label_scores` [clips, labels], and its
    labels may need `frames` [clips, frames, dim].
    """

    unit: str
    number: int
    last: bool
    inputs: int
    sources: tuple[DoneSource, ...] = ()
    bytes: int = 0
    silent: int = 0
    windows: tuple[Window, ...] = ()
    clips: tuple[Clip, ...] = ()
    dead: tuple[DeadLetter, ...] = ()
    loudness: FloatArray = field(default_factory=_no_vectors)
    embeddings: FloatArray = field(default_factory=_no_vectors)
    projected: FloatArray = field(default_factory=_no_vectors)
    contexts: tuple[tuple[Context, ...], ...] = ()
    rerank_embeddings: FloatArray = field(default_factory=_no_vectors)
    candidates: tuple[tuple[str, ...], ...] = ()
    captions: tuple[str, ...] = ()
    scores: tuple[float, ...] = ()
    caption_embeddings: FloatArray = field(default_factory=_no_vectors)
    frames: FloatArray = field(default_factory=_no_vectors)
    labels: tuple[tuple[LabelScore, ...], ...] = ()
    label_scores: FloatArray = field(default_factory=_no_vectors)
    seconds: Mapping[str, float] = field(default_factory=dict)

    def without(self, failures: Mapping[int, DeadLetter]) -> Batch:
        """The batch without the clips at these positions; their dead letters are added, in order of position."""
        if not failures:
            return self
        keep = [row for row in range(len(self.clips)) if row not in failures]
        columns: dict[str, Any] = {name: _rows(getattr(self, name), keep) for name in _COLUMNS}
        return replace(self, **columns, dead=(*self.dead, *(failures[row] for row in sorted(failures))))


_COLUMNS = {item.name for item in fields(Batch)} - {
    "unit", "number", "last", "inputs", "sources", "bytes", "silent", "windows", "dead", "seconds",
}  # fmt: skip


def _rows(column: Any, keep: Sequence[int]) -> Any:
    if not len(column):
        return column
    return column[keep] if isinstance(column, np.ndarray) else tuple(column[row] for row in keep)


@dataclass(frozen=True, kw_only=True)
class Part:
    """A Parquet file that was written: its path below the output, its size and digest, its number of rows."""

    path: str
    bytes: int
    sha256: str
    rows: int


@dataclass(frozen=True, kw_only=True)
class UnitResult:
    """What one unit left on disk, and its counts: `rows` are captions or tags, `codes` dead letters by code.

    `parts` are those of rows, in order, then the one of dead letters. `silent` windows were left out. `device` is where
    the models ran, where that is known.
    """

    unit: str
    parts: tuple[Part, ...]
    sources: int = 0
    inputs: int
    rows: int
    dead_letters: int
    silent: int = 0
    codes: Mapping[str, int] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    device: str | None = None


def cut_units(sources: Sequence[Source], *, done: npt.NDArray[np.bool_] | None = None) -> Iterator[Unit]:
    """Cut a sorted listing into units of 20 to 2,048 sources, at least 64 of them where the listing allows.

    Recordings of many bytes make units of fewer sources. The cut depends on the listing alone, never on the number of
    workers, so that part files are equal everywhere. Units of which nothing is done keep the cut of the whole listing,
    so that a job that was interrupted writes the files that it would have written; what else is left is cut anew.

    Args:
        sources: all of them; units hold their places.
        done: which of them need no work.
    """
    table = SourceTable.of(sources)
    count = min(LARGEST_UNIT, max(SMALLEST_UNIT, math.ceil(len(table) / UNITS)))
    size = max(SMALLEST_UNIT_BYTES, math.ceil(sum(int(np.maximum(each, 0).sum()) for each in table.sizes()) / UNITS))
    others = [np.zeros(0, np.int64)]
    for start, stop in cut_runs(table.sizes(), count, size):
        if done is None or not done[start:stop].any():
            yield _unit(table[start:stop])
        else:
            others.append(start + np.flatnonzero(~done[start:stop]))
    rest = table.take(np.concatenate(others))
    yield from (_unit(rest[start:stop]) for start, stop in cut_runs(rest.sizes(), count, size))


def _unit(sources: SourceTable) -> Unit:
    return Unit(id=unit_id(sources.keys()), sources=sources)


def cut_runs(sizes: Iterable[npt.NDArray[np.int64]], count: int, limit: int) -> Iterator[tuple[int, int]]:
    """From where to where each run goes of at most `count` sources and, unless it is a single one, `limit` bytes."""
    start = last = held = 0  # where the open run begins, and its bytes
    for some in sizes:
        first = at = last
        last += len(some)
        ends = np.concatenate([[0], np.cumsum(np.maximum(some, 0))])
        while at < last:
            fit = first - 1 + int(np.searchsorted(ends, ends[at - first] + limit - held, side="right"))
            stop = max(at, min(start + count, max(fit, start + 1), last))
            held += int(ends[stop - first] - ends[at - first])
            at = stop
            if at < last:
                yield start, at
                start, held = at, 0
    if last > start:
        yield start, last


def make_unit(sources: Sequence[Source]) -> Unit:
    """A unit of these sources."""
    return Unit(id=unit_id(map(source_key, sources)), sources=tuple(sources))


def unit_id(keys: Iterable[str]) -> str:
    """The name of the unit of sources with these keys."""
    return hashlib.sha256("\x00".join(keys).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def sum_counts(counts: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """The sum of several counts by key, keys sorted."""
    total: Counter[str] = Counter()
    for count in counts:
        for key, value in count.items():
            total[key] += value  # type: ignore[assignment]  # a Counter adds seconds as well as it adds ones
    return dict(sorted(total.items()))
