"""What travels between the steps of a caption job.

A :class:`Unit` names some sources and is all that is ever reshuffled. A :class:`Batch` carries decoded clips through
the fused middle and never crosses a shuffle. A :class:`UnitResult` names the files that a unit left on disk.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from sonogloss.records import Clip, Context, DeadLetter, FloatArray, LabelScore

LARGEST_UNIT = 64
SMALLEST_UNIT = 8
NO_VECTORS: FloatArray = np.zeros((0, 0), np.float32)


@dataclass(frozen=True, kw_only=True)
class Unit:
    """Sources that are captioned together and whose rows share part files; `id` is a digest of their names."""

    id: str
    uris: tuple[str, ...]


def _no_vectors() -> FloatArray:
    return NO_VECTORS


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """Clips on their way through the models.

    `inputs` counts the clips and dead sources that were read into this batch, whatever became of them later.
    `number` counts the batches of a unit from 0; `last` marks the unit's end. `seconds` is what each step took.

    All other fields but `dead` are columns with a row a clip, empty until their step fills them. `embeddings` and
    `projected` are [clips, dim]. `candidates` come from a decoder that was asked for several captions a clip, and
    `rerank_embeddings` [clips, dim] from the CLAP that chooses among them, where it is another one. `labels` (best
    first) are what a prompt named, or what tagging found; tagging also fills `label_scores` [clips, labels], and its
    labels may need `frames` [clips, frames, dim].
    """

    unit: str
    number: int
    last: bool
    inputs: int
    clips: tuple[Clip, ...] = ()
    dead: tuple[DeadLetter, ...] = ()
    embeddings: FloatArray = field(default_factory=_no_vectors)
    projected: FloatArray = field(default_factory=_no_vectors)
    contexts: tuple[tuple[Context, ...], ...] = ()
    rerank_embeddings: FloatArray = field(default_factory=_no_vectors)
    candidates: tuple[tuple[str, ...], ...] = ()
    captions: tuple[str, ...] = ()
    scores: tuple[float, ...] = ()
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


_COLUMNS = {item.name for item in fields(Batch)} - {"unit", "number", "last", "inputs", "dead", "seconds"}


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
    """What one unit left on disk, and its counts: `rows` are captions or tags, `codes` dead letters by code."""

    unit: str
    parts: tuple[Part, ...]
    inputs: int
    rows: int
    dead_letters: int
    codes: Mapping[str, int] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)


def cut_units(uris: Sequence[str]) -> list[Unit]:
    """Cut a sorted listing into units of 8 to 64 sources, at least 16 of them where the listing allows.

    The cut depends on the listing alone, never on the number of workers, so that part files are equal everywhere.
    """
    size = min(LARGEST_UNIT, max(SMALLEST_UNIT, math.ceil(len(uris) / 16)))
    return [make_unit(uris[start : start + size]) for start in range(0, len(uris), size)]


def make_unit(uris: Sequence[str]) -> Unit:
    """A unit of these sources."""
    names = "\x00".join(uris).encode("utf-8", "surrogateescape")
    return Unit(id=hashlib.sha256(names).hexdigest()[:16], uris=tuple(uris))


def sum_counts(counts: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """The sum of several counts by key, keys sorted."""
    total: Counter[str] = Counter()
    for count in counts:
        for key, value in count.items():
            total[key] += value  # type: ignore[assignment]  # a Counter adds seconds as well as it adds ones
    return dict(sorted(total.items()))
