"""pool_windows: embedded windows -> one row a recording, from the mean of its windows' embeddings.

The sum runs in the order of time, one window after the other, so the result does not depend on where a batch ends, and
a recording of a day needs no more memory than one of a minute.

Windows that have captions already give an extractive summary: the row has the caption whose embedding is nearest to the
mean, with what belongs to it. Memory then holds the different captions of a recording.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import apache_beam as beam
import numpy as np
import numpy.typing as npt

from sonogloss.errors import ClipError, Code
from sonogloss.records import Clip, DeadLetter, FloatArray, clip_id
from sonogloss.transforms.batch_step import Step
from sonogloss.transforms.isolate import clip_letter
from sonogloss.transforms.score import cosine
from sonogloss.transforms.work import Batch, DoneSource, Window, sum_counts

STAGE = "pool_windows"
INCOMPLETE = "INCOMPLETE"  # flag of a recording of which a window failed
QUIETEST = 1e-6  # -120 dBFS: the least weight, so that a silent recording has a mean too

_POOLED = ("embeddings", "rerank_embeddings")
_OF_CAPTIONS = ("captions", "contexts", "labels")


def measure_loudness(batch: Batch) -> Batch:
    """Note how loud each clip of a batch is: the root mean square of its samples, at least -120 dBFS."""
    powers = (np.mean(np.square(clip.samples, dtype=np.float64)) for clip in batch.clips)
    return replace(batch, loudness=np.array([max(np.sqrt(power), QUIETEST) for power in powers], np.float32))


@dataclass
class _Recording:
    """The windows of one recording, or of one of its channels or ranges, up to now."""

    first: Window
    flags: tuple[str, ...] | None = None
    failed: list[DeadLetter] = field(default_factory=list)
    count: int = 0
    sums: dict[str, npt.NDArray[np.float64]] = field(default_factory=dict)
    latest: dict[str, FloatArray] = field(default_factory=dict)
    captions: dict[str, tuple[FloatArray, dict[str, Any]]] = field(default_factory=dict)

    def holds(self, window: Window) -> bool:
        return (window.source, _member(window)) == (self.first.source, _member(self.first))

    def add(self, batch: Batch, row: int) -> None:
        weight = float(batch.loudness[row]) if len(batch.loudness) else 1.0
        self.count += 1
        self.latest = {name: getattr(batch, name)[row] for name in _POOLED if len(getattr(batch, name))}
        for name, vector in self.latest.items():
            self.sums[name] = self.sums.get(name, 0.0) + weight * vector.astype(np.float64)
        if batch.captions:  # of equal captions the first one stays
            columns = {name: getattr(batch, name)[row] for name in _OF_CAPTIONS if getattr(batch, name)}
            self.captions.setdefault(batch.captions[row], (batch.caption_embeddings[row], columns))
        flags = batch.clips[row].flags
        self.flags = flags if self.flags is None else tuple(flag for flag in self.flags if flag in flags)

    def pooled(self) -> tuple[Clip, dict[str, Any]] | DeadLetter:
        """The recording as one clip with its unit embeddings and its caption, if there is one, or why there is none."""
        clip = self._clip()
        if self.count == 1:  # a mean of one window would differ from it in the last digit
            return clip, self.latest | self._summary(self.latest)
        lengths = {name: float(np.linalg.norm(total)) for name, total in self.sums.items()}
        if lengths and all(length > 0 for length in lengths.values()):
            means = {name: (self.sums[name] / lengths[name]).astype(np.float32) for name in self.sums}
            return clip, means | self._summary(means)
        if lengths:
            error = ClipError(Code.NON_FINITE, "The embeddings of the windows cancel each other.")
            return clip_letter(error, clip, stage=STAGE)
        letter = self.failed[0]
        message = f"All of {len(self.failed)} windows failed; the first one: {letter.message}"
        return replace(letter, clip_id=clip.clip_id, message=message)

    def _summary(self, means: dict[str, FloatArray]) -> dict[str, Any]:
        """The caption nearest to the mean, the first of equals, its cosine and what belongs to it."""
        if not self.captions:
            return {}
        scores = {text: cosine(vector, means["embeddings"]) for text, (vector, _) in self.captions.items()}
        best = max(scores, key=scores.__getitem__)
        return {**self.captions[best][1], "scores": scores[best]}

    def _clip(self) -> Clip:
        source, clip = self.first.source, self.first.clip
        assert clip is not None
        start = source.start_s or 0.0
        end = clip.duration_s if source.end_s is None else min(source.end_s, clip.duration_s)
        return replace(
            clip,
            clip_id=clip_id(clip.uri, clip.member, start, end),
            start_s=start,
            end_s=end,
            flags=(*(self.flags or ()), *((INCOMPLETE,) if self.failed else ())),
        )


def _member(window: Window) -> str | None:
    """The member, which names the channel too."""
    return None if window.clip is None else window.clip.member


class WindowPool:
    """Gathers the windows of one unit after another into batches of recordings.

    A recording gets a row from the windows that did not fail, and the flag INCOMPLETE if there are others; without any
    it is a dead letter. One that could not be read to its end has its dead letter from there, and no row. Flags are
    those that all windows have.

    Args:
        batch_size: recordings a batch, at most.
    """

    def __init__(self, batch_size: int = 32) -> None:
        self._batch_size = batch_size
        self._begin()

    def _begin(self) -> None:
        self._number = 0
        self._open: _Recording | None = None
        self._rows: list[tuple[Clip, dict[str, Any]]] = []
        self._dead: list[DeadLetter] = []
        self._sources: list[DoneSource] = []
        self._bytes = self._silent = 0
        self._seconds: dict[str, float] = {}

    def add(self, batch: Batch) -> Iterator[Batch]:
        """Take a batch of embedded windows; batches of recordings as they fill, and a last one at the unit's end."""
        if batch.number == 0:
            self._begin()  # what an earlier, failed attempt left here is not ours
        self._sources += batch.sources
        self._bytes += batch.bytes
        self._silent += batch.silent
        self._seconds = sum_counts([self._seconds, batch.seconds])
        self._dead += [letter for letter in batch.dead if letter.clip_id is None]
        failed = {letter.clip_id: letter for letter in batch.dead}
        row = 0
        for window in batch.windows:
            if window.clip is None:
                self._drop(window)
                continue
            recording = self._recording_of(window)
            if row < len(batch.clips) and batch.clips[row].clip_id == window.clip.clip_id:
                recording.add(batch, row)
                row += 1
            else:
                recording.failed.append(failed[window.clip.clip_id])
        if batch.last:
            self._close()
        while len(self._rows) > self._batch_size:
            yield self._take(batch.unit, last=False)
        if batch.last:
            yield self._take(batch.unit, last=True)

    def _recording_of(self, window: Window) -> _Recording:
        if self._open is None or not self._open.holds(window):
            self._close()
            self._open = _Recording(first=window)
        return self._open

    def _drop(self, window: Window) -> None:
        """The reading of a source broke: what was heard of it is not the recording."""
        if self._open is not None and self._open.first.source == window.source:
            self._open = None

    def _close(self) -> None:
        if self._open is not None:
            pooled = self._open.pooled()
            if isinstance(pooled, DeadLetter):
                self._dead.append(pooled)
            else:
                self._rows.append(pooled)
        self._open = None

    def _take(self, unit: str, *, last: bool) -> Batch:
        rows, self._rows = self._rows[: self._batch_size], self._rows[self._batch_size :]
        columns: dict[str, Any] = {}
        for name in rows[0][1] if rows else ():
            column = tuple(cells[name] for _, cells in rows)
            columns[name] = np.stack(column) if name in _POOLED else column
        batch = Batch(
            unit=unit,
            number=self._number,
            last=last,
            inputs=len(rows) + len(self._dead) + self._silent,
            sources=tuple(self._sources),
            bytes=self._bytes,
            silent=self._silent,
            clips=tuple(clip for clip, _ in rows),
            dead=tuple(self._dead),
            seconds=self._seconds,
            **columns,
        )
        self._number += 1
        self._dead, self._sources, self._bytes, self._silent, self._seconds = [], [], 0, 0, {}
        return batch


class PoolWindows(Step):
    """Batches of embedded windows -> batches of recordings, see :class:`WindowPool`; the order is that of reading."""

    def __init__(self) -> None:
        beam.PTransform.__init__(self)
        self._label = STAGE
        self._fn = _PoolFn()


class _PoolFn(beam.DoFn):
    def __init__(self) -> None:
        self._pool = WindowPool()

    def start_bundle(self) -> None:
        self._pool = WindowPool()

    def process(self, batch: Batch) -> Iterator[Batch]:
        yield from self._pool.add(batch)
