"""tag_clips: embeddings, and frames where labels are compared with them -> scores, and the labels that fit best."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import apache_beam as beam
import numpy as np
from apache_beam.pvalue import PCollection

from sonogloss.records import FloatArray, LabelScore
from sonogloss.transforms.work import Batch, timed

if TYPE_CHECKING:  # it stands on torch, which is the worker's business
    from sonogloss.tagging.tagger import Tagger

STAGE = "tag_clips"


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which labels a row names: at most `top` (None: all), and none that scores below `threshold` (None: any)."""

    top: int | None = 5
    threshold: float | None = None

    def of(self, scores: FloatArray, labels: tuple[str, ...]) -> tuple[LabelScore, ...]:
        """The chosen labels of one clip's scores [labels], best first, ties in the order of the labels."""
        order = np.argsort(-scores, kind="stable")[: self.top]
        kept = [i for i in order if self.threshold is None or scores[i] >= self.threshold]
        return tuple(LabelScore(label=labels[i], score=float(scores[i])) for i in kept)


def tag_clips(batch: Batch, tagger: Tagger, choice: Choice) -> Batch:
    """Score every label against every clip of a batch, and choose.

    Args:
        batch: clips with embeddings, and with frames where the tagger needs them.
        tagger: the labels.
        choice: which of them a row names.
    """
    if not batch.clips:
        return batch
    scores = tagger.scores(batch.embeddings, batch.frames if tagger.needs_frames else None)
    labels = tuple(choice.of(row, tagger.labels) for row in scores)
    return replace(batch, labels=labels, label_scores=scores)


class _TagClipsFn(beam.DoFn):
    def __init__(self, tagger: Tagger, choice: Choice) -> None:
        self._tagger = tagger
        self._choice = choice

    def process(self, batch: Batch) -> Iterator[Batch]:
        yield timed(STAGE, tag_clips, batch, self._tagger, self._choice)


class TagClips(beam.PTransform[PCollection[Batch], PCollection[Batch]]):
    """Batches -> batches with labels, see :func:`tag_clips`.

    The label embeddings were made once, where the job was started, and travel to the workers as they are.
    """

    def __init__(self, tagger: Tagger, choice: Choice) -> None:
        super().__init__()
        self._fn = _TagClipsFn(tagger, choice)

    def expand(self, pcoll: PCollection[Batch]) -> PCollection[Batch]:
        return pcoll | beam.ParDo(self._fn)
