"""What travels between the steps of a caption job.

A :class:`Unit` names some sources and is all that is ever reshuffled. A :class:`Batch` carries decoded clips through
the fused middle and never crosses a shuffle. A :class:`UnitResult` names the files that a unit left on disk.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Concatenate, ParamSpec

import numpy as np

from sonogloss.records import Clip, Context, DeadLetter, FloatArray, LabelScore

P = ParamSpec("P")

LARGEST_UNIT = 64
SMALLEST_UNIT = 8
NO_VECTORS: FloatArray = np.zeros((0, 0), np.float32)


@dataclass(frozen=True, kw_only=True)
class Unit:
    """Sources that are captioned together and whose rows share part files; `id` is a digest of their names."""

    id: str
    uris: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """Clips on their way through the models, one row of every filled column a clip.

    `embeddings` and `projected` are [clips, dim]; `contexts`, `captions` and `scores` are filled by their steps, and
    `candidates` by a decoder that was asked for several captions a clip; `heard` [clips, dim] is the sound as another
    CLAP hears it that is to choose among them. `labels` (best first) are what a prompt named, or what tagging found;
    tagging also fills `frames` [clips, frames, dim] where its labels are compared with frames, and `label_scores`
    [clips, labels].
    `inputs` counts the clips and dead sources that were read into this batch, whatever became of them later.
    `number` counts the batches of a unit from 0; `last` marks the unit's end. `seconds` is what each step took.
    """

    unit: str
    number: int
    last: bool
    inputs: int
    clips: tuple[Clip, ...] = ()
    dead: tuple[DeadLetter, ...] = ()
    embeddings: FloatArray = field(default_factory=lambda: NO_VECTORS)
    projected: FloatArray = field(default_factory=lambda: NO_VECTORS)
    contexts: tuple[tuple[Context, ...], ...] = ()
    heard: FloatArray = field(default_factory=lambda: NO_VECTORS)
    candidates: tuple[tuple[str, ...], ...] = ()
    captions: tuple[str, ...] = ()
    scores: tuple[float, ...] = ()
    frames: FloatArray = field(default_factory=lambda: NO_VECTORS)
    labels: tuple[tuple[LabelScore, ...], ...] = ()
    label_scores: FloatArray = field(default_factory=lambda: NO_VECTORS)
    seconds: Mapping[str, float] = field(default_factory=dict)

    def without(self, failures: Mapping[int, DeadLetter]) -> Batch:
        """The batch without the clips at these positions; their dead letters are added, in order of position."""
        if not failures:
            return self
        keep = [row for row in range(len(self.clips)) if row not in failures]
        columns: dict[str, Any] = {
            name: tuple(column[row] for row in keep)
            for name in ("clips", "contexts", "candidates", "captions", "scores", "labels")
            if (column := getattr(self, name))
        }
        vectors = {
            name: column[keep]
            for name in ("embeddings", "projected", "heard", "frames", "label_scores")
            if len(column := getattr(self, name))
        }
        dead = (*self.dead, *(failures[row] for row in sorted(failures)))
        return replace(self, **columns, **vectors, dead=dead)


@dataclass(frozen=True, kw_only=True)
class Part:
    """A Parquet file that was written: its path below the output, its size and digest, its number of rows."""

    path: str
    bytes: int
    sha256: str
    rows: int


@dataclass(frozen=True, kw_only=True)
class UnitResult:
    """What one unit left on disk, and its accounts: `rows` are captions or tags, `codes` dead letters by code."""

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


def timed(
    step: str, function: Callable[Concatenate[Batch, P], Batch], batch: Batch, *args: P.args, **kwargs: P.kwargs
) -> Batch:
    """Run a step's function on a batch and note the seconds it took."""
    start = time.perf_counter()
    result = function(batch, *args, **kwargs)
    return replace(result, seconds={**batch.seconds, step: time.perf_counter() - start})


def add_up(counts: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """The sum of several counts by key, keys sorted."""
    total: Counter[str] = Counter()
    for count in counts:
        for key, value in count.items():
            total[key] += value  # type: ignore[assignment]  # a Counter adds seconds as well as it adds ones
    return dict(sorted(total.items()))
