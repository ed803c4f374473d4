"""rerank: several captions a clip -> the one that lies nearest to its sound, as a CLAP hears it (CLAP-Refine)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

import apache_beam as beam
import numpy as np
from apache_beam.pvalue import PCollection

from sonogloss.clap import Clap
from sonogloss.records import DeadLetter, FloatArray
from transforms.isolate import failure, run_isolated
from transforms.models import ClapReference
from transforms.work import Batch, timed

STAGE = "rerank"


def rerank(batch: Batch, clap: Clap) -> Batch:
    """Choose among the candidates of every clip by the CLAP that embedded the batch; its scores are kept."""
    winners, scores = choose(batch, clap, batch.embeddings)
    failures: dict[int, DeadLetter] = {}
    captions: list[str] = []
    for row, (clip, winner) in enumerate(zip(batch.clips, winners, strict=True)):
        if isinstance(winner, Exception):
            failures[row] = failure(clip, STAGE, winner)
        else:
            captions.append(winner)
    left = replace(batch.without(failures), captions=tuple(captions), candidates=())
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


class _RerankFn(beam.DoFn):
    def __init__(self, clap: ClapReference) -> None:
        self._reference = clap

    def setup(self) -> None:
        self._clap = self._reference.load()

    def process(self, batch: Batch) -> Iterator[Batch]:
        yield timed(STAGE, rerank, batch, self._clap)


class Rerank(beam.PTransform[PCollection[Batch], PCollection[Batch]]):
    """Batches with candidates -> batches with captions and their scores, see :func:`rerank`."""

    def __init__(self, clap: ClapReference) -> None:
        super().__init__()
        self._clap = clap

    def expand(self, pcoll: PCollection[Batch]) -> PCollection[Batch]:
        return pcoll | beam.ParDo(_RerankFn(self._clap))
