"""score: how near is each caption to its sound, as CLAP hears it?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import apache_beam as beam
import numpy as np
from apache_beam.pvalue import PCollection

from sonogloss.clap import Clap
from sonogloss.records import DeadLetter
from sonogloss.transforms.isolate import failure, run_isolated
from sonogloss.transforms.models import ClapReference
from sonogloss.transforms.work import Batch, timed

STAGE = "score"


def score(batch: Batch, clap: Clap) -> Batch:
    """Cosine, in [-1, 1], between each caption and its clip's own audio embedding, not the projected one.

    Captions that this CLAP chose among several were scored then.
    """
    if batch.scores:
        return batch
    outcomes = run_isolated(lambda texts: list(clap.embed_text(texts)), batch.captions)
    failures: dict[int, DeadLetter] = {}
    scores: list[float] = []
    for row, (clip, outcome) in enumerate(zip(batch.clips, outcomes, strict=True)):
        if isinstance(outcome, Exception):
            failures[row] = failure(clip, STAGE, outcome)
        else:
            scores.append(float(np.clip(outcome @ batch.embeddings[row], -1.0, 1.0)))
    return replace(batch.without(failures), scores=tuple(scores))


class _ScoreFn(beam.DoFn):
    def __init__(self, clap: ClapReference) -> None:
        self._reference = clap

    def setup(self) -> None:
        self._clap = self._reference.load()

    def process(self, batch: Batch) -> Iterator[Batch]:
        yield timed(STAGE, score, batch, self._clap)


class Score(beam.PTransform[PCollection[Batch], PCollection[Batch]]):
    """Batches -> batches with CLAP scores, see :func:`score`."""

    def __init__(self, clap: ClapReference) -> None:
        super().__init__()
        self._clap = clap

    def expand(self, pcoll: PCollection[Batch]) -> PCollection[Batch]:
        return pcoll | beam.ParDo(_ScoreFn(self._clap))
