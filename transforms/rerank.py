"""rerank: several captions a clip -> the one that lies nearest to its sound, as a CLAP hears it (CLAP-Refine).

That CLAP may be the one that embedded the batch or another, such as one that knows the order of sounds; the other has
to hear the sound itself, before its samples are let go.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice

import apache_beam as beam
import numpy as np
from apache_beam.pvalue import PCollection

from sonogloss.audio import resample
from sonogloss.clap import Clap
from sonogloss.records import Clip, DeadLetter, FloatArray
from sonogloss.transforms.embed_audio import embed_isolated
from sonogloss.transforms.isolate import failure, run_isolated
from sonogloss.transforms.models import ClapReference
from sonogloss.transforms.work import NO_VECTORS, Batch, timed

STAGE = "rerank"
HEAR_STAGE = "rerank_audio"


def hear(batch: Batch, judge: Clap, sample_rate: int) -> Batch:
    """Embed the sound of a batch by the CLAP that is to choose among its captions.

    A judge of another rate gets the clip's samples resampled: one of a higher rate hears nothing new above theirs.

    Args:
        batch: clips with samples.
        judge: the CLAP.
        sample_rate: of the samples, in Hz.

    Returns:
        The batch with `heard`: float32 [clips, dim], unit rows. A clip that the judge fails on, or whose embedding is
        not finite, becomes a dead letter.
    """
    longest = int(judge.window_s * judge.sample_rate)  # resampling may add a sample

    def embed(clips: Sequence[Clip]) -> list[tuple[FloatArray, ...]]:
        waveforms = [resample(clip.samples, sample_rate, judge.sample_rate)[:longest] for clip in clips]
        return [(vector,) for vector in judge.embed_audio(waveforms)]

    left, columns = embed_isolated(batch, embed, stage=HEAR_STAGE)
    return replace(left, heard=columns[0])


def rerank(batch: Batch, judge: Clap) -> Batch:
    """Choose among the candidates of every clip.

    Args:
        batch: clips with candidates.
        judge: the CLAP that chooses: the one that :func:`hear` was called with, and without that the one that embedded
            the batch. What the latter found for its choice is kept as `scores`; another's is not comparable.
    """
    own = not batch.heard.size
    winners, scores = choose(batch, judge, batch.embeddings if own else batch.heard)
    failures: dict[int, DeadLetter] = {}
    captions: list[str] = []
    for row, (clip, winner) in enumerate(zip(batch.clips, winners, strict=True)):
        if isinstance(winner, Exception):
            failures[row] = failure(clip, STAGE, winner)
        else:
            captions.append(winner)
    left = replace(batch.without(failures), captions=tuple(captions), candidates=(), heard=NO_VECTORS)
    if not own:
        return left
    return replace(left, scores=tuple(score for row, score in enumerate(scores) if row not in failures))


def choose(batch: Batch, clap: Clap, embeddings: FloatArray) -> tuple[list[str | Exception], list[float]]:
    """For each clip its best candidate, the first of equals, and the cosine in [-1, 1] that made it so.

    Args:
        batch: clips with candidates.
        clap: the judge.
        embeddings: [clips, dim] of the sound, by the judge.

    Returns:
        Winners, where all candidates of a clip failed the failure of the last; and scores, 0 for those.
    """
    texts = [text for candidates in batch.candidates for text in candidates]
    outcomes = iter(run_isolated(lambda part: list(clap.embed_text(part)), texts))
    winners: list[str | Exception] = []
    scores: list[float] = []
    for row, candidates in enumerate(batch.candidates):
        winner: str | Exception = RuntimeError("no candidate")
        best = -np.inf
        for text, outcome in zip(candidates, islice(outcomes, len(candidates)), strict=True):
            if isinstance(outcome, Exception):
                winner = outcome if best == -np.inf else winner
            elif (score := float(np.clip(outcome @ embeddings[row], -1.0, 1.0))) > best:
                winner, best = text, score
        winners.append(winner)
        scores.append(best if np.isfinite(best) else 0.0)
    return winners, scores


class _HearFn(beam.DoFn):
    def __init__(self, judge: ClapReference, sample_rate: int) -> None:
        self._reference = judge
        self._sample_rate = sample_rate

    def setup(self) -> None:
        self._judge = self._reference.load()

    def process(self, batch: Batch) -> Iterator[Batch]:
        yield timed(HEAR_STAGE, hear, batch, self._judge, self._sample_rate)


class Hear(beam.PTransform[PCollection[Batch], PCollection[Batch]]):
    """Batches of clips -> the same with their embeddings by another CLAP, see :func:`hear`."""

    def __init__(self, judge: ClapReference, sample_rate: int) -> None:
        super().__init__()
        self._fn = _HearFn(judge, sample_rate)

    def expand(self, pcoll: PCollection[Batch]) -> PCollection[Batch]:
        return pcoll | beam.ParDo(self._fn)


class _RerankFn(beam.DoFn):
    def __init__(self, judge: ClapReference) -> None:
        self._reference = judge

    def setup(self) -> None:
        self._judge = self._reference.load()

    def process(self, batch: Batch) -> Iterator[Batch]:
        yield timed(STAGE, rerank, batch, self._judge)


class Rerank(beam.PTransform[PCollection[Batch], PCollection[Batch]]):
    """Batches with candidates -> batches with captions, see :func:`rerank`."""

    def __init__(self, judge: ClapReference) -> None:
        super().__init__()
        self._judge = judge

    def expand(self, pcoll: PCollection[Batch]) -> PCollection[Batch]:
        return pcoll | beam.ParDo(_RerankFn(self._judge))
